"""A Parquet file is taken as its topic would be, or refused with what to do about it."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from history_files import SECOND, T0, TIME, only, placed, plan_of, read, rows, write
from wire import listed

from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.errors import UsageError
from noskew.schemas.columns import NULL
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan


@pytest.fixture
def stream(tmp_path: Path) -> Plan:
    """A plan of a stream that reads a field of every kind a column can be."""
    return plan_of(tmp_path)


def refused(path: Path, stream: Plan) -> str:
    with pytest.raises(UsageError) as error:
        read(path, stream)
    assert str(path) in str(error.value) or "of the file" in str(error.value)
    return str(error.value)


# -- order -------------------------------------------------------------------------------------


def test_shuffled_rows_are_taken_in_the_topics_canonical_order(
    tmp_path: Path, stream: Plan
) -> None:
    draw = random.Random(7)
    n = 60
    times = [T0 + draw.randrange(20) * SECOND for _ in range(n)]
    bad = {13, 14}  # dead letters move no clock
    amounts = [2**41 if i in bad else i for i in range(n)]
    columns = placed(n, event_time=pa.array(times, TIME), amount_cents=amounts)
    columns["record_timestamp"] = pa.array([max(times)] * n, TIME)
    keyed = []
    clocks = [-1, -1]
    for i in range(n):
        if i not in bad:
            clocks[i % 2] = max(clocks[i % 2], times[i])
        keyed.append((clocks[i % 2], i % 2, i // 2, f"p{i}"))
    shuffled = pa.table(columns).take(draw.sample(range(n), n))

    found = read(write(tmp_path, dict(zip(shuffled.column_names, shuffled, strict=True))), stream)

    assert (found.order, found.stamped, found.partitions, found.rows) == (
        "canonical",
        True,
        (2,),
        n,
    )
    batch = only(found)
    assert listed(batch.columns["payment_id"]) == [one[3] for one in sorted(keyed)]
    assert batch.partition.tolist() == [one[1] for one in sorted(keyed)]
    assert batch.offset.tolist() == [one[2] for one in sorted(keyed)]
    assert np.flatnonzero(batch.reason).tolist() == [
        at for at, one in enumerate(sorted(keyed)) if one[3] in {"p13", "p14"}
    ]


@pytest.mark.parametrize(
    "missing", ["stream_partition", "stream_offset", "record_timestamp", "all"]
)
def test_without_its_places_a_file_is_one_partition_in_row_order(
    tmp_path: Path, stream: Plan, missing: str
) -> None:
    names = ["stream_partition", "stream_offset", "record_timestamp"]
    without = names if missing == "all" else [missing]
    columns = placed(
        6,
        event_time=pa.array([T0 + at * SECOND for at in (5, 1, 4, 0, 3, 2)], TIME),
        **dict.fromkeys(without),
    )

    found = read(write(tmp_path, columns), stream)

    assert (found.order, found.partitions) == ("row", (1,))
    assert found.stamped == ("record_timestamp" not in without)
    batch = only(found)
    assert listed(batch.columns["payment_id"]) == [f"p{i}" for i in range(6)]
    assert batch.offset.tolist() == list(range(6))


def test_the_topic_may_have_more_partitions_than_occur(tmp_path: Path, stream: Plan) -> None:
    file = write(tmp_path, placed(4), {"noskew.partitions": "8"})

    assert read(file, stream).partitions == (8,)


def test_batches_are_numbered_on_and_are_together_the_file(tmp_path: Path, stream: Plan) -> None:
    n = 2 * BATCH_MAX + 5
    found = list(read(write(tmp_path, placed(n)), stream).turns())

    assert [turn.seq for turn in found] == [0, BATCH_MAX, 2 * BATCH_MAX]
    assert [turn.end for turn in found] == [BATCH_MAX, 2 * BATCH_MAX, n]
    assert np.concatenate([turn.scored.seq for turn in found]).tolist() == list(range(n))
    assert len({(p, o) for t in found for p, o in zip(t.input, t.offset, strict=True)}) == n


def test_an_empty_file_has_no_batches(tmp_path: Path, stream: Plan) -> None:
    columns = {name: values.slice(0, 0) for name, values in _chunked(placed(2)).items()}
    found = read(write(tmp_path, columns), stream)

    assert (found.rows, list(found.turns())) == (0, [])


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_only_the_streams_own_rows_are_taken(
    tmp_path: Path, stream: Plan, kind: pa.DataType
) -> None:
    names = pa.array(["payments", "labels", "payments", "logins"]).cast(kind)

    found = read(write(tmp_path, placed(4, stream=names)), stream)

    assert listed(only(found).columns["payment_id"]) == ["p0", "p2"]


# -- values ------------------------------------------------------------------------------------


def test_every_kind_of_column_is_read_as_the_topics_would_be(tmp_path: Path, stream: Plan) -> None:
    columns = rows(
        4,
        customer_id=["", "ключ:100%", "c", "c"],
        terminal_id=pa.array([None, -3, 2**40, None], pa.int64()),
        ratio=[float("nan"), None, -0.0, 1e300],
        mode=pa.array(["C", "A", "B", "A"]).dictionary_encode(),
        other=["X", "Y", "never heard of", "X"],
    )

    batch = only(read(write(tmp_path, columns), stream))

    assert batch.reason.tolist() == [0] * 4
    assert listed(batch.columns["customer_id"]) == ["", "ключ:100%", "c", "c"]
    assert listed(batch.columns["terminal_id"]) == [None, -3, 2**40, None]
    assert listed(batch.columns["country"]) == ["DE", None, "", "DE"]
    assert listed(batch.columns["ratio"]) == [None, None, 0.0, 1e300]
    assert listed(batch.columns["online"]) == [1, 0, 1, 0]
    assert listed(batch.columns["mode"]) == [2, 0, 1, 0]
    assert listed(batch.columns["other"]) == [0, 1, 1, 0]
    assert batch.record_time_us.tolist() == [NULL] * 4


@pytest.mark.parametrize(
    "column",
    [
        pa.array([T0, T0 + SECOND], pa.timestamp("us")),
        pa.array([T0, T0 + SECOND], pa.timestamp("us", "UTC")),
        pa.array([T0, T0 + SECOND], pa.timestamp("us", "Asia/Kathmandu")),
        pa.array([T0 // SECOND, T0 // SECOND + 1], pa.timestamp("s")),
        pa.array([T0 // 1000, T0 // 1000 + 1000], pa.timestamp("ms", "+05:30")),
        pa.array([T0 * 1000, (T0 + SECOND) * 1000], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([T0, T0 + SECOND], pa.int64()),
    ],
    ids=lambda column: str(column.type),
)
def test_times_of_any_unit_and_zone_are_microseconds_in_utc(
    tmp_path: Path, stream: Plan, column: pa.Array
) -> None:
    batch = only(read(write(tmp_path, rows(2, event_time=column)), stream))

    assert batch.time_us.tolist() == batch.available_us.tolist() == [T0, T0 + SECOND]
    assert batch.reason.tolist() == [0, 0]


def test_strings_may_be_large_or_in_slices(tmp_path: Path, stream: Plan) -> None:
    text = pa.chunked_array([["x"], [], ["yz", ""]], pa.large_string())

    batch = only(read(write(tmp_path, rows(3, customer_id=text)), stream))

    assert listed(batch.columns["customer_id"]) == ["x", "yz", ""]


def test_a_column_of_nothing_but_nulls_is_null(tmp_path: Path, stream: Plan) -> None:
    columns = rows(2, terminal_id=pa.nulls(2), ratio=pa.nulls(2), country=pa.nulls(2))

    batch = only(read(write(tmp_path, columns), stream))

    for name in ("terminal_id", "ratio", "country"):
        assert listed(batch.columns[name]) == [None, None], name


BAD: Final[dict[str, tuple[dict[str, Any], Reason]]] = {
    "null id": ({"payment_id": ["p0", None]}, Reason.NULL_VALUE),
    "null key": ({"customer_id": ["c", None]}, Reason.NULL_VALUE),
    "null amount": ({"amount_cents": pa.array([1, None], pa.int64())}, Reason.NULL_VALUE),
    "null time": ({"event_time": pa.array([T0, None], TIME)}, Reason.NULL_VALUE),
    "null flag": ({"online": [True, None]}, Reason.NULL_VALUE),
    "null symbol": ({"mode": ["A", None]}, Reason.NULL_VALUE),
    "no symbol": ({"mode": ["A", "D"]}, Reason.WRONG_TYPE),
    "infinite": ({"ratio": [1.0, float("-inf")]}, Reason.RANGE),
    "amount": ({"amount_cents": [2**40, 2**40 + 1]}, Reason.RANGE),
    "smallest": ({"amount_cents": [1, -(2**63)]}, Reason.RANGE),
    "milliseconds": ({"event_time": [T0, T0 // 1000]}, Reason.TIME_TOO_OLD),
    "ahead": ({"event_time": [T0, T0 + SECOND + 300_000_001]}, Reason.TIME_IN_FUTURE),
}


@pytest.mark.parametrize(("columns", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_dead_with_the_reason_its_record_would_have(
    tmp_path: Path, stream: Plan, columns: dict[str, Any], reason: Reason
) -> None:
    stamps = pa.array([T0, T0 + SECOND], TIME)

    batch = only(read(write(tmp_path, rows(2, record_timestamp=stamps, **columns)), stream))

    assert batch.reason.tolist() == [0, reason]


def test_without_record_timestamps_no_time_is_too_far_ahead(tmp_path: Path, stream: Plan) -> None:
    ahead = [T0, 4_102_444_800_000_000]

    batch = only(read(write(tmp_path, rows(2, event_time=ahead)), stream))

    assert batch.reason.tolist() == [0, 0]


# -- what is refused ---------------------------------------------------------------------------


def test_no_file_and_no_parquet_are_refused(tmp_path: Path, stream: Plan) -> None:
    other = tmp_path / "other.parquet"
    other.write_text("no parquet")

    assert "cannot be read as Parquet" in refused(tmp_path / "nowhere.parquet", stream)
    assert "cannot be read as Parquet" in refused(other, stream)
    assert "cannot be read as Parquet" in refused(tmp_path, stream)


def test_a_missing_field_is_named_with_what_there_is(tmp_path: Path, stream: Plan) -> None:
    said = refused(write(tmp_path, rows(2, online=None, mode=None)), stream)

    assert "no column 'mode', 'online', which stream 'payments' reads" in said
    assert "it has amount_cents, country, customer_id" in said


@pytest.mark.parametrize(
    ("name", "column", "read_as"),
    [
        ("amount_cents", ["12", "13"], "long"),
        ("amount_cents", [1.0, 2.0], "long"),
        ("amount_cents", pa.array([2**63, 1], pa.uint64()), "long"),
        ("event_time", ["2024-01-01", "2024-01-02"], "long"),
        ("event_time", [dt.date(2024, 1, 1)] * 2, "long"),
        ("event_time", pa.array([T0 * 1000 + 1] * 2, pa.timestamp("ns")), "long"),
        ("customer_id", [[1], [2]], "string"),
        ("ratio", ["a", "b"], "double"),
        ("mode", [[1], [2]], "enum"),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_a_wrong_type_is_told_with_both_types(
    tmp_path: Path, stream: Plan, name: str, column: Any, read_as: str
) -> None:
    file = write(tmp_path, rows(2, **{name: column}))

    said = refused(file, stream)

    kind = pq.read_schema(file).field(name).type
    assert f"column {name!r} of the file is {kind}, the schema reads it as {read_as!r}" in said


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"stream_partition": pa.array([0, None], pa.int32())},
            "stream_partition is None in row 1",
        ),
        ({"stream_partition": [0, -1]}, "stream_partition is -1 in row 1"),
        ({"stream_partition": [0, 2**32]}, "stream_partition is 4294967296 in row 1"),
        ({"stream_offset": pa.array([None, 0], pa.int64())}, "stream_offset is None in row 0"),
        ({"stream_offset": [0, -5]}, "stream_offset is -5 in row 1"),
        ({"stream_offset": ["a", "b"]}, "column 'stream_offset' cannot be used: string"),
        ({"record_timestamp": ["a", "b"]}, "column 'record_timestamp' cannot be used: string"),
        (
            {"stream_partition": [3, 3], "stream_offset": [9, 9]},
            "1 rows are there twice, the first is partition 3 offset 9",
        ),
        ({"stream": ["labels", "logins"]}, "no row of stream 'payments'; its column 'stream' has"),
    ],
)
def test_places_that_cannot_be_are_refused(
    tmp_path: Path, stream: Plan, columns: dict[str, Any], told: str
) -> None:
    assert told in refused(write(tmp_path, placed(2, **columns)), stream)


def _chunked(columns: dict[str, Any]) -> dict[str, pa.ChunkedArray]:
    table = pa.table(columns)
    return dict(zip(table.column_names, table.columns, strict=True))
