"""A small plan, a training set as ``noskew replay`` writes it, and its labels."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noskew.dataflows.definition.plan import Plan, Row, RowNode, StreamPlan
from noskew.dataflows.model.training import Parameters, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DAY_US = 86_400_000_000
START_US = 1_500_000_000_000_000
NAMES = ("amount_cents", "hour", "customer_id_count_1d", "customer_id_mean_7d")


@dataclass(frozen=True)
class History:
    """Everything a training needs: ``table`` and ``labels`` are what the files hold."""

    plan: Plan
    table: pa.Table
    labels: pa.Table
    directory: Path

    @property
    def features_path(self) -> Path:
        return self.directory / "features.parquet"

    @property
    def labels_path(self) -> Path:
        return self.directory / "labels.parquet"

    def write(self) -> History:
        pq.write_table(self.table, self.features_path)
        pq.write_table(self.labels, self.labels_path)
        return self

    def renamed(self, names: Sequence[str], *, fingerprint: bytes | None = None) -> Plan:
        return replace(
            self.plan, names=tuple(names), fingerprint=fingerprint or self.plan.fingerprint
        )


def make_plan() -> Plan:
    stream = StreamPlan(
        place=0,
        name="payments",
        topic="transactions",
        schema={},
        schema_text="{}",
        id="transaction_id",
        key="customer_id",
        time="event_time",
        available="event_time",
        fields={"transaction_id": "int", "customer_id": "int", "event_time": "int"},
        nullable=frozenset(),
        max_abs={},
        quantum={},
        allowed_lateness_us=0,
        max_skew_us=DAY_US,
    )
    return Plan(
        name="card_fraud",
        streams=(stream,),
        tables=(),
        rows=tuple(RowNode(place, Row.HOUR) for place in range(len(NAMES))),
        names=NAMES,
        nodes=len(NAMES),
        ordered=(False,) * len(NAMES),
        fingerprint=bytes(range(32)),
        model="card_fraud",
    )


def make_table(plan: Plan, count: int) -> tuple[pa.Table, pa.Table]:
    """Return ``count`` events over 60 days whose fraud depends on the amount, and labels."""
    random = np.random.default_rng(7)
    time_us = START_US + np.sort(random.integers(0, 60 * DAY_US, count))
    features = random.gamma(2.0, 3000.0, (len(plan.names), count)).round()
    features[3, random.random(count) < 0.2] = np.nan
    fraud = features[0] + random.normal(0, 4000, count) > 15000
    ids = random.permutation(count).astype(np.int64)
    columns = {
        "stream_partition": pa.array((ids % 8).astype(np.int32)),
        "stream_offset": pa.array(np.arange(count, dtype=np.int64)),
        "transaction_id": pa.array(ids),
        "customer_id": pa.array(ids % 97),
        "event_time": pa.array(time_us, pa.timestamp("us", "UTC")),
        **{name: pa.array(column) for name, column in zip(plan.names, features, strict=True)},
        "flags": pa.array(np.where(np.arange(count) < count // 10, 4, 0).astype(np.int32)),
    }
    metadata = {
        "noskew.fingerprint": plan.fingerprint.hex(),
        "noskew.order": "canonical",
        "noskew.sources": json.dumps([{"stream": "payments", "file": "payments.parquet"}]),
    }
    labels = {
        "transaction_id": pa.array(ids),
        "is_fraud": pa.array(fraud),
        "labelled_at": pa.array(time_us + DAY_US, pa.timestamp("us", "UTC")),
    }
    return pa.table(columns).replace_schema_metadata(metadata), pa.table(labels)


@pytest.fixture
def history(tmp_path: Path) -> History:
    plan = make_plan()
    table, labels = make_table(plan, 4000)
    return History(plan, table, labels, tmp_path).write()


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """Return a plan and the directory of a bundle for it; copy it before damaging it."""
    directory = tmp_path_factory.mktemp("saved")
    plan = make_plan()
    table, labels = make_table(plan, 4000)
    files = History(plan, table, labels, directory).write()
    out = directory / "bundle"
    train(plan, [files.features_path], files.labels_path, out, parameters=Parameters(trees=20))
    return plan, out
