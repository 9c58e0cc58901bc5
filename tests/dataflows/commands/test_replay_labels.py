"""Simulated payments and labels replayed together: what was known of a terminal by then."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
import pytest

from noskew.dataflows import card_fraud
from noskew.dataflows.commands.replay import replay
from noskew.dataflows.commands.simulate import simulate
from noskew.dataflows.commands.train import train
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.training import Parameters
from noskew.dataflows.settings import settings
from noskew.kernels.layout import FLAG_INCOMPLETE

if TYPE_CHECKING:
    from noskew.dataflows.commands.replay import Report

COUNT = 30_000
NAMES = tuple(f"labels_terminal_id_is_fraud_sum_{over}_delay_7d" for over in ("1d", "7d", "30d"))

# A label is known to a payment once it was available before the payment was: before its partition
# had seen a time so late. A corrected one counts until its correction is known.
EXPECTED = """
with p as (
  select *, max(event_time) over (partition by stream_partition order by stream_offset) known
  from '{payments}'
), l as (
  select *, lead(labelled_at) over (partition by transaction_id order by labelled_at) until
  from '{labels}'
), e as (
  select p.transaction_id,
    count(*) filter (is_fraud and l.event_time > p.event_time - interval 8 day) n1,
    count(*) filter (is_fraud and l.event_time > p.event_time - interval 14 day) n7,
    count(*) filter (is_fraud and l.event_time > p.event_time - interval 37 day) n30
  from p left join l on l.terminal_id = p.terminal_id and l.labelled_at < p.known
    and (l.until is null or l.until >= p.known)
    and l.event_time <= p.event_time - interval 7 day
  group by 1
)
select e.*, f.* from e join '{features}' f using (transaction_id) where f.flags & {flag} = 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    simulate(
        COUNT, 1, days=90, customers=300, terminals=60, seed=3, late=0.02,
        out=folder / "payments.parquet", labels_out=folder / "labels.parquet",
        end=datetime(2025, 3, 1, tzinfo=UTC),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def replayed(folder: Path) -> Report:
    inputs = [f"{name}={folder / name}.parquet" for name in ("payments", "labels")]
    return replay(Path(str(card_fraud.__file__)), inputs, folder / "features.parquet", settings())


def test_both_files_are_taken_in_canonical_order(folder: Path, replayed: Report) -> None:
    labels = pq.read_metadata(folder / "labels.parquet").num_rows

    assert replayed.order == "canonical"
    assert (replayed.read, replayed.written) == (COUNT + labels, COUNT)
    assert replayed.dead == 0


@pytest.mark.usefixtures("replayed")
def test_every_payment_has_the_frauds_that_were_known_of_its_terminal(folder: Path) -> None:
    paths = {name: folder / f"{name}.parquet" for name in ("payments", "labels", "features")}
    found = duckdb.execute(EXPECTED.format(**paths, flag=FLAG_INCOMPLETE)).fetchnumpy()

    assert len(found["flags"]) > 0.95 * COUNT
    for expected, name in zip(("n1", "n7", "n30"), NAMES, strict=True):
        counted = found[expected]
        assert counted.sum() > 100
        assert (found[name] == counted).all(), name


@pytest.mark.usefixtures("replayed")
def test_frauds_that_are_not_known_yet_are_not_counted(folder: Path) -> None:
    (before, frauds) = duckdb.execute(
        f"select sum({NAMES[2]}), (select count(*) from '{folder}/labels.parquet' where is_fraud)"
        f" from '{folder}/features.parquet' where event_time < (select min(labelled_at)"
        f" from '{folder}/labels.parquet')"
    ).fetchall()[0]

    assert before == 0
    assert frauds > 100


@pytest.mark.usefixtures("replayed")
def test_a_model_is_trained_on_them_and_the_same_labels(folder: Path) -> None:
    features, definition = folder / "features.parquet", Path(str(card_fraud.__file__))
    plan = compile_plan(card_fraud.pipeline)

    report = train(
        definition, [features], folder / "labels.parquet", folder / "bundle",
        parameters=Parameters(trees=20),
    )  # fmt: skip

    # A payment with a corrected label is one row still.
    rows = report.manifest.rows
    assert (rows.in_files, rows.unlabelled) == (COUNT, COUNT - labelled(folder))
    assert report.manifest.features == list(plan.names)
    assert set(NAMES) <= set(report.manifest.features)
    Bundle.load(folder / "bundle", plan, definition=str(definition))
    assert report.manifest.metrics.auc is not None
    assert report.manifest.metrics.auc > 0.5


def labelled(folder: Path) -> int:
    """Return how many payments have a label."""
    ((count,),) = duckdb.execute(
        f"select count(distinct transaction_id) from '{folder}/labels.parquet'"
    ).fetchall()
    return int(count)
