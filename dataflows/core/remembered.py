"""Ids or texts that are remembered, each with a small number of its own for as long as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.kernels.ids import ID_HANDLE, ID_LENGTH, ID_STATE, ID_WIDTH, codes_of, keep

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.schemas.columns import Strings

_ROWS: Final = 1024


class Remembered:
    """A table of ids (see ``kernels.ids``), its heap of texts and the numbers that are free.

    used      False: nothing will be remembered, and next to no memory is taken
    rows      int64[2^k, ID_WIDTH];  heap: uint8[bytes]
    counters  rows used, bytes of the heap used, numbers ever given
    free      int64[1 + n]: how many numbers are free, then these
    """

    def __init__(self, *, strings: bool, used: bool = True) -> None:
        self.strings = strings
        self.used = used
        rows = _ROWS if used else 2
        self.rows: NDArray[np.int64] = np.zeros((rows, ID_WIDTH), np.int64)
        self.heap: NDArray[np.uint8] = np.zeros(16 * rows, np.uint8)
        self.counters: NDArray[np.int64] = np.zeros(3, np.int64)
        self.free: NDArray[np.int64] = np.zeros(1, np.int64)

    @property
    def memory(self) -> int:
        """Return the bytes of all arrays."""
        return sum(one.nbytes for one in (self.rows, self.heap, self.counters, self.free))

    def make_room(self, kept: NDArray[np.bool_], size: int, more: int = 1) -> None:
        """Forget all but the ``kept`` rows.

        There is room then for as many again, at least ``more``, and for ``size`` bytes of text.
        """
        gone = (self.rows[:, ID_STATE] == 1) & ~kept & (self.rows[:, ID_HANDLE] >= 0)
        free = [self.free[1 : 1 + self.free[0]], self.rows[gone, ID_HANDLE]]
        self.free = np.concatenate([np.zeros(1, np.int64), *free])
        self.free[0] = len(self.free) - 1
        rows = _ROWS
        held = int(kept.sum())
        while rows < max(4 * (held + 1), 2 * (held + more)):
            rows *= 2
        old, old_heap = self.rows, self.heap
        text = int(old[kept, ID_LENGTH].sum()) if self.strings else 0
        self.rows = np.zeros((rows, ID_WIDTH), np.int64)
        self.heap = np.zeros(2 * (text + size) + 16 * _ROWS, np.uint8)
        self.counters[:2] = 0
        keep(old, kept, old_heap, self.rows, self.heap, self.counters, int(self.strings))


class Codes(Remembered):
    """Texts as numbers, equal exactly where the texts are; a number is free once its text is."""

    def __init__(self) -> None:
        super().__init__(strings=True)

    def of(self, texts: Strings, live: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the numbers of n texts, ``NULL`` for a null; stops short where there is no room.

        live  the numbers in use, after a first call fell short: all others are forgotten, and
              there is room for every text

        The result is as long as what found room.
        """
        if live is not None:
            in_use = np.isin(self.rows[:, ID_HANDLE], live) & (self.rows[:, ID_STATE] == 1)
            self.make_room(in_use, int(np.maximum(texts.length, 0).sum()), len(texts))
        out = np.empty(len(texts), np.int64)
        heap = np.require(texts.heap, np.uint8, ["C_CONTIGUOUS", "WRITEABLE"])
        done = codes_of(
            self.rows, self.heap, self.counters, self.free, heap, texts.start, texts.length, out
        )
        return out[:done]
