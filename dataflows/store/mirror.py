"""The mirror: the newest committed row of every live entity, so that Redis can be rewritten.

It is bounded by the number of entities: a row that changes again before it is written is
written once. Nothing here knows Redis; the caller holds the lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noskew.dataflows.store import keys
from noskew.dataflows.store import rows as layout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.store.keys import Key

_FIRST_CAPACITY = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """k rows copied out of a mirror to be written.

    slots  int64[k]
    keys   k key values
    blobs  k packed rows
    """

    slots: NDArray[np.int64]
    keys: list[Key]
    blobs: list[bytes]


class Mirror:
    """The rows of one entity, by slot of its first table."""

    def __init__(self, key_type: str, words: int, fingerprint: bytes) -> None:
        self.key_type = key_type
        self.anything_held = True
        """Redis may hold keys this mirror has never written: those of an earlier process."""
        self._fingerprint = fingerprint
        self._gone: set[Key] = set()
        self._slot_of: dict[Key, int] = {}
        self._blobs: NDArray[np.void] = np.zeros(0, layout.dtype(words))
        self._key: NDArray[Any] = np.zeros(0, np.int64 if key_type == "int" else object)
        self._live = np.zeros(0, np.bool_)
        self._dirty = np.zeros(0, np.bool_)
        self._held = np.zeros(0, np.bool_)  # Redis may hold a row of this key

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, key: Key) -> bool:
        return key in self._slot_of

    @property
    def dirty(self) -> int:
        """Return how many rows are to be set and keys to be deleted."""
        return int(np.count_nonzero(self._dirty)) + len(self._gone)

    def take(self, rows: Rows) -> None:
        """Copy changed rows in and mark them dirty; forget the keys that are gone."""
        for key in keys.values(rows.gone):
            slot = self._slot_of.get(key)
            if slot is not None:
                self._leave(slot)
            elif self.anything_held:
                self._gone.add(key)
        if not len(rows.slot):
            return
        slots = rows.slot.astype(np.int64)
        self._reserve(int(slots.max()) + 1)
        key_column = self._key_array(rows)
        moved = np.flatnonzero(~self._live[slots] | (self._key[slots] != key_column))
        for slot in slots[moved].tolist():
            if self._live[slot]:
                self._leave(slot)
        for slot, key in zip(slots[moved].tolist(), key_column[moved].tolist(), strict=True):
            self._arrive(slot, key)
        self._blobs[slots] = layout.pack(rows, self._fingerprint)
        self._dirty[slots] = True

    def begin(self) -> tuple[NDArray[np.int64], list[Key]]:
        """Return the slots that are dirty, and take the keys to be deleted."""
        gone = list(self._gone)
        self._gone.clear()
        return np.flatnonzero(self._dirty), gone

    def gather(self, slots: NDArray[np.int64]) -> Part:
        """Copy the rows of those of ``slots`` that are still dirty; they are so no more."""
        slots = slots[self._dirty[slots]]
        self._dirty[slots] = False
        self._held[slots] = True
        size = self._blobs.dtype.itemsize
        data = self._blobs[slots].tobytes()
        return Part(
            slots=slots,
            keys=self._key[slots].tolist(),
            blobs=[data[at : at + size] for at in range(0, len(data), size)],
        )

    def restore(self, slots: NDArray[np.int64], gone: Iterable[Key]) -> None:
        """Mark dirty again what was gathered or begun and could not be written."""
        self._dirty[slots] = self._live[slots]
        self.delete(gone)

    def delete(self, gone: Iterable[Key]) -> None:
        """Note keys that Redis may hold: to be deleted now, or when they go if they live."""
        for key in gone:
            slot = self._slot_of.get(key)
            if slot is None:
                self._gone.add(key)
            else:
                self._held[slot] = True

    def mark_all(self) -> None:
        """Mark every live row dirty: Redis has lost them."""
        self._dirty[:] = self._live

    def _leave(self, slot: int) -> None:
        key = self._key[slot : slot + 1].tolist()[0]
        del self._slot_of[key]
        self._live[slot] = False
        self._dirty[slot] = False
        if self._held[slot]:
            self._gone.add(key)

    def _arrive(self, slot: int, key: Key) -> None:
        before = self._slot_of.get(key)
        if before is not None:
            self._leave(before)
        self._held[slot] = self.anything_held or key in self._gone
        self._gone.discard(key)
        self._slot_of[key] = slot
        self._key[slot] = key
        self._live[slot] = True

    def _key_array(self, rows: Rows) -> NDArray[Any]:
        if isinstance(rows.key, np.ndarray):
            return rows.key
        out = np.empty(len(rows.slot), object)
        out[:] = keys.values(rows.key)
        return out

    def _reserve(self, slots: int) -> None:
        capacity = len(self._live)
        if slots <= capacity:
            return
        grown = max(_FIRST_CAPACITY, slots, 2 * capacity) - capacity
        for name in ("_blobs", "_key", "_live", "_dirty", "_held"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros(grown, old.dtype)]))
