"""The judge of a shard: clocks, lines and remembered ids, and what becomes of each record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.core.remembered import Remembered
from noskew.kernels.ids import ID_INPUT, ID_STATE, ID_TIME
from noskew.kernels.judge import (
    LINE_FOLD,
    LINE_ORIGIN,
    LINES,
    RULE_DEDUPE,
    RULE_FIRST,
    RULE_LATENESS,
    RULE_NEXT,
    RULE_REACH,
    RULE_REVISE,
    RULE_SKEW,
    RULE_STRINGS,
    RULES,
)
from noskew.kernels.judging import judge_turn
from noskew.kernels.layout import NO_TIME
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Turn
    from noskew.dataflows.definition.plan import Plan

_NO_HEAP: Final = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found of a turn's records, in processing order.

    horizon_us   int64[n]            as of before the record
    fold_us      int64[streams, n]   likewise
    fate         uint8[n]            ``FATE_*``
    flags        int32[n]            LATE, INCOMPLETE, WARMING; only of scored records
    handle       int64[n]            of streams with ``revise``, else -1
    old_us       int64[n]            time of the open entry it replaces; NULL: none
    """

    horizon_us: NDArray[np.int64]
    fold_us: NDArray[np.int64]
    fate: NDArray[np.uint8]
    flags: NDArray[np.int32]
    handle: NDArray[np.int64]
    old_us: NDArray[np.int64]


class Judge:
    """Clocks and ids of all inputs; ``NO_TIME`` where there is no clock yet.

    partitions   per stream, in the plan's order
    event_clock  int64[inputs]   greatest event time of accepted records
    """

    def __init__(self, plan: Plan, partitions: tuple[int, ...]) -> None:
        self._plan = plan
        self._rules = _rules(plan, partitions)
        self._lines = np.full((len(plan.streams), LINES), NO_TIME, np.int64)
        self.event_clock: NDArray[np.int64] = np.full(sum(partitions), NO_TIME, np.int64)
        self._ids = [
            Remembered(
                strings=stream.fields[stream.id] == "string",
                used=bool(stream.dedupe_us or stream.revise),
            )
            for stream in plan.streams
        ]

    @property
    def horizon_us(self) -> int:
        """Return the horizon that the next record will see."""
        return int(self._lines[0, LINE_FOLD])

    @property
    def origin_us(self) -> int:
        """Return the event time of the first accepted scored record."""
        return int(self._lines[0, LINE_ORIGIN])

    @property
    def fold_us(self) -> NDArray[np.int64]:
        """Return each stream's fold line, int64[streams]."""
        lines: NDArray[np.int64] = self._lines[:, LINE_FOLD]
        return lines

    @property
    def memory(self) -> int:
        """Return the bytes of what is remembered of ids."""
        return sum(ids.memory for ids in self._ids)

    def open_reach_us(self, place: int) -> int:
        """Return how far below the horizon an entry of a stream can be open to revision."""
        return int(max(t.reach_us for t in self._plan.tables if t.stream == place))

    def judge(self, turn: Turn) -> Judged:
        """Judge a turn's records and advance the clocks."""
        n, streams = len(turn), len(self._plan.streams)
        found = Judged(
            horizon_us=np.empty(n, np.int64),
            fold_us=np.empty((streams, n), np.int64),
            fate=np.empty(n, np.uint8),
            flags=np.zeros(n, np.int32),
            handle=np.full(n, -1, np.int64),
            old_us=np.empty(n, np.int64),
        )
        time_us, reason = np.empty(n, np.int64), np.empty(n, np.uint8)
        value, length = np.zeros(n, np.int64), np.zeros(n, np.int64)
        heaps = []
        for place, batch in enumerate(turn.batches):
            # A stream that is alone has all of the turn: slices, where others need indexes.
            alone = len(batch) == n
            mine = slice(None) if alone else np.flatnonzero(turn.stream == place)
            time_us[mine], reason[mine] = batch.time_us, batch.reason
            heap = _NO_HEAP
            column = batch.columns[self._plan.streams[place].id] if self._ids[place].used else None
            if isinstance(column, Strings):
                value[mine], length[mine] = column.start, column.length
                heap = np.require(column.heap, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"])
            elif column is not None:
                value[mine] = column
            heaps.append(heap)
        done = 0
        while done < n:
            done = self._run(turn, done, time_us, reason, value, length, heaps, found)
        return found

    def _run(
        self,
        turn: Turn,
        done: int,
        time_us: NDArray[np.int64],
        reason: NDArray[np.uint8],
        value: NDArray[np.int64],
        length: NDArray[np.int64],
        heaps: list[NDArray[np.uint8]],
        found: Judged,
    ) -> int:
        """Judge until one stream's ids need room (make it), or to the end; return how far."""
        # At most one stream's ids are looked at in a call; most pipelines have one such stream.
        keeper = next((i for i, ids in enumerate(self._ids) if ids.used), 0)
        if done < len(turn) and self._ids[turn.stream[done]].used:
            keeper = int(turn.stream[done])
        ids = self._ids[keeper]
        done = judge_turn(
            self._rules, self._lines, self.event_clock, turn.stream, turn.input, done, keeper,
            time_us, reason, heaps[keeper], value, length, ids.rows, ids.heap, ids.counters,
            ids.free, found.horizon_us, found.fold_us, found.fate, found.flags, found.handle,
            found.old_us,
        )  # fmt: skip
        if done < len(turn) and turn.stream[done] == keeper:
            self._forget(keeper, int(length[done]))
        return done

    def _forget(self, place: int, size: int) -> None:
        """Make room among a stream's ids by leaving out those that cannot matter any more."""
        ids, rules = self._ids[place], self._rules[place]
        live = ids.rows[:, ID_STATE] == 1
        late_us = self.event_clock[ids.rows[:, ID_INPUT]] - rules[RULE_LATENESS]
        if rules[RULE_DEDUPE]:
            oldest = late_us - rules[RULE_DEDUPE]
        else:
            # A closed id is told apart for as long as a record of its time and input is not late.
            oldest = np.minimum(self.fold_us[place], self.horizon_us - rules[RULE_REACH])
            oldest = np.minimum(oldest, late_us)
        kept = live & (ids.rows[:, ID_TIME] >= oldest)
        ids.make_room(kept, size)


def _rules(plan: Plan, partitions: tuple[int, ...]) -> NDArray[np.int64]:
    rules = np.zeros((len(plan.streams), RULES), np.int64)
    first = np.cumsum([0, *partitions])
    for place, stream in enumerate(plan.streams):
        rules[place, RULE_FIRST] = first[place]
        rules[place, RULE_NEXT] = first[place + 1]
        rules[place, RULE_LATENESS] = stream.allowed_lateness_us
        rules[place, RULE_SKEW] = stream.max_skew_us
        own = (t.reach_us for t in plan.tables if place in (0, t.stream))
        rules[place, RULE_REACH] = max(own, default=0)
        rules[place, RULE_DEDUPE] = stream.dedupe_us
        rules[place, RULE_REVISE] = int(stream.revise)
        rules[place, RULE_STRINGS] = int(stream.fields[stream.id] == "string")
    return rules
