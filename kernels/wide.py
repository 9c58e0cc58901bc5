"""Quotients of integers of hundreds of bits, rounded once: variances, and all of history.

Numbers are limbs of 30 bits, least first, in rows of a scratch array that the caller hands in; the
sign is kept apart. A quotient is formed bit by bit until it has 55 bits; what is left only sets the
last (sticky) bit, which is how long division is rounded (to nearest, ties to even).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from noskew.kernels.exact import quotient
from noskew.kernels.jit import kernel
from noskew.kernels.layout import SQUARES_SHIFT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LIMBS: Final = 14
ROWS: Final = 5
"""The scratch is ``int64[ROWS, LIMBS]``."""

_BITS: Final = 30
_MASK: Final = (1 << _BITS) - 1
_FAST: Final = 2**53
_SHIFT: Final = SQUARES_SHIFT

# Rows of the scratch.
_N: Final = 0  # the numerator, then what is left of it
_D: Final = 1  # the denominator
_A: Final = 2
_B: Final = 3
_C: Final = 4


@kernel(inline=True)
def wide_quotient(high: int, low: int, denominator: int, big: NDArray[np.int64]) -> float:
    """Return ``(high * 2^40 + low) / denominator``, correctly rounded.

    high  int64;  low: int64, 0 .. 2^40 - 1;  denominator: int64, 1 .. 2^62
    """
    if -(2**21) <= high < 2**21 and denominator <= _FAST:
        return quotient((high << _SHIFT) + low, denominator)
    negative = _set(big, _N, high, low)
    _set_int(big, _D, denominator)
    value = _divide(big)
    return -value if negative else value


@kernel
def variance(
    count: int,
    sum_high: int,
    sum_low: int,
    squares_top: int,
    squares_high: int,
    squares_low: int,
    ddof: int,
    scale: int,
    big: NDArray[np.int64],
) -> float:
    """Return ``(n S2 - S1^2) / (n (n - ddof) scale^2)``, correctly rounded.

    count    n, 2 .. 2^54, more than ``ddof``;  scale: up to 10^9
    sum      high * 2^40 + low, 0 <= low < 2^40
    squares  top * 2^80 + high * 2^40 + low, each 0 .. 2^62

    The numerator is an exact integer, never negative (Cauchy-Schwarz).
    """
    small = squares_top == 0 and squares_high < 2**12 and squares_low < _FAST
    if small and -1 <= sum_high <= 0 and scale == 1:
        total = (sum_high << _SHIFT) + sum_low
        squares = (squares_high << _SHIFT) + squares_low
        if abs(total) < 2**26 and squares < _FAST // count and count < 2**26:
            return float(count * squares - total * total) / float(count * (count - ddof))
    _set_int(big, _A, squares_low)
    _add(big, _A, squares_high, _SHIFT)
    _add(big, _A, squares_top, 2 * _SHIFT)
    _set_int(big, _B, count)
    _multiply(big, _A, _B, _N)
    _set(big, _A, sum_high, sum_low)
    for limb in range(LIMBS):
        big[_B, limb] = big[_A, limb]
    _multiply(big, _A, _B, _C)
    _subtract(big, _N, _C)
    _set_int(big, _A, count)
    _set_int(big, _B, count - ddof)
    _multiply(big, _A, _B, _C)
    _set_int(big, _A, scale * scale)
    _multiply(big, _C, _A, _D)
    return _divide(big)


@kernel
def _set(big: NDArray[np.int64], row: int, high: int, low: int) -> bool:
    """Set a row to |high * 2^40 + low|; return whether that is negative."""
    negative = high < 0
    if negative:
        # -(h 2^40 + l) = (-h - 1) 2^40 + (2^40 - l), for l > 0.
        high = -high
        if low > 0:
            high -= 1
            low = (1 << _SHIFT) - low
    _set_int(big, row, low)
    _add(big, row, high, _SHIFT)
    return bool(negative)


@kernel
def _add(big: NDArray[np.int64], row: int, value: int, shift: int) -> None:
    """Add ``value * 2^shift``, neither of them negative."""
    limb = shift // _BITS
    bits = shift - limb * _BITS
    carry = (value & (_MASK >> bits)) << bits
    value = value >> (_BITS - bits)
    while carry > 0 or value > 0:
        carry += big[row, limb]
        big[row, limb] = carry & _MASK
        carry = (carry >> _BITS) + (value & _MASK)
        value = value >> _BITS
        limb += 1


@kernel
def _set_int(big: NDArray[np.int64], row: int, value: int) -> None:
    for limb in range(LIMBS):
        big[row, limb] = value & _MASK
        value = value >> _BITS


@kernel
def _multiply(big: NDArray[np.int64], left: int, right: int, out: int) -> None:
    """Set row ``out`` to a product; it must be another row, and have room."""
    for limb in range(LIMBS):
        big[out, limb] = 0
    for i in range(LIMBS):
        if big[left, i] == 0:
            continue
        carry = 0
        for j in range(LIMBS - i):
            value = big[out, i + j] + big[left, i] * big[right, j] + carry
            big[out, i + j] = value & _MASK
            carry = value >> _BITS


@kernel
def _subtract(big: NDArray[np.int64], row: int, other: int) -> None:
    """Take ``other`` from ``row``, which is not smaller."""
    borrow = 0
    for limb in range(LIMBS):
        value = big[row, limb] - big[other, limb] - borrow
        big[row, limb] = value & _MASK
        borrow = 1 if value < 0 else 0


@kernel
def _bits(big: NDArray[np.int64], row: int) -> int:
    for limb in range(LIMBS - 1, -1, -1):
        value = big[row, limb]
        if value > 0:
            bits = limb * _BITS
            while value > 0:
                bits += 1
                value = value >> 1
            return bits
    return 0


@kernel
def _shift_left(big: NDArray[np.int64], row: int, by: int) -> None:
    limbs = by // _BITS
    bits = by - limbs * _BITS
    for limb in range(LIMBS - 1, -1, -1):
        value = 0
        if limb - limbs >= 0:
            value = (big[row, limb - limbs] << bits) & _MASK
        if limb - limbs - 1 >= 0 and bits > 0:
            value |= big[row, limb - limbs - 1] >> (_BITS - bits)
        big[row, limb] = value


@kernel
def _less(big: NDArray[np.int64], row: int, other: int) -> bool:
    for limb in range(LIMBS - 1, -1, -1):
        if big[row, limb] != big[other, limb]:
            return bool(big[row, limb] < big[other, limb])
    return False


@kernel
def _divide(big: NDArray[np.int64]) -> float:
    """Return the numerator's row over the denominator's, correctly rounded; both are spent."""
    ahead = _bits(big, _N)
    if ahead == 0:
        return 0.0
    exponent = ahead - _bits(big, _D)
    # Bring the quotient into [1/2, 2), whichever side has to grow.
    if exponent > 0:
        _shift_left(big, _D, exponent)
    else:
        _shift_left(big, _N, -exponent)
    whole = 0
    for _ in range(56):
        whole = whole << 1
        if not _less(big, _N, _D):
            _subtract(big, _N, _D)
            whole = whole | 1
        _shift_left(big, _N, 1)
    left = 0
    for limb in range(LIMBS):
        left |= big[_N, limb]
    if left != 0:
        whole = whole | 1
    return math.ldexp(float(whole), exponent - 55)
