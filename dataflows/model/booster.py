"""LightGBM behind four functions: load a model's text, ask for margins or scores, read its head.

``Booster.predict`` gives the same bits for any batch size and number of threads: each row's
leaves are added tree by tree. It reads columns (Fortran order) as fast as rows, so vectors go in
as the engine lays them out, transposed but not copied. A call costs 15 us beside the trees.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import lightgbm
import numpy as np

from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION: str = lightgbm.__version__

# What LightGBM has to say goes to logging, and without a handler of the caller nowhere: standard
# output belongs to --json, and standard error to messages for the user.
_LOGGER = logging.getLogger("noskew.lightgbm")
_LOGGER.addHandler(logging.NullHandler())
lightgbm.register_logger(_LOGGER)


def load(text: str) -> lightgbm.Booster:
    """Parse a model's text.

    Only text that is known to be whole: LightGBM ends the process (SIGABRT) on most damaged
    files, and some damaged files load and score wrongly. Raises ``UsageError`` for a model of
    several outputs.
    """
    booster = lightgbm.Booster(model_str=text)
    outputs = booster.num_model_per_iteration()
    if outputs != 1:
        message = (
            f"the model has {outputs} outputs per row; noskew scores models of one output "
            "(objective binary or a regression): train one of these"
        )
        raise UsageError(message)
    return booster


def margins(
    booster: lightgbm.Booster, vectors: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """Return the sum of leaves of each vector: float64[features, n] -> float64[n]."""
    return _predict(booster, vectors, threads, raw=True)


def scores(
    booster: lightgbm.Booster, vectors: NDArray[np.float64], threads: int
) -> NDArray[np.float64]:
    """Return what ``Booster.predict`` returns: float64[features, n] -> float64[n]."""
    return _predict(booster, vectors, threads, raw=False)


def head(text: str) -> dict[str, str]:
    """Return the ``key=value`` lines in front of the first tree of a model's text."""
    lines = text[: text.index("\nTree=")].splitlines() if "\nTree=" in text else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def thresholds(text: str, features: int) -> list[NDArray[np.float64]]:
    """Return each feature's split points, ascending and distinct, from a model's text."""
    found: list[set[float]] = [set() for _ in range(features)]
    split: list[int] = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "split_feature":
            split = [int(word) for word in value.split()]
        elif key == "threshold":
            for feature, threshold in zip(split, value.split(), strict=True):
                found[feature].add(float(threshold))
    return [np.array(sorted(points), np.float64) for points in found]


def _predict(
    booster: lightgbm.Booster, vectors: NDArray[np.float64], threads: int, *, raw: bool
) -> NDArray[np.float64]:
    if vectors.shape[1] == 0:
        return np.empty(0, np.float64)
    result = booster.predict(vectors.T, raw_score=raw, num_threads=threads)
    return cast("NDArray[np.float64]", result)
