"""Scoring alone: the pipeline's scorer, beside ``Booster.predict`` by row and by batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.bench.figures import Figure, same_bits
from noskew.dataflows.bench.kernel import REPEATS
from noskew.dataflows.model.scoring import Scorer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.model.bundle import Bundle

SIZES: Final = (1, 16, 256, 4096)


def measure(bundle: Bundle, vectors: NDArray[np.float64]) -> Iterator[Figure]:
    """Score float64[features, n] in batches of each size that n allows; yields a figure each.

    One thread, CPU time. Ours gives margin and score, predict the margin. Raises WrongResultError
    where a margin differs.
    """
    scorer = Scorer(bundle, threads=1)
    booster = bundle.booster
    rows = vectors.shape[1]
    for size in (one for one in SIZES if one <= rows):
        # As the engine hands them out, and as a list of rows becomes a matrix.
        parts = [
            np.ascontiguousarray(vectors[:, first : first + size])
            for first in range(0, rows - size + 1, size)
        ]
        matrices = [np.ascontiguousarray(part.T) for part in parts]
        n = size * len(parts)
        ours_s = batch_s = np.inf
        for _ in range(REPEATS):
            took_s, margins = _timed(lambda part: scorer.score(part)[0], parts)
            ours_s = min(ours_s, took_s)
            took_s, expected = _timed(
                lambda matrix: booster.predict(matrix, raw_score=True, num_threads=1), matrices
            )
            batch_s = min(batch_s, took_s)
            same_bits(f"score, batches of {size}", margins, expected)
        what = f"score of {bundle.booster.num_trees()} trees, {size} at once"
        named = "Booster.predict" if size == 1 else f"Booster.predict of {size}"
        yield Figure("score", what, "µs/row", 1e6 * ours_s / n, n, 1e6 * batch_s / n, n, named)


def _timed(call: Any, parts: list[NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    """Return the CPU seconds that calls took, and what they returned, joined."""
    call(parts[0])
    began_s = time.process_time()
    found = [call(part) for part in parts]
    took_s = time.process_time() - began_s
    return took_s, np.concatenate(found)
