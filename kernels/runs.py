"""The journal's runs: which records were taken, in processing order, in about four bytes each.

A run is a stretch of records of one input taken one after the other. It is written as four
zigzag varints (Avro's int encoding): input, skip, span, count. ``skip`` is the run's first offset
less the input's next offset so far (0 unless offsets are missing), ``span`` the offsets covered
and ``count`` the records delivered; the difference is markers or compacted records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

VARINT_MAX = 10


@kernel
def write_varint(value: int, out: NDArray[np.uint8], at: int) -> int:
    """Write one int64 as a zigzag varint at ``at``; return the position after it."""
    word = np.uint64(np.int64(value) << np.int64(1)) ^ np.uint64(np.int64(value) >> np.int64(63))
    while word > np.uint64(127):
        out[at] = np.uint8(word & np.uint64(127)) | np.uint8(128)
        word >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(word)
    return at + 1


@kernel
def read_varint(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Read one zigzag varint; return (value, position after it), position -1 if it is cut off."""
    word = np.uint64(0)
    shift = np.uint64(0)
    while at < len(data) and shift < np.uint64(70):
        byte = np.uint64(data[at])
        at += 1
        word |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            half = np.int64(word >> np.uint64(1))
            return int(half ^ -np.int64(word & np.uint64(1))), at
        shift += np.uint64(7)
    return 0, -1


@kernel
def encode_runs(
    inputs: NDArray[np.int32],
    offset: NDArray[np.int64],
    next_offset: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    """Write the runs of records taken in this order; return the bytes written.

    inputs, offset  int32[n], int64[n]  the records taken
    next_offset     int64[inputs]       each input's next offset so far; mutated
    out             uint8[>= 40 n]      four varints of at most ten bytes a run
    """
    at = 0
    n = len(inputs)
    i = 0
    while i < n:
        j = i + 1
        while j < n and inputs[j] == inputs[i]:
            j += 1
        first = int(offset[i])
        last = int(offset[j - 1])
        at = write_varint(int(inputs[i]), out, at)
        at = write_varint(first - int(next_offset[inputs[i]]), out, at)
        at = write_varint(last + 1 - first, out, at)
        at = write_varint(j - i, out, at)
        next_offset[inputs[i]] = last + 1
        i = j
    return at


@kernel
def decode_runs(
    data: NDArray[np.uint8], next_offset: NDArray[np.int64], out: NDArray[np.int64]
) -> int:
    """Read runs into ``out``; return how many, or -1 if the bytes are not runs.

    next_offset  int64[inputs]   each input's next offset so far; mutated
    out          int64[4, runs]  input, first offset, next offset, count
    """
    at = 0
    run = 0
    while at < len(data):
        source, at = read_varint(data, at)
        if at < 0 or source < 0 or source >= len(next_offset) or run >= out.shape[1]:
            return -1
        skip, at = read_varint(data, at)
        if at < 0 or skip < 0:
            return -1
        span, at = read_varint(data, at)
        if at < 0 or span < 1:
            return -1
        count, at = read_varint(data, at)
        if at < 0 or count < 1 or count > span:
            return -1
        out[0, run] = source
        out[1, run] = next_offset[source] + skip
        out[2, run] = next_offset[source] + skip + span
        out[3, run] = count
        next_offset[source] = out[2, run]
        run += 1
    return run
