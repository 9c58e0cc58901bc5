"""One table: the state of one (stream, entity), and the rows readers get from it.

The work is done by the kernels; their arrays are made, grown when a kernel stops for want of room,
and shrunk by ``pools``. Nothing here is per event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.core import pools
from noskew.dataflows.core.kernel_plan import kernel_plan
from noskew.dataflows.core.remembered import Codes
from noskew.dataflows.core.shape import Layout
from noskew.dataflows.definition.plan import MOVING
from noskew.kernels import layout, values
from noskew.kernels.finishing import finish
from noskew.kernels.keys import copy_keys, locate
from noskew.kernels.layout import (
    COUNTER_CHANGED,
    COUNTER_ENTRIES,
    COUNTER_KEYS,
    COUNTER_REPORTS,
    COUNTER_SLOTS,
    COUNTERS,
    FOREVER,
    KEY_CAP,
    MARK_CHANGED,
    MARK_LISTED,
    NO_TIME,
    NULL,
    REPORT_SPLIT,
    SLOT_KEY,
    SLOT_LENGTH,
    SLOT_LIVE,
    SLOT_MARKS,
    SLOT_NEWEST,
    SLOT_ROW_FOLD,
    SLOT_ROW_HORIZON,
    SLOT_ROW_SEQ,
    Records,
)
from noskew.kernels.reading import find_rows
from noskew.kernels.windows import ASKED, BLOCK, advance, free_slots
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.lane import Lane
    from noskew.dataflows.definition.plan import StreamPlan, TablePlan
    from noskew.schemas.columns import Column

_NO_HEAP: Final = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class SplitKey:
    """One value of the stream's key came from two partitions, first seen at record ``seq``."""

    entity: str
    key: int | str
    first_partition: int
    partition: int
    seq: int


@dataclass(frozen=True, slots=True)
class CappedKey:
    """A key is full: from record ``seq`` on, its records are scored but not aggregated."""

    entity: str
    key: int | str
    partition: int
    seq: int


