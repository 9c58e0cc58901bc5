"""Training is a function of its files: labels, split, counts and refusals as documented."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from noskew.dataflows.errors import UsageError
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.dataset import FeatureFiles, LabelFields, join
from noskew.dataflows.model.scoring import Scorer
from noskew.dataflows.model.training import Parameters, measure, split_by_time, train

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.model.dataset import Examples
    from noskew.dataflows.model.manifest import Manifest

DAY_US = 86_400_000_000
SMALL = Parameters(trees=20)


@dataclass(frozen=True)
class History:
    """What the fixture ``history`` hands out."""

    plan: Plan
    table: pa.Table
    labels: pa.Table
    directory: Path
    features_path: Path
    labels_path: Path


def run(history: History, plan: Plan | None = None, **options: Any) -> Manifest:
    out = options.pop("out", history.directory / "bundle")
    options.setdefault("parameters", SMALL)
    return train(plan or history.plan, [history.features_path], history.labels_path, out, **options)


def joined(history: History) -> Examples:
    files = FeatureFiles.open([history.features_path], history.plan)
    return join(files, history.labels_path, LabelFields("transaction_id"), history.plan)


def test_equal_inputs_give_an_equal_bundle_for_any_number_of_threads(history: History) -> None:
    first = run(history, out=history.directory / "one")
    again = run(history, out=history.directory / "two")
    threaded = run(history, out=history.directory / "three", threads=2)
    assert first.to_json() == again.to_json() == threaded.to_json()
    for name in ("model.txt", "golden.npz", "manifest.json"):
        one, two, three = (
            (history.directory / out / name).read_bytes() for out in ("one", "two", "three")
        )
        assert one == two == three


def test_the_order_of_rows_in_the_file_does_not_change_the_model(history: History) -> None:
    first = run(history)
    order = np.random.default_rng(1).permutation(len(history.table))
    pq.write_table(history.table.take(order), history.features_path)
    assert run(history).model_sha256 == first.model_sha256


def test_files_given_one_after_another_are_one_training_set(history: History) -> None:
    first = run(history)
    parts = []
    for number, start in enumerate((0, 1500)):
        parts.append(history.directory / f"part{number}.parquet")
        pq.write_table(history.table.slice(start, 1500 if start == 0 else None), parts[-1])
    manifest = train(
        history.plan, parts, history.labels_path, history.directory / "b", parameters=SMALL
    )
    assert manifest.model_sha256 == first.model_sha256
    assert [source["file"] for source in manifest.sources["features"]] == [
        "part0.parquet",
        "part1.parquet",
    ]


def test_the_model_learns_and_its_metrics_are_those_of_its_scores(history: History) -> None:
    manifest = run(history)
    bundle = Bundle.load(history.directory / "bundle", history.plan)
    examples = joined(history)
    part = split_by_time(examples.time_us, 7 * DAY_US).validation
    columns = [history.table[name].to_numpy()[examples.row[part]] for name in history.plan.names]
    margin, score = Scorer(bundle).score(np.array(columns))
    label = examples.label[part]
    pairs = margin[label][:, None] - margin[~label][None, :]
    auc = (np.count_nonzero(pairs > 0) + np.count_nonzero(pairs == 0) / 2) / pairs.size
    assert manifest.metrics.auc == pytest.approx(auc, rel=1e-12)
    loss = -np.log(np.where(label, score, 1 - score)).mean()
    assert manifest.metrics.binary_logloss == pytest.approx(loss, rel=1e-12)
    top = np.argsort(-margin, kind="stable")[:100]
    assert manifest.metrics.precision_at_100 == label[top].mean()
    assert auc > 0.9


def test_counts_account_for_every_row(history: History) -> None:
    pq.write_table(history.labels.slice(0, 3900), history.labels_path)
    rows = run(history, drop_warming=True).rows
    assert (rows.in_files, rows.unlabelled, rows.warming) == (4000, 100, 400)
    assert rows.dropped_warming == 400
    assert rows.gap > 0
    parts = rows.unlabelled + rows.dropped_warming + rows.training + rows.gap + rows.validation
    assert parts == rows.in_files
    kept = run(history).rows
    assert (kept.warming, kept.dropped_warming) == (400, 0)
    assert kept.training > rows.training


def test_of_several_labels_the_one_known_last_wins(history: History) -> None:
    ids = history.table["transaction_id"].to_pylist()[:4]
    known = np.array([5, 9, 7, 3, 3, 3, 8], np.int64) * DAY_US
    labels = pa.table(
        {
            "transaction_id": [ids[0], ids[0], ids[0], ids[1], ids[1], ids[2], ids[3]],
            "is_fraud": [False, True, False, True, False, True, None],
            "labelled_at": pa.array(known, pa.timestamp("us")),
        }
    )
    pq.write_table(labels, history.labels_path)
    examples = joined(history)
    found = dict(zip(examples.row.tolist(), examples.label.tolist(), strict=True))
    # Row 0: known on day 9. Row 1: a tie, the later row. Row 3: its only label is null.
    assert found == {0: True, 1: False, 2: True}
    assert examples.unlabelled == 3997


def test_string_ids_and_integer_labels_join_as_well(history: History) -> None:
    wanted = joined(history)
    for table, path, place in (
        (history.table, history.features_path, 2),
        (history.labels, history.labels_path, 0),
    ):
        text = pc.cast(table["transaction_id"], pa.string())
        pq.write_table(table.set_column(place, "transaction_id", text), path)
    labels = pq.read_table(history.labels_path)
    labels = labels.set_column(1, "is_fraud", labels["is_fraud"].cast(pa.int8()))
    pq.write_table(labels, history.labels_path)
    found = joined(history)
    assert found.label.tolist() == wanted.label.tolist()
    assert found.row.tolist() == wanted.row.tolist()


def test_validation_is_the_last_fifth_and_the_gap_is_left_out() -> None:
    time_us = np.arange(100, dtype=np.int64) * DAY_US
    split = split_by_time(time_us, 7 * DAY_US)
    assert split.validation.tolist() == list(range(80, 100))
    assert split.training.tolist() == list(range(73))
    assert (split.gap, split.gap_us) == (7, 7 * DAY_US)


def test_a_gap_that_would_take_most_training_rows_is_left_away() -> None:
    time_us = np.arange(100, dtype=np.int64) * DAY_US // 20
    split = split_by_time(time_us, 7 * DAY_US)
    assert (split.gap, split.gap_us) == (0, 0)
    assert len(split.training) == 80


def test_equal_times_are_never_on_both_sides() -> None:
    time_us = np.repeat(np.arange(3, dtype=np.int64), 40)
    split = split_by_time(time_us, 0)
    assert split.training.tolist() == list(range(80))
    assert split.validation.tolist() == list(range(80, 120))


def test_one_class_in_validation_gives_no_metrics() -> None:
    metrics = measure(np.zeros(200, np.bool_), np.arange(200.0))
    assert set(metrics.model_dump().values()) == {None}


def test_fewer_than_a_hundred_rows_have_no_precision_at_the_top_hundred() -> None:
    metrics = measure(np.arange(50) > 40, np.arange(50.0))
    assert (metrics.auc, metrics.average_precision, metrics.precision_at_100) == (1.0, 1.0, None)


def test_too_few_positives_are_refused_with_the_counts(history: History) -> None:
    fraud = np.zeros(len(history.labels), np.bool_)
    fraud[5:9] = True
    pq.write_table(history.labels.set_column(1, "is_fraud", pa.array(fraud)), history.labels_path)
    with pytest.raises(UsageError, match="4 positive and 3996 negative, at least 10 of each"):
        run(history)
    assert not (history.directory / "bundle").exists()


def test_labels_of_fraud_only_say_that_legitimate_events_are_needed(history: History) -> None:
    pq.write_table(history.labels.filter(history.labels["is_fraud"]), history.labels_path)
    with pytest.raises(UsageError, match=r"and 0 negative.*legitimate events as well"):
        run(history)


def test_features_of_another_plan_are_refused_with_the_names_that_differ(
    history: History,
) -> None:
    names = (*history.plan.names[:3], "customer_id_mean_30d")
    other = replace(history.plan, names=names, fingerprint=bytes(32))
    with pytest.raises(UsageError) as caught:
        run(history, other)
    message = str(caught.value)
    assert history.plan.fingerprint.hex() in message
    assert other.fingerprint.hex() in message
    assert "missing  customer_id_mean_30d (place 3)" in message
    assert "added    customer_id_mean_7d (place 3)" in message
    assert "amount_cents" not in message


def test_a_file_that_replay_did_not_make_is_refused(history: History) -> None:
    pq.write_table(history.table.replace_schema_metadata(None), history.features_path)
    with pytest.raises(UsageError, match="no fingerprint in its metadata"):
        run(history)


@pytest.mark.parametrize("name", ["flags", "hour", "event_time", "stream_offset"])
def test_a_missing_column_is_named(history: History, name: str) -> None:
    pq.write_table(history.table.drop_columns([name]), history.features_path)
    with pytest.raises(UsageError, match=f"has no column '{name}'"):
        run(history)


def test_a_feature_that_is_no_double_is_refused(history: History) -> None:
    place = history.table.schema.get_field_index("hour")
    table = history.table.set_column(place, "hour", history.table["hour"].cast(pa.float32()))
    pq.write_table(table, history.features_path)
    with pytest.raises(UsageError, match="column 'hour' is float, a feature is double"):
        run(history)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("is_fraud", pa.array([2] * 4000), "holds 2; a label is 0 or 1"),
        ("is_fraud", pa.array(["yes"] * 4000), "is string; a label is boolean, or 0 or 1"),
        ("transaction_id", pa.array(["a"] * 4000), "cannot be compared with the features'"),
    ],
)
def test_unfit_labels_are_refused_with_the_reason(
    history: History, column: str, values: pa.Array, reason: str
) -> None:
    place = history.labels.schema.get_field_index(column)
    pq.write_table(history.labels.set_column(place, column, values), history.labels_path)
    with pytest.raises(UsageError, match=reason):
        run(history)


def test_a_missing_label_column_lists_what_there_is(history: History) -> None:
    pq.write_table(history.labels.drop_columns(["labelled_at"]), history.labels_path)
    with pytest.raises(UsageError, match="no column 'labelled_at'; it has transaction_id, is_fra"):
        run(history)


@pytest.mark.parametrize("which", ["features_path", "labels_path"])
def test_a_missing_or_damaged_file_is_named(history: History, which: str) -> None:
    path = getattr(history, which)
    path.write_bytes(b"PAR1 not parquet PAR1")
    with pytest.raises(UsageError, match=f"{path.name} cannot be read as Parquet"):
        run(history)
    path.unlink()
    with pytest.raises(UsageError, match=f"{path.name} cannot be read as Parquet"):
        run(history)


def test_a_definition_without_a_model_says_what_to_add(history: History) -> None:
    with pytest.raises(UsageError, match=r"add model=Model\('card_fraud'\)"):
        run(history, replace(history.plan, model=None))


def test_a_foreign_out_is_refused_before_anything_is_read(history: History) -> None:
    shutil.rmtree(history.directory / "bundle", ignore_errors=True)
    with pytest.raises(UsageError, match="which is not part of a bundle"):
        run(history, out=history.directory)


def test_progress_counts_the_trees(history: History) -> None:
    seen: list[tuple[int, int]] = []
    run(history, progress=lambda made, trees: seen.append((made, trees)))
    assert seen == [(number + 1, 20) for number in range(20)]


def test_training_prints_nothing_where_logging_is_not_set_up(history: History) -> None:
    """In a process of its own: pytest's own log handlers would catch what leaks."""
    (history.directory / "plan.pickle").write_bytes(pickle.dumps(history.plan))
    script = """
import lightgbm, pathlib, pickle, sys
from noskew.dataflows.model.training import train
here = pathlib.Path(sys.argv[1])
plan = pickle.loads((here / "plan.pickle").read_bytes())
train(plan, [here / "features.parquet"], here / "labels.parquet", here / "bundle")
lightgbm.Booster(model_file=here / "bundle" / "model.txt", params={"verbosity": 1})  # warns
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(history.directory)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
