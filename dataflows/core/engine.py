"""The engine: a turn in processing order goes in, its feature vectors come out.

Everything a value depends on is in the engine's state and in the records before it; how records
are cut into turns, and when rows are drained or keys swept, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.core.arithmetic import evaluate
from noskew.dataflows.core.entities import Entity
from noskew.dataflows.core.judge import Judge
from noskew.dataflows.core.lane import Lane
from noskew.dataflows.core.lanes import lane
from noskew.dataflows.core.table import CappedKey, SplitKey, Table
from noskew.kernels.layout import FATE_DEAD, FATE_DUPLICATE, INSERT, KEY_CAP
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.judge import Judged
    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.definition.plan import Plan, TablePlan

_NEVER_US: Final = 2**61
"""Longer than any time is old."""

__all__ = ["CappedKey", "Engine", "Features", "SplitKey"]


@dataclass(frozen=True, slots=True)
class Features:
    """What was computed of one turn's scored records.

    batch    the scored records
    nodes    float64[nodes, n]   node columns; the first ``len(names)`` are the vector
    vectors  float64[features, n], a view of ``nodes``: feature i of record j is [i, j]
    flags    int32[n]            ``FLAG_*`` bits; 0 without a vector
    dead     bool[n]             no vector: a dead letter or a duplicate; its values are NaN
    fates    per stream uint8[its records]: ``FATE_*``
    """

    batch: Batch
    nodes: NDArray[np.float64]
    vectors: NDArray[np.float64]
    flags: NDArray[np.int32]
    dead: NDArray[np.bool_]
    fates: tuple[NDArray[np.uint8], ...]

    @property
    def fate(self) -> NDArray[np.uint8]:
        """Return what became of the scored records."""
        return self.fates[0]


class Engine:
    """All state of one shard.

    partitions  how many partitions each stream's topic has, in the plan's order
    key_cap     entries a key may hold per table; smaller only in tests
    """

    def __init__(
        self, plan: Plan, partitions: tuple[int, ...] | int, key_cap: int = KEY_CAP
    ) -> None:
        self.plan = plan
        parts = (partitions,) if isinstance(partitions, int) else partitions
        self.clocks = Judge(plan, parts)
        self.tables: tuple[Table, ...] = tuple(
            Table(
                table,
                plan.streams[table.stream],
                key_cap,
                self.clocks.open_reach_us(table.stream),
                _gone_us(plan, table),
            )
            for table in plan.tables
        )
        names = dict.fromkeys(table.plan.entity for table in self.tables)
        self._entities = {
            name: Entity([table for table in self.tables if table.plan.entity == name])
            for name in names
        }

    def process(self, turn: Turn) -> Features:
        """Judge, evaluate and aggregate records of all streams, in processing order.

        The arrays of the result are new with every call.
        """
        judged = self.clocks.judge(turn)
        fates = tuple(judged.fate[turn.stream == place] for place in range(len(turn.batches)))
        scored = turn.scored
        flags = judged.flags[turn.stream == 0]
        dead = (fates[0] == FATE_DEAD) | (fates[0] == FATE_DUPLICATE)
        nodes = np.empty((self.plan.nodes, len(scored)), np.float64)
        if dead.any():
            nodes[:, dead] = np.nan  # no table writes them, and arithmetic must not read noise
        self._aggregate(turn, judged, nodes, flags)
        evaluate(self.plan.rows, scored, nodes)
        if dead.any():
            nodes[:, dead] = np.nan
        return Features(scored, nodes, nodes[: len(self.plan.names)], flags, dead, fates)

    def _aggregate(
        self, turn: Turn, judged: Judged, nodes: NDArray[np.float64], flags: NDArray[np.int32]
    ) -> None:
        for table in self.tables:
            for taken in self._lanes(table, turn, judged):
                if not len(taken):
                    continue
                table.process(taken, nodes, flags)
                inserted = taken.time_us[(taken.action & INSERT) != 0]
                if len(inserted):
                    self._entities[table.plan.entity].inserted(table, int(inserted.min()))

    def _lanes(self, table: Table, turn: Turn, judged: Judged) -> list[Lane]:
        """Return what a table takes of a turn, one lane after another."""
        if not self.plan.peers:
            return [lane(table.plan, turn, judged)]
        inserts, reads = (
            lane(table.plan, turn, judged, insert=insert, evaluate=not insert)
            for insert in (True, False)
        )
        found = []
        for first, end in pairwise(_cuts(inserts)):
            # All are inserted before any is evaluated, and as of the first one's lines, so that
            # none that an earlier one still sees is dropped.
            one = _part(inserts, first, end)
            one.horizon_us = np.full(end - first, one.horizon_us[0])
            one.fold_us = np.full(end - first, one.fold_us[0])
            found += [one, _part(reads, first, end)]
        return found

    def rows(self) -> list[Rows]:
        """Return the rows of all entities that changed since the last call; ``sweep`` first."""
        return [entity.rows() for entity in self._entities.values()]

    def forget_changes(self) -> None:
        """Drop what ``rows`` would return, where nobody reads it."""
        for entity in self._entities.values():
            entity.forget_changes()

    def sweep(self) -> None:
        """Free the keys that are gone as of the present horizon; called at flush times."""
        horizon_us = self.clocks.horizon_us
        closed_us = [
            min(int(fold_us), horizon_us - self.clocks.open_reach_us(stream.place))
            if stream.revise
            else horizon_us
            for stream, fold_us in zip(self.plan.streams, self.clocks.fold_us, strict=True)
        ]
        for entity in self._entities.values():
            entity.sweep(horizon_us, closed_us)
        for table in self.tables:
            table.shrink()

    def splits(self) -> list[SplitKey]:
        """Return the split keys found since the last call, in order of seq."""
        found = [split for table in self.tables for split in table.splits]
        for table in self.tables:
            table.splits = []
        return sorted(found, key=lambda split: split.seq)

    def caps(self) -> list[CappedKey]:
        """Return the keys that became full since the last call, in order of seq."""
        found = [capped for table in self.tables for capped in table.caps]
        for table in self.tables:
            table.caps = []
        return sorted(found, key=lambda capped: capped.seq)


def _cuts(inserts: Lane) -> list[int]:
    """Return where records by event time are cut: before the time to which a revision moves one.

    Those before that time still see the old one where it was.
    """
    moved = (inserts.old_us != NULL) & (inserts.old_us != inserts.time_us)
    moved &= (inserts.action & INSERT) != 0
    starts = np.searchsorted(inserts.time_us, inserts.time_us[moved])
    return sorted({0, len(inserts), *starts.tolist()})


def _part(whole: Lane, first: int, end: int) -> Lane:
    """Return some records of a lane, in a row."""
    at = np.arange(first, end)
    return Lane(*(_taken(getattr(whole, one.name), at) for one in fields(Lane)))


def _taken(values: Any, at: NDArray[np.int64]) -> Any:
    """Return records of a lane's field; one without values, unused filter bits, stays so."""
    if isinstance(values, tuple):
        return tuple(_taken(column, at) for column in values)
    if isinstance(values, Strings):
        return values.take(at)
    return values[at] if len(values) else values


def _gone_us(plan: Plan, table: TablePlan) -> int:
    """Return how far the horizon must pass a key's newest entry before the key begins anew.

    The scored stream's table knows when its entity was last seen, for all the entity's tables.
    """
    if table.stream != 0:
        return table.reach_us
    tables = [one for one in plan.tables if one.entity == table.entity]
    if any(one.endless for one in tables):
        return _NEVER_US
    return max(one.reach_us for one in tables)
