"""Arrays that grow where they stand: memory of the system's own, in large pages, mapped anew.

A table's rows are read in no order, and each small page costs a walk through the page tables; and
a copy of a large array would need room for both. Both are Linux's; elsewhere arrays are copied.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE_BYTES: Final = 4 << 20
"""Smaller arrays are NumPy's own: large pages would mostly stay empty."""

_FAILED: Final = ctypes.c_void_p(-1).value
_MAY_MOVE: Final = 1  # MREMAP_MAYMOVE of <sys/mman.h>


def _system() -> Any:
    """Return the C library with its signatures, or None where memory cannot be mapped anew."""
    if platform.system() != "Linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.mmap.argtypes = (pointer, size, number, number, number, ctypes.c_long)
    library.mremap.argtypes = (pointer, size, size, number)
    library.munmap.argtypes = (pointer, size)
    library.madvise.argtypes = (pointer, size, number)
    library.mmap.restype = library.mremap.restype = pointer
    return library


_SYSTEM: Final = _system()


class _Mapping:
    """Anonymous memory as an array, given back to the system with its last array."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.address: int | None = address
        self.bytes = int(np.prod(shape)) * dtype.itemsize
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (address, False),
            "version": 3,
        }
        # A system that refuses goes on with small pages.
        _SYSTEM.madvise(address, self.bytes, mmap.MADV_HUGEPAGE)

    def __del__(self) -> None:
        """Give it back, unless it was mapped anew."""
        if self.address is not None:
            _SYSTEM.munmap(self.address, self.bytes)


def resized(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return an array with its first ``rows`` rows; new ones are zero. The old one is void.

    Raises MemoryError.
    """
    shape = (rows, *array.shape[1:])
    size = int(np.prod(shape)) * array.itemsize
    old: Any = array.base
    if isinstance(old, _Mapping):
        address = _SYSTEM.mremap(old.address, old.bytes, size, _MAY_MOVE)
    elif _SYSTEM is None or size < LARGE_BYTES:
        found = np.zeros(shape, array.dtype)
        kept = min(rows, len(array))
        found[:kept] = array[:kept]
        return found
    else:
        old = None
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address = _SYSTEM.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if address == _FAILED:
        why = ctypes.get_errno()
        message = f"{size:,} bytes of state: the system has no such memory (errno {why})"
        raise MemoryError(message)
    found = np.asarray(_Mapping(address, shape, array.dtype))
    if old is None:
        kept = min(rows, len(array))
        found[:kept] = array[:kept]
    else:
        old.address = None
        # The end of its last page still has what an earlier, longer array had there.
        page_end = -(-old.bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        found.reshape(-1).view(np.uint8)[old.bytes : page_end] = 0
    return found
