"""Columns of decoded values: what a batch is made of.

A column of n values is one of

* ``int64[n]``: int, long, timestamps, dates, booleans (0/1), enums (the symbol's index in the
  reader schema); a null is ``NULL``;
* ``float64[n]``: float and double; a null is NaN;
* ``Strings``: UTF-8 text as positions in one shared heap; a null has length -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

NULL: Final = -(2**63)
"""The null of an int64 column. Never a value: a column's ``max_abs`` is at most 2^62."""


@dataclass(frozen=True, slots=True)
class Strings:
    """n strings of UTF-8: ``heap[start[i] : start[i] + length[i]]``.

    heap    uint8[bytes]   shared by every column taken from this one
    start   int64[n]       position of the first byte
    length  int64[n]       bytes; -1 is a null
    """

    heap: NDArray[np.uint8]
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: NDArray[np.int64]) -> Strings:
        """Return the strings at ``index``, in that order, over the same heap."""
        return Strings(self.heap, self.start[index], self.length[index])

    def to_list(self) -> list[str | None]:
        """Return Python strings: for tests, messages and other slow paths."""
        heap = self.heap.tobytes()
        return [
            None if size < 0 else heap[at : at + size].decode()
            for at, size in zip(self.start.tolist(), self.length.tolist(), strict=True)
        ]

    @classmethod
    def concatenate(cls, columns: Iterable[Strings]) -> Strings:
        """Join columns over one new heap that holds only the bytes still referred to."""
        parts = list(columns)
        length = np.concatenate([part.length for part in parts])
        size = np.maximum(length, 0)
        start = np.zeros(len(length), np.int64)
        np.cumsum(size[:-1], out=start[1:])
        source = np.concatenate([part.start for part in parts])
        base = np.cumsum([0, *(len(part.heap) for part in parts)])
        source += np.repeat(base[:-1], [len(part) for part in parts])
        gather = np.repeat(source - start, size) + np.arange(int(size.sum()))
        return cls(np.concatenate([part.heap for part in parts])[gather], start, length)

    @classmethod
    def from_list(cls, values: Iterable[str | None]) -> Strings:
        """Build a column from Python strings: the slow path of decoders and tests."""
        encoded = [None if value is None else value.encode() for value in values]
        length = np.array([-1 if value is None else len(value) for value in encoded], np.int64)
        start = np.zeros(len(encoded), np.int64)
        np.cumsum(np.maximum(length, 0)[:-1], out=start[1:])
        heap = np.frombuffer(b"".join(value for value in encoded if value is not None), np.uint8)
        return cls(heap, start, length)


Column: TypeAlias = "NDArray[np.int64] | NDArray[np.float64] | Strings"
