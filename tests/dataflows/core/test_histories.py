"""Several streams and files are one history: merged canonically, or by the time of the events."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from history_files import labels, payments, plan_of, rows, two_streams, write
from wire import listed

from noskew.dataflows.core import history
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan


@pytest.fixture
def stream(tmp_path: Path) -> Plan:
    """A plan of payments alone."""
    return plan_of(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Plan:
    """A plan of payments and labels."""
    return two_streams(tmp_path)


def merged(tables: list[dict[str, Any]], clock_of: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """Return (place, partition, offset) in canonical order, said slowly."""
    keyed = []
    for place, columns in enumerate(tables):
        clocks: dict[int, int] = {}
        stamps = columns[clock_of[place]].cast(pa.int64()).to_pylist()
        places = zip(columns["stream_partition"].to_pylist(), columns["stream_offset"], stamps,
                     strict=True)  # fmt: skip
        for partition, offset, stamp in sorted(places, key=lambda one: one[:2]):
            clocks[partition] = max(clocks.get(partition, stamp), stamp)
            keyed.append((clocks[partition], place, partition, offset))
    return [one[1:] for one in sorted(keyed)]


def taken(found: history.History) -> list[tuple[int, int, int]]:
    """Return (place, partition, offset) as taken; every view of a turn must agree."""
    out = []
    first = np.cumsum([0, *found.partitions])
    for turn in found.turns():
        seqs = np.concatenate([batch.seq for batch in turn.batches])
        assert sorted(seqs.tolist()) == list(range(turn.seq, turn.end))
        rows: dict[int, tuple[int, int, int]] = {
            seq: (batch.stream, partition, offset)
            for batch in turn.batches
            for seq, partition, offset in zip(
                batch.seq.tolist(), batch.partition.tolist(), batch.offset.tolist(), strict=True
            )
        }
        listed_ = [rows[seq] for seq in range(turn.seq, turn.end)]
        assert turn.stream.tolist() == [one[0] for one in listed_]
        assert turn.input.tolist() == [first[one[0]] + one[1] for one in listed_]
        assert turn.offset.tolist() == [one[2] for one in listed_]
        out += listed_
    return out


@pytest.mark.parametrize("shape", ["a file each", "one file", "payments in two"])
def test_streams_are_merged_canonically_however_they_lie_in_files(
    tmp_path: Path, two: Plan, shape: str
) -> None:
    tables = [payments(), labels()]
    arrow = [pa.table(one) for one in tables]
    if shape == "one file":
        named = [
            one.append_column("stream", pa.array([name] * len(one)))
            for name, one in zip(("payments", "labels"), arrow, strict=True)
        ]
        both = pa.concat_tables(named, promote_options="default")
        parts = [("", both.take(random.Random(1).sample(range(len(both)), len(both))))]
    elif shape == "a file each":
        parts = [("labels", arrow[1]), ("payments", arrow[0])]
    else:
        parts = [("payments", arrow[0][25:]), ("labels", arrow[1]), ("payments", arrow[0][:25])]
    inputs = []
    for number, (name, table) in enumerate(parts):
        pq.write_table(table, tmp_path / f"{number}.parquet")
        inputs.append((name, tmp_path / f"{number}.parquet"))

    found = history.read(inputs, two)

    assert (found.order, found.partitions, found.rows) == ("canonical", (2, 3), 70)
    assert taken(found) == merged(tables, ("event_time", "record_timestamp"))
    (turn,) = found.turns()
    assert listed(turn.batches[0].columns["country"]) == [
        ["DE", None, ""][(2 * o + p) % 3] for s, p, o in taken(found) if s == 0
    ]
    assert listed(turn.batches[1].columns["payment_id"]) == [
        f"p{3 * o + p}" for s, p, o in taken(found) if s == 1
    ]


def test_several_files_of_one_stream_are_one_history(tmp_path: Path, stream: Plan) -> None:
    whole = pa.table(payments())
    inputs = []
    for number, rows_ in enumerate((whole[30:], whole[:7], whole[7:30])):
        pq.write_table(rows_, tmp_path / f"{number}.parquet")
        inputs.append(("payments" * (number % 2), tmp_path / f"{number}.parquet"))

    found = history.read(inputs, stream)

    assert taken(found) == merged([payments()], ("event_time",))
    with pytest.raises(UsageError, match="rows are there twice"):
        history.read([*inputs, inputs[0]], stream)


@pytest.mark.parametrize("size", [20, BATCH_MAX + 100])
def test_by_event_time_peers_are_in_one_turn_in_canonical_order(
    tmp_path: Path, two: Plan, size: int
) -> None:
    tables = [payments(size), labels()]
    for name, table in zip("pl", tables, strict=True):
        pq.write_table(pa.table(table), tmp_path / name)
    inputs = [("payments", tmp_path / "p"), ("labels", tmp_path / "l")]
    before = history.read(inputs, two)
    position = {one: at for at, one in enumerate(taken(before))}

    found = before.by_event_time()

    assert found.order == "event_time"
    times = {
        (place, p, o): t
        for place, table in enumerate(tables)
        for p, o, t in zip(
            table["stream_partition"].to_pylist(),
            table["stream_offset"],
            table["event_time"].cast(pa.int64()).to_pylist(),
            strict=True,
        )
    }
    assert taken(found) == sorted(times, key=lambda one: (times[one], position[one]))
    ends = [max(int(b.time_us.max(initial=0)) for b in turn.batches) for turn in found.turns()]
    assert len(set(ends)) == len(ends)
    again = history.History.of("journal", before.turns(), before.partitions)
    assert taken(again) == taken(before)
    assert taken(again.by_event_time()) == taken(found)


@pytest.mark.parametrize(
    ("names", "columns", "told"),
    [
        (("payments",), {}, "no input holds stream 'labels', which pipeline 'p' reads"),
        (("payments", ""), {}, "has no column 'stream' and pipeline 'p' reads payments, labels"),
        (("payments", "logins"), {}, "names stream 'logins'; the pipeline reads 'payments', 'l"),
        (("payments", "labels"), {"fraud": None}, "no column 'fraud', which stream 'labels' reads"),
        (
            ("payments", "labels"),
            {"stream_offset": None, "record_timestamp": None},
            "1.parquet has no 'stream_offset', 'record_timestamp': write them",
        ),
        (("payments", "labels"), {"stream": ["logins"] * 30}, "has no row of stream 'labels'"),
    ],
)
def test_inputs_that_cannot_be_put_together_are_refused(
    tmp_path: Path, two: Plan, names: tuple[str, ...], columns: dict[str, Any], told: str
) -> None:
    inputs = []
    for number, name in enumerate(names):
        table = payments() if number == 0 else labels(**columns)
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
        inputs.append((name, tmp_path / f"{number}.parquet"))

    with pytest.raises(UsageError, match=told):
        history.read(inputs, two)


def test_kafkas_time_as_availability_needs_its_column(tmp_path: Path, stream: Plan) -> None:
    stamped = replace(stream, streams=(replace(stream.scored, available="record_timestamp"),))

    with pytest.raises(UsageError, match="no column 'record_timestamp', which stream 'payments'"):
        history.read([("", write(tmp_path, rows(2)))], stamped)
