"""``noskew train`` as a library function: definition and files in, bundle and report out."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from noskew.dataflows.commands.train import render, train
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.training import Parameters

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.commands.train import Report

DAY_US = 86_400_000_000
DEFINITION = """
from noskew.dataflows import Model, Pipeline, Stream

payments = Stream(
    "payments", topic="transactions", schema="payment.avsc",
    id="payment_id", key="customer_id", time="event_time",
)
card = payments.by("customer_id")
pipeline = Pipeline(
    name="card_fraud",
    score=payments,
    features=[
        payments.column("amount_cents"),
        payments.hour(),
        card.count(over=["1d", "7d"]),
    ],
    model=Model("card_fraud"),
)
"""
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "payment_id", "type": "long"},
        {"name": "customer_id", "type": "long"},
        {"name": "amount_cents", "type": "long"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    """Write a definition, and features and labels of 60 days as ``noskew replay`` would."""
    (tmp_path / "payment.avsc").write_text(json.dumps(SCHEMA))
    path = tmp_path / "fraud.py"
    path.write_text(DEFINITION)
    plan = compile_plan(load(path))
    count = 3000
    random = np.random.default_rng(2)
    ids = np.arange(count, dtype=np.int64)
    time_us = 1_500_000_000_000_000 + ids * (60 * DAY_US // count)
    features = random.gamma(2.0, 3000.0, (len(plan.names), count))
    columns = {
        "stream_partition": np.zeros(count, np.int32),
        "stream_offset": ids,
        "payment_id": ids,
        "customer_id": ids % 7,
        "event_time": pa.array(time_us, pa.timestamp("us")),
        **dict(zip(plan.names, features, strict=True)),
        "flags": np.where(ids < 100, 4, 0).astype(np.int32),
    }
    table = pa.table(columns).replace_schema_metadata(
        {
            "noskew.fingerprint": plan.fingerprint.hex(),
            "noskew.order": "file",
            "noskew.sources": "[]",
        }
    )
    pq.write_table(table, tmp_path / "features.parquet")
    write_labels(tmp_path, features[0] > 14_000, time_us)
    return path


def write_labels(directory: Path, fraud: np.ndarray, time_us: np.ndarray) -> None:
    labels = {"payment_id": np.arange(len(fraud)), "fraud": fraud, "known": time_us + DAY_US}
    pq.write_table(pa.table(labels), directory / "labels.parquet")


def run(definition: Path, **options: str | bool) -> Report:
    directory = definition.parent
    return train(
        definition,
        [directory / "features.parquet"],
        directory / "labels.parquet",
        directory / "bundle",
        parameters=Parameters(trees=10),
        label="fraud",
        label_time="known",
        **options,  # type: ignore[arg-type]  # the options of one test
    )


def test_the_bundle_loads_with_the_definition_it_was_trained_for(definition: Path) -> None:
    report = run(definition)
    bundle = Bundle.load(report.out, compile_plan(load(definition)))
    assert bundle.manifest == report.manifest
    assert bundle.manifest.model == "card_fraud"
    assert bundle.manifest.rows.gap == 350


def test_a_definition_changed_after_replay_is_refused(definition: Path) -> None:
    definition.write_text(DEFINITION.replace('"7d"', '"30d"'))
    with pytest.raises(UsageError, match=r"missing  customer_id_count_30d"):
        run(definition)


def test_thirty_features_are_named_in_the_bundle_in_their_order(definition: Path) -> None:
    windows = ", ".join(f'"{days}d"' for days in range(1, 29))
    definition.write_text(DEFINITION.replace('"1d", "7d"', windows))
    plan = compile_plan(load(definition))
    count = 3000
    values = np.random.default_rng(3).gamma(2.0, 3000.0, (len(plan.names), count))
    old = pq.read_table(definition.parent / "features.parquet")
    beside = [name for name in old.column_names if old.schema.field(name).type != pa.float64()]
    columns = {**{name: old[name] for name in beside}, **dict(zip(plan.names, values, strict=True))}
    metadata = {**old.schema.metadata, b"noskew.fingerprint": plan.fingerprint.hex().encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, definition.parent / "features.parquet")

    report = run(definition)

    assert len(plan.names) == 30
    assert report.manifest.features == list(plan.names)
    assert Bundle.load(report.out, plan).manifest == report.manifest


def test_the_report_is_json_and_says_what_was_left_out(definition: Path) -> None:
    report = run(definition, drop_warming=True)
    values = json.loads(json.dumps(report.to_json()))
    assert values["rows"]["dropped_warming"] == 100
    assert values["metrics"]["auc"] > 0.99
    assert values["notes"] == [
        "100 warming rows left out",
        "350 rows of the 7d before validation left out: their labels would not have been known",
    ]


def test_the_table_shows_counts_metrics_and_notes(definition: Path) -> None:
    screen = io.StringIO()
    report = run(definition)
    render(report, Console(file=screen, width=120))
    shown = screen.getvalue()
    assert report.manifest.model_sha256[:16] in shown
    assert "600 rows" in shown
    assert f"{report.manifest.metrics.auc:.4f}" in shown
    assert "100 rows are warming" in shown


def test_a_validation_of_one_class_is_said_and_has_no_metrics(definition: Path) -> None:
    count = 3000
    time_us = 1_500_000_000_000_000 + np.arange(count) * (60 * DAY_US // count)
    fraud = (np.arange(count) % 9 == 0) & (np.arange(count) < 2000)
    write_labels(definition.parent, fraud, time_us)
    report = run(definition)
    assert report.manifest.metrics.auc is None
    assert report.notes[-1] == (
        "validation has one class only (0 positive of 600 rows): no metrics"
    )
    screen = io.StringIO()
    render(report, Console(file=screen, width=120))
    assert "no metrics" in screen.getvalue()


def test_a_label_delay_that_is_none_is_refused(definition: Path) -> None:
    with pytest.raises(UsageError, match="--label-delay"):
        run(definition, label_delay="a week")


def test_nothing_is_printed_where_there_is_no_terminal(
    definition: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(definition)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
