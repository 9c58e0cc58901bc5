"""``noskew audit`` on real Kafka: a whole run holds, and what is added or taken away is found."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient
from kafka_io import Record, ends, read_messages, send
from live import Live
from outages import Forked, assert_clean
from rich.console import Console

from noskew.dataflows.commands.audit import audit, render
from noskew.dataflows.core import audit_journal
from noskew.dataflows.errors import DeliveryError, UnsafeResumeError, UsageError
from noskew.dataflows.kafka import audit_log
from noskew.dataflows.kafka.audit_log import AuditLog
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from noskew.dataflows.commands.audit import Report
    from noskew.dataflows.kafka.audit_log import Ends
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
START_US: Final = 1_522_540_800 * SECOND
PARTITIONS: Final = 2
LABEL_PARTITIONS: Final = 3
FEATURES: Final = """\
    card.count(over="1h"),
    labels.by("terminal_id").count(over="1d"),
"""
NO_RECORD: Final = b"no record"
NUMBERS: Final = itertools.count(1)


@pytest.fixture(scope="module")
def whole(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A pipeline that has run, and that tests only look at."""
    return ran_twice(stack, tmp_path_factory.mktemp("whole"), "audit_whole")


@pytest.fixture
def own(stack: Stack, tmp_path: Path, topic_name: str) -> Live:
    """A pipeline that has run, for a test to damage."""
    return ran_twice(stack, tmp_path, topic_name)


def ran_twice(stack: Stack, folder: Path, name: str) -> Live:
    """Run payments and labels, some dead, late or repeated, the second half after a restart.

    The payments are produced in transactions, whose markers take offsets.
    """
    live = Live.make(
        stack, folder, name, partitions=PARTITIONS, features=FEATURES, stream='dedupe="1h"',
        labels='allowed_lateness="1d"', label_partitions=LABEL_PARTITIONS, redis="none",
    )  # fmt: skip
    with transactions(stack) as producer:
        for half in (range(60), range(60, 120)):
            for record in payments(live.schema_id(), half):
                producer.produce(
                    live.topic, record.value, partition=record.partition, timestamp=record.time_ms
                )
            producer.commit_transaction(30)
            live.send_labels(labels(live.label_schema_id(), half))
            live.run_until_end()
            producer.begin_transaction()
    return live


