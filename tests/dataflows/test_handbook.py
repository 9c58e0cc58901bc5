"""1,754,155 real events, some of it through real servers: every statistic of every row, to the bit.

The expected values come from DuckDB: see ``handbook``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handbook import (
    FILE,
    ROWS,
    SPANS,
    bits,
    database,
    feature,
    frame,
    quotient,
    range_of,
    written_features,
)
from live import Live
from naive import WARMING
from paths import shared
from score_columns import read_scores
from strategies import DAY, HOUR
from xxhash import xxh64_intdigest

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.settings import settings
from noskew.dataflows.simulation.population import partition_of
from noskew.dataflows.simulation.topics import load_parquet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from score_columns import ScoreColumns

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.timeout(900)

FULL: Final = pytest.mark.full
PARTITIONS: Final = 8
LATENESS_US: Final = HOUR
MAX_SKEW_US: Final = DAY

FRAMES: Final = {
    "customer_id": [("1d", "0s"), ("30d", "0s")],
    "terminal_id": [("30d", "7d")],
}
"""What runs live, per entity: window and delay."""
WINDOWS: Final = ("1d", "7d", "30d")
REACH_US: Final = {"customer_id": 30 * DAY, "terminal_id": 37 * DAY}


LABELS: Final = """\
from noskew.dataflows import Pipeline, Stream

labels = Stream(
    "labels", topic="labels", schema="label.avsc", id="transaction_id", key="customer_id",
    time="event_time", available="labelled_at",
)
frauds = labels.by("terminal_id")
"""
DEFINITION: Final = """\
from noskew.dataflows import Pipeline, Stream

payments = Stream(
    "payments", topic="payments", schema="transaction.avsc", id="transaction_id",
    key="customer_id", time="event_time",
)
card = payments.by("customer_id")
terminal = payments.by("terminal_id")

