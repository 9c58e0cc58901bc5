"""The reader that pauses the fullest inputs: what it pauses, until when, and that nothing is lost.

Limits are small here: 1,000 records may wait, so an input's share of two is 500, and a paused one
is read again once fewer than 250 of it wait.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from kafka_io import Record, send
from orders import batch, waiting
from waiting import until

from noskew.dataflows.core.journal import Topic
from noskew.dataflows.kafka import reader as readers
from noskew.dataflows.kafka import throttle
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.throttle import ThrottledReader
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.simulation.topics import TOPIC_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.core.order import Waiting
    from noskew.dataflows.kafka.reader import Read
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

AT_MS: Final = 1_522_540_800_000
MOST: Final = 1000
PIECE: Final = 100
Place = tuple[int, int]
"""Input and offset."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "WAITING_MAX", MOST)
    monkeypatch.setattr(readers, "READ_MAX", PIECE)


@dataclass
class Reading:
    """Two partitions read through the throttle into what waits, and taken from there by count."""

    stack: Stack
    topic: str
    reader: Reader
    throttled: ThrottledReader
    waits: Waiting
    taken: list[Place] = field(default_factory=list)
    most: int = 0

    def put(self, partition: int, count: int, time_ms: int = AT_MS) -> None:
        send(self.stack, self.topic, [Record(partition, b"%d" % i, time_ms) for i in range(count)])

    def read(self) -> Read:
        read = self.throttled.read()
        (raw,) = read.raws
        places = (raw.partition.tolist(), raw.offset.tolist(), raw.record_time_us.tolist())
        self.waits.add([batch(zip(*places, strict=True))])
        self.most = max(self.most, self.waits.rows)
        return read

    def read_until_waiting(self, *counts: int) -> None:
        """Read until so many of each input wait; never more."""

        def enough() -> bool:
            self.read()
            assert (self.waits.counts() <= counts).all(), self.waits.counts()
            return bool((self.waits.counts() == counts).all())

        until(enough)

    def take(self, count: int) -> None:
        """Take the oldest by (time, input, offset)."""
        nobody = np.zeros(2, np.bool_)
        turn = self.waits.take(lambda rows, out: rows.merge(nobody, out[:count]), len(self.taken))
        assert turn is not None
        assert len(turn) == count
        self.taken += zip(turn.input.tolist(), turn.offset.tolist(), strict=True)

    def take_all(self) -> None:
        """Read and take until the inputs have ended and nothing waits."""

        def done() -> bool:
            self.read()
            if self.waits.rows:
                self.take(min(self.waits.rows, PIECE))
            return self.throttled.ended() and not self.waits.rows

        until(done)


@pytest.fixture
def reading(stack: Stack, topic_name: str) -> Iterator[Reading]:
    Admin.connect(stack.brokers).ensure(topic_name, 2, TOPIC_CONFIG)
    with throttled(stack, topic_name) as made:
        yield made


@contextmanager
def throttled(stack: Stack, topic: str) -> Iterator[Reading]:
    reader = Reader(stack.brokers, [Topic(topic, None, 2)], np.zeros(2, np.int64), f"{topic}.test")
    waits = waiting(2)
    made = Reading(stack, topic, reader, ThrottledReader(reader, waits), waits)
    try:
        yield made
    finally:
        made.throttled.close()


def test_below_the_limit_nothing_is_paused_however_much_is_of_one_input(reading: Reading) -> None:
    reading.put(0, MOST)

    reading.read_until_waiting(MOST, 0)
    until(lambda: reading.read().ended.tolist() == [True, True])

    assert not reading.read().held.any()
    assert reading.throttled.ended()


def test_the_fullest_input_is_paused_and_the_other_is_read_on(reading: Reading) -> None:
    reading.put(0, 3 * MOST)
    until(lambda: reading.read().held.tolist() == [True, False])
    full = int(reading.waits.counts()[0])

    reading.put(1, 300)
    reading.read_until_waiting(full, 300)
    for _ in range(20):
        assert reading.read().held.tolist() == [True, False]

    assert reading.waits.counts().tolist() == [full, 300]
    assert full <= MOST + PIECE
    assert not reading.throttled.ended(), "an input that is paused has unread records"


def test_a_paused_input_is_read_again_once_fewer_than_half_its_share_wait(
    reading: Reading,
) -> None:
    reading.put(0, 3 * MOST)
    until(lambda: reading.read().held[0])

    reading.take(int(reading.waits.counts()[0]) - 250)
    assert reading.read().held.tolist() == [True, False]
    reading.take(1)
    assert reading.read().held.tolist() == [False, False]

    until(lambda: reading.read().held[0])
    assert reading.most <= MOST + PIECE


def test_every_record_comes_once_and_in_order_though_an_input_lags(reading: Reading) -> None:
    """The second's records are older, and come when the first has been paused for long."""
    reading.put(0, 5 * MOST, AT_MS + 1)
    until(lambda: reading.read().held[0])
    reading.put(1, MOST)

    reading.take_all()

    assert sorted(reading.taken) == [
        *((0, offset) for offset in range(5 * MOST)),
        *((1, offset) for offset in range(MOST)),
    ]
    for source in range(2):
        offsets = [offset for one, offset in reading.taken if one == source]
        assert offsets == sorted(offsets)
    # The first is paused above the limit; the second may add its share and a read's records.
    assert reading.most <= MOST + MOST // 2 + 2 * PIECE


def test_what_is_held_for_the_registry_is_released_by_nobody_else(reading: Reading) -> None:
    """Held while it is paused, at a record that had been handed out: it comes again from there."""
    reading.put(0, 3 * MOST)
    until(lambda: reading.read().held[0])
    waiting_now = int(reading.waits.counts()[0])
    reading.throttled.hold(0, waiting_now - 10)

    reading.take(waiting_now)
    for _ in range(20):
        assert reading.read().held.tolist() == [True, False]
    assert reading.waits.rows == 0
    assert not reading.throttled.ended()
    reading.throttled.release(0)
    reading.take_all()

    twice = [(0, offset) for offset in range(waiting_now - 10, waiting_now)]
    assert sorted(reading.taken) == sorted([*twice, *((0, at) for at in range(3 * MOST))])


def test_an_input_held_for_the_registry_is_not_paused_as_well(reading: Reading) -> None:
    """Else it would be read again from the wrong place, and by whoever comes first."""
    reading.put(0, MOST - PIECE)
    reading.read_until_waiting(MOST - PIECE, 0)
    reading.throttled.hold(0, 10)
    reading.put(1, 3 * MOST)
    until(lambda: reading.read().held.tolist() == [True, True])

    reading.take(reading.waits.rows)
    until(lambda: reading.read().held.tolist() == [True, False])

    assert reading.reader.next_offset[0] == 10
