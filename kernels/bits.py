"""A float64 kept in a word of int64, and back."""

from __future__ import annotations

import numpy as np

from noskew.kernels.jit import kernel


@kernel(inline=True)
def real(bits: int) -> float:
    """Return the float64 whose bits these are."""
    return np.int64(bits).view(np.float64)


@kernel(inline=True)
def word(value: float) -> int:
    """Return the bits of a float64."""
    return np.float64(value).view(np.int64)  # type: ignore[return-value]  # an int where compiled