pipeline = Pipeline(name="book", score=payments, features=[
{features}])
"""


@dataclass(frozen=True)
class Handbook:
    """The file as its topic holds it, and what a run put out, both by (partition, offset).

    rank  int64[n]  each row's number in the canonical order
    """

    own: Live
    events: pa.Table
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    time_us: NDArray[np.int64]
    rank: NDArray[np.int64]
    scores: ScoreColumns

    def found(self, name: str) -> NDArray[np.float64]:
        """Return one feature of every row, as the scores have it."""
        return self.scores.vectors[:, self.own.plan.names.index(name)]


@pytest.fixture(scope="module")
def handbook(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Handbook:
    """The whole file through ``noskew run``, in canonical order, to the end."""
    path = shared(FILE)
    own = Live.make(
        stack,
        tmp_path_factory.mktemp("handbook"),
        "handbook",
        partitions=PARTITIONS,
        features="".join(
            written_features(entity, *one) for entity in FRAMES for one in FRAMES[entity]
        ),
        align_wait_s="none",
        redis_flush_s=1,
    )
    loaded = load_parquet(path, stack.brokers, own.topic, stack.registry, partitions=PARTITIONS)
    assert loaded == ROWS
    with own.start("--until-end", "--json") as running:
        assert running.wait(600) == 0, running.stderr
        assert running.report["scored"] == running.report["delivered"] == ROWS
    plan = own.plan
    scores = read_scores(
        stack.brokers, f"{own.name}.scores", plan.fingerprint, len(plan.names), ROWS
    )
    events = pq.read_table(path)
    partition = partition_of(events["customer_id"].to_numpy().astype(np.int64), PARTITIONS)
    order = np.argsort(partition, kind="stable")
    events, partition = events.take(order), partition[order]
    counts = np.bincount(partition, minlength=PARTITIONS)
    offset = np.arange(ROWS) - np.repeat(np.cumsum(counts) - counts, counts)
    time_us = times_of(events)
    rank = np.empty(ROWS, np.int64)
    rank[np.lexsort((offset, partition, time_us))] = np.arange(ROWS)
    return Handbook(own, events, partition, offset, time_us, rank, scores)


@pytest.mark.stack
def test_every_row_has_exactly_one_score_in_its_place(handbook: Handbook) -> None:
    scores = handbook.scores

    assert np.array_equal(scores.partition, handbook.partition)
    assert np.array_equal(scores.offset, handbook.offset)
    # In order within the scores' partition, where the markers of transactions leave gaps.
    assert (np.diff(scores.place)[np.diff(scores.partition) == 0] > 0).all()
    assert np.array_equal(scores.event_id, handbook.events["transaction_id"].to_numpy())
    assert np.array_equal(scores.seq, handbook.rank)
    first_us = handbook.time_us.min()
    warming = handbook.time_us - max(REACH_US.values()) < first_us
    assert np.array_equal(scores.flags, np.where(warming, WARMING, 0))
    for row in range(ROWS):
        assert xxh64_intdigest(scores.vectors[row] + 0.0) == scores.digest[row], row


@pytest.mark.stack
@pytest.mark.parametrize("entity", FRAMES)
def test_every_statistic_of_every_row_equals_an_independent_computation(
    handbook: Handbook, entity: str
) -> None:
    assert not (np.diff(handbook.time_us)[np.diff(handbook.partition) == 0] < 0).any()
    with database(handbook.events, entity, handbook.time_us, handbook.rank) as db:
        for window, delay in FRAMES[entity]:
            for stat, expected in frame(db, window, delay).items():
                name = feature(entity, stat, window, delay)
                assert_equal(name, handbook.found(name), expected)


@pytest.mark.parametrize(
    ("entity", "frames"),
    [
        ("customer_id", [("7d", "0s")]),
        ("terminal_id", [("1d", "0s"), ("7d", "0s"), ("30d", "0s")]),
        ("terminal_id", [("1d", "7d"), ("7d", "7d")]),
        pytest.param("customer_id", [("1d", "7d"), ("7d", "7d"), ("30d", "7d")], marks=FULL),
    ],
)
def test_every_other_statistic_of_a_replay_equals_an_independent_computation(
    tmp_path: Path, entity: str, frames: list[tuple[str, str]]
) -> None:
    path, definition, out = shared(FILE), tmp_path / "book.py", tmp_path / "out.parquet"
    features = "".join(written_features(entity, window, delay) for window, delay in frames)
    definition.write_text(DEFINITION.format(features=features))

    assert replay(definition, [str(path)], out, settings()).written == ROWS

    events, file = pq.read_table(path), pq.ParquetFile(out)
    with database(events, entity, times_of(events), np.arange(ROWS)) as db:
        for window, delay in frames:
            for stat, expected in frame(db, window, delay).items():
                name = feature(entity, stat, window, delay)
                assert_equal(name, file.read([name])[name].to_numpy(), expected)


def test_risk_of_terminals_by_labels_known_after_seven_days(tmp_path: Path) -> None:
    """The handbook's TERMINAL_ID_NB_TX and TERMINAL_ID_RISK, from a stream of labels."""
    path, definition, out = shared(FILE), tmp_path / "risk.py", tmp_path / "out.parquet"
    events = pq.read_table(path)
    features = "".join(
        f'    frauds.count(over="{window}", delay="7d"),\n'
        f'    frauds.sum("is_fraud", over="{window}", delay="7d"),\n'
        f'    frauds.mean("is_fraud", over="{window}", delay="7d", empty=0.0),\n'
        for window in WINDOWS
    )
    definition.write_text(LABELS + DEFINITION.format(features=features))
    time_us = times_of(events)
    # Of one time, the scored stream goes first. A label is there just before its delay is over.
    known = time_us + 7 * DAY - 1
    labels = events.select(["transaction_id", "customer_id", "terminal_id", "event_time"])
    labels = labels.append_column("is_fraud", events["is_fraud"])
    labels = labels.append_column("labelled_at", pa.array(known, pa.timestamp("us")))
    for table, name, stamp in (
        (events, "payments", time_us),
        (labels, "labels", known),
    ):
        placed = table.append_column("stream_partition", pa.array(np.zeros(ROWS, np.int32)))
        placed = placed.append_column("stream_offset", pa.array(np.arange(ROWS)))
        stamps = pa.array(stamp, pa.timestamp("us"))
        placed = placed.append_column("record_timestamp", stamps)
        pq.write_table(placed, tmp_path / f"{name}.parquet")

    files = [f"{name}={tmp_path / name}.parquet" for name in ("payments", "labels")]
    report = replay(definition, files, out, settings())

    assert (report.written, report.late, report.dead) == (ROWS, 0, 0)
    file = pq.ParquetFile(out)
    names = [name for name in file.schema_arrow.names if "7d" in name]
    with database(events, "terminal_id", time_us, np.arange(ROWS)) as db:
        for window in WINDOWS:
            got = db.execute(
                "SELECT count(*) OVER w AS n, coalesce(sum(f) OVER w, 0)::BIGINT AS frauds FROM e "
                f"WINDOW w AS {range_of(SPANS[window], SPANS['7d'])} ORDER BY row"
            ).fetchnumpy()
            risk = np.where(got["n"] == 0, 0.0, quotient(got["frauds"], got["n"]))
            ours = [name for name in names if f"_{window}_delay" in name]
            assert len(ours) == 3
            for name, expected in zip(ours, (got["n"], got["frauds"], risk), strict=True):
                assert_equal(name, file.read([name])[name].to_numpy(), expected.astype(float))


