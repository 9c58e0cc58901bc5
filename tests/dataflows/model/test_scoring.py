"""Margins and scores are LightGBM's to the bit, for any batch size, threads and layout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import lightgbm
import numpy as np
import pytest

from noskew.dataflows.model import booster as lgb
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.scoring import Scorer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan


def bits(values: NDArray[np.float64]) -> list[int]:
    return cast("list[int]", values.view(np.int64).tolist())


def make_bundle(**parameters: Any) -> Bundle:
    """Train a small model of any objective and wrap it as a bundle of four features."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(3000, 4))
    target = np.abs(rows[:, 0] * 3 + random.normal(size=3000))
    if parameters["objective"] in {"binary", "cross_entropy"}:
        target = (target > 2.0).astype(np.float64)
    model = lightgbm.train(
        {"verbosity": -1, "num_threads": 1, **parameters},
        lightgbm.Dataset(rows, target),
        num_boost_round=30,
    )
    return wrap(model.model_to_string())


def wrap(text: str) -> Bundle:
    manifest = SimpleNamespace(features=list("abcd"))
    return Bundle(cast("Any", manifest), text, cast("Any", None), lgb.load(text))


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float64]:
    random = np.random.default_rng(5)
    values = random.normal(size=(4, 5000))
    values[:, ::50] = np.nan
    values[1, 3::70] = np.inf
    return values


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "binary"},
        {"objective": "binary", "sigmoid": 0.37},
        {"objective": "cross_entropy"},
        {"objective": "regression"},
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "regression_l1"},
        {"objective": "huber"},
        {"objective": "quantile"},
        {"objective": "poisson"},
        {"objective": "tweedie"},
    ],
    ids=str,
)
def test_margin_and_score_equal_booster_predict(
    parameters: dict[str, Any], vectors: NDArray[np.float64]
) -> None:
    bundle = make_bundle(**parameters)
    margin, score = Scorer(bundle).score(vectors)
    rows = np.ascontiguousarray(vectors.T)
    assert bits(margin) == bits(np.asarray(bundle.booster.predict(rows, raw_score=True)))
    assert bits(score) == bits(np.asarray(bundle.booster.predict(rows)))


def test_the_sigmoid_equals_lightgbms_on_a_hundred_thousand_margins() -> None:
    random = np.random.default_rng(11)
    for slope in (1.0, 0.37):
        for scale in (0.01, 1.0, 30.0, 1000.0):
            for leaves in random.normal(scale=scale, size=(25, 500)):
                bundle = wrap(single_tree(leaves, slope))
                vectors = np.zeros((4, len(leaves)))
                vectors[0] = np.arange(len(leaves))
                margin, score = Scorer(bundle).score(vectors)
                assert bits(margin) == bits(leaves)
                assert bits(score) == bits(np.asarray(bundle.booster.predict(vectors.T)))


def single_tree(leaves: NDArray[np.float64], slope: float) -> str:
    """Return a model whose margin for ``first feature == i`` is ``leaves[i]``: a chain."""
    count = len(leaves)

    def join(values: Any) -> str:
        return " ".join(map(str, values))

    tree = "\n".join(
        [
            "Tree=0",
            f"num_leaves={count}",
            "num_cat=0",
            f"split_feature={join([0] * (count - 1))}",
            f"split_gain={join([1] * (count - 1))}",
            f"threshold={join(i + 0.5 for i in range(count - 1))}",
            f"decision_type={join([2] * (count - 1))}",
            f"left_child={join(-1 - i for i in range(count - 1))}",
            f"right_child={join([*range(1, count - 1), -count])}",
            f"leaf_value={join(repr(float(leaf)) for leaf in leaves)}",
            f"leaf_weight={join([1] * count)}",
            f"leaf_count={join([1] * count)}",
            f"internal_value={join([0] * (count - 1))}",
            f"internal_weight={join([1] * (count - 1))}",
            f"internal_count={join([1] * (count - 1))}",
            "is_linear=0",
            "shrinkage=1",
            "",
            "",
            "",
        ]
    )
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx=3\nobjective=binary sigmoid:{slope}\nfeature_names=a b c d\n"
        f"feature_infos=none none none none\ntree_sizes={len(tree)}\n\n{tree}"
        "end of trees\n\nfeature_importances:\n\nparameters:\nend of parameters\n"
    )


@pytest.mark.parametrize("margin", [-800.0, -709.8, -709.78, -37.0, 0.0, 37.0, 709.8, 800.0])
def test_the_sigmoid_neither_raises_nor_differs_at_its_ends(margin: float) -> None:
    bundle = wrap(single_tree(np.array([margin, 0.0]), 1.0))
    vector = np.zeros((4, 1))
    _, score = Scorer(bundle).score(vector)
    assert bits(score) == bits(np.asarray(bundle.booster.predict(vector.T)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 17, 256, 4999])
def test_no_batch_size_and_no_number_of_threads_changes_a_bit(
    saved: tuple[Plan, Path], vectors: NDArray[np.float64], size: int, threads: int
) -> None:
    bundle = Bundle.load(saved[1], saved[0])
    wanted = Scorer(bundle).score(vectors * 9000)
    scorer = Scorer(bundle, threads)
    last = 500 if size == 1 else vectors.shape[1]
    parts = [
        scorer.score(vectors[:, start : min(start + size, last)] * 9000)
        for start in range(0, last, size)
    ]
    for position in (0, 1):
        found = np.concatenate([part[position] for part in parts])
        assert bits(found) == bits(wanted[position][:last])


def test_rows_in_either_memory_order_and_in_a_slice_score_the_same(
    saved: tuple[Plan, Path], vectors: NDArray[np.float64]
) -> None:
    scorer = Scorer(Bundle.load(saved[1], saved[0]))
    wanted = bits(scorer.score(vectors)[0])
    assert bits(scorer.score(np.asfortranarray(vectors))[0]) == wanted
    nodes = np.vstack([vectors, vectors])
    assert bits(scorer.score(nodes[:4])[0]) == wanted
    assert bits(scorer.score(vectors[:, 100:300])[0]) == wanted[100:300]


def test_an_empty_batch_gives_empty_results(saved: tuple[Plan, Path]) -> None:
    margin, score = Scorer(Bundle.load(saved[1], saved[0])).score(np.empty((4, 0)))
    assert (len(margin), len(score)) == (0, 0)


def test_another_number_of_features_is_refused(saved: tuple[Plan, Path]) -> None:
    scorer = Scorer(Bundle.load(saved[1], saved[0]))
    with pytest.raises(ValueError, match="the model takes 4 features"):
        scorer.score(np.zeros((5, 3)))


def test_loading_and_scoring_print_nothing(
    saved: tuple[Plan, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    Scorer(Bundle.load(saved[1], saved[0])).score(np.zeros((4, 3)))
    make_bundle(objective="poisson")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
