"""The quotient of integers is rounded once, as Python's own integer division is."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from noskew.kernels.exact import quotient


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**31))
@example(2**53 + 1, 1)
@example(2**53 + 3, 1)
@example(-(2**62), 3)
@example(2**62, 1)
@example(9007199254740993 * 3, 3)
@example(2**54 + 1, 2**31)
def test_quotient_equals_pythons_correctly_rounded_division(
    numerator: int, denominator: int
) -> None:
    assert quotient(numerator, denominator) == numerator / denominator


@given(st.integers(2**52, 2**53 - 1), st.integers(1, 2**9), st.integers(-1, 1))
def test_quotient_next_to_a_tie_goes_to_the_right_side(
    mantissa: int, denominator: int, off: int
) -> None:
    # (2m + 1) / 2 of the last place lies exactly between two floats; one more or less decides.
    numerator = (2 * mantissa + 1) * denominator + off

    assert quotient(numerator, denominator) == numerator / denominator
