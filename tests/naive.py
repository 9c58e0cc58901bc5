"""What each feature means (DESIGN section 3), said slowly: every event looks at every earlier one.

Nothing here is shared with the kernels. Times are Python ints of microseconds, totals are Python
ints, quotients are true divisions of Python ints (correctly rounded by the language), and the
state of an entity is the list of what was aggregated. ``Naive`` is fed in processing order; each
of its short methods is one sentence of the contract, so a test can break one and see it noticed.
"""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from meaning import Arithmetic, Calendar, Field, Literal, SinceLast

if TYPE_CHECKING:
    from meaning import Event, Expression, Key, Meaning, Stat, Value, Windowed

Instant: TypeAlias = int | float
"""Microseconds since the epoch, or minus infinity: a clock that has not started."""

LATE: Final = 1
INCOMPLETE: Final = 2
WARMING: Final = 4
CAPPED: Final = 32
NEVER: Final = 2**63 - 1
NOT_YET: Final = -math.inf
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # plain calendar arithmetic, no zone database


@dataclass(frozen=True)
class Entry:
    """An aggregated event as an entity remembers it."""

    time_us: int
    seq: int
    partition: int
    values: dict[str, Value]


@dataclass(frozen=True)
class Row:
    """An entity's Redis row; ``words`` are bit patterns, two of them for a ``since_last``."""

    time_us: int
    until_us: int
    seq: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What one record gave: its vector, its flags, and the rows it rewrote."""

    dead: bool
    flags: int
    vector: list[float]
    rows: dict[tuple[str, Key], Row] = field(default_factory=dict)

    @property
    def bits(self) -> tuple[object, ...]:
        """Return everything that must be equal, floats as bits."""
        return (self.dead, self.flags, *(bits(value) for value in self.vector))


class Naive:
    """The engine, said slowly. Feed it records in processing order."""

    def __init__(self, meaning: Meaning, partitions: int, cap: int = 2**22) -> None:
        self.meaning = meaning
        self.clocks: list[Instant] = [NOT_YET] * partitions
        self.origin_us: int | None = None
        self.seq = 0
        self.entries: dict[tuple[str, Key], list[Entry]] = defaultdict(list)
        self.rows: dict[tuple[str, Key], Row] = {}
        self.splits: list[tuple[Key, int, int, int]] = []
        """Key, first partition, other partition, seq: once for as long as the key is held."""
        self._home: dict[Key, int] = {}
        self._split: set[Key] = set()
        self._cap = cap

    def process(self, event: Event) -> Answer:
        """Judge, evaluate, aggregate, and only then move the clocks."""
        seq, self.seq = self.seq, self.seq + 1
        if event.reason:
            return Answer(dead=True, flags=0, vector=[math.nan] * len(self.meaning.features))
        horizon_us = self.horizon_us()
        if self.origin_us is None:
            self.origin_us = event.time_us
        late = self.is_late(event)
        self._look_for_split(event, seq)
        vector = [
            self.evaluate(expression, event, seq, horizon_us)
            for expression in self.meaning.features.values()
        ]
        rewritten, capped = ({}, False) if late else self._insert(event, seq, horizon_us)
        flags = self.flags(event, horizon_us, late=late, capped=capped)
        self.move_clock(event, late=late)
        return Answer(dead=False, flags=flags, vector=vector, rows=rewritten)

    def live_rows(self) -> dict[tuple[str, Key], Row]:
        """Return the rows of all entities that are not gone, as of all records so far."""
        return {place: row for place, row in self.rows.items() if not self.is_gone(place)}

    def gone(self) -> set[tuple[str, Key]]:
        """Return the entities that have been aggregated and are gone, as of all records so far."""
        return {place for place in self.rows if self.is_gone(place)}

    # -- the sentences of the contract ---------------------------------------------------------

    def is_late(self, event: Event) -> bool:
        """More than the allowed lateness below its partition's event clock."""
        return event.time_us < self.clocks[event.partition] - self.meaning.allowed_lateness_us

    def horizon_us(self) -> Instant:
        """Below it windows are closed; a partition that does not move is waited for one skew."""
        slowest, fastest = min(self.clocks), max(self.clocks)
        return max(slowest, fastest - self.meaning.max_skew_us) - self.meaning.allowed_lateness_us

    def move_clock(self, event: Event, *, late: bool) -> None:
        """Raise the partition's clock to the greatest event time; late ones are below it."""
        if not late:
            clock_us = self.clocks[event.partition]
            self.clocks[event.partition] = max(clock_us, event.time_us)

    def flags(self, event: Event, horizon_us: Instant, *, late: bool, capped: bool) -> int:
        """Say what a reader must know about this vector."""
        incomplete = event.time_us < horizon_us
        origin_us = event.time_us if self.origin_us is None else self.origin_us
        warming = event.time_us - self.meaning.reach_us() < origin_us
        return LATE * late | INCOMPLETE * incomplete | WARMING * warming | CAPPED * capped

    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        """In (T - d - W, T - d], and above what the horizon has closed."""
        low_us = stat.delay_us + stat.window_us
        return (
            as_of_us - low_us < entry_us <= as_of_us - stat.delay_us
            and entry_us > horizon_us - low_us
        )

    def visible(self, place: tuple[str, Key], event: Event) -> list[Entry]:
        """Return what was aggregated before this event, whatever its time."""
        del event  # the order of processing decides alone; a broken variant looks at times
        return self.entries.get(place, [])

    def own(self, event: Event, seq: int) -> list[Entry]:
        """The event itself, as a member of its windows, late or not."""
        return [Entry(event.time_us, seq, event.partition, event.values)]

    def key(self, entity: str, event: Event) -> Key | None:
        """Return the entity's key, None where it is null."""
        value = event.values[entity]
        assert not isinstance(value, float)
        return value

    def windowed(self, stat: Windowed, members: list[Entry]) -> float:
        """One rounding of an exact value."""
        if stat.stat == "count":
            return float(len(members))
        present = [
            value
            for entry in members
            if isinstance(value := entry.values[stat.column], int)  # a null is skipped
        ]
        match stat.stat:
            case "count_values":
                return float(len(present))
            case "sum":
                return float(sum(present))
            case "mean":
                return sum(present) / len(present) if present else math.nan
            case "min":
                return float(min(present)) if present else math.nan
            case "max":
                return float(max(present)) if present else math.nan
        raise AssertionError(stat.stat)

    def since_last(self, event: Event, others: list[Entry], horizon_us: Instant) -> float:
        """Seconds to T from the newest other event at or before T.

        Below the horizon only an entity's newest event is sure to be remembered: where that one
        lies after T, nobody can say what came before.
        """
        if any(event.time_us < entry.time_us <= horizon_us for entry in others):
            return math.nan
        earlier = [entry.time_us for entry in others if entry.time_us <= event.time_us]
        return (event.time_us - max(earlier)) / 1_000_000 if earlier else math.nan

    def is_gone(self, place: tuple[str, Key]) -> bool:
        """The horizon has passed the last entry by the longest window; never with an anchor."""
        entity = place[0]
        newest_us = max(entry.time_us for entry in self.entries[place])
        return not self.meaning.anchored(
            entity
        ) and self.horizon_us() >= newest_us + self.meaning.reach_us(entity)

    def row_time_us(self, entries: list[Entry]) -> int:
        """Return the time of the entity's greatest (time, seq) entry."""
        return max(entries, key=lambda entry: (entry.time_us, entry.seq)).time_us

    def valid_until_us(self, place: tuple[str, Key], at_us: int, horizon_us: Instant) -> int:
        """Return the first moment after ``at_us`` at which a member enters or leaves a window."""
        windows = [(s.window_us, s.delay_us) for s in self.meaning.windowed(place[0])]
        moments = {
            entry.time_us + later_us
            for entry in self.entries[place]
            for window_us, delay_us in windows
            for later_us in (delay_us, delay_us + window_us)
        }
        now = self._membership(place, at_us, horizon_us)
        for moment_us in sorted(moments):
            if moment_us > at_us and self._membership(place, moment_us, horizon_us) != now:
                return moment_us
        return NEVER

    # -- evaluation ----------------------------------------------------------------------------

    def evaluate(
        self, expression: Expression, event: Event, seq: int, horizon_us: Instant
    ) -> float:
        """Return an expression's value as of this event."""
        match expression:
            case Literal(value):
                return value
            case Field(column):
                own = event.values[column]
                assert not isinstance(own, str)
                return math.nan if own is None else float(own)
            case Calendar(part, offset_s):
                moment = EPOCH + timedelta(microseconds=event.time_us, seconds=offset_s)
                return float(moment.hour if part == "hour" else moment.weekday())
            case Arithmetic(sign, left, right):
                return _arithmetic(
                    sign,
                    self.evaluate(left, event, seq, horizon_us),
                    self.evaluate(right, event, seq, horizon_us),
                )
            case _:
                return self._statistic(expression, event, seq, horizon_us)

    def _statistic(self, stat: Stat, event: Event, seq: int, horizon_us: Instant) -> float:
        key = self.key(stat.entity, event)
        others: list[Entry] = []
        own: list[Entry] = []
        if key is not None:  # of nobody: as for an empty history, itself left out
            others = self.visible((stat.entity, key), event)
            own = self.own(event, seq)
        if isinstance(stat, SinceLast):
            return self.since_last(event, others, horizon_us)
        return self.windowed(stat, self._members(stat, [*others, *own], event.time_us, horizon_us))

    def _members(
        self, stat: Windowed, entries: list[Entry], as_of_us: int, horizon_us: Instant
    ) -> list[Entry]:
        return [e for e in entries if self.is_member(stat, e.time_us, as_of_us, horizon_us)]

    def _membership(
        self, place: tuple[str, Key], as_of_us: int, horizon_us: Instant
    ) -> list[list[Entry]]:
        entries = self.entries[place]
        return [
            self._members(stat, entries, as_of_us, horizon_us)
            for stat in self.meaning.windowed(place[0])
        ]

    # -- state ---------------------------------------------------------------------------------

    def _insert(
        self, event: Event, seq: int, horizon_us: Instant
    ) -> tuple[dict[tuple[str, Key], Row], bool]:
        rewritten = {}
        capped = False
        for entity in self.meaning.entities():
            key = self.key(entity, event)
            if key is None:
                continue
            place = (entity, key)
            low_us = horizon_us - self.meaning.reach_us(entity)
            if sum(entry.time_us > low_us for entry in self.entries[place]) >= self._cap:
                capped = True
                continue
            if entity == self.meaning.primary and (not self.entries[place] or self.is_gone(place)):
                # A key that is gone is forgotten, and where it came from with it.
                self._home[key] = event.partition
                self._split.discard(key)
            self.entries[place].append(Entry(event.time_us, seq, event.partition, event.values))
            rewritten[place] = self.rows[place] = self._row(place, seq, horizon_us)
        return rewritten, capped

    def _row(self, place: tuple[str, Key], seq: int, horizon_us: Instant) -> Row:
        entries = self.entries[place]
        at_us = self.row_time_us(entries)
        words: list[int] = []
        for stat in self.meaning.row(place[0]).values():
            if isinstance(stat, SinceLast):
                words += [at_us, 0]
            else:
                members = self._members(stat, entries, at_us, horizon_us)
                words.append(bits(self.windowed(stat, members)))
        return Row(at_us, self.valid_until_us(place, at_us, horizon_us), seq, tuple(words))

    def _look_for_split(self, event: Event, seq: int) -> None:
        key = self.key(self.meaning.primary, event)
        if key is None or key in self._split:
            return
        place = (self.meaning.primary, key)
        if not self.entries.get(place) or self.is_gone(place):
            return
        if self._home[key] != event.partition:
            self._split.add(key)
            self.splits.append((key, self._home[key], event.partition, seq))