@contextmanager
def transactions(stack: Stack) -> Iterator[ck.Producer]:
    """Give a producer in a transaction; what is not committed in the end is aborted."""
    producer = ck.Producer(
        {
            "bootstrap.servers": stack.brokers,
            "transactional.id": f"audited-{next(NUMBERS)}",
            "log_level": 0,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    yield producer
    producer.abort_transaction(30)


def payments(schema_id: int, numbers: range) -> list[Record]:
    out = []
    for number in numbers:
        time_us = START_US + number * 60 * SECOND
        late = number % 20 == 18
        values = {
            "transaction_id": number - (number % 10 == 9),  # every tenth id comes twice
            "customer_id": number % 7,
            "terminal_id": number % 3,
            "amount_cents": 100,
            "event_time": time_us - late * 5 * HOUR,
        }
        value = records.encode("transaction", values, schema_id)
        value = NO_RECORD if number % 15 == 7 else value
        out.append(Record(number // 10 % PARTITIONS, value, time_us // 1000))
    return out


def labels(schema_id: int, numbers: range) -> list[Record]:
    out = []
    for number in numbers:
        labelled_us = START_US + number * 60 * SECOND + HOUR
        values = {
            "transaction_id": number,
            "customer_id": number % 7,
            "terminal_id": number % 3,
            "event_time": labelled_us - (3 * DAY if number % 8 == 5 else HOUR),
            "is_fraud": True,
            "labelled_at": labelled_us,
        }
        value = records.encode("label", values, schema_id)
        value = NO_RECORD if number % 13 == 2 else value
        out.append(Record(number % LABEL_PARTITIONS, value, labelled_us // 1000))
    return out


def audited(live: Live, **options: Any) -> Report:
    return audit(live.definition, settings(**live.flags), **options)


def told(report: Report) -> list[tuple[str, str, int, int, int]]:
    return [(f.kind, f.topic, f.partition, f.first, f.next) for f in report.findings.listed]


def test_a_run_with_dead_late_and_repeated_records_holds(whole: Live) -> None:
    report = audited(whole)

    assert told(report) == []
    assert report.holds
    counts: dict[str, Counter[str]] = {"payments": Counter(), "labels": Counter()}
    for line in report.lines:
        counts[line.stream].update(line.account.terms(scored=line.scored))
        counts[line.stream]["delivered"] += line.account.delivered
        assert line.adds_up
    scores, letters = whole.scores(), whole.dead()
    dead = Counter(letter.value["source"]["stream"] for letter in letters)
    assert counts["payments"]["delivered"] == counts["labels"]["delivered"] == 120
    assert counts["payments"]["scored"] == len(scores) > 90
    assert counts["payments"]["dead"] == dead["payments"] == 8
    assert counts["payments"]["duplicate"] == 120 - 8 - len(scores) > 4
    assert counts["labels"]["dead"] == dead["labels"] == 10
    assert counts["labels"]["late"] > 5
    assert counts["labels"]["applied"] == 110 - counts["labels"]["late"]
    assert (report.owners, report.in_flight) == (2, 0)
    assert [line.partition for line in report.lines] == [0, 1, 0, 1, 2]


def test_markers_in_the_input_are_listed_and_explained(whole: Live) -> None:
    lines = audited(whole).lines

    for line in lines[:2]:
        # The marker of the first half's transaction; the second's is behind the last record.
        (gap,) = line.gaps
        assert (gap.next - gap.first, gap.records, line.account.nothing) == (1, 0, 1)
        assert gap.why.startswith("no record there: markers of transactions")
    assert [line.gaps for line in lines[2:]] == [(), (), ()]


def test_windows_of_a_few_records_find_the_same(
    whole: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = audited(whole)
    monkeypatch.setattr(audit_journal, "WINDOW_RECORDS", 1)
    monkeypatch.setattr(audit_log, "CHUNK", 7)

    assert audited(whole).to_json() | {"seconds": 0} == at_once.to_json() | {"seconds": 0}


def test_what_is_added_to_the_outputs_is_found(own: Live, tmp_path: Path) -> None:
    scores, dead = f"{own.name}.scores", f"{own.name}.dead"
    again, letter = value_of(own, scores, 1, -1), value_of(own, dead, 2, 0)
    foreign = records.decode("score", again)
    foreign["source"] = {**foreign["source"], "topic_id": bytes(16)}
    at = records.decode("score", again)["source"]["offset"]
    dead_at = records.decode("dead_letter", letter)["source"]["offset"]
    values = [again, b"no score", records.encode("score", foreign, 1)]
    send(own.stack, scores, [Record(1, value, 1) for value in values])
    send(own.stack, dead, [Record(2, value, 1) for value in (letter, b"")])
    end, dead_end = ends(own.stack.brokers, scores)[1], ends(own.stack.brokers, dead)[2]

    report = audited(own)

    assert not report.holds
    assert set(told(report)) == {
        ("twice", own.topic, 1, at, at + 1),
        ("undecodable", scores, 1, end - 2, end - 1),
        ("source", scores, 1, end - 1, end),
        ("letter_twice", own.labels, 2, dead_at, dead_at + 1),
        ("undecodable", dead, 2, dead_end - 1, dead_end),
    }
    assert [line.adds_up for line in report.lines] == [True, False, True, True, False]

    said = printed(["audit", str(own.definition), "--brokers", own.stack.brokers], tmp_path, 1)
    assert f"payments ({own.topic})" in said
    assert f"twice: topic {own.topic} partition 1 offset {at}: " in said
    assert f"{own.name}: 240 records in " in said
    assert said.splitlines()[-1].endswith("the identity does not hold (5 findings)")


def test_a_score_that_is_not_there_is_found(whole: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    # Kafka takes no single record away, so the reader is made to stop one short.
    settled = AuditLog.settled
    scores = f"{whole.name}.scores"
    last = records.decode("score", value_of(whole, scores, 0, -1))["source"]["offset"]
    place = of_partition(whole, scores, 0)[-1].offset()

    def shorter(log: AuditLog, topic: str, partitions: int, wait_s: float) -> Ends:
        found = settled(log, topic, partitions, wait_s)
        if topic == scores:
            found.end[0] = place
        return found

    monkeypatch.setattr(AuditLog, "settled", shorter)
    report = audited(whole)

    assert told(report) == [("lost", whole.topic, 0, last, last + 1)]
    assert not report.holds


def test_the_command_prints_json_and_exits_with_0(whole: Live, tmp_path: Path) -> None:
    arguments = ["audit", str(whole.definition), "--brokers", whole.stack.brokers, "--json"]
    said = printed(arguments, tmp_path, 0)

    value = json.loads(said[said.index("{\n") :])
    assert value["holds"]
    assert value["findings"] == []
    assert [len(one["partitions"]) for one in value["streams"].values()] == [2, 3]
    assert value["streams"]["payments"]["partitions"][0]["gaps"][0]["records"] == 0


def test_scores_that_retention_deleted_are_told_and_may_be_left_out(own: Live) -> None:
    scores = f"{own.name}.scores"
    first = [records.decode("score", m.value())["source"]["offset"]
             for m in of_partition(own, scores, 0)]  # fmt: skip
    delete(own, scores, 0, of_partition(own, scores, 0)[1].offset())
    letters = of_partition(own, f"{own.name}.dead", 0)
    delete(own, f"{own.name}.dead", 0, letters[1].offset())

    report = audited(own)

    assert {one[0] for one in told(report)} == {"gone"}
    assert ("gone", own.topic, 0, first[0], first[1]) in told(report)
    left = audited(own, retained=True)
    assert left.holds
    assert sum(line.account.gone for line in left.lines) == 2


def test_a_transaction_left_open_is_told_until_it_is_ended(own: Live) -> None:
    scores = f"{own.name}.scores"
    end = ends(own.stack.brokers, scores)[0]
    with transactions(own.stack) as producer:
        producer.produce(scores, b"not yet", partition=0)
        producer.flush(30)

        assert told(audited(own, wait_s=0.2)) == [("open", scores, 0, end, end + 1)]

    assert audited(own).holds, "what was aborted is no score"


def test_what_comes_while_it_is_audited_is_not_judged(
    own: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = AuditLog.settled
    scores = f"{own.name}.scores"
    later = records.decode("score", value_of(own, scores, 0, -1))
    later["source"] = {**later["source"], "offset": 1000}
    coming = [Record(0, records.encode("score", later, 1), 1)]

    def slow(log: AuditLog, topic: str, partitions: int, wait_s: float) -> Ends:
        if topic == scores:
            send(own.stack, scores, coming)
        return settled(log, topic, partitions, wait_s)

    with monkeypatch.context() as slowly:
        slowly.setattr(AuditLog, "settled", slow)
        report = audited(own)

    assert report.holds
    assert report.in_flight == 1
    out = io.StringIO()
    render(report, Console(file=out, width=200))
    assert "came while this audit ran, and not judged: 1" in out.getvalue()
    assert told(audited(own)) == [("beyond", own.topic, 0, 1000, 1001)]


def test_a_pipeline_may_be_audited_while_it_runs(own: Live) -> None:
    schema_id = own.schema_id()
    with own.start() as running:
        for first in range(120, 1120, 200):
            scored = sum(ends(own.stack.brokers, f"{own.name}.scores"))
            own.send(payments(schema_id, range(first, first + 200)))
            running.until(lambda: sum(ends(own.stack.brokers, f"{own.name}.scores")) > scored)  # noqa: B023 - called in this round only

            assert told(audited(own)) == []

        assert running.stop() == 0, running.stderr
    report = audited(own)
    assert report.holds
    assert report.in_flight == 0
    assert report.owners == 3


def test_where_there_is_nothing_to_audit_the_next_step_is_told(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    live = Live.make(stack, tmp_path, topic_name, redis="none")
    with pytest.raises(UsageError, match=r"scores' does not exist at .* before the pipeline has"):
        audited(live)
    admin = Admin.connect(stack.brokers)
    for name in ("scores", "dead", "journal"):
        admin.ensure(f"{live.name}.{name}", 1, {})
    with pytest.raises(UsageError, match="has no committed entry: run it first"):
        audited(live)
    send(stack, f"{live.name}.journal", [Record(0, b"x", 1), Record(0, b"y", 1)])
    delete(live, f"{live.name}.journal", 0, 1)
    with pytest.raises(UnsafeResumeError, match="begins at offset 1, not 0:"):
        audited(live)
    with pytest.raises(UsageError, match="wait_s is -1: give seconds from 0 to 3600"):
        audited(live, wait_s=-1)


def test_a_broker_that_gives_nothing_is_not_waited_for_without_end(
    whole: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "ANSWER_S", 0.3)
    end = ends(whole.stack.brokers, whole.topic)[0]
    log = AuditLog(whole.stack.brokers)

    with pytest.raises(DeliveryError, match=r"gave nothing for 0\.3 s before its end"):
        list(log.read(whole.topic, 0, 0, end + 10))


def test_offsets_that_are_gone_while_it_is_read_are_told(own: Live) -> None:
    scores = f"{own.name}.scores"
    delete(own, scores, 0, of_partition(own, scores, 0)[1].offset())
    log = AuditLog(own.stack.brokers)

    with pytest.raises(UsageError, match=r"cannot be read from offset 0 to 2: .*audit again"):
        list(log.read(scores, 0, 0, 3))


def of_partition(live: Live, topic: str, partition: int) -> list[Any]:
    """Return the messages of a partition of an output."""
    return [m for m in read_messages(live.stack.brokers, topic) if m.partition() == partition]


def value_of(live: Live, topic: str, partition: int, at: int) -> bytes:
    """Return the record at a place of a partition of an output."""
    value: bytes = of_partition(live, topic, partition)[at].value()
    return value


def delete(live: Live, topic: str, partition: int, before: int) -> None:
    """Delete what is before an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": live.stack.brokers, "log_level": 0})
    (done,) = admin.delete_records([ck.TopicPartition(topic, partition, before)]).values()
    done.result(30)


def printed(arguments: list[str], folder: Path, code: int) -> str:
    """Run the command; return what it printed."""
    said = folder / "said"
    said.touch()
    with Forked(arguments, said) as running:
        assert running.wait(60) == code, running.said
        assert_clean(running.said)
        return running.said
