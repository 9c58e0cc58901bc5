"""From margins to scores: the objective's transform, equal to LightGBM's to the bit.

LightGBM computes ``1 / (1 + exp(-sigmoid * margin))`` in float64 with the C library's ``exp``
(``BinaryLogloss::ConvertOutput``). Compiled or not, ``math.exp`` is that same function;
``numpy.exp`` is not, its vector code rounds differently.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from noskew.kernels.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXP_LIMIT: Final = 709.782712893384
"""The largest float64 whose exponential is finite; Python's ``math.exp`` raises beyond it."""


@kernel
def sigmoid(margin: NDArray[np.float64], slope: float, score: NDArray[np.float64]) -> None:
    """Write ``1 / (1 + exp(-slope * margin))`` into ``score``; both float64[n], no units."""
    for i in range(len(margin)):
        power = -slope * margin[i]
        if power > EXP_LIMIT:
            score[i] = 0.0
        else:
            score[i] = 1.0 / (1.0 + math.exp(power))
