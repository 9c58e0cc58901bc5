"""Exponential decay with the same bits on every CPU: ``2 ** (-elapsed / half_life)``.

A library's ``exp2`` may differ in its last bit between systems, so this one is made of operations
that IEEE 754 rounds correctly everywhere. With integers only, elapsed = (q + k/32 + g) half-lives,
0 <= k < 32, 0 <= g < 1/32. The whole halvings q are exact (``ldexp``); 2^(-k/32) comes from a table
of correctly rounded numbers; 2^(-g) = exp(x), x = -g ln 2, |x| < 0.0217, from the Taylor series to
x^7 by Horner's rule, whose rest is below 2^-60. Tables with a short polynomial are the usual way
(P. T. P. Tang, ACM TOMS 15 (1989) 144-157). The result is within 2 units in the last place.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Final

import numpy as np

from noskew.kernels.jit import kernel

STEPS: Final = 32
"""Entries of the table: parts of one halving."""

with localcontext() as _context:
    _context.prec = 50
    _TABLE: Final = np.array([float(Decimal(2) ** (Decimal(-k) / STEPS)) for k in range(STEPS)])
    _LN2: Final = float(Decimal(2).ln())

_GONE: Final = 1100
"""Halvings after which nothing is left: the smallest float64 is 2^-1074."""


@kernel
def half_power(elapsed_us: int, half_life_us: int) -> float:
    """Return ``2 ** (-elapsed_us / half_life_us)``; 1 for 0, exact for whole half-lives.

    elapsed_us    int64, 0 .. 2^62
    half_life_us  int64, 1 .. 2^52

    In this order, one rounding each: g = rest / half_life / 32; x = -(g * ln 2);
    p = x/5040 + 1/720; p = p x + 1/120; + 1/24; + 1/6; + 1/2; + 1;
    p = p x + 1; p * table[k]; times 2^-q.
    """
    whole = elapsed_us // half_life_us
    if whole > _GONE:
        return 0.0
    scaled = (elapsed_us - whole * half_life_us) * STEPS
    step = scaled // half_life_us
    rest = scaled - step * half_life_us
    value = _TABLE[step]
    if rest > 0:
        x = -(float(rest) / float(half_life_us) / 32.0 * _LN2)
        power = x * (1.0 / 5040.0) + (1.0 / 720.0)
        power = power * x + (1.0 / 120.0)
        power = power * x + (1.0 / 24.0)
        power = power * x + (1.0 / 6.0)
        power = power * x + 0.5
        power = power * x + 1.0
        power = power * x + 1.0
        value = value * power
    return math.ldexp(value, -int(whole))