class Table:
    """State and statistics of one entity of one stream.

    key_cap   entries a key may hold; smaller only in tests
    keep_us   how far below the horizon an entry of its stream can be open to revision
    gone_us   how far the horizon must pass a key's newest entry before it is gone: as far as the
              table's own windows reach, unless another table keeps the entity for longer
    """

    def __init__(
        self,
        plan: TablePlan,
        stream: StreamPlan,
        key_cap: int = KEY_CAP,
        keep_us: int = 0,
        gone_us: int | None = None,
    ) -> None:
        self.plan = plan
        self.splits: list[SplitKey] = []
        self.caps: list[CappedKey] = []
        made = Layout(
            plan,
            stream,
            key_cap,
            max(keep_us, plan.reach_us),
            plan.reach_us if gone_us is None else gone_us,
        )
        self._plan = kernel_plan(made)
        self._made = made
        self._strings = plan.key_type == "string"
        self._state = pools.empty(made)
        self._homes = np.zeros(1, np.int64)
        texts = [i for i, column in enumerate(plan.columns) if column.kind == "text"]
        self._codes = {place: Codes() for place in texts}
        self._scratch = (
            np.zeros((made.words, BLOCK), np.int64),
            np.zeros((ASKED, BLOCK), np.int64),
            np.zeros(BLOCK, np.float64),
        )
        self.row_width = len(plan.row) + sum(plan.ops[op].stat in MOVING for op in plan.row)

    @property
    def keys(self) -> int:
        """Return how many keys have state."""
        return int(self._state.aux[COUNTERS, COUNTER_KEYS])

    @property
    def entries(self) -> int:
        """Return how many entries are held."""
        return int(self._state.aux[COUNTERS, COUNTER_ENTRIES])

    @property
    def memory(self) -> int:
        """Return the bytes of all arrays of this table."""
        arrays = sum(array.nbytes for array in (*self._state, self._homes, *self._scratch))
        return arrays + sum(codes.memory for codes in self._codes.values())

    def process(self, lane: Lane, nodes: NDArray[np.float64], flags: NDArray[np.int32]) -> None:
        """Work through a lane; ``nodes`` and ``flags`` are written (see ``advance``)."""
        count = len(lane)
        heap, key, length = _key_arrays(lane.key)
        hashes = np.empty(count, np.int64)
        found = np.empty(count, np.int64)
        locate(int(self._strings), self._state, heap, key, length, hashes, found)
        records = Records(
            heap, key, length, hashes, found, lane.action, lane.time_us, lane.horizon_us,
            lane.fold_us, lane.partition, lane.seq, lane.target, lane.old_us,
            self._lane_fields(lane),
        )  # fmt: skip
        done = 0
        while True:
            done = advance(
                self._plan, self._state, records, done, self._homes, *self._scratch, nodes, flags
            )
            self._take_reports()
            if done == count:
                return
            self._state = pools.grow(self._made, self._state, int(length[done]))

    def changed(self) -> NDArray[np.int64]:
        """Return the slots of keys whose row changed since the last call."""
        state = self._state
        listed = state.changed[: state.aux[COUNTERS, COUNTER_CHANGED]]
        marks = state.slots[listed, SLOT_MARKS]
        state.slots[listed, SLOT_MARKS] = marks & ~(MARK_CHANGED | MARK_LISTED)
        state.aux[COUNTERS, COUNTER_CHANGED] = 0
        slots: NDArray[np.int64] = listed[(marks & MARK_CHANGED) != 0].astype(np.int64)
        live: NDArray[np.int64] = slots[state.slots[slots, SLOT_LIVE] == 1]
        return live

    def slots_of(self, keys: Column) -> NDArray[np.int64]:
        """Return the slots of keys, -1 for those that have none."""
        heap, key, length = _key_arrays(keys)
        hashes = np.empty(len(keys), np.int64)
        found = np.empty(len(keys), np.int64)
        locate(int(self._strings), self._state, heap, key, length, hashes, found)
        return found

    def newest_us(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the greatest entry time of each slot; ``NO_TIME`` for none."""
        newest: NDArray[np.int64] = self._state.slots[np.maximum(slots, 0), SLOT_NEWEST]
        return newest

    def touched(
        self, slots: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return seq, horizon and fold line of the record that changed each slot last."""
        rows = self._state.slots[np.maximum(slots, 0)]
        return rows[:, SLOT_ROW_SEQ], rows[:, SLOT_ROW_HORIZON], rows[:, SLOT_ROW_FOLD]

    def read(
        self,
        slots: NDArray[np.int64],
        as_of_us: NDArray[np.int64],
        horizon_us: NDArray[np.int64],
        fold_us: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (until_us int64[k], words int64[k, row_width]) as of times; -1: no history."""
        k = len(slots)
        until_us, found = np.empty(k, np.int64), np.empty((self._made.words, k), np.int64)
        nothing = np.zeros((self._made.fields - 1, 1), np.int64)
        which = np.maximum(slots, 0)
        done = 0
        while True:
            done = find_rows(
                self._plan, self._state, which, as_of_us, horizon_us, fold_us, nothing, until_us,
                found, done,
            )  # fmt: skip
            if done == k:
                break
            self._state = pools.grow(self._made, self._state, 0)
        nodes = np.empty((max((op.node for op in self.plan.ops), default=-1) + 1, k))
        finish(
            self._plan, self._state.big, k, found, np.full(k, -1), as_of_us, horizon_us, nothing,
            np.arange(k), np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k), nodes,
            np.zeros(k, np.int32),
        )  # fmt: skip
        return until_us, self._words(found, as_of_us, nodes)

    def _words(
        self, found: NDArray[np.int64], as_of_us: NDArray[np.int64], nodes: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return rows as stored: bits of each value; of a moving one the anchor and its value."""
        words = np.empty((len(as_of_us), self.row_width), np.int64)
        at = 0
        for place in self.plan.row:
            op = self.plan.ops[place]
            value = nodes[op.node].view(np.int64)
            if op.stat in MOVING:
                word, anchor = self._made.anchor(place)
                known = (found[anchor] != NO_TIME) & (found[anchor] != FOREVER)
                words[:, at] = np.where(known, found[anchor], as_of_us)
                # Since its newest event no time has passed there.
                then = found[word] if word >= 0 else np.int64(0)
                words[:, at + 1] = np.where(known, then, value)
                at += 2
            else:
                words[:, at] = value
                at += 1
        return words

    def ripe(self, gone_us: int) -> NDArray[np.int64]:
        """Return the slots whose every entry lies at or below ``gone_us``."""
        used = self._state.slots[: self._state.aux[COUNTERS, COUNTER_SLOTS]]
        ripe = (used[:, SLOT_LIVE] == 1) & (used[:, SLOT_NEWEST] <= gone_us)
        return np.flatnonzero(ripe)

    def oldest_us(self) -> int:
        """Return the least of the keys' newest times: before it no key can be gone."""
        used = self._state.slots[: self._state.aux[COUNTERS, COUNTER_SLOTS]]
        live = used[:, SLOT_LIVE] == 1
        return int(used[live, SLOT_NEWEST].min(initial=layout.FOREVER))

    def free(self, slots: NDArray[np.int64]) -> None:
        """Free keys with all they hold."""
        free_slots(self._plan, self._state, slots)

    def shrink(self) -> None:
        """Give memory back where more than half of what was taken is free."""
        self._state = pools.shrink(self._made, self._state)

    def keys_of(self, slots: NDArray[np.int64]) -> Column:
        """Return copies of the keys of live slots."""
        start: NDArray[np.int64] = self._state.slots[slots, SLOT_KEY]
        if not self._strings:
            return start
        length: NDArray[np.int64] = self._state.slots[slots, SLOT_LENGTH]
        heap = np.empty(int(length.sum()), np.uint8)
        copy_keys(self._state.heap, start, length, heap)
        return Strings(heap, start, length)

    def _lane_fields(self, lane: Lane) -> NDArray[np.int64]:
        """Return entries without their times, int64[fields, m]: a value a pair, handle."""
        fields = np.empty((self._made.fields - 1, len(lane)), np.int64)
        values = [self._coded(place, column) for place, column in enumerate(lane.columns)]
        for (column, selected), place in self._made.pairs.items():
            fields[place] = 1 if column < 0 else values[column]
            if selected >= 0:
                fields[place, (lane.bits >> selected) & 1 == 0] = NULL
        if self._made.handle > 0:
            fields[self._made.handle - 1] = lane.handle
            handles = int(lane.handle.max(initial=-1)) + 1
            if handles > len(self._homes):
                homes = np.zeros(2 * handles, np.int64)
                homes[: len(self._homes)] = self._homes
                self._homes = homes
        return fields

    def _coded(self, place: int, column: Column) -> NDArray[np.int64]:
        """Return a value column as int64; texts as numbers, where they are told apart."""
        if not isinstance(column, Strings):
            return column.astype(np.int64, copy=False)
        codes = self._codes[place]
        found = codes.of(column)
        if len(found) == len(column):
            return found
        # Numbers that neither an entry nor a count of values holds are free again.
        state = self._state
        pairs = [at for (one, _), at in self._made.pairs.items() if one == place]
        held = state.entries[:, [1 + at for at in pairs]].ravel()
        return codes.of(column, np.concatenate([held, state.values[:, values.VALUE]]))

    def _take_reports(self) -> None:
        """Turn the kernel's reports into objects: rare, and before a slot can be reused."""
        state = self._state
        reports = state.reports[: state.aux[COUNTERS, COUNTER_REPORTS]]
        for kind, slot, first, other, seq in reports.tolist():
            keys = self.keys_of(np.array([slot], np.int64))
            key = keys.to_list()[0] if isinstance(keys, Strings) else int(keys[0])
            assert key is not None, "a slot's key is never null"
            if kind == REPORT_SPLIT:
                self.splits.append(SplitKey(self.plan.entity, key, first, other, seq))
            else:
                self.caps.append(CappedKey(self.plan.entity, key, first, seq))
        state.aux[COUNTERS, COUNTER_REPORTS] = 0


def _key_arrays(
    column: Column,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return a key column as heap, key (or start) and length, as the kernels take keys."""
    if isinstance(column, Strings):
        heap = column.heap
        # Numba compiles again for arrays that cannot be written; there shall be one version.
        if not heap.flags.writeable:
            heap = heap.copy()
        return heap, _int64(column.start), _int64(column.length)
    key = _int64(column)
    return _NO_HEAP, key, key


def _int64(values: Any) -> NDArray[np.int64]:
    """Return int64 as kernels take it: contiguous and writeable, so that one version compiles."""
    return np.require(values, np.int64, ["C_CONTIGUOUS", "WRITEABLE"])
