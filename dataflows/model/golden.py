"""Golden rows: vectors kept in a bundle with their margins, compared bit for bit at load.

They show that this machine's LightGBM reads and walks the model as the machine that trained it
did. Half are rows of the training set's end, half are such rows with values moved to where a
walk could go the other way: thresholds and their neighbours, NaN, infinities, zeros, denormals.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS: Final = 256

_SPECIAL: Final = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, 1e300, -1e300]
)  # 1e-35 is LightGBM's kZeroThreshold


@dataclass(frozen=True, slots=True)
class Golden:
    """vectors float64[features, rows] and the margins float64[rows] they must give."""

    vectors: NDArray[np.float64]
    margins: NDArray[np.float64]

    def to_bytes(self) -> bytes:
        """Return an ``.npz`` archive."""
        buffer = io.BytesIO()
        np.savez(buffer, vectors=self.vectors, margins=self.margins)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read an ``.npz`` archive; raises ``ValueError`` if it is not ours."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return cls(arrays["vectors"], arrays["margins"])
        except (KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            message = f"not an archive of golden rows: {error}"
            raise ValueError(message) from error

    def first_difference(self, margins: NDArray[np.float64]) -> int | None:
        """Return the first row whose margin has other bits than recorded, None if all agree."""
        differs = self.margins.view(np.int64) != margins.view(np.int64)
        return int(np.argmax(differs)) if differs.any() else None


def choose(
    rows: NDArray[np.float64], thresholds: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Choose the vectors of a bundle: float64[features, ROWS].

    rows        float64[features, n], n >= 1: real vectors to take evenly spaced ones from
    thresholds  per feature its split points, ascending
    """
    base = rows[:, np.linspace(0, rows.shape[1] - 1, ROWS).astype(np.int64)].copy()
    moving = np.arange(ROWS // 2)
    for feature, points in enumerate(thresholds):
        # Every second row moves all features at once, the others a single one.
        moved = ROWS // 2 + moving[(moving % 2 == 0) | (moving // 2 % len(base) == feature)]
        # Rolled, so that not all features take their special values in the same rows.
        base[feature, moved] = np.roll(_edges(points, len(moved)), feature * 7)
    return base


def _edges(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return ``count`` edge values: the special ones, then split points and their neighbours."""
    if not len(points):
        return np.resize(_SPECIAL, count)
    wanted = count - len(_SPECIAL)
    chosen = points[np.linspace(0, len(points) - 1, wanted).astype(np.int64)]
    towards = np.resize([-np.inf, np.nan, np.inf], wanted)
    neighbours = np.where(np.isnan(towards), chosen, np.nextafter(chosen, towards))
    return np.concatenate([_SPECIAL, neighbours])
