"""The one order in which records are processed: merged canonically, or as the journal says.

``Waiting`` holds decoded records of all streams that wait for their turn, as columns; what has
been taken is dropped when more is added. ``Merged`` and ``Journaled`` are the two ways to take
them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.batch import Turn
from noskew.dataflows.errors import UnsafeResumeError
from noskew.kernels import merge as kernels
from noskew.kernels.layout import NO_TIME
from noskew.schemas.columns import Strings
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Letter
    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.schemas.columns import Column

BATCH_MAX = 4096
"""Records in one processed batch: large enough to amortise calls, small enough for the caches."""


class Waiting:
    """Decoded records of all streams that wait for their turn, in offset order per input.

    Inputs are numbered stream by stream: a stream's first input + the partition.

    head, tail   int64[inputs]  oldest and newest waiting row of each input, -1: none
    clock_us     int64[inputs]  position clock of each input, over records *added*
    taken_us     int64[inputs]  position clock of each input, over records *taken*
    first        int64[streams + 1]  first input of each stream, then their number
    rows         how many records wait in all
    """

    def __init__(self, streams: Sequence[StreamPlan], partitions: Sequence[int]) -> None:
        self.streams = tuple(streams)
        self.first = np.cumsum([0, *partitions])
        inputs = int(self.first[-1])
        self.head = np.full(inputs, -1, np.int64)
        self.tail = np.full(inputs, -1, np.int64)
        self.clock_us = np.full(inputs, NO_TIME, np.int64)
        self.taken_us = np.full(inputs, NO_TIME, np.int64)
        self.rows = 0
        self._arenas: list[Batch | None] = [None] * len(self.streams)
        # Of all arenas' rows, one stream after another; ``_base`` is where each begins.
        self._base = np.zeros(len(self.streams) + 1, np.int64)
        self._input = np.empty(0, np.int32)
        self._offset = np.empty(0, np.int64)
        self._following = np.empty(0, np.int64)
        self._position_us = np.empty(0, np.int64)
        self._taken = np.empty(0, np.bool_)

    def add(self, batches: Sequence[Batch]) -> None:
        """Append one decoded batch a stream; records are in offset order within each partition."""
        if any(len(batch) for batch in batches):
            self._place(batches)

    def resume(self, position_us: NDArray[np.int64]) -> None:
        """Take the position clocks, int64[inputs], as the journal has them.

        A record that was a dead letter then moved no clock, though it may be decodable now.
        """
        self.taken_us[:] = position_us
        self.clock_us[:] = position_us
        if self.rows:
            self._place(None)

    def _place(self, batches: Sequence[Batch] | None) -> None:
        """Keep what still waits and let new records wait too; None: judge all positions anew."""
        positions = []
        for place, arena in enumerate(self._arenas):
            mine = slice(self._base[place], self._base[place + 1])
            kept = np.flatnonzero(~self._taken[mine])
            old = self._position_us[mine][kept]
            waiting = arena.take(kept) if arena is not None else None
            if batches is None:
                new, begin = waiting, 0
            else:
                new = batches[place]
                begin = len(kept)
                new = _concatenate(waiting, new) if waiting is not None and begin else new
            self._arenas[place] = new
            size = 0 if new is None else len(new)
            position_us = np.empty(size, np.int64)
            position_us[:begin] = old[:begin]
            if new is not None:
                clocks = self.clock_us[self.first[place] : self.first[place + 1]]
                kernels.position_clocks(
                    new.partition, new.available_us, new.reason, begin, size, clocks, position_us
                )
            positions.append(position_us)
        sizes = [len(one) for one in positions]
        self._base = np.cumsum([0, *sizes])
        arenas = [arena for arena in self._arenas if arena is not None]
        self._input = np.concatenate(
            [arena.partition + np.int32(self.first[arena.stream]) for arena in arenas]
        ).astype(np.int32)
        self._offset = np.concatenate([arena.offset for arena in arenas])
        self._position_us = np.concatenate(positions)
        self.rows = int(self._base[-1])
        self._taken = np.zeros(self.rows, np.bool_)
        self._following = np.empty(self.rows, np.int64)
        self.head[:] = -1
        kernels.link(self._input, 0, self.rows, self.head, self.tail, self._following)

    def take(self, choose: Callable[[Waiting, NDArray[np.int64]], int], seq: int) -> Turn | None:
        """Take up to ``BATCH_MAX`` records as ``choose`` orders them, numbered from ``seq``."""
        if not self.rows:
            return None
        index = np.empty(BATCH_MAX, np.int64)
        index = index[: choose(self, index)]
        if not len(index):
            return None
        stream = (np.searchsorted(self._base[1:], index, side="right")).astype(np.int32)
        batches = []
        for place, arena in enumerate(self._arenas):
            at = np.flatnonzero(stream == place)
            assert arena is not None, "every stream has an arena once anything was added"
            batch = arena.take(index[at] - self._base[place], seq + at)
            batch.letters = _claim(arena, batch)
            batches.append(batch)
        inputs = self._input[index]
        self._taken[index] = True
        np.maximum.at(self.taken_us, inputs, self._position_us[index])
        self.rows -= len(index)
        return Turn(seq, tuple(batches), stream, inputs, self._offset[index])

    def merge(self, awaited: NDArray[np.bool_], out: NDArray[np.int64]) -> int:
        """Choose rows in canonical order; an awaited partition without a row ends the choice."""
        return int(kernels.merge(self.head, self._following, self._position_us, awaited, out))

    def follow(self, runs: Runs, out: NDArray[np.int64]) -> int:
        """Choose rows as journaled runs say."""
        source, first, following, count = runs.columns
        links = (self.head, self._following)
        return int(
            kernels.follow(source, first, following, count, runs.cursor, *links, self._offset, out)
        )

    def counts(self) -> NDArray[np.int64]:
        """Return how many records wait per input, int64[inputs]."""
        return np.bincount(self._input[~self._taken], minlength=len(self.head))

    def place_of(self, source: int) -> tuple[StreamPlan, int]:
        """Return the stream and the partition of an input."""
        place = int(np.searchsorted(self.first[1:], source, side="right"))
        return self.streams[place], source - int(self.first[place])


@dataclass(slots=True)
class Runs:
    """Runs of one journal record and how far they have been followed.

    columns  int64[runs] each: input, first offset, next offset, records delivered
    cursor   int64[3]: run, records of it taken, 1 where the log contradicts the run
    dead     (input, first, next) of the records that were dead letters then
    """

    columns: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    cursor: NDArray[np.int64]
    dead: tuple[tuple[int, int, int], ...] = ()

    @property
    def done(self) -> bool:
        """Return whether every run has been followed to its end."""
        return int(self.cursor[0]) == len(self.columns[0])


class Merged:
    """Takes records in canonical order, waiting for partitions that have unread records.

    A partition is not waited for when it has none (``ended``), is held, or has been silent for
    ``align_wait_s`` while others could go on; each time that ran out is counted. ``None`` waits
    without limit (DESIGN section 3.1). Silence begins when all that had arrived has been taken
    from the client and nothing of the partition was among it, so that our own pauses (a flush, a
    rebuild) never count. ``clock_s`` is monotonic: it decides when to stop waiting, never what a
    record means, and the order taken is journaled.
    """

    def __init__(
        self, inputs: int, align_wait_s: float | None, clock_s: Callable[[], float]
    ) -> None:
        self.ran_out = 0
        self._align_wait_s = align_wait_s
        self._clock_s = clock_s
        self._silent_s = np.full(inputs, np.inf)
        self._given_up = np.zeros(inputs, np.bool_)
        self._drained = False

    def delivered(self, came: NDArray[np.bool_], held: NDArray[np.bool_], *, drained: bool) -> None:
        """Note which inputs delivered records.

        came     bool[inputs]  it delivered some
        held     bool[inputs]  not being read now, so not silent
        drained  nothing more has arrived
        """
        seen = held | came
        self._silent_s[seen] = np.inf
        self._given_up[seen] = False
        self._drained = drained
        if drained:
            self._silent_s[~seen & np.isinf(self._silent_s)] = self._clock_s()

    def take(self, waiting: Waiting, ended: NDArray[np.bool_], seq: int) -> Iterator[Turn]:
        """Yield batches in processing order for as long as the order is known.

        ended  bool[inputs]  the input has no unread record, or is held
        """
        while True:
            awaited = ~ended & ~self._given_up
            turn = waiting.take(lambda rows, out, a=awaited: rows.merge(a, out), seq)  # type: ignore[misc]  # the default binds this turn's array
            if turn is not None:
                seq += len(turn)
                yield turn
            elif not (waiting.rows and self._give_up(waiting, awaited)):
                return

    def _give_up(self, waiting: Waiting, awaited: NDArray[np.bool_]) -> bool:
        """Stop waiting for partitions that kept the others for too long; return whether any."""
        if self._align_wait_s is None or not self._drained:
            return False
        silent = self._clock_s() - self._silent_s > self._align_wait_s
        late = awaited & (waiting.head < 0) & silent
        self._given_up |= late
        self.ran_out += int(late.sum())
        return bool(late.any())


class Journaled:
    """Takes records in the order a journal says, then reports that it is done."""

    def __init__(self, runs: Iterator[Runs]) -> None:
        self._runs = runs
        self._current = next(runs, None)

    @property
    def done(self) -> bool:
        """Return whether the journal has been followed to its end."""
        while self._current is not None and self._current.done:
            self._current = next(self._runs, None)
        return self._current is None

    def take(self, waiting: Waiting, seq: int) -> Iterator[Turn]:
        """Yield batches in journal order for as long as the records are there.

        Raises UnsafeResumeError where the log no longer holds what the journal says was taken.
        """
        while not self.done:
            runs = self._current
            if runs is None:
                return
            turn = waiting.take(lambda rows, out, r=runs: rows.follow(r, out), seq)  # type: ignore[misc]  # the default binds this turn's runs
            if runs.cursor[2]:
                raise UnsafeResumeError(_contradiction(waiting, runs))
            if turn is None:
                return
            for batch in turn.batches:
                if len(batch) and (runs.dead or batch.reason.any()):
                    _bury(waiting, runs, batch)
            seq += len(turn)
            yield turn


def _bury(waiting: Waiting, runs: Runs, batch: Batch) -> None:
    """Make those records dead letters that were so then, and no others.

    What a registry answers is no function of the log: an id that was unknown may be known by
    now. The journal has decided, and a record that cannot be decoded any more must not be left
    out silently. Raises UnsafeResumeError for such a record.
    """
    inputs = batch.partition + waiting.first[batch.stream]
    dead = np.zeros(len(batch), np.bool_)
    for source, first, following in runs.dead:
        within = (batch.offset >= first) & (batch.offset < following)
        dead |= within & (inputs == source)
    batch.reason[dead & (batch.reason == 0)] = Reason.UNKNOWN_SCHEMA
    lost = np.flatnonzero(~dead & (batch.reason > 0))
    if len(lost):
        at = int(lost[0])
        topic = waiting.streams[batch.stream].topic
        raise UnsafeResumeError(
            f"topic {topic!r} partition {batch.partition[at]} offset {batch.offset[at]} was "
            f"used when the journal was written and cannot be now "
            f"({Reason(int(batch.reason[at])).name.lower()}): restore the registry's schemas or "
            "the topic, then start again"
        )


def _contradiction(waiting: Waiting, runs: Runs) -> str:
    source, first, following, count = (int(column[runs.cursor[0]]) for column in runs.columns)
    stream, partition = waiting.place_of(source)
    return (
        f"topic {stream.topic!r} partition {partition} no longer holds the {count} records that "
        f"the journal took from offsets {first} to {following - 1}; restore the topic, or start "
        "anew under another pipeline name"
    )


def _claim(arena: Batch, batch: Batch) -> dict[tuple[int, int], Letter]:
    """Move the letters of a taken batch out of the arena: the slow path of dead letters."""
    claimed: dict[tuple[int, int], Letter] = {}
    for position in np.flatnonzero(batch.reason).tolist():
        at = (int(batch.partition[position]), int(batch.offset[position]))
        if at in arena.letters:
            claimed[at] = arena.letters.pop(at)
    return claimed


def _concatenate(left: Batch, right: Batch) -> Batch:
    """Join two batches of one stream; string columns get a heap of their own."""
    return dataclasses.replace(
        left,
        partition=np.concatenate([left.partition, right.partition]),
        offset=np.concatenate([left.offset, right.offset]),
        record_time_us=np.concatenate([left.record_time_us, right.record_time_us]),
        time_us=np.concatenate([left.time_us, right.time_us]),
        available_us=np.concatenate([left.available_us, right.available_us]),
        reason=np.concatenate([left.reason, right.reason]),
        columns={name: _join(column, right.columns[name]) for name, column in left.columns.items()},
        letters={**left.letters, **right.letters},
    )


def _join(left: Column, right: Column) -> Column:
    if isinstance(left, Strings) and isinstance(right, Strings):
        return Strings.concatenate([left, right])
    return np.concatenate([left, right])
