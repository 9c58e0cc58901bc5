"""Simulated history as files, and what a loader makes of a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noskew.dataflows.commands.simulate import simulate
from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.columns import ENTRY_MODES, PaymentColumns, Words
from noskew.dataflows.simulation.parquet import LABELS_SCHEMA, PAYMENTS_SCHEMA
from noskew.dataflows.simulation.payments import Simulation
from noskew.dataflows.simulation.timeline import DAY_US, Timeline
from noskew.dataflows.simulation.topics import keys_of, read_payments
from noskew.schemas import files
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.commands.simulate import Summary

History: TypeAlias = "tuple[Path, Path, Summary]"

END = datetime(2025, 3, 1, 12, tzinfo=UTC)
PLACE = ["stream", "stream_partition", "stream_offset", "record_timestamp"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    folder = tmp_path_factory.mktemp("history")
    paths = folder / "payments.parquet", folder / "labels.parquet"
    summary = simulate(1_000, 50, days=30, out=paths[0], labels_out=paths[1], end=END)
    return *paths, summary


def test_files_have_the_streams_fields_and_each_records_place(history: History) -> None:
    for path, schema, name in (
        (history[0], PAYMENTS_SCHEMA, "transaction"),
        (history[1], LABELS_SCHEMA, "label"),
    ):
        found = pq.read_schema(path)
        assert found.equals(schema)
        fields = [field["name"] for field in files.load(name)["fields"]]
        assert found.names == [*PLACE, *fields]
        assert found.field("event_time").type == pa.timestamp("us")
        assert found.field("stream_partition").type == pa.int32()
        assert found.field("stream_offset").type == pa.int64()


def test_offsets_count_without_gaps_in_each_partition(history: History) -> None:
    for path, stream in ((history[0], "payments"), (history[1], "labels")):
        rows = duckdb.execute(
            f"select stream_partition, count(*), min(stream_offset), max(stream_offset),"
            f" count(distinct stream_offset) from '{path}' where stream = '{stream}' group by 1"
        ).fetchall()
        assert len(rows) == 8
        for _, count, least, most, different in rows:
            assert (least, most, different) == (0, count - 1, count)


def test_offsets_follow_record_timestamps(history: History) -> None:
    for path in history[:2]:
        (falls,) = duckdb.execute(
            f"select count(*) from (select record_timestamp < lag(record_timestamp) over"
            f" (partition by stream_partition order by stream_offset) fall from '{path}')"
            f" where fall"
        ).fetchall()[0]
        assert falls == 0


def test_the_files_hold_what_the_summary_says(history: History) -> None:
    payments, labels, summary = history
    counted = duckdb.execute(
        f"select count(*), min(event_time), max(event_time) from '{payments}'"
    ).fetchall()[0]
    assert counted[0] == summary.payments == 50_000
    assert counted[1].replace(tzinfo=UTC).isoformat() == summary.first_event_time
    assert counted[2].replace(tzinfo=UTC).isoformat() == summary.last_event_time
    assert counted[2].replace(tzinfo=UTC) > datetime(2025, 3, 1, 11, 59, tzinfo=UTC)
    (count,) = duckdb.execute(f"select count(*) from '{labels}'").fetchall()[0]
    assert count == summary.labels
    assert json.loads(summary.to_json())["payments"] == 50_000
    assert set(summary.frauds) == {"amount", "terminal", "card"}
    assert min(summary.frauds.values()) > 0


def test_every_payment_of_the_file_has_a_later_label(history: History) -> None:
    unlabelled, early = duckdb.execute(
        f"select count(*) filter (l.transaction_id is null),"
        f" count(*) filter (l.labelled_at <= p.event_time or l.event_time <> p.event_time"
        f" or l.customer_id <> p.customer_id or l.stream_partition <> p.stream_partition)"
        f" from '{history[0]}' p left join '{history[1]}' l using (transaction_id)"
    ).fetchall()[0]
    assert (unlabelled, early) == (0, 0)


def test_a_file_is_a_function_of_the_arguments(history: History, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    simulate(50_000, 1, days=30, out=again, end=END)
    assert pq.read_table(again).equals(pq.read_table(history[0]))
    simulate(50_000, 1, days=30, out=again, end=END, seed=1)
    assert not pq.read_table(again).equals(pq.read_table(history[0]))


def test_speed_says_the_same_as_days(history: History, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    simulate(1_000, 50, speed=30 * 86_400 / 50, out=again, end=END)
    assert pq.read_table(again).equals(pq.read_table(history[0]))


def test_a_file_read_back_gives_the_payments(history: History) -> None:
    batch = pq.read_table(history[0]).combine_chunks().to_batches()[0]
    back = read_payments(batch, 8)
    end_us = int(END.timestamp()) * 1_000_000
    timeline = Timeline(end_us - 30 * DAY_US, end_us, 50_000)
    first = next(Simulation(0).payments(timeline))
    for name in PaymentColumns.__slots__:
        if name == "scenario":
            continue
        left, right = getattr(back, name), getattr(first, name)
        if isinstance(left, Words):
            left = np.array(left.vocabulary)[left.code]
            right = np.array(right.vocabulary)[right.code]
        assert np.array_equal(left[: len(right)], right), name


def test_a_file_with_five_columns_takes_the_schemas_defaults() -> None:
    batch = pa.record_batch(
        {
            "transaction_id": pa.array([7, 8], pa.int32()),
            "event_time": pa.array([1_000, 2_000], pa.timestamp("ms")),
            "customer_id": pa.array([1, 2], pa.int32()),
            "terminal_id": pa.array([None, 5], pa.int32()),
            "amount_cents": pa.array([100, 200], pa.int32()),
        }
    )
    read = read_payments(batch, 4)
    assert read.event_time.tolist() == [1_000_000, 2_000_000]
    assert read.record_time_us.tolist() == [1_000_000, 2_000_000]
    assert read.terminal_id.tolist() == [NULL, 5]
    defaults = {
        field["name"]: field.get("default") for field in files.load("transaction")["fields"]
    }
    for name in ("currency", "country", "channel"):
        column = getattr(read, name)
        assert [column.vocabulary[code] for code in column.code] == [defaults[name] or ""] * 2
    assert ENTRY_MODES[read.entry_mode[0]] == defaults["entry_mode"]
    assert read.card_present.tolist() == [int(defaults["card_present"])] * 2
    assert read.merchant_category.tolist() == [defaults["merchant_category"]] * 2


def test_a_null_where_a_payment_needs_a_value_is_refused() -> None:
    batch = pa.record_batch(
        {
            "transaction_id": pa.array([7, None]),
            "event_time": pa.array([1, 2], pa.timestamp("us")),
            "customer_id": pa.array([1, 2]),
            "amount_cents": pa.array([100, 200]),
        }
    )
    with pytest.raises(UsageError, match="transaction_id has 1 nulls"):
        read_payments(batch, 4)


def test_the_symbols_and_codes_are_the_schemas() -> None:
    fields = {field["name"]: field for field in files.load("transaction")["fields"]}
    assert list(ENTRY_MODES) == fields["entry_mode"]["type"]["symbols"]


def test_keys_are_ids_in_decimal() -> None:
    assert keys_of(np.array([12, 3, 12])) == [b"12", b"3", b"12"]


def test_a_run_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    out = tmp_path / "payments.parquet"
    with pytest.raises(UsageError, match="cannot be written"):
        simulate(10, 1, out=out, labels_out=tmp_path / "missing" / "labels.parquet")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 0}, "rate 0"),
        ({"rate": float("nan")}, "rate nan"),
        ({"speed": 2, "days": 1}, "not both"),
        ({"speed": 0, "out": "x"}, "one second"),
        ({"days": float("inf"), "out": "x"}, "100 years"),
        ({"speed": 0.5, "seconds": 10}, "speed is 0.5"),
        ({"labels_out": "x"}, "needs --out"),
        ({"end": END}, "--end is for files"),
        ({"out": "x", "labels_out": "x"}, "another file"),
        ({}, "--brokers"),
    ],
)
def test_wrong_usage_says_what_to_give(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        simulate(**options)
