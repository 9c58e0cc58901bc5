"""Exact arithmetic on integers with one rounding at the end.

A mean is the quotient of two exact integers. Dividing their float64 values would round twice
once the sum passes 2^53, so the quotient is formed in integers to 55 bits or more and rounded
once, to nearest, ties to even.
"""

from __future__ import annotations

from typing import Final

from noskew.kernels.jit import kernel

_EXACT_FLOAT: Final = 2**53
_WIDE: Final = 2**54
"""From here on a quotient has a rounding bit and a sticky bit below float64's 53 bits."""


@kernel(inline=True)
def quotient(numerator: int, denominator: int) -> float:
    """Return ``numerator / denominator``, correctly rounded to float64.

    numerator    int64, magnitude at most 2^62
    denominator  int64, 1 .. 2^53: exact as float64, and 256 of what is left of it fit int64

    The remainder is carried along in base 256 until the integer quotient has at least 55 bits;
    what is left of it only sets the last (sticky) bit, which is how long division is rounded.
    """
    if -_EXACT_FLOAT <= numerator <= _EXACT_FLOAT:
        return numerator / denominator
    magnitude = -numerator if numerator < 0 else numerator
    whole = magnitude // denominator
    rest = magnitude - whole * denominator
    scale = 1.0
    while whole < _WIDE:
        rest = rest * 256
        digit = rest // denominator
        rest = rest - digit * denominator
        whole = whole * 256 + digit
        scale = scale * 0.00390625
    if rest != 0:
        whole = whole | 1
    value = float(whole) * scale
    return -value if numerator < 0 else value
