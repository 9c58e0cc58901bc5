"""One table: the state of one (stream, entity), its growth, and the rows readers get from it.

The work is done by the kernels; here their arrays are made, grown when a kernel stops for want of
room, and read out. Nothing here is per event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from noskew.dataflows.core.rows import Rows
from noskew.dataflows.definition.plan import Stat
from noskew.kernels import layout
from noskew.kernels.keys import clear, copy_keys, locate, rehash
from noskew.kernels.layout import (
    CHUNK,
    CHUNK_COLUMNS,
    COUNTER_CHANGED,
    COUNTER_CHUNKS,
    COUNTER_ENTRIES,
    COUNTER_FREE_CHUNK,
    COUNTER_FREE_SLOT,
    COUNTER_GARBAGE,
    COUNTER_HEAP,
    COUNTER_KEYS,
    COUNTER_REPORTS,
    COUNTER_SLOTS,
    COUNTERS,
    EDGE_COUNT,
    EDGE_SUMS,
    END,
    KEY_CAP,
    MARK_CHANGED,
    MARK_LISTED,
    REPORT_SPLIT,
    REPORT_WIDTH,
    SLOT_EDGES,
    SLOT_KEY,
    SLOT_LENGTH,
    SLOT_LIVE,
    SLOT_MARKS,
    SLOT_NEWEST,
    SLOT_ROW_SEQ,
    Shape,
    State,
)
from noskew.kernels.windows import advance, free_slots, read_rows
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import TablePlan
    from noskew.schemas.columns import Column

_FIRST_ROWS: Final = 1024
"""Slots and chunks a table starts with; both double when they run out."""
_REPORTS: Final = 256
_NO_HEAP: Final = np.zeros(0, np.uint8)
_Scalar = TypeVar("_Scalar", bound=np.generic)


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
    """State and statistics of one entity.

    nullable  fields of the stream that may be null
    key_cap   entries a key may hold; smaller only in tests
    """

    def __init__(self, plan: TablePlan, nullable: frozenset[str], key_cap: int = KEY_CAP) -> None:
        self.plan = plan
        self.splits: list[SplitKey] = []
        self.caps: list[CappedKey] = []
        self._shape, width = _shape(plan, nullable, key_cap)
        self._state = _empty_state(self._shape, width, len(plan.columns), len(plan.edge_low))
        self._row_width = len(plan.row_ops) + int(
            np.count_nonzero(plan.op_kind[plan.row_ops] == Stat.SINCE_LAST)
        )
        self._gone: list[Column] = []
        # No key can be gone before the horizon reaches this: sweeps below it cost nothing.
        self._next_gone_us = layout.FOREVER

    @property
    def keys(self) -> int:
        """Return how many keys have state."""
        return int(self._state.counters[COUNTER_KEYS])

    @property
    def entries(self) -> int:
        """Return how many entries are held."""
        return int(self._state.counters[COUNTER_ENTRIES])

    @property
    def memory(self) -> int:
        """Return the bytes of all arrays of this table."""
        return sum(array.nbytes for array in self._state)

    def process(
        self,
        batch: Batch,
        horizon_us: NDArray[np.int64],
        mode: NDArray[np.uint8],
        nodes: NDArray[np.float64],
        flags: NDArray[np.int32],
    ) -> None:
        """Insert and evaluate a batch; ``nodes`` and ``flags`` are written (see ``advance``)."""
        count = len(batch)
        values = np.empty((len(self.plan.columns), count), np.int64)
        for place, name in enumerate(self.plan.columns):
            column = batch.columns[name]
            assert isinstance(column, np.ndarray), f"{name} is text"  # the definition refuses it
            values[place] = column
        heap, key, length = _key_arrays(batch.columns[self.plan.entity])
        hashes = np.empty(count, np.int64)
        found = np.empty(count, np.int64)
        locate(self._shape, self._state, heap, key, length, hashes, found)
        inserted = batch.time_us[mode == layout.MODE_INSERT]
        if not self.plan.anchored and len(inserted):
            self._next_gone_us = min(self._next_gone_us, int(inserted.min()) + self.plan.reach_us)
        done = 0
        while True:
            done = advance(
                self._shape, self._state, done, heap, key, length, hashes, found,
                batch.time_us, horizon_us, mode, batch.partition, batch.seq,
                values, nodes, flags,
            )  # fmt: skip
            self._take_reports()
            if done == count:
                return
            self._grow(int(length[done]))

    def sweep(self, horizon_us: int) -> None:
        """Free the keys that no later record can see: the horizon passed all their entries."""
        if self.plan.anchored or horizon_us < self._next_gone_us:
            return
        state = self._state
        used = state.slots[: state.counters[COUNTER_SLOTS]]
        live = used[:, SLOT_LIVE] == 1
        newest = used[:, SLOT_NEWEST]
        slots = np.flatnonzero(live & (newest <= horizon_us - self.plan.reach_us))
        if len(slots):
            self._gone.append(self._keys_of(slots))
            free_slots(self._shape, state, slots)
            live[slots] = False
        oldest = newest[live].min(initial=layout.FOREVER - self.plan.reach_us)
        self._next_gone_us = int(oldest) + self.plan.reach_us

    def drain(self) -> Rows:
        """Return the rows that changed and the keys that went since the last call, as copies."""
        state = self._state
        listed = state.changed[: state.counters[COUNTER_CHANGED]]
        marks = state.slots[listed, SLOT_MARKS]
        state.slots[listed, SLOT_MARKS] = marks & ~(MARK_CHANGED | MARK_LISTED)
        slots = listed[(marks & MARK_CHANGED) != 0].astype(np.int64)
        state.counters[COUNTER_CHANGED] = 0
        words = np.empty((len(slots), self._row_width), np.int64)
        until_us = np.empty(len(slots), np.int64)
        nothing = np.zeros((len(self.plan.columns), 1), np.int64)
        read_rows(self._shape, state, slots, nothing, until_us, words, words.view(np.float64))
        return Rows(
            entity=self.plan.entity,
            slot=slots.astype(np.int32),
            key=self._keys_of(slots),
            time_us=state.slots[slots, SLOT_NEWEST],
            until_us=until_us,
            seq=state.slots[slots, SLOT_ROW_SEQ],
            words=words,
            gone=self._take_gone(),
        )

    def _keys_of(self, slots: NDArray[np.int64]) -> Column:
        """Return copies of the keys of live slots."""
        start: NDArray[np.int64] = self._state.slots[slots, SLOT_KEY]
        if not self._shape.strings:
            return start
        length: NDArray[np.int64] = self._state.slots[slots, SLOT_LENGTH]
        heap = np.empty(int(length.sum()), np.uint8)
        copy_keys(self._state.heap, start, length, heap)
        return Strings(heap, start, length)

    def _take_gone(self) -> Column:
        """Return each key once that went and has no slot now; only swept keys come here."""
        parts, self._gone = self._gone, []
        if self._shape.strings:
            # A Python loop, but over keys that went since the last flush, not over events.
            texts = [part.to_list() for part in parts if isinstance(part, Strings)]
            keys: Column = Strings.from_list(dict.fromkeys(text for part in texts for text in part))
        else:
            arrays = [part for part in parts if not isinstance(part, Strings)]
            keys = np.unique(np.concatenate([np.zeros(0, np.int64), *arrays]))
        heap, key, length = _key_arrays(keys)
        hashes = np.empty(len(keys), np.int64)
        found = np.empty(len(keys), np.int64)
        locate(self._shape, self._state, heap, key, length, hashes, found)
        away = np.flatnonzero(found < 0)
        return keys.take(away) if isinstance(keys, Strings) else keys[away]

    def _take_reports(self) -> None:
        """Turn the kernel's reports into objects: rare, and before a slot can be reused."""
        state = self._state
        reports = state.reports[: state.counters[COUNTER_REPORTS]]
        for kind, slot, first, other, seq in reports.tolist():
            keys = self._keys_of(np.array([slot], np.int64))
            key = keys.to_list()[0] if isinstance(keys, Strings) else int(keys[0])
            assert key is not None, "a slot's key is never null"
            if kind == REPORT_SPLIT:
                self.splits.append(SplitKey(self.plan.entity, key, first, other, seq))
            else:
                self.caps.append(CappedKey(self.plan.entity, key, first, seq))
        state.counters[COUNTER_REPORTS] = 0

    def _grow(self, key_bytes: int) -> None:
        """Make room for at least one more record, whose key has ``key_bytes`` bytes."""
        state = self._state
        counters = state.counters
        chunks, slots = len(state.chunks), len(state.slots)
        if counters[COUNTER_FREE_CHUNK] == END and counters[COUNTER_CHUNKS] >= chunks:
            state = state._replace(
                chunks=_enlarged(state.chunks, 2 * chunks),
                entries=_enlarged(state.entries, 2 * chunks * CHUNK),
            )
        if counters[COUNTER_FREE_SLOT] == END and counters[COUNTER_SLOTS] >= slots:
            state = state._replace(
                slots=_enlarged(state.slots, 2 * slots),
                changed=_enlarged(state.changed, 2 * slots),
            )
        if 2 * (counters[COUNTER_KEYS] + 1) > len(state.lookup):
            index = np.full(2 * len(state.lookup), -1, np.int32)
            rehash(state, index)
            state = state._replace(lookup=index)
        self._state = state
        if self._shape.strings and counters[COUNTER_HEAP] + key_bytes > len(state.heap):
            self._rebuild_heap(key_bytes)

    def _rebuild_heap(self, key_bytes: int) -> None:
        """Copy the live keys into a new heap, twice as large as they and the next key need."""
        state = self._state
        live = np.flatnonzero(state.slots[: state.counters[COUNTER_SLOTS], SLOT_LIVE] == 1)
        start = state.slots[live, SLOT_KEY]
        length = state.slots[live, SLOT_LENGTH]
        used = int(length.sum())
        heap = np.empty(2 * (used + key_bytes) + _FIRST_ROWS, np.uint8)
        copy_keys(state.heap, start, length, heap)
        state.slots[live, SLOT_KEY] = start
        state.counters[COUNTER_HEAP] = used
        state.counters[COUNTER_GARBAGE] = 0
        self._state = state._replace(heap=heap)


