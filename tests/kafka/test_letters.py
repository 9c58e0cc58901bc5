"""Dead letters and alerts, record by record, as they are handed to the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from noskew.dataflows import card_fraud
from noskew.dataflows.core.batch import Batch, Letter
from noskew.dataflows.core.engine import CappedKey, SplitKey
from noskew.dataflows.core.journal import Gap, Topic
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.kafka.deliver import _gaps
from noskew.dataflows.kafka.letters import DETAIL_MAX, Letters, Outputs
from noskew.kernels.layout import KEY_CAP
from noskew.schemas import records
from noskew.schemas.columns import NULL
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.kafka.outbox import Outbox

OUTPUTS = Outputs("app.scores", "app.dead", "app.alerts", "app.journal", 1, 2, 3, 4)
TOPICS = (Topic("transactions", bytes(16), 2), Topic("fraud_labels", None, 5))


class Sent:
    """An outbox that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, bytes, bytes | None]] = []

    def send_one(self, topic: str, partition: int, value: bytes, key: bytes | None = None) -> None:
        self.records.append((topic, partition, value, key))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(load(str(card_fraud.__file__)))


def written(plan: Plan) -> tuple[Letters, Sent]:
    sent = Sent()
    return Letters(plan, TOPICS, OUTPUTS, cast("Outbox", sent)), sent


def batch(reasons: Sequence[int], stream: int = 0, partition: int = 4) -> Batch:
    n = len(reasons)
    zeros = np.zeros(n, np.int64)
    letter = Letter("d" * 2 * DETAIL_MAX, 7, b"key", b"value", [("a", b"\xff"), ("b", None)])
    offset = np.arange(10, 10 + n)
    return Batch(
        stream=stream,
        partition=np.full(n, partition, np.int32),
        offset=offset,
        record_time_us=np.array([NULL, *[5_000] * (n - 1)], np.int64),
        time_us=zeros,
        available_us=zeros,
        reason=np.array(reasons, np.uint8),
        columns={},
        letters={(partition, int(at)): letter for at in offset[np.array(reasons) > 0]},
        seq=100 + 3 * np.arange(n),
    )


def test_a_dead_letter_keeps_its_record_and_says_which_stream_it_was_of(plan: Plan) -> None:
    letters, sent = written(plan)

    letters.dead(batch([0, Reason.RANGE], stream=1))

    ((topic, partition, value, key),) = sent.records
    assert (topic, partition, key) == ("app.dead", 4, b"key")
    assert records.decode("dead_letter", value) == {
        "reason": "range",
        "detail": "d" * DETAIL_MAX,
        "stage": "rule",
        "pipeline": "card_fraud",
        "source": {
            "stream": "labels",
            "topic": "fraud_labels",
            "topic_id": None,
            "partition": 4,
            "offset": 11,
            "record_time": 5_000,
        },
        "schema_id": 7,
        "key": b"key",
        "value": b"value",
        "headers": [{"name": "a", "value": b"\xff"}, {"name": "b", "value": None}],
        "seq": 103,
    }


def test_a_record_without_a_kafka_time_has_none_in_its_letter(plan: Plan) -> None:
    letters, sent = written(plan)

    letters.dead(batch([Reason.NO_VALUE]))

    value = records.decode("dead_letter", sent.records[0][2])
    assert value["source"]["record_time"] is None
    assert value["source"]["topic"] == "transactions"


def alert(sent: Sent) -> dict[str, Any]:
    ((topic, partition, value, _),) = sent.records
    assert (topic, partition) == ("app.alerts", 0)
    return records.decode("alert", value)


def test_a_full_key_is_named_with_what_it_touches_and_the_fix(plan: Plan) -> None:
    letters, sent = written(plan)

    letters.key_cap(CappedKey("terminal_id", 7, 2, 99))

    found = alert(sent)
    assert (found["kind"], found["severity"]) == ("key_cap", "warning")
    assert (found["subject"], found["seq"]) == ("terminal_id=7", 99)
    assert found["after"] == f"{KEY_CAP:,} events held"
    touched = [name for name in plan.names if "terminal_id" in name]
    assert sorted(found["features"]) == sorted(touched)
    assert found["models"] == ["card_fraud"]
    assert "shorten its windows" in found["remedy"]


def test_a_split_key_is_named_with_both_partitions(plan: Plan) -> None:
    letters, sent = written(plan)

    letters.split_key(SplitKey("customer_id", "anna", 0, 3, 12))

    found = alert(sent)
    assert (found["kind"], found["subject"]) == ("split_key", "customer_id=anna")
    assert (found["before"], found["after"]) == ("partition 0", "partition 3")


def test_the_ranges_of_chosen_records_are_as_long_as_they_can_be() -> None:
    zeros = np.zeros(7, np.int64)
    taken = Batch(
        stream=0,
        partition=np.array([1, 0, 1, 1, 0, 1, 1], np.int32),
        offset=np.array([4, 0, 5, 6, 1, 9, 10], np.int64),
        record_time_us=zeros,
        time_us=zeros,
        available_us=zeros,
        reason=np.zeros(7, np.uint8),
        columns={},
    )
    chosen = np.array([True, True, True, False, True, True, True])

    assert list(_gaps("late", "labels", taken, chosen)) == [
        Gap("late", "labels", 0, 0, 2),
        Gap("late", "labels", 1, 4, 6),
        Gap("late", "labels", 1, 9, 11),
    ]
    assert list(_gaps("late", "labels", taken, np.zeros(7, np.bool_))) == []
