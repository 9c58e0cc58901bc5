"""Arrays that grow where they stand."""

from __future__ import annotations

import gc
import resource
from pathlib import Path

import numpy as np
import pytest

from noskew.dataflows.core import mapped
from noskew.dataflows.core.mapped import LARGE_BYTES, resized

ROW = 8 * 4
LARGE = LARGE_BYTES // ROW


@pytest.mark.parametrize("system", [True, False])
def test_rows_stay_and_new_ones_are_zero(monkeypatch: pytest.MonkeyPatch, *, system: bool) -> None:
    if not system:
        monkeypatch.setattr(mapped, "_SYSTEM", None)
    array = np.arange(4 * 10, dtype=np.int64).reshape(10, 4)
    expected = array.copy()
    for rows in (20, LARGE - 1, LARGE, 3 * LARGE + 7, LARGE + 1, 2 * LARGE, 5, LARGE):
        array = resized(array, rows)
        assert array.shape == (rows, 4)
        assert array.dtype == np.int64
        assert array.flags.c_contiguous
        assert array.flags.writeable
        kept = min(rows, len(expected))
        expected = np.concatenate([expected[:kept], np.zeros((rows - kept, 4), np.int64)])
        np.testing.assert_array_equal(array, expected)
        array[-1] = expected[-1] = rows


def test_memory_is_given_back() -> None:
    array = resized(np.zeros((1, 4), np.int64), 16 * LARGE)
    array[:] = 1
    full = _resident()
    array = resized(array, LARGE)
    assert full - _resident() > 14 * LARGE_BYTES
    small = _resident()
    del array
    gc.collect()
    assert small - _resident() > LARGE_BYTES // 2


def test_more_than_the_system_has_is_a_memory_error() -> None:
    array = resized(np.zeros((1, 4), np.int64), LARGE)
    with pytest.raises(MemoryError, match="bytes of state"):
        resized(array, 2**50)
    np.testing.assert_array_equal(array, 0)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
