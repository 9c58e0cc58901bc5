"""Decay: the value, its accuracy, and the same bits compiled and in plain Python."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noskew.kernels.decay import STEPS, half_power

HALF_LIVES = st.one_of(st.integers(1, 100), st.integers(1, 2**52))
PLAIN = getattr(half_power, "py_func", half_power)


def close(value: float, elapsed: int, half_life: int) -> bool:
    """Whether ``value`` is within 2 units in the last place, by integer roots alone.

    v = 2^(-e/h) exactly when v^h = 2^-e; compared through logarithms of big integers for short h.
    """
    least, most = (Fraction(value) + sign * 2 * Fraction(math.ulp(value)) for sign in (-1, 1))
    return least**half_life <= Fraction(1, 2**elapsed) <= most**half_life


@given(st.integers(0, 600), st.integers(1, 60))
def test_it_is_within_two_units_in_the_last_place(elapsed: int, half_life: int) -> None:
    value = half_power(elapsed, half_life)

    if value > 1e-290:
        assert close(value, elapsed, half_life)


@given(st.integers(0, 2**62), HALF_LIVES)
def test_compiled_and_plain_give_the_same_bits(elapsed: int, half_life: int) -> None:
    assert half_power(elapsed, half_life).hex() == PLAIN(elapsed, half_life).hex()


@pytest.mark.parametrize(
    ("elapsed", "half_life", "expected"),
    [(0, 7, 1.0), (7, 7, 0.5), (70, 7, 2.0**-10), (1074, 1, 2.0**-1074), (1200, 1, 0.0)],
)
def test_whole_half_lives_are_exact(elapsed: int, half_life: int, expected: float) -> None:
    assert half_power(elapsed, half_life) == expected


@given(st.integers(0, 2**40), st.integers(1, 2**40), HALF_LIVES)
def test_it_never_grows(elapsed: int, more: int, half_life: int) -> None:
    assert half_power(elapsed + more, half_life) <= half_power(elapsed, half_life) <= 1.0


def test_every_step_of_the_table_is_reached() -> None:
    found = [half_power(step, STEPS) for step in range(STEPS)]

    assert found == sorted(found, reverse=True)
    assert found[STEPS // 2] == math.sqrt(0.5)