def _shape(plan: TablePlan, nullable: frozenset[str], key_cap: int) -> tuple[Shape, int]:
    """Return the plan as the kernels read it, and the width of a slot."""
    columns: list[tuple[int, ...]] = []
    width = EDGE_SUMS
    for name in plan.columns:
        # Without nulls the number of values is the number of members: one word less per edge.
        own = name in nullable
        columns.append((width, width + 1 if own else EDGE_COUNT, int(own)))
        width += 2 if own else 1
    field = SLOT_EDGES
    edges: list[tuple[int, ...]] = []
    for offset, low in zip(plan.edge_offset_us.tolist(), plan.edge_low.tolist(), strict=True):
        edges.append((offset, int(low), field))
        field += width
    places: dict[tuple[int, int, int], int] = {}
    extremes: list[tuple[int, ...]] = []
    ops: list[tuple[int, ...]] = []
    for kind, window, column, node in zip(
        plan.op_kind.tolist(), plan.op_window.tolist(),
        plan.op_column.tolist(), plan.op_node.tolist(), strict=True,
    ):  # fmt: skip
        low, high, extreme = -1, -1, -1
        if window >= 0:
            low, high = int(plan.window_low[window]), int(plan.window_high[window])
        if kind in {Stat.MIN, Stat.MAX}:
            sign = 1 if kind == Stat.MAX else -1
            extreme = places.setdefault((window, column, sign), len(places))
            if extreme == len(extremes):
                extremes.append((column, sign, field, low, high))
                field += 1
        ops.append((kind, node, column, extreme, low, high))
    shape = Shape(
        edges=_table(edges, 3),
        columns=_table(columns, 3),
        extremes=_table(extremes, 5),
        ops=_table(ops, 6),
        row_ops=_int64(plan.row_ops),
        windows=_int64(np.stack([plan.window_low, plan.window_high], axis=1)),
        reach_us=int(plan.reach_us),
        anchored=int(plan.anchored),
        primary=int(plan.primary),
        strings=int(plan.key_type == "string"),
        key_cap=key_cap,
    )
    return shape, field


