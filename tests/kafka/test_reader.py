"""The reader on a real broker: what it hands out, holds, skips and refuses."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck
import numpy as np
import pytest
from confluent_kafka.admin import AdminClient
from kafka_io import Record, send
from waiting import until

from noskew.dataflows.core.batch import Turn
from noskew.dataflows.core.journal import Entry, Ledger, Topic, runs
from noskew.dataflows.errors import UnsafeResumeError
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.simulation.topics import TOPIC_CONFIG
from noskew.kernels.layout import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from noskew.dataflows.core.batch import Raw
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

AT_MS = 1_522_540_800_000
Place = tuple[int, int]
"""Partition and offset."""


@pytest.fixture
def topic(stack: Stack, topic_name: str) -> str:
    Admin.connect(stack.brokers).ensure(topic_name, 2, TOPIC_CONFIG)
    return topic_name


@contextmanager
def reading(stack: Stack, topic: str, start: Sequence[int] = (0, 0)) -> Iterator[Reader]:
    topics = [Topic(topic, None, len(start))]
    reader = Reader(stack.brokers, topics, np.array(start, np.int64), group=f"{topic}.test")
    try:
        yield reader
    finally:
        reader.close()


def read_to_end(reader: Reader, ends: Sequence[bool] = (True, True)) -> list[Raw]:
    """Read until these partitions, and no others, are said to have no unread record."""
    found: list[Raw] = []

    def ended() -> bool:
        read = reader.read()
        found.extend(raw for raw in read.raws if len(raw))
        return bool((read.ended == list(ends)).all())

    until(ended)
    return found


def read_until(reader: Reader, partition: int, count: int) -> list[Raw]:
    """Read until a partition has given as many records."""
    found: list[Raw] = []

    def enough() -> bool:
        found.extend(reader.read().raws)
        return len(of(found, partition)) >= count

    until(enough)
    return found


def places(raws: Sequence[Raw]) -> list[Place]:
    return [
        place
        for raw in raws
        for place in zip(raw.partition.tolist(), raw.offset.tolist(), strict=True)
    ]


def of(raws: Sequence[Raw], partition: int) -> list[int]:
    return [offset for at, offset in places(raws) if at == partition]


def put(stack: Stack, topic: str, partition: int, count: int) -> None:
    send(stack, topic, [Record(partition, b"%d" % i, AT_MS + i) for i in range(count)])


def test_records_come_whole_and_in_the_order_of_each_partition(stack: Stack, topic: str) -> None:
    send(
        stack,
        topic,
        [
            Record(1, b"first", AT_MS, b"key"),
            Record(0, None, AT_MS + 1, None),
            Record(1, b"", AT_MS + 2, b""),
            Record(1, b"last", AT_MS + 3, None, [("a", b"1"), ("b", None)]),
        ],
    )
    with reading(stack, topic) as reader:
        raws = read_to_end(reader)

        seen: dict[Place, tuple[Any, ...]] = {}
        for raw in raws:
            assert raw.start[0] == 0
            assert raw.start[-1] == len(raw.payload)
            for i in range(len(raw)):
                seen[int(raw.partition[i]), int(raw.offset[i])] = (
                    raw.value(i),
                    bool(raw.absent[i]),
                    raw.keys[i],
                    int(raw.record_time_us[i]),
                    raw.headers.get(i, []),
                )
    assert seen == {
        (1, 0): (b"first", False, b"key", AT_MS * 1000, []),
        (0, 0): (b"", True, None, (AT_MS + 1) * 1000, []),
        (1, 1): (b"", False, b"", (AT_MS + 2) * 1000, []),
        (1, 2): (b"last", False, None, (AT_MS + 3) * 1000, [("a", b"1"), ("b", None)]),
    }
    assert of(raws, 1) == [0, 1, 2]


def test_the_end_of_a_partition_is_said_until_there_is_more(stack: Stack, topic: str) -> None:
    put(stack, topic, 0, 5)
    with reading(stack, topic) as reader:
        assert of(read_to_end(reader), 0) == [0, 1, 2, 3, 4]
        assert reader.at_end.tolist() == [True, True]
        assert reader.read().ended.tolist() == [True, True]
        put(stack, topic, 1, 3)

        raws = read_until(reader, 1, 1)
        assert reader.at_end[0]
        raws += read_to_end(reader)

    assert places(raws) == [(1, 0), (1, 1), (1, 2)]


def test_reading_begins_at_the_offsets_given(stack: Stack, topic: str) -> None:
    put(stack, topic, 0, 10)
    put(stack, topic, 1, 10)
    with reading(stack, topic, (7, 10)) as reader:
        assert places(read_to_end(reader)) == [(0, 7), (0, 8), (0, 9)]
        assert reader.next_offset.tolist() == [10, 10]


def test_a_held_partition_comes_again_exactly_from_where_it_was_held(
    stack: Stack, topic: str
) -> None:
    put(stack, topic, 0, 100)
    put(stack, topic, 1, 100)
    with reading(stack, topic) as reader:
        read_to_end(reader)

        reader.hold(0, 30)
        put(stack, topic, 0, 5)
        put(stack, topic, 1, 5)
        while_held = read_to_end(reader, (False, True))
        assert places(while_held) == [(1, offset) for offset in range(100, 105)]
        assert reader.next_offset.tolist() == [30, 105]
        reader.release(0)
        reader.release(0)
        after = read_to_end(reader)

    assert places(after) == [(0, offset) for offset in range(30, 105)]


def test_what_was_in_flight_when_a_partition_was_held_comes_once(stack: Stack, topic: str) -> None:
    put(stack, topic, 0, 20_000)
    put(stack, topic, 1, 20_000)
    with reading(stack, topic) as reader:
        # It has read far ahead when the first records are handed out.
        taken = read_until(reader, 0, 100)
        at = of(taken, 0)[-1] + 1
        reader.hold(0, at)
        held = read_to_end(reader, (False, True))
        assert of(held, 0) == []
        # Twice in a row: neither what came between nor the mark of its end may be believed.
        reader.release(0)
        reader.hold(0, at)
        reader.release(0)
        first = reader.read()
        assert first.ended.tolist() == [False, True]
        after = [*first.raws, *read_to_end(reader)]

    assert of([*taken, *held, *after], 0) == list(range(20_000))
    assert of([*taken, *held, *after], 1) == list(range(20_000))


def test_aborted_records_are_skipped_and_runs_count_what_was_delivered(
    stack: Stack, topic: str
) -> None:
    producer = ck.Producer({"bootstrap.servers": stack.brokers, "transactional.id": topic})
    producer.init_transactions(30)
    for number, keep in enumerate((True, False, True)):
        producer.begin_transaction()
        for i in range(10):
            producer.produce(topic, b"%d:%d" % (number, i), partition=0)
        assert producer.flush(30) == 0
        if keep:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    with reading(stack, topic) as reader:
        raws = read_to_end(reader)
        values = [raw.value(i) for raw in raws for i in range(len(raw))]
        last = int(reader.next_offset[0])

    # Ten records and a marker, three times; the last marker is not waited for.
    assert values == [b"%d:%d" % (number, i) for number in (0, 2) for i in range(10)]
    assert of(raws, 0) == [*range(10), *range(22, 32)]
    assert last == 32
    ledger = Ledger(_owner())
    for raw in raws:
        zeros = np.zeros(len(raw), np.int32)
        ledger.take(Turn(ledger.seq, (), zeros, raw.partition, raw.offset), [])
    clocks = np.full(2, NO_TIME, np.int64)
    (entry,) = ledger.close(clocks, clocks, NO_TIME)
    assert entry.count == 20
    assert entry.next_offset.tolist() == [32, 0]
    (run,) = runs([_owner(), entry])
    firsts, following, counts = (column.tolist() for column in run.columns[1:])
    assert (firsts[0], following[-1], sum(counts)) == (0, 32, 20)
    # And a replay that follows them finds every record where they say.
    for first, after, count in zip(firsts, following, counts, strict=True):
        assert sum(first <= offset < after for offset in of(raws, 0)) == count


def test_records_of_an_open_transaction_are_neither_seen_nor_waited_for(
    stack: Stack, topic: str
) -> None:
    put(stack, topic, 0, 3)
    producer = ck.Producer({"bootstrap.servers": stack.brokers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(30) == 0
    with reading(stack, topic) as reader:
        assert of(read_to_end(reader), 0) == [0, 1, 2]
        producer.commit_transaction(30)
        found = read_until(reader, 0, 1)

    assert of(found, 0) == [3]


@pytest.mark.parametrize("start", [5, 21])
def test_an_offset_that_is_not_in_the_log_stops_the_reading(
    stack: Stack, topic: str, start: int
) -> None:
    put(stack, topic, 0, 20)
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    gone = ck.TopicPartition(topic, 0, 10)
    admin.delete_records([gone])[gone].result(10)

    with (
        reading(stack, topic, (start, 0)) as reader,
        pytest.raises(UnsafeResumeError, match=f"{topic}' partition 0 has no offset {start} "),
    ):
        until(lambda: reader.read() is None)


@contextmanager
def reading_two(stack: Stack, topic: str, other: str) -> Iterator[Reader]:
    """Read two streams: two partitions of one topic and three of another are inputs 0 to 4."""
    topics = [Topic(topic, None, 2), Topic(other, None, 3)]
    Admin.connect(stack.brokers).ensure(other, 3, TOPIC_CONFIG)
    reader = Reader(stack.brokers, topics, np.zeros(5, np.int64), group=f"{topic}.test")
    try:
        yield reader
    finally:
        reader.close()


def test_streams_come_apart_and_their_partitions_are_inputs_one_after_the_other(
    stack: Stack, topic: str
) -> None:
    other = f"{topic}.other"
    with reading_two(stack, topic, other) as reader:
        put(stack, topic, 1, 3)
        put(stack, other, 1, 2)
        put(stack, other, 2, 1)
        raws = read_to_end(reader, (True,) * 5)

        assert places([raw for raw in raws if raw.stream == 0]) == [(1, 0), (1, 1), (1, 2)]
        found = [raw for raw in raws if raw.stream == 1]
        assert sorted(places(found)) == [(1, 0), (1, 1), (2, 0)]
        assert {raw.value(i) for raw in found for i in range(len(raw))} == {b"0", b"1"}
        assert reader.next_offset.tolist() == [0, 3, 0, 2, 1]


def test_an_input_is_held_and_released_whatever_the_others_of_its_partition_number(
    stack: Stack, topic: str
) -> None:
    other = f"{topic}.other"
    with reading_two(stack, topic, other) as reader:
        put(stack, topic, 1, 5)
        put(stack, other, 1, 5)
        read_to_end(reader, (True,) * 5)

        reader.hold(3, 2)  # partition 1 of the second stream
        put(stack, topic, 1, 1)
        put(stack, other, 1, 1)
        meanwhile = read_to_end(reader, (True, True, True, False, True))
        assert [(raw.stream, place) for raw in meanwhile for place in places([raw])] == [
            (0, (1, 5))
        ]
        reader.release(3)
        after = read_to_end(reader, (True,) * 5)

    assert {raw.stream for raw in after} == {1}
    assert places(after) == [(1, offset) for offset in range(2, 6)]


def test_the_group_stands_where_it_was_committed_in_every_topic(stack: Stack, topic: str) -> None:
    other = f"{topic}.other"
    with reading_two(stack, topic, other) as reader:
        put(stack, topic, 0, 4)
        put(stack, other, 2, 3)
        read_to_end(reader, (True,) * 5)
        reader.commit(reader.next_offset)

        monitor = ck.Consumer({"bootstrap.servers": stack.brokers, "group.id": f"{topic}.test"})
        asked = [ck.TopicPartition(topic, 0), ck.TopicPartition(other, 2)]
        until(lambda: [one.offset for one in monitor.committed(asked, timeout=10)] == [4, 3])
        monitor.close()


def _owner() -> Entry:
    no_times = np.full(2, NO_TIME, np.int64)
    return Entry(
        origin="owner",
        shard=0,
        owner="host:1:abc",
        generation=1,
        fingerprint=bytes(32),
        seq=0,
        count=0,
        runs=b"",
        streams=("payments",),
        topics=(Topic("transactions", None, 2),),
        next_offset=np.zeros(2, np.int64),
        position_us=no_times,
        event_us=no_times,
        horizon_us=NO_TIME,
        model=None,
    )
