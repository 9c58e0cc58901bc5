"""1,754,155 real events through real servers: every statistic of every row, to the bit.

The expected values come from DuckDB: window frames over integers, in the canonical order. Times
in the file never fall and are whole seconds, so that order is (time, partition, offset), and an
event's place among those of its entity at the same second can stand in the microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from live import Live
from naive import WARMING
from paths import shared
from score_columns import read_scores
from strategies import DAY, HOUR, SECOND
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

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

ROWS: Final = 1_754_155
PARTITIONS: Final = 8
LATENESS_US: Final = HOUR
MAX_SKEW_US: Final = DAY

SPANS: Final = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "0s": 0}
FRAMES: Final = {
    "customer_id": [("1h", "0s"), ("1d", "0s"), ("7d", "0s"), ("30d", "0s")],
    "terminal_id": [("1d", "0s"), ("30d", "0s"), ("1d", "7d"), ("7d", "7d"), ("30d", "7d")],
}
"""Per entity: window and delay."""
STATS: Final = ("count", "sum", "mean", "min", "max")
REACH_US: Final = {"customer_id": 30 * DAY, "terminal_id": 37 * DAY}


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
    path = shared("data/handbook_transactions.parquet")
    own = Live.make(
        stack,
        tmp_path_factory.mktemp("handbook"),
        "handbook",
        partitions=PARTITIONS,
        features=written_features(),
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
    time_us = events["event_time"].cast(pa.int64()).to_numpy()
    rank = np.empty(ROWS, np.int64)
    rank[np.lexsort((offset, partition, time_us))] = np.arange(ROWS)
    return Handbook(own, events, partition, offset, time_us, rank, scores)


def test_every_row_has_exactly_one_score_in_its_place(handbook: Handbook) -> None:
    scores = handbook.scores

    assert np.array_equal(scores.partition, handbook.partition)
    assert np.array_equal(scores.offset, handbook.offset)
    assert np.array_equal(scores.place, handbook.offset)  # in order within the scores' partition
    assert np.array_equal(scores.event_id, handbook.events["transaction_id"].to_numpy())
    assert np.array_equal(scores.seq, handbook.rank)
    first_us = handbook.time_us.min()
    warming = handbook.time_us - max(REACH_US.values()) < first_us
    assert np.array_equal(scores.flags, np.where(warming, WARMING, 0))
    for row in range(ROWS):
        assert xxh64_intdigest(scores.vectors[row] + 0.0) == scores.digest[row], row


@pytest.mark.parametrize("entity", FRAMES)
def test_every_statistic_of_every_row_equals_an_independent_computation(
    handbook: Handbook, entity: str
) -> None:
    assert not (np.diff(handbook.time_us)[np.diff(handbook.partition) == 0] < 0).any()
    assert not (handbook.time_us % SECOND).any()
    with duckdb.connect() as db:
        db.register(
            "events",
            handbook.events.select([entity, "amount_cents"])
            .append_column("time_us", pa.array(handbook.time_us))
            .append_column("rank", pa.array(handbook.rank))
            .append_column("row", pa.array(np.arange(ROWS))),
        )
        # tie: the place among the entity's events of the same second.
        db.execute(
            f"CREATE TABLE e AS SELECT row, amount_cents AS a, {entity} AS k, time_us AS t, "
            f"row_number() OVER (PARTITION BY {entity}, time_us ORDER BY rank) - 1 AS tie "
            "FROM events"
        )
        for window, delay in FRAMES[entity]:
            for stat, expected in frame(db, SPANS[window], SPANS[delay]).items():
                name = feature(entity, stat, window, delay)
                found = bits(handbook.found(name))
                wrong = np.flatnonzero(found != bits(expected))
                assert not len(wrong), f"{name}: {len(wrong)} rows, the first is {wrong[0]}"


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


def test_replay_of_the_topic_in_journal_order_gives_the_bits_of_the_live_run(
    handbook: Handbook, tmp_path: Path
) -> None:
    out, own = tmp_path / "topic.parquet", handbook.own

    assert replay(own.definition, ["kafka"], out, settings(**own.flags)).order == "journal"

    assert_file_equals_live(out, handbook)


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


def written_features() -> str:
    """Return the definition's list of features."""
    lines = []
    for entity, frames in FRAMES.items():
        for window, delay in frames:
            by = entity.removesuffix("_id").replace("customer", "card")
            over = f'over="{window}", delay="{delay}"'
            lines.append(f"    {by}.count({over}),")
            lines += [f'    {by}.{stat}("amount_cents", {over}),' for stat in STATS[1:]]
    return "\n".join([*lines, ""])


def feature(entity: str, stat: str, window: str, delay: str) -> str:
    """Return a feature's name (DESIGN section 4)."""
    column = "" if stat == "count" else "amount_cents_"
    return f"{entity}_{column}{stat}_{window}" + (f"_delay_{delay}" if SPANS[delay] else "")


def frame(
    db: duckdb.DuckDBPyConnection, window_us: int, delay_us: int
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of every row over T - d - W < t <= T - d, by row.

    Rows are ordered by u = t + tie. Times being whole seconds, t' > T - d - W is the same as
    u' >= T - d - W + 1 s. Without a delay the frame ends with the row itself: of its second, those
    processed earlier are in it; with one, u' <= T - d + 1 s - 1 takes in the whole second.
    """
    begin = f"{delay_us + window_us - SECOND} + tie"
    end = f"{delay_us - SECOND + 1} + tie PRECEDING" if delay_us else "CURRENT ROW"
    got = db.execute(
        "SELECT count(*) OVER w AS count, coalesce(sum(a) OVER w, 0)::BIGINT AS sum, "
        "min(a) OVER w AS min, max(a) OVER w AS max FROM e WINDOW w AS (PARTITION BY k "
        f"ORDER BY t + tie RANGE BETWEEN {begin} PRECEDING AND {end}) ORDER BY row"
    ).fetchnumpy()
    count, total = got["count"].astype(np.float64), got["sum"].astype(np.float64)
    assert got["sum"].max() < 2**53
    empty = got["count"] == 0
    mean = np.full(ROWS, np.nan)
    # Both are exact, so this is the one rounding of the exact quotient.
    np.divide(total, count, out=mean, where=~empty)
    low, high = (np.where(empty, np.nan, np.ma.getdata(got[name])) for name in ("min", "max"))
    return {"count": count, "sum": total, "mean": mean, "min": low, "max": high}


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


def bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return float64 values as their bit patterns."""
    return np.ascontiguousarray(values).view(np.int64)
