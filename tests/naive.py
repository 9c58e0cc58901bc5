"""What each feature means (DESIGN section 3), said slowly: every event looks at every earlier one.

Nothing here is shared with the kernels. ``naive_judge`` says what becomes of a record,
``naive_windows`` whom a statistic sees, ``naive_statistics`` what it makes of them; here is what is
aggregated, what a row holds, and the canonical order. ``Naive`` is fed in processing order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from meaning import Key, bits, reach_us
from naive_judge import CAPPED, INCOMPLETE, LATE, NOT_YET, WARMING, Fate, Instant, Now
from naive_statistics import decay
from naive_windows import Entry, Place, Windows

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meaning import Event, Meaning, Statistic

__all__ = [
    "CAPPED", "INCOMPLETE", "LATE", "NEVER", "NOT_YET", "WARMING", "Answer", "Entry", "Fate",
    "Instance", "Instant", "Naive", "Now", "Place", "Row", "canonical",
]  # fmt: skip

Instance: TypeAlias = tuple[str, Key]
"""An entity and a key: what a row is of."""

NEVER: Final = 2**63 - 1


@dataclass(frozen=True)
class Row:
    """An entity's Redis row; ``words`` are bit patterns, two of them for a moving feature."""

    time_us: int
    until_us: int
    seq: int
    words: tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What one record gave: its fate, its flags, its vector."""

    fate: Fate
    flags: int = 0
    vector: list[float] = field(default_factory=list)

    @property
    def bits(self) -> tuple[object, ...]:
        """Return everything that must be equal, floats as bits."""
        return (int(self.fate), self.flags, *map(bits, self.vector))


class Naive(Windows):
    """The engine, said slowly. Feed it records of all streams in processing order."""

    def __init__(self, meaning: Meaning, partitions: Sequence[int], cap: int = 2**22) -> None:
        super().__init__(meaning, partitions)
        self.rows: dict[Instance, Row] = {}
        self.splits: list[tuple[Key, int, int, int]] = []
        """Key, first partition, other partition, seq: once for as long as the key is held."""
        self.caps: list[tuple[str, Key, int]] = []
        """Entity, key, seq: once, until something is aggregated again."""
        self._changed: dict[Instance, Now] = {}
        self._home: dict[Place, int] = {}
        self._split: set[Place] = set()
        self._full: set[Place] = set()
        self._cap = cap

    def process(self, event: Event) -> Answer:
        """Judge, evaluate, revise, aggregate, and only then move the clocks."""
        now = self.now()
        fate = self.fate(event, now)
        nothing = [math.nan] * len(self.meaning.features) if event.stream == 0 else []
        if fate in {Fate.DEAD, Fate.DUPLICATE}:
            return Answer(fate, vector=nothing)
        vector: list[float] = []
        if event.stream == 0:
            self._look_for_split(event, now)
            features = self.meaning.features.values()
            vector = [self.evaluate(expression, event, now) for expression in features]
        capped = False
        if fate is Fate.APPLIED:
            self.revise(event, now)
            capped = self.aggregate(event, now)
        flags = self.flags(event, fate, now, capped=capped) if event.stream == 0 else 0
        if fate is Fate.APPLIED:
            self.accept(event)
        return Answer(fate, flags, vector)

    def flush(self) -> dict[Instance, Row]:
        """Write the rows of entities that records changed since the last time; return these."""
        written = {
            instance: self.row(instance, now)
            for instance, now in self._changed.items()
            if self.entries[(0, *instance)] and not self.is_gone(instance)
        }
        self._changed = {}
        self.rows |= written
        return written

    def live_rows(self) -> dict[Instance, Row]:
        """Return the rows of all entities that are not gone, as of all records so far."""
        return {instance: row for instance, row in self.rows.items() if not self.is_gone(instance)}

    def gone(self) -> set[Instance]:
        """Return the entities that had a row and are gone, as of all records so far."""
        return {instance for instance in self.rows if self.is_gone(instance)}

    # -- the sentences of the contract ---------------------------------------------------------

    def fold_to_read(self, place: Place, now: Now) -> None:
        """What a read folds changes what a reader further back finds: the row is written anew."""
        if self.fold(place, now):
            self._changed[place[1:]] = now

    def revise(self, event: Event, now: Now) -> None:
        """The open entry of the same id goes; what was folded of it stays."""
        old = self.revised(event, now)
        if old is None or not self.is_open(old, now):
            return
        for place in self._places(old):
            self.fold(place, now)
            kept = [entry for entry in self.entries[place] if entry.event is not old]
            if len(kept) < len(self.entries[place]):
                self.entries[place] = kept
                self._changed[place[1:]] = now

    def aggregate(self, event: Event, now: Now) -> bool:
        """An accepted record takes its place in every entity whose key it has, and is not full."""
        capped = False
        for place in self._places(event):
            if self.is_full(place, now):
                capped = True
                if place not in self._full:
                    self.caps.append((place[1], place[2], now.seq))
                    self._full.add(place)
                continue
            if not self.entries[place] or self.is_forgotten(place, now.horizon_us):
                self.entries[place] = []
                self._home[place] = event.partition
                self._split.discard(place)
            self._full.discard(place)
            self.fold(place, now)
            self.entries[place].append(Entry(event.time_us, now.seq, event))
            self.fold(place, now)  # it may lie below the line itself
            self._changed[place[1:]] = now
        return capped

    def is_full(self, place: Place, now: Now) -> bool:
        """A key holds no more entries that something may still need than the cap."""
        return sum(self.is_needed(e, place, now) for e in self.entries[place]) >= self._cap

    def is_needed(self, entry: Entry, place: Place, now: Now) -> bool:
        """In reach of a window above the horizon, not folded, or open to revision."""
        stream, entity, _ = place
        line_us, stats = now.lines_us[stream], self.meaning.of(entity, stream)
        windows = [stat for stat in stats if not stat.endless]
        unfolded = [stat for stat in stats if stat.endless and stat.stat is not Stat.SINCE_LAST]
        return (
            entry.time_us > now.horizon_us - reach_us(windows)
            or any(not self.before_new_end(s, entry.time_us, line_us) for s in unfolded)
            or (self.meaning.streams[stream].revise and self.is_open(entry.event, now))
        )

    def is_forgotten(self, place: Place, horizon_us: Instant) -> bool:
        """No window can see any of a key's entries again."""
        stream, entity, _ = place
        # The scored stream's part knows when the entity was last seen, for all of its parts.
        stats = self.meaning.of(entity, stream) if stream else self.meaning.of(entity)
        if any(stat.endless for stat in stats) or self.meaning.streams[stream].revise:
            return False
        newest_us = max((entry.time_us for entry in self.entries[place]), default=NEVER)
        return horizon_us >= newest_us + reach_us(stats)

    def is_gone(self, instance: Instance) -> bool:
        """The horizon has passed the last scored event by the longest window of any stream.

        Every value as of that event is then empty. What is endless is never gone.
        """
        stats = self.meaning.of(instance[0])
        newest_us = max(entry.time_us for entry in self.entries[(0, *instance)])
        return not any(stat.endless for stat in stats) and (
            self.horizon_us() >= newest_us + reach_us(stats)
        )

    def row(self, instance: Instance, now: Now) -> Row:
        """As a reader at an entity's newest scored event sees it, as of what changed it last."""
        at_us = self.row_time_us(self.entries[(0, *instance)])
        words = [
            word
            for stat in self.meaning.row(instance[0]).values()
            for word in self.words(stat, instance, at_us, now)
        ]
        return Row(at_us, self.valid_until_us(instance, at_us, now), now.seq, tuple(words))

    def row_time_us(self, scored: list[Entry]) -> int:
        """Return the time of the entity's greatest (time, seq) scored entry."""
        return max(scored, key=lambda entry: entry.order).time_us

    def words(self, stat: Statistic, instance: Instance, at_us: int, now: Now) -> list[int]:
        """What a reader at ``at_us`` sees; a moving feature by the time it was last moved."""
        place = (stat.stream, *instance)
        self.fold(place, now)
        if self.is_unknown(stat, place, at_us, now):
            return [at_us, bits(math.nan)] if stat.moving else [bits(math.nan)]
        of = self.chosen(stat, self.members(stat, place, at_us, now), at_us)
        if not stat.moving:
            return [bits(self.compute(of))]
        if stat.stat is Stat.SINCE_LAST:
            newest_us = max((member.time_us for member in of.members), default=None)
            return [at_us, bits(math.nan)] if newest_us is None else [newest_us, bits(0.0)]
        anchor = decay(of)
        return [at_us, bits(self.compute(of))] if anchor is None else [anchor[0], bits(anchor[1])]

    def valid_until_us(self, instance: Instance, at_us: int, now: Now) -> int:
        """Return the first moment after ``at_us`` at which a member enters or leaves a window."""
        moments = {
            moment_us
            for stat in self.meaning.row(instance[0]).values()
            for entry in self.remembered(stat, (stat.stream, *instance))
            for moment_us in _crossings(stat, entry.time_us)
        }
        seen = self._seen(instance, at_us, now)
        for moment_us in sorted(moments):
            if moment_us > at_us and self._seen(instance, moment_us, now) != seen:
                return moment_us
        return NEVER

    # -- state ---------------------------------------------------------------------------------

    def _places(self, event: Event) -> list[Place]:
        """Return where a record is aggregated."""
        entities = [
            e for e in self.meaning.entities() if event.stream in self.meaning.streams_of(e)
        ]
        keys = {entity: self.key(entity, event) for entity in entities}
        return [(event.stream, entity, key) for entity, key in keys.items() if key is not None]

    def _seen(self, instance: Instance, as_of_us: int, now: Now) -> list[list[Entry]]:
        """Return whom each window of a row sees, whatever its ``where`` lets through."""
        return [
            [
                entry
                for entry in self.remembered(stat, (stat.stream, *instance))
                if self.before_new_end(stat, entry.time_us, as_of_us)
                and self.after_old_end(stat, entry.time_us, as_of_us, now.horizon_us)
            ]
            for stat in self.meaning.row(instance[0]).values()
        ]

    def _look_for_split(self, event: Event, now: Now) -> None:
        """Note once that a key of the scored stream, also of a late record, has two partitions."""
        entity = self.meaning.scored.key
        key = self.key(entity, event)
        if key is None or entity not in self.meaning.entities():
            return
        place = (0, entity, key)
        if place in self._split or not self.entries[place]:
            return
        if self.is_forgotten(place, now.horizon_us) or self._home[place] == event.partition:
            return
        self._split.add(place)
        self.splits.append((key, self._home[place], event.partition, now.seq))


def _crossings(stat: Statistic, entry_us: int) -> list[int]:
    """Return moments around those at which an entry enters and leaves a window."""
    ends = [entry_us + stat.delay_us]
    if stat.over_us is not None:
        tile = stat.resolution_us or 1
        tiles = [-(-passed_us // tile) * tile for passed_us in (entry_us, entry_us + 1)]
        ends += [tile_us + stat.delay_us + stat.over_us for tile_us in tiles]
    return [end_us + later for end_us in ends for later in (0, 1)]


def canonical(partitions: dict[tuple[int, int], list[Event]]) -> list[Event]:
    """Merge partitions, by (stream, partition), in canonical order (DESIGN section 3.1).

    A partition's position clock is the running maximum of availability; a dead letter has none
    and takes its place at the clock it finds.
    """
    placed: list[tuple[Instant, int, int, int, Event]] = []
    for (stream, number), events in partitions.items():
        clock_us: Instant = NOT_YET
        for event in sorted(events, key=lambda event: event.offset):
            if not event.reason:
                available_us = event.available_us
                clock_us = max(clock_us, event.time_us if available_us is None else available_us)
            placed.append((clock_us, stream, number, event.offset, event))
    return [event for *_, event in sorted(placed, key=lambda item: item[:4])]