@pytest.mark.stack
def test_stored_rows_equal_the_vector_of_each_entitys_last_event(handbook: Handbook) -> None:
    stored = handbook.own.rows()
    fastest_us = handbook.time_us.max()
    slowest_us = min(handbook.time_us[handbook.partition == p].max() for p in range(PARTITIONS))
    horizon_us = max(slowest_us, fastest_us - MAX_SKEW_US) - LATENESS_US
    expected = {}
    for table in handbook.own.plan.tables:
        keys = handbook.events[table.entity].to_numpy()
        last = np.argsort(handbook.rank)[::-1]
        last = last[np.unique(keys[last], return_index=True)[1]]
        last = last[handbook.time_us[last] + REACH_US[table.entity] > horizon_us]
        words = bits(np.stack([handbook.found(name)[last] for name in table.row_names], axis=1))
        for row, values in zip(last.tolist(), words.tolist(), strict=True):
            expected[table.entity, int(keys[row])] = (
                int(handbook.time_us[row]),
                int(handbook.rank[row]),
                values,
            )

    assert {
        place: (row.time_us, row.seq, row.words.tolist()) for place, row in stored.items()
    } == expected
    assert handbook.own.watermark() == ROWS - 1


@pytest.mark.stack
def test_replay_of_the_topic_in_journal_order_gives_the_bits_of_the_live_run(
    handbook: Handbook, tmp_path: Path
) -> None:
    out, own = tmp_path / "topic.parquet", handbook.own

    assert replay(own.definition, ["kafka"], out, settings(**own.flags)).order == "journal"

    assert_file_equals_live(out, handbook)


@pytest.mark.stack
def test_replay_of_the_file_with_its_places_gives_the_bits_of_the_live_run(
    handbook: Handbook, tmp_path: Path
) -> None:
    file, out, own = tmp_path / "in.parquet", tmp_path / "out.parquet", handbook.own
    placed = (
        handbook.events.append_column("stream_partition", pa.array(handbook.partition))
        .append_column("stream_offset", pa.array(handbook.offset))
        .append_column("record_timestamp", handbook.events["event_time"])
    )
    pq.write_table(placed, file)

    assert replay(own.definition, [str(file)], out, settings(**own.flags)).order == "canonical"

    assert_file_equals_live(out, handbook)


# -- the definition, and what is expected of it ------------------------------------------------


def times_of(events: pa.Table) -> NDArray[np.int64]:
    found: NDArray[np.int64] = events["event_time"].cast(pa.int64()).to_numpy()
    return found


def assert_equal(name: str, found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    wrong = np.flatnonzero(bits(found) != bits(expected))
    first = wrong[:3].tolist()
    values = [(row, found[row], expected[row]) for row in first]
    assert not len(wrong), f"{name}: {len(wrong)} rows, the first are {values}"


def assert_file_equals_live(path: Path, handbook: Handbook) -> None:
    """A replay's file has every row, in processing order, with the bits of the scores."""
    file, scores = pq.ParquetFile(path), handbook.scores
    order = np.argsort(scores.seq)

    def column(name: str) -> NDArray[np.generic]:
        found: NDArray[np.generic] = file.read([name])[name].to_numpy()
        return found

    assert np.array_equal(column("stream_partition"), scores.partition[order])
    assert np.array_equal(column("stream_offset"), scores.offset[order])
    assert np.array_equal(column("flags"), scores.flags[order])
    for name in handbook.own.plan.names:
        live = bits(handbook.found(name)[order])
        assert np.array_equal(column(name).view(np.int64), live), name
