"""A pass: what is dirty in all mirrors at one moment, cut into calls, deletions first.

Deletions come first because a key may be born again while the pass is under way: its row is
then written after its deletion, never before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.store import keys as naming
from noskew.dataflows.store import rows as layout
from noskew.dataflows.store.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.store.keys import Key, Names
    from noskew.dataflows.store.mirror import Part


@dataclass(frozen=True, slots=True)
class Pass:
    """Everything to be written: g keys to delete, then k rows to set.

    seq    committed when the pass began
    gone   g pairs (entity's place, key)
    owner  int64[k]  the entity's place
    slots  int64[k]  distinct per owner
    """

    seq: int
    gone: list[tuple[int, Key]]
    owner: NDArray[np.int64]
    slots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.gone) + len(self.slots)


@dataclass(frozen=True, slots=True)
class Call:
    """What one Lua call does: keys to delete, keys to set and their rows, packed."""

    deletes: list[bytes]
    sets: list[bytes]
    blobs: list[bytes]


class Mirrors:
    """The mirrors of all entities of a plan. The caller holds the lock where noted."""

    def __init__(self, plan: Plan, names: Names, generation: int) -> None:
        self._mirrors = {
            row.entity: Mirror(row.key_type, row.words, plan.fingerprint)
            for row in layout.entity_rows(plan).values()
        }
        self._all = list(self._mirrors.values())
        self._heads = [names.entity(generation, entity) for entity in self._mirrors]

    @property
    def dirty(self) -> int:
        """Return how many rows are to be set and keys to be deleted. Under the lock."""
        return sum(mirror.dirty for mirror in self._all)

    def take(self, rows: Iterable[Rows]) -> None:
        """Copy changed rows in. Under the lock."""
        for part in rows:
            self._mirrors[part.entity].take(part)

    def mark_all(self) -> None:
        """Mark every row dirty: Redis has lost them. Under the lock."""
        for mirror in self._all:
            mirror.mark_all()

    def settle(self) -> None:
        """Note that Redis holds nothing that was not written from here. Under the lock."""
        for mirror in self._all:
            mirror.anything_held = False

    def begin(self, seq: int) -> Pass:
        """Begin a pass over what is dirty now. Under the lock."""
        begun = [mirror.begin() for mirror in self._all]
        slots = [dirty for dirty, _ in begun]
        return Pass(
            seq=seq,
            gone=[(place, key) for place, (_, gone) in enumerate(begun) for key in gone],
            owner=np.repeat(np.arange(len(slots)), [len(dirty) for dirty in slots]),
            slots=np.concatenate([np.zeros(0, np.int64), *slots]),
        )

    def gather(self, under_way: Pass, start: int, stop: int) -> list[Part]:
        """Copy the rows among items start to stop, as they are now. Under the lock."""
        owner, slots = _rows(under_way, start, stop)
        return [mirror.gather(slots[owner == place]) for place, mirror in enumerate(self._all)]

    def restore(self, under_way: Pass, start: int) -> None:
        """Mark dirty again what follows from item ``start``. Under the lock."""
        owner, slots = _rows(under_way, start, len(under_way))
        gone = under_way.gone[start:]
        for place, mirror in enumerate(self._all):
            mirror.restore(slots[owner == place], [key for at, key in gone if at == place])

    def call(self, under_way: Pass, start: int, stop: int, parts: list[Part]) -> Call:
        """Name what items start to stop delete and set. Needs no lock."""
        sets: list[bytes] = []
        blobs: list[bytes] = []
        for head, part in zip(self._heads, parts, strict=True):
            sets += [head + naming.encoded(key) for key in part.keys]
            blobs += part.blobs
        return Call(
            deletes=[
                self._heads[place] + naming.encoded(key)
                for place, key in under_way.gone[start:stop]
            ],
            sets=sets,
            blobs=blobs,
        )

    def delete_orphans(self, names: Iterable[bytes]) -> None:
        """Note as gone those of the rows named that no mirror has. Under the lock."""
        for head, mirror in zip(self._heads, self._all, strict=True):
            keys = [
                naming.decoded(name[len(head) :], mirror.key_type)
                for name in names
                if name.startswith(head)
            ]
            mirror.delete(key for key in keys if key not in mirror)


def _rows(under_way: Pass, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    before = len(under_way.gone)
    rows = slice(max(0, start - before), max(0, stop - before))
    return under_way.owner[rows], under_way.slots[rows]
