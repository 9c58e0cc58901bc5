"""Runs: packed order equals the order, and damaged bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noskew.kernels.runs import (
    VARINT_MAX,
    decode_runs,
    encode_runs,
    read_varint,
    write_varint,
)

EDGES = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]


def pack(records: list[tuple[int, int]], start: list[int]) -> bytes:
    """Pack (input, offset) pairs taken in this order."""
    out = np.empty(4 * VARINT_MAX * len(records), np.uint8)
    inputs = np.array([record[0] for record in records], np.int32)
    offsets = np.array([record[1] for record in records], np.int64)
    return out[: encode_runs(inputs, offsets, np.array(start, np.int64), out)].tobytes()


def unpack(data: bytes, start: list[int]) -> list[tuple[int, int, int, int]] | None:
    """Unpack to (input, first, next, count) per run."""
    out = np.empty((4, len(data) + 1), np.int64)
    size = decode_runs(np.frombuffer(data, np.uint8), np.array(start, np.int64), out)
    return None if size < 0 else [(a, b, c, d) for a, b, c, d in out[:, :size].T.tolist()]


@pytest.mark.parametrize("value", EDGES)
def test_a_varint_reads_back(value: int) -> None:
    out = np.zeros(VARINT_MAX, np.uint8)

    size = write_varint(value, out, 0)

    assert read_varint(out[:size], 0) == (value, size)


def test_a_varint_is_what_avro_writes() -> None:
    out = np.zeros(VARINT_MAX, np.uint8)

    size = write_varint(-65, out, 0)

    assert out[:size].tobytes() == b"\x81\x01"


def test_runs_tell_order_gaps_and_counts() -> None:
    data = pack([(0, 5), (0, 6), (1, 10), (0, 9)], [5, 10])

    assert unpack(data, [5, 10]) == [(0, 5, 7, 2), (1, 10, 11, 1), (0, 9, 10, 1)]
    assert len(data) == 12


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=60))
def test_any_order_reads_back(steps: list[tuple[int, int]]) -> None:
    following = [0, 0, 0, 0]
    records = []
    for source, jump in steps:
        following[source] += jump
        records.append((source, following[source] - 1))

    runs = unpack(pack(records, [0, 0, 0, 0]), [0, 0, 0, 0])

    assert runs is not None
    taken = [(source, count) for source, _, _, count in runs]
    flat = [source for source, count in taken for _ in range(count)]
    assert flat == [source for source, _ in records]
    ends = {source: end for source, _, end, _ in runs}
    assert ends == {source: offset + 1 for source, offset in records}


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x02",  # cut off
        b"\x08\x00\x02\x02",  # input 4 of 2
        b"\x00\x01\x02\x02",  # skip -1
        b"\x00\x00\x00\x02",  # span 0
        b"\x00\x00\x02\x04",  # count 2 in span 1
        b"\xff" * 11,
    ],
)
def test_damaged_runs_are_refused(data: bytes) -> None:
    assert unpack(data, [0, 0]) is None
