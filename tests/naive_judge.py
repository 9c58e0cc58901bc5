"""What becomes of each record (DESIGN sections 3.1, 3.5, 3.8), said slowly: clocks, lines, ids.

Nothing here is shared with the kernels. Each short method is one sentence of the contract, so a
test can break one and see it noticed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meaning import Event, Key, Meaning, Source, Value

Instant: TypeAlias = int | float
"""Microseconds since the epoch, or minus infinity: a clock that has not started."""

LATE: Final = 1
INCOMPLETE: Final = 2
WARMING: Final = 4
CAPPED: Final = 32
NOT_YET: Final = -math.inf


class Fate(IntEnum):
    """What became of a record."""

    APPLIED = 0
    DEAD = 1
    LATE = 2
    DUPLICATE = 3


@dataclass
class Now:
    """What stands while a record is processed: all of it as of before the record.

    lines_us     per stream, its fold line
    incomplete   set when something the record asks for reaches below what is remembered
    """

    seq: int
    horizon_us: Instant
    lines_us: tuple[Instant, ...]
    incomplete: bool = False


class Judge:
    """Clocks, lines and remembered ids of all streams."""

    def __init__(self, meaning: Meaning, partitions: Sequence[int]) -> None:
        self.meaning = meaning
        self.clocks: list[list[Instant]] = [[NOT_YET] * count for count in partitions]
        self.origin_us: int | None = None
        self.seq = 0
        self._accepted: dict[tuple[int, Value], list[Event]] = {}

    def source(self, event: Event) -> Source:
        """Return the stream an event is of."""
        return self.meaning.streams[event.stream]

    def now(self) -> Now:
        """Every record takes one number; it sees clocks and lines as of before itself."""
        seq, self.seq = self.seq, self.seq + 1
        lines = tuple(self.fold_us(stream) for stream in range(len(self.clocks)))
        return Now(seq, self.horizon_us(), lines)

    def fate(self, event: Event, now: Now) -> Fate:
        """Judge in this order: dead letter, late, duplicate, a revision of what is closed."""
        if event.reason:
            return Fate.DEAD
        if self.is_late(event):
            return Fate.LATE
        if self.is_duplicate(event):
            return Fate.DUPLICATE
        return Fate.LATE if self.is_closed(event, now) else Fate.APPLIED

    def accept(self, event: Event) -> None:
        """Remember an accepted record, and only now move the clocks."""
        if event.stream == 0 and self.origin_us is None:
            self.origin_us = event.time_us
        self._accepted.setdefault(self._id(event), []).append(event)
        self.move_clock(event)

    # -- the sentences of the contract ---------------------------------------------------------

    def is_late(self, event: Event) -> bool:
        """More than the stream's allowed lateness below its partition's event clock."""
        clock_us = self.clocks[event.stream][event.partition]
        return event.time_us < clock_us - self.source(event).allowed_lateness_us

    def is_duplicate(self, event: Event) -> bool:
        """Its id was accepted in the same partition within the span of event time."""
        span_us = self.source(event).dedupe_us
        return span_us > 0 and any(
            one.partition == event.partition and abs(one.time_us - event.time_us) <= span_us
            for one in self.accepted(event)
        )

    def is_closed(self, event: Event, now: Now) -> bool:
        """It would revise an entry that is no longer open, and is still told apart."""
        old = self.revised(event, now)
        return old is not None and not self.is_open(old, now)

    def revised(self, event: Event, now: Now) -> Event | None:
        """Return the last accepted record of the same id, unless that is forgotten."""
        if not self.source(event).revise or not self.accepted(event):
            return None
        old = self.accepted(event)[-1]
        return None if self.is_forgotten_id(old, now) else old

    def is_open(self, event: Event, now: Now) -> bool:
        """Above the line at which its stream's entries close."""
        return event.time_us > self.closed_us(event.stream, now)

    def closed_us(self, stream: int, now: Now) -> Instant:
        """The fold line, or the reach of the stream's features: whichever is further back."""
        return min(now.lines_us[stream], now.horizon_us - self.meaning.reach_us(stream))

    def is_forgotten_id(self, event: Event, now: Now) -> bool:
        """That line has passed it, and a record of its time and partition would be late."""
        return event.time_us < self.closed_us(event.stream, now) and self.is_late(event)

    def line_us(self, stream: int) -> Instant:
        """A partition that does not move is waited for one skew; then the allowed lateness."""
        source, clocks = self.meaning.streams[stream], self.clocks[stream]
        return max(min(clocks), max(clocks) - source.max_skew_us) - source.allowed_lateness_us

    def horizon_us(self) -> Instant:
        """Below the scored stream's line windows are closed."""
        return self.line_us(0)

    def fold_us(self, stream: int) -> Instant:
        """A stream's fold line is its own line, never above the horizon."""
        return min(self.line_us(stream), self.horizon_us())

    def move_clock(self, event: Event) -> None:
        """Raise the partition's clock to the greatest event time of accepted records."""
        clocks = self.clocks[event.stream]
        clocks[event.partition] = max(clocks[event.partition], event.time_us)

    def flags(self, event: Event, fate: Fate, now: Now, *, capped: bool) -> int:
        """Say what a reader must know about a vector."""
        incomplete = self.is_incomplete(event, now) or now.incomplete
        return (
            LATE * (fate is Fate.LATE)
            | INCOMPLETE * incomplete
            | WARMING * self.is_warming(event)
            | CAPPED * capped
        )

    def is_incomplete(self, event: Event, now: Now) -> bool:
        """Below the horizon."""
        return event.time_us < now.horizon_us

    def is_warming(self, event: Event) -> bool:
        """Its longest window reaches before the first accepted event of the run."""
        origin_us = event.time_us if self.origin_us is None else self.origin_us
        return event.time_us - self.meaning.reach_us() < origin_us

    # -- lookups -------------------------------------------------------------------------------

    def accepted(self, event: Event) -> list[Event]:
        """Return the accepted records of the same stream and id, in order."""
        return self._accepted.get(self._id(event), [])

    def key(self, entity: str, event: Event) -> Key | None:
        """Return the entity's key, None where it is null."""
        value = event.values[entity]
        assert not isinstance(value, float)
        return value

    def _id(self, event: Event) -> tuple[int, Value]:
        return event.stream, event.values.get(self.source(event).id)