def _empty_state(shape: Shape, width: int, columns: int, edges: int) -> State:
    state = State(
        lookup=np.full(4 * _FIRST_ROWS, -1, np.int32),
        slots=np.zeros((_FIRST_ROWS, width), np.int64),
        chunks=np.zeros((_FIRST_ROWS, CHUNK_COLUMNS + 4 * columns), np.int64),
        entries=np.zeros((_FIRST_ROWS * CHUNK, 1 + columns), np.int64),
        heap=np.zeros(_FIRST_ROWS if shape.strings else 0, np.uint8),
        changed=np.zeros(_FIRST_ROWS, np.int32),
        reports=np.zeros((_REPORTS, REPORT_WIDTH), np.int64),
        counters=np.zeros(COUNTERS, np.int64),
        before=np.zeros(edges, np.int64),
    )
    state.counters[COUNTER_FREE_CHUNK] = END
    state.counters[COUNTER_FREE_SLOT] = END
    state.counters[COUNTER_SLOTS] = 1  # slot 0: the key without entries
    clear(shape.edges, shape.extremes, state.slots, 0)
    return state


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


def _table(rows: list[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    return np.array(rows, np.int64).reshape(len(rows), width)


def _int64(values: Any) -> NDArray[np.int64]:
    """Return int64 as kernels take it: contiguous and writeable, so that one version compiles."""
    return np.require(values, np.int64, ["C_CONTIGUOUS", "WRITEABLE"])


def _enlarged(array: NDArray[_Scalar], rows: int) -> NDArray[_Scalar]:
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
