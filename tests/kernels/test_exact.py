"""The quotient of integers is rounded once, as Python's own integer division is."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from noskew.kernels.exact import quotient

EXACT: Final = 2**53
"""The largest denominator, and where numerators are no longer exact as a float64."""
MOST: Final = 2**62
"""The largest numerator."""


def near(place: int, *, above: bool = True) -> st.SearchStrategy[int]:
    return st.integers(place - 1000, place + (1000 if above else 0))


NUMERATORS: Final = st.one_of(
    st.integers(0, MOST),
    st.integers(0, 62).flatmap(lambda bits: st.integers(0, 2**bits)),
    near(EXACT),
    near(2 * EXACT),
    near(MOST, above=False),
)
SIGNED: Final = st.builds(lambda sign, n: sign * n, st.sampled_from([1, -1]), NUMERATORS)
DENOMINATORS: Final = st.one_of(
    st.integers(1, EXACT),
    st.integers(0, 53).flatmap(lambda bits: st.integers(1, 2**bits)),
    near(EXACT, above=False),
    near(EXACT // 2),
)


@given(SIGNED, DENOMINATORS)
@example(EXACT + 1, 1)
@example(EXACT + 3, 1)
@example(-MOST, 3)
@example(MOST, 1)
@example((EXACT + 1) * 3, 3)
@example(2 * EXACT + 1, 2**31)
@example(EXACT + 1, EXACT - 1)
@example(EXACT - 1, EXACT)
@example(MOST - 1, EXACT - 1)
@example(-MOST, EXACT)
@example(0, EXACT)
def test_quotient_equals_pythons_correctly_rounded_division(
    numerator: int, denominator: int
) -> None:
    assert quotient(numerator, denominator) == numerator / denominator


@pytest.mark.parametrize("place", [1, EXACT, 2 * EXACT, MOST])
@pytest.mark.parametrize("denominator", [1, 2, 3, 2**31, EXACT // 2, EXACT - 2, EXACT - 1, EXACT])
def test_quotient_is_right_on_both_sides_of_each_border(place: int, denominator: int) -> None:
    for numerator in range(place - 300, min(place + 300, MOST) + 1):
        expected = float(Fraction(numerator, denominator))

        assert quotient(numerator, denominator) == expected
        assert quotient(-numerator, denominator) == -expected


@given(st.integers(EXACT // 2, EXACT - 1), st.integers(1, 2**8), st.integers(-1, 1))
def test_quotient_next_to_a_tie_goes_to_the_right_side(
    mantissa: int, denominator: int, off: int
) -> None:
    # (2m + 1) / 2 of the last place lies exactly between two floats; one more or less decides.
    numerator = (2 * mantissa + 1) * denominator + off

    assert quotient(numerator, denominator) == numerator / denominator


@given(DENOMINATORS, st.integers(EXACT // 2, EXACT - 1), st.integers(54, 62), st.integers(-2, 2))
def test_quotient_next_to_a_tie_over_any_denominator(
    denominator: int, mantissa: int, bits: int, off: int
) -> None:
    """The numerators of so many bits that come nearest to a tie of two floats."""
    tie = (2 * mantissa + 1) * denominator
    numerator = min((tie >> max(tie.bit_length() - bits, 0)) + off, MOST)

    assert quotient(numerator, denominator) == numerator / denominator
