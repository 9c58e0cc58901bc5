"""From vectors to margins and scores: what the pipeline calls once per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.model import booster as lgb
from noskew.kernels.transform import sigmoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.model.bundle import Bundle

_IDENTITY = frozenset({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})


class Scorer:
    """Scores batches of vectors with a bundle's model.

    The margin is a sum of leaves and equal on every CPU. The score is the objective's transform
    of it, equal to ``Booster.predict`` to the bit on the same platform. Neither depends on the
    size of a batch or on ``threads``.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Take a loaded bundle; ``threads`` is LightGBM's number of threads per call."""
        self.bundle = bundle
        self._booster = bundle.booster
        self._features = len(bundle.manifest.features)
        self._threads = threads
        words = lgb.head(bundle.text).get("objective", "").split()
        self._objective = words[0] if words else ""
        options = dict(word.split(":", 1) for word in words[1:] if ":" in word)
        self._slope = float(options.get("sigmoid", "1"))
        self._is_identity = not words or (self._objective in _IDENTITY and "sqrt" not in words)

    def score(
        self, vectors: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return margin and score, float64[n] each, of vectors float64[features, n].

        Feature columns as the engine lays them out (C order) are read in place. Raises
        ``ValueError`` for another number of features.
        """
        if vectors.ndim != 2 or len(vectors) != self._features:
            message = f"vectors of shape {vectors.shape}; the model takes {self._features} features"
            raise ValueError(message)
        margin = lgb.margins(self._booster, vectors, self._threads)
        if self._is_identity:
            return margin, margin.copy()
        if self._objective in {"binary", "cross_entropy"}:
            score = np.empty_like(margin)
            sigmoid(margin, self._slope, score)
            return margin, score
        # The rarer transforms are LightGBM's own, at the price of a second walk.
        return margin, lgb.scores(self._booster, vectors, self._threads)
