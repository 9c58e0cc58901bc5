"""Wide quotients and variances beside fractions, at the edges of their sizes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from noskew.kernels.wide import LIMBS, ROWS, variance, wide_quotient

VALUES = st.one_of(st.integers(-5, 5), st.integers(-(2**40), 2**40), st.sampled_from([2**40]))
SCALES = st.integers(0, 9).map(lambda power: 10**power)


def big() -> np.ndarray:
    return np.zeros((ROWS, LIMBS), np.int64)


def words(value: int) -> tuple[int, int]:
    return value >> 40, value & (2**40 - 1)


@given(
    st.one_of(st.integers(-(2**100), 2**100), st.integers(-10, 10), st.integers(-(2**62), 2**62)),
    st.one_of(st.integers(1, 2**54), st.integers(1, 10)),
)
def test_a_wide_quotient_is_rounded_once(numerator: int, denominator: int) -> None:
    expected = numerator / denominator  # Python rounds a quotient of integers once

    assert wide_quotient(*words(numerator), denominator, big()) == expected


@given(st.lists(VALUES, min_size=2, max_size=30), st.sampled_from([0, 1]), SCALES)
def test_a_variance_is_rounded_once(values: list[int], ddof: int, scale: int) -> None:
    check(len(values), sum(values), sum(v * v for v in values), ddof, scale)


@given(st.lists(VALUES, min_size=2, max_size=5), st.integers(1, 2**40), st.sampled_from([0, 1]))
def test_a_variance_of_very_many_values(values: list[int], times: int, ddof: int) -> None:
    total, squares = sum(values) * times, sum(v * v for v in values) * times

    check(len(values) * times, total, squares, ddof, 1)


def check(n: int, total: int, squares: int, ddof: int, scale: int) -> None:
    mean = Fraction(total, n)
    around = Fraction(squares, 1) - n * mean * mean
    expected = float(around / (n - ddof) / scale / scale)

    top, low = squares >> 80, squares & (2**80 - 1)
    found = variance(n, *words(total), top, *words(low), ddof, scale, big())
    assert found == expected
    # Within a window the words are plain totals, which overlap.
    if top == 0 and squares < 2**62:
        assert variance(n, *words(total), 0, 0, squares, ddof, scale, big()) == expected
