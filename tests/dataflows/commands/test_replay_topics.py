"""`noskew replay --input kafka` of a definition that no run can compute: peers, by event time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka_io import Record
from live import Live
from meaning import Event, bits

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.settings import settings
from noskew.dataflows.testing import vectors
from noskew.schemas import records

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

SECOND = 10**6
START_US = 1_522_540_800 * SECOND
FEATURES = """\
    card.count(over="1h"),
    card.sum("amount_cents", over="1h"),
    labels.by("terminal_id").sum("is_fraud", over="1d"),
"""


def drawn() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return payments and labels in order of arrival: a few times only, so that many are tied."""
    draw = random.Random(3)
    payments = [
        {
            "transaction_id": number,
            "event_time": START_US + (number // 8 * 600 + draw.choice([0, 0, 300])) * SECOND,
            "customer_id": draw.randrange(3),
            "terminal_id": draw.randrange(2),
            "amount_cents": draw.randrange(1, 999),
        }
        for number in range(200)
    ]
    labels = [
        {
            **{name: one[name] for name in ("transaction_id", "event_time", "terminal_id")},
            "customer_id": one["customer_id"],
            "is_fraud": draw.random() < 0.5,
            "labelled_at": one["event_time"] + 600 * SECOND,
        }
        for one in payments[::3]
    ]
    return payments, labels


def test_topics_of_several_streams_are_replayed_by_the_time_of_events(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(
        stack, tmp_path, topic_name, features=FEATURES, partitions=2, label_partitions=3,
        labels='allowed_lateness="2d"', stream='allowed_lateness="2h"',
        model='semantics="flink",',
    )  # fmt: skip
    payments, labels = drawn()
    own.produce([Event(one["customer_id"] % 2, 0, one["event_time"], one) for one in payments])
    schema_id = own.label_schema_id()
    own.send_labels(
        Record(i % 3, records.encode("label", one, schema_id), one["labelled_at"] // 1000)
        for i, one in enumerate(labels)
    )

    report = replay(own.definition, ["kafka"], tmp_path / "out", settings(**own.flags))

    assert (report.order, report.read, report.written) == ("event_time", 267, 200)
    # By the times of events it does not matter who came first: here all labels did.
    wanted = vectors(own.pipeline, [*(("labels", one) for one in labels), *payments])
    table = pq.read_table(tmp_path / "out")
    assert table["event_time"].cast(pa.int64()).to_pylist() == sorted(
        one["event_time"] for one in payments
    )
    found = {one["transaction_id"]: one for one in table.to_pylist()}
    for one, expected in zip(payments, wanted, strict=True):
        values = found[one["transaction_id"]]
        assert {name: bits(values[name]) for name in expected} == {
            name: bits(value) for name, value in expected.items()
        }
    assert max(one["labels_terminal_id_is_fraud_sum_1d"] for one in wanted) > 10
