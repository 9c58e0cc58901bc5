"""The digest of a vector is XXH64 as its authors compute it, over canonical values."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from noskew.kernels.digest import digest_rows


@pytest.mark.parametrize("features", range(14))
def test_every_length_agrees_with_xxhash(features: int) -> None:
    vectors = np.random.default_rng(features).normal(size=(features, 5))
    expected = [xxhash.xxh64_intdigest(vectors[:, i].astype("<f8").tobytes()) for i in range(5)]
    found = digest_rows(vectors)
    assert found.dtype == np.uint64
    assert found.tolist() == expected


@settings(deadline=None)
@given(arrays.arrays(np.uint64, st.tuples(st.integers(1, 9), st.integers(0, 4))))
def test_any_bits_agree_with_xxhash_over_canonical_values(bits: np.ndarray) -> None:
    vectors = bits.view(np.float64)
    before = bits.copy()
    canonical = np.where(np.isnan(vectors), np.nan, np.where(vectors == 0, 0.0, vectors))
    expected = [xxhash.xxh64_intdigest(np.ascontiguousarray(row).tobytes()) for row in canonical.T]
    assert digest_rows(vectors).tolist() == expected
    assert (bits == before).all()


def test_every_nan_and_both_zeros_are_one_value() -> None:
    nans = np.array([[0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001]], np.uint64)
    assert len(set(digest_rows(nans.view(np.float64)).tolist())) == 1
    assert len(set(digest_rows(np.array([[0.0, -0.0]])).tolist())) == 1
    assert digest_rows(np.array([[np.nan]]))[0] == xxhash.xxh64_intdigest(
        bytes.fromhex("000000000000f87f")
    )
