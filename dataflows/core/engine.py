"""The engine: a batch in processing order goes in, its feature vectors come out.

Everything a value depends on is in the engine's state and in the records before it; how records
are cut into batches, and when rows are drained or keys swept, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.arithmetic import evaluate
from noskew.dataflows.core.rows import Rows
from noskew.dataflows.core.table import CappedKey, SplitKey, Table
from noskew.kernels.judge import CLOCK_FIELDS, CLOCK_HORIZON, CLOCK_ORIGIN, judge
from noskew.kernels.layout import KEY_CAP, NO_TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import Plan

__all__ = ["CappedKey", "Clocks", "Engine", "Features", "Rows", "SplitKey", "Table"]


@dataclass(frozen=True, slots=True)
class Features:
    """What was computed of one batch.

    nodes    float64[nodes, n]   node columns; the first ``len(names)`` are the vector
    vectors  float64[features, n], a view of ``nodes``: feature i of record j is [i, j]
    flags    int32[n]            ``FLAG_*`` bits; 0 for dead letters
    dead     bool[n]             the record is a dead letter; its values are NaN
    """

    batch: Batch
    nodes: NDArray[np.float64]
    vectors: NDArray[np.float64]
    flags: NDArray[np.int32]
    dead: NDArray[np.bool_]


class Clocks:
    """Event clocks of the scored partitions, and what follows from them; ``NO_TIME`` is none.

    event_clock   int64[partitions]   greatest event time of accepted records
    """

    def __init__(self, partitions: int) -> None:
        self.event_clock: NDArray[np.int64] = np.full(partitions, NO_TIME, np.int64)
        self.fields: NDArray[np.int64] = np.full(CLOCK_FIELDS, NO_TIME, np.int64)

    @property
    def horizon_us(self) -> int:
        """Return the horizon that the next record will see."""
        return int(self.fields[CLOCK_HORIZON])

    @property
    def origin_us(self) -> int:
        """Return the event time of the first accepted record."""
        return int(self.fields[CLOCK_ORIGIN])


class Engine:
    """All state of one shard.

    partitions  how many partitions the scored topic has
    key_cap     entries a key may hold per table; smaller only in tests
    """

    def __init__(self, plan: Plan, partitions: int, key_cap: int = KEY_CAP) -> None:
        self.plan = plan
        self.clocks = Clocks(partitions)
        self.tables: tuple[Table, ...] = tuple(
            Table(table, plan.streams[table.stream].nullable, key_cap) for table in plan.tables
        )

    def process(self, batch: Batch) -> Features:
        """Judge, aggregate and evaluate a batch of the scored stream, in processing order.

        The arrays of the result are new with every call.
        """
        count = len(batch)
        scored = self.plan.scored
        horizon_us = np.empty(count, np.int64)
        mode = np.empty(count, np.uint8)
        flags = np.empty(count, np.int32)
        judge(
            batch.time_us, batch.partition, batch.reason,
            scored.allowed_lateness_us, scored.max_skew_us, self.plan.reach_us,
            self.clocks.event_clock, self.clocks.fields, horizon_us, mode, flags,
        )  # fmt: skip
        nodes = np.empty((self.plan.nodes, count), np.float64)
        dead = batch.reason != 0
        if dead.any():
            nodes[:, dead] = np.nan  # no table writes them, and arithmetic must not read noise
        for table in self.tables:
            table.process(batch, horizon_us, mode, nodes, flags)
        evaluate(self.plan.rows, batch, nodes)
        if dead.any():
            nodes[:, dead] = np.nan
        return Features(batch, nodes, nodes[: len(self.plan.names)], flags, dead)

    def sweep(self) -> None:
        """Free the keys that are gone as of the present horizon; called at flush times."""
        for table in self.tables:
            table.sweep(self.clocks.horizon_us)

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