def canonical(partitions: list[list[Event]]) -> list[Event]:
    """Merge one stream's partitions in canonical order (DESIGN section 3.1).

    A partition's position clock is the running maximum of availability; a dead letter has none
    and takes its place at the clock it finds.
    """
    placed: list[tuple[Instant, int, int, Event]] = []
    for number, events in enumerate(partitions):
        clock_us: Instant = NOT_YET
        for event in sorted(events, key=lambda event: event.offset):
            if not event.reason:
                available_us = event.available_us
                clock_us = max(clock_us, event.time_us if available_us is None else available_us)
            placed.append((clock_us, number, event.offset, event))
    return [event for *_, event in sorted(placed, key=lambda item: item[:3])]


def answers(
    meaning: Meaning, partitions: int, events: list[Event], kind: type[Naive] = Naive
) -> list[Answer]:
    """Return what every event gives, in processing order."""
    naive = kind(meaning, partitions)
    return [naive.process(event) for event in events]


def bits(value: float) -> int:
    """Return a float64's bit pattern as a signed integer: one NaN, but two zeros."""
    if math.isnan(value):
        value = math.nan
    (pattern,) = struct.unpack("<q", struct.pack("<d", value))
    assert isinstance(pattern, int)
    return pattern


def _arithmetic(sign: str, left: float, right: float) -> float:
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right != 0 else math.nan
    raise AssertionError(sign)
