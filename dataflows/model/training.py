"""Training: from a replayed training set and labels to a bundle.

The split is by time. Validation is the last fifth; the rows of the last ``label_delay`` before it
are left out, because in production their labels would not have been known when the model was
trained. LightGBM's default of 255 bins cannot place splits in a thin tail of amounts (LightGBM
issue 6016), hence many bins of at least one value.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import lightgbm
import numpy as np

from noskew.dataflows.errors import UsageError
from noskew.dataflows.model import booster as lgb
from noskew.dataflows.model import golden
from noskew.dataflows.model.bundle import Bundle, check_target, hash_file
from noskew.dataflows.model.dataset import FeatureFiles, LabelFields, join
from noskew.dataflows.model.manifest import LAYOUT, Manifest, Metrics, Rows
from noskew.kernels.layout import FLAG_INCOMPLETE, FLAG_WARMING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.model.dataset import Examples

VALIDATION_SHARE: Final = 0.2
LEAST_PER_CLASS: Final = 10
"""Fewer examples of a class than this in the training rows: nothing can be learnt."""
TOP: Final = 100


@dataclass(frozen=True, slots=True)
class Parameters:
    """What of LightGBM's parameters may be chosen; none of them depends on the machine."""

    trees: int = 200
    leaves: int = 31
    learning_rate: float = 0.05
    max_bin: int = 2047
    seed: int = 0

    def check(self) -> None:
        """Raise ``UsageError`` for a value no model can be trained with."""
        for name, value, least in (
            ("trees", self.trees, 1),
            ("leaves", self.leaves, 2),
            ("max-bin", self.max_bin, 2),
            ("seed", self.seed, 0),
        ):
            if value < least:
                message = f"--{name} is {value}, it must be at least {least}"
                raise UsageError(message)
        if not 0 < self.learning_rate <= 1:
            message = f"--learning-rate is {self.learning_rate}, it must be in (0, 1]"
            raise UsageError(message)

    def to_lightgbm(self) -> dict[str, str | int | float | bool]:
        """Return LightGBM's parameters. Deterministic for any number of threads."""
        return {
            "objective": "binary",
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "max_bin": self.max_bin,
            "min_data_in_bin": 1,
            "is_unbalance": False,
            "deterministic": True,
            "force_row_wise": True,
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Split:
    """Positions among the examples; ``gap_us`` is 0 where the span is too short for one."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    gap: int
    gap_us: int


def train(
    plan: Plan,
    features: Sequence[Path],
    labels: Path,
    out: Path,
    *,
    parameters: Parameters | None = None,
    fields: LabelFields | None = None,
    label_delay_us: int = 7 * 86_400_000_000,
    drop_warming: bool = False,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Train a model and save its bundle; return the bundle's manifest.

    The same files and parameters give the same bundle, byte for byte, for any ``threads``.
    ``progress`` is told (trees made, trees in all). Raises ``UsageError`` for files of another
    plan, unfit labels, too few examples of a class, or an ``out`` that holds something else.
    """
    if plan.model is None:
        message = f"{plan.name} names no model: add model=Model({plan.name!r}) to its Pipeline"
        raise UsageError(message)
    parameters = parameters or Parameters()
    parameters.check()
    fields = fields or LabelFields(plan.scored.id)
    check_target(out)
    files = FeatureFiles.open(features, plan)
    examples = join(files, labels, fields, plan)
    split, rows = _select(examples, label_delay_us, drop_warming=drop_warming)
    matrices = _read(files, plan.names, examples, split)
    labelled = (examples.label[split.training], examples.label[split.validation])
    text, metrics = _fit(plan.names, matrices, labelled, parameters, (threads, progress))
    vectors = golden.choose(matrices[1], lgb.thresholds(text, len(plan.names)))
    proof = golden.Golden(vectors, lgb.margins(lgb.load(text), vectors, 1))
    manifest = Manifest(
        layout=LAYOUT,
        model=plan.model,
        model_sha256=hashlib.sha256(text.encode()).hexdigest(),
        golden_sha256=hashlib.sha256(proof.to_bytes()).hexdigest(),
        fingerprint=plan.fingerprint.hex(),
        features=list(plan.names),
        lightgbm=lgb.VERSION,
        parameters={**parameters.to_lightgbm(), "num_iterations": parameters.trees},
        rows=rows,
        metrics=metrics,
        sources=_sources(files, labels, fields, split, drop_warming=drop_warming),
    )
    Bundle.save(out, manifest, text, proof)
    return manifest


def split_by_time(time_us: NDArray[np.int64], label_delay_us: int) -> Split:
    """Split ascending times int64[n] into training, gap and validation.

    Rows of one time are never on both sides. The gap is left out (0) if less than half of the
    rows before validation would remain.
    """
    count = len(time_us)
    cut_us = time_us[min(int(np.ceil(count * (1 - VALIDATION_SHARE))), count - 1)]
    before = int(np.searchsorted(time_us, cut_us))
    end = int(np.searchsorted(time_us, cut_us - label_delay_us))
    gap_us = label_delay_us
    if end * 2 < before:
        end, gap_us = before, 0
    return Split(np.arange(end), np.arange(before, count), before - end, gap_us)


def measure(label: NDArray[np.bool_], margin: NDArray[np.float64]) -> Metrics:
    """Compute LightGBM's own metrics, and the precision of the highest margins.

    All null where there is one class only: a ranking of one class says nothing. Of fewer than
    100 rows there is no precision at the top 100.
    """
    if label.all() or not label.any():
        return Metrics(auc=None, average_precision=None, binary_logloss=None, precision_at_100=None)
    # A model without trees whose initial scores are the margins. In one thread: the metrics are
    # sums whose order depends on threads, "deterministic" or not.
    options = {
        "objective": "binary",
        "metric": ["auc", "average_precision", "binary_logloss"],
        "num_threads": 1,
        "verbosity": -1,
    }
    rows = lightgbm.Dataset(
        np.zeros((len(label), 1)), label.astype(np.float32), init_score=margin, params=options
    )
    evaluated = {entry[1]: entry[2] for entry in lightgbm.Booster(options, rows).eval_train()}
    top = np.argsort(-margin, kind="stable")[:TOP]
    return Metrics(
        auc=evaluated["auc"],
        average_precision=evaluated["average_precision"],
        binary_logloss=evaluated["binary_logloss"],
        precision_at_100=float(label[top].mean()) if len(label) >= TOP else None,
    )


def _select(examples: Examples, label_delay_us: int, *, drop_warming: bool) -> tuple[Split, Rows]:
    """Choose the examples of each part, as positions among all of them, and count everything."""
    is_warming = (examples.flags & FLAG_WARMING) != 0
    kept = np.flatnonzero(~is_warming) if drop_warming else np.arange(len(examples.row))
    _check_classes(examples.label[kept], "labelled rows")
    among = split_by_time(examples.time_us[kept], label_delay_us)
    split = replace(among, training=kept[among.training], validation=kept[among.validation])
    _check_classes(examples.label[split.training], "training rows")
    return split, Rows(
        in_files=examples.in_files,
        unlabelled=examples.unlabelled,
        warming=int(is_warming.sum()),
        incomplete=int(np.count_nonzero(examples.flags & FLAG_INCOMPLETE)),
        dropped_warming=len(examples.row) - len(kept),
        training=len(split.training),
        gap=split.gap,
        validation=len(split.validation),
        training_positive=int(examples.label[split.training].sum()),
        validation_positive=int(examples.label[split.validation].sum()),
    )


def _check_classes(label: NDArray[np.bool_], what: str) -> None:
    positive = int(label.sum())
    negative = len(label) - positive
    if min(positive, negative) < LEAST_PER_CLASS:
        message = (
            f"too few {what} to learn from: {positive} positive and {negative} negative, at "
            f"least {LEAST_PER_CLASS} of each are needed; give a longer history, and labels for "
            "legitimate events as well as for fraud"
        )
        raise UsageError(message)


def _read(
    files: FeatureFiles, names: Sequence[str], examples: Examples, split: Split
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read float64[features, rows] for training and validation, one feature at a time."""
    rows = (examples.row[split.training], examples.row[split.validation])
    training, validation = (np.empty((len(names), len(part)), np.float64) for part in rows)
    for place, name in enumerate(names):
        column = files.numbers(name)
        training[place] = column[rows[0]]
        validation[place] = column[rows[1]]
    return training, validation


def _fit(
    names: Sequence[str],
    matrices: tuple[NDArray[np.float64], NDArray[np.float64]],
    labels: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    parameters: Parameters,
    running: tuple[int, Callable[[int, int], None] | None],
) -> tuple[str, Metrics]:
    """Train and return the model's text and its metrics on the validation rows.

    ``matrices`` and ``labels`` are (training, validation), ``running`` is (threads, progress).
    """
    threads, progress = running
    options: dict[str, Any] = {**parameters.to_lightgbm(), "num_threads": threads, "verbosity": -1}
    training = lightgbm.Dataset(matrices[0].T, labels[0].astype(np.float32), params=options)
    training.set_feature_name(list(names))
    booster = lightgbm.Booster(options, training)
    for made in range(parameters.trees):
        if booster.update():
            break  # no split gains anything any more
        if progress:
            progress(made + 1, parameters.trees)
    text = booster.model_to_string(num_iteration=-1)
    # A model is named by its hash, which must not depend on how many threads made it.
    text = re.sub(r"(?m)^\[num_threads: \d+\]$", "[num_threads: 0]", text)
    margin = lgb.margins(lgb.load(text), matrices[1], threads)
    return text, measure(labels[1], margin)


def _sources(
    files: FeatureFiles, labels: Path, fields: LabelFields, split: Split, *, drop_warming: bool
) -> dict[str, Any]:
    """Say what the model was made from: names and hashes of files, no directories."""
    return {
        "features": [
            {**metadata, "sha256": hash_file(path)}
            for path, metadata in zip(files.paths, files.metadata(), strict=True)
        ],
        "labels": {"file": labels.name, "sha256": hash_file(labels), "fields": asdict(fields)},
        "split": {
            "validation_share": VALIDATION_SHARE,
            "gap_us": split.gap_us,
            "drop_warming": drop_warming,
        },
    }
