"""Entities: the rows readers get, one an entity instance, over all tables that keep its state.

A row stands for the entity's newest scored event. So an entity is gone, and its row with it, once
the horizon has passed that event by the longest max(d + W) of all its tables: whatever else was
recorded since, every value as of it is empty from then on. It is as one never seen, until the next
scored event. A key of another stream's table is freed for itself, once none of its entries can
be seen or revised any more. All of this is decided by what a record brought and by the horizon,
never by when a sweep happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.rows import Rows, fields_of
from noskew.kernels.layout import FOREVER, NO_TIME
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.table import Table
    from noskew.schemas.columns import Column


class Entity:
    """The tables of one entity: the scored stream's first, which knows when it was last seen."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self.name = tables[0].plan.entity
        self._tables = tuple(tables)
        self._endless = any(table.plan.endless for table in tables)
        reach_us = max(table.plan.reach_us for table in tables)
        self._reach_us = [reach_us, *(table.plan.reach_us for table in tables[1:])]
        # Per table a time that no key's newest entry lies below: sweeps below it cost nothing.
        self._oldest_us = [FOREVER] * len(tables)
        self._words, self._width = _places(tables)
        # Per slot of the first table: what changed its row since the last drain, -1 for nothing.
        self._seq = np.full(1, -1, np.int64)
        self._horizon_us = np.full(1, NO_TIME, np.int64)
        self._gone: list[Column] = []

    def inserted(self, table: Table, oldest_us: int) -> None:
        """Note the oldest time that was inserted into one of the tables since the last sweep."""
        place = self._tables.index(table)
        self._oldest_us[place] = min(self._oldest_us[place], oldest_us)

    def sweep(self, horizon_us: int, closed_us: Sequence[int]) -> None:
        """Free what no later record can see; a scored key that goes is a row that goes.

        closed_us  per stream: no entry at or before it can be revised any more
        """
        for place, table in enumerate(self._tables):
            if self._endless if place == 0 else table.plan.endless:
                continue
            line_us = min(horizon_us - self._reach_us[place], closed_us[table.plan.stream])
            if line_us < self._oldest_us[place]:
                continue
            self._note_changes()
            slots = table.ripe(line_us)
            if place > 0:
                slots = slots[~self._is_awaited(table.keys_of(slots))]
            elif len(slots):
                self._gone.append(table.keys_of(slots))
                self._seq[slots[slots < len(self._seq)]] = -1
            table.free(slots)
            self._oldest_us[place] = table.oldest_us()

    def rows(self) -> Rows:
        """Return the rows that changed and the keys that went since the last call, as copies."""
        self._note_changes()
        first = self._tables[0]
        slots = np.flatnonzero(self._seq >= 0)
        seq, horizon_us = self._seq[slots], self._horizon_us[slots]
        self._seq[slots] = -1
        keys = first.keys_of(slots)
        time_us = first.newest_us(slots)
        until_us = np.full(len(slots), FOREVER)
        words = np.zeros((len(slots), self._width), np.int64)
        for table, where in zip(self._tables, self._words, strict=True):
            at, fold_us = slots, horizon_us  # the scored stream's fold line is the horizon
            if table is not first:
                at = table.slots_of(keys)
                fold_us = np.where(at >= 0, table.touched(at)[2], NO_TIME)
            until, part = table.read(at, time_us, horizon_us, fold_us)
            until_us = np.minimum(until_us, until)
            words[:, where] = part
        return Rows(
            entity=self.name,
            slot=slots.astype(np.int32),
            key=keys,
            time_us=time_us,
            until_us=until_us,
            seq=seq,
            words=words,
            gone=self._take_gone(),
        )

    def forget_changes(self) -> None:
        """Drop what changed and what went since the last call: nobody reads these rows."""
        self._note_changes()
        self._seq[:] = -1
        self._gone = []

    def _is_awaited(self, keys: Column) -> NDArray[np.bool_]:
        """Return for which keys a row is still to be drained: it may be as of an older horizon."""
        slots = self._tables[0].slots_of(keys)
        self._reserve(int(slots.max(initial=-1)) + 1)
        return (slots >= 0) & (self._seq[slots] >= 0)

    def _note_changes(self) -> None:
        """Take over which keys the tables changed, before any of these can be freed.

        An entity that no scored record has been aggregated for has no row.
        """
        first = self._tables[0]
        for table in self._tables:
            changed = table.changed()
            if not len(changed):
                continue
            seq, horizon_us, _ = table.touched(changed)
            slots = changed
            if table is not first:
                found = first.slots_of(table.keys_of(changed))
                known = found >= 0
                slots, seq, horizon_us = found[known], seq[known], horizon_us[known]
            self._reserve(int(slots.max(initial=-1)) + 1)
            newer = seq > self._seq[slots]  # the horizon never falls, so it is newer with it
            self._seq[slots[newer]] = seq[newer]
            self._horizon_us[slots[newer]] = horizon_us[newer]

    def _reserve(self, slots: int) -> None:
        more = max(slots, 2 * len(self._seq)) - len(self._seq) if slots > len(self._seq) else 0
        if more:
            self._seq = np.concatenate([self._seq, np.full(more, -1, np.int64)])
            self._horizon_us = np.concatenate([self._horizon_us, np.full(more, NO_TIME, np.int64)])

    def _take_gone(self) -> Column:
        """Return each key once that went and has no slot now."""
        parts, self._gone = self._gone, []
        first = self._tables[0]
        keys = _union(parts) if parts else first.keys_of(np.zeros(0, np.int64))
        return _chosen(keys, np.flatnonzero(first.slots_of(keys) < 0))


def _places(tables: Sequence[Table]) -> tuple[list[NDArray[np.int64]], int]:
    """Return, per table, where its words stand in the entity's row; and the row's width."""
    begin: dict[int, range] = {}
    width = 0
    for field in fields_of([table.plan for table in tables]):
        begin[field.at] = range(width, width + field.words)
        width += field.words
    words = [
        np.array([word for at in table.plan.row_at for word in begin[at]], np.int64)
        for table in tables
    ]
    return words, width


def _chosen(keys: Column, index: NDArray[np.int64]) -> Column:
    return keys.take(index) if isinstance(keys, Strings) else keys[index]


def _union(parts: Sequence[Column]) -> Column:
    """Return each key once."""
    if len(parts) == 1:
        return parts[0]
    texts = [part for part in parts if isinstance(part, Strings)]
    if texts:
        # A Python loop, but over keys that went since the last drain, not over events.
        return Strings.from_list(dict.fromkeys(key for part in texts for key in part.to_list()))
    return np.unique(np.concatenate([part for part in parts if not isinstance(part, Strings)]))
