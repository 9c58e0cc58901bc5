"""`noskew replay` over files: what is written, what only warms up, and what is refused."""

from __future__ import annotations

import json
import math
import random
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from meaning import bits
from rich.console import Console

from noskew.dataflows.commands.replay import render
from noskew.dataflows.commands.replay import replay as command
from noskew.dataflows.commands.simulate import simulate
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import DefinitionError, UsageError
from noskew.dataflows.settings import settings
from noskew.dataflows.testing import vectors

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.commands.replay import Report

T0: Final = 1_700_000_000_000_000
"""2023-11-14T22:13:20Z."""
MINUTE: Final = 60_000_000
TIME: Final = pa.timestamp("us")

DEFINITION: Final = """\
from noskew.dataflows import Pipeline, Stream

payments = Stream(
    "payments", topic="transactions", schema="transaction.avsc",
    id="transaction_id", key={key!r}, time="event_time", allowed_lateness="1h",
)
by = payments.by({key!r})
{streams}
pipeline = Pipeline(
    name="replayed", semantics={semantics!r},
    score=payments,
    features=[
        by.count(over="1h"), by.sum("amount_cents", over="1h"),
        payments.by("terminal_id").mean("amount_cents", over="1d"),
        payments.column("entry_mode"), {more}
    ],
)
"""


LABELS: Final = """\
labels = Stream(
    "labels", topic="labels", schema="label.avsc", id="transaction_id", key="customer_id",
    time="event_time", available="labelled_at", allowed_lateness="60d",
)
"""
FRAUDS: Final = "labels.by('terminal_id').sum('is_fraud', over='30d'),"


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    return defined(tmp_path)


def defined(
    folder: Path,
    key: str = "customer_id",
    more: str = "by.since_last(),",
    streams: str = "",
    semantics: str = "noskew",
) -> Path:
    path = folder / "replayed.py"
    path.write_text(DEFINITION.format(key=key, more=more, streams=streams, semantics=semantics))
    return path


def events(n: int = 40) -> list[dict[str, Any]]:
    """Return payments of three customers, one every ten minutes, some late or dead."""
    draw = random.Random(5)
    return [
        {
            "transaction_id": 1000 + i,
            "event_time": T0 + (i * 10 - draw.choice([0, 0, 0, 30, 130])) * MINUTE,
            "customer_id": draw.randrange(3),
            "terminal_id": draw.choice([None, 1, 2]),
            "amount_cents": 2**41 if i % 11 == 7 else draw.randrange(1, 9999),
            "entry_mode": draw.choice(["CHIP", "ONLINE", "UNKNOWN"]),
            "country": draw.choice(["DE", "AT", "ÅÄ"]),
        }
        for i in range(n)
    ]


def file_of(folder: Path, rows: list[dict[str, Any]], name: str = "in.parquet") -> Path:
    """Write events as a file without places: it is taken in row order."""
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns["event_time"] = pa.array(columns["event_time"], TIME)
    columns["terminal_id"] = pa.array(columns["terminal_id"], pa.int64())
    path = folder / name
    pq.write_table(pa.table(columns), path)
    return path


def replay(definition: Path, inputs: Path | str | list[str], out: Path, **more: Any) -> Report:
    files = inputs if isinstance(inputs, list) else [str(inputs)]
    return command(definition, files, out, settings(), **more)


def _nullable(file: Path) -> pa.Schema:
    """Return a file's schema, nulls allowed: rows of another stream lack a column."""
    return pa.schema([field.with_nullable(True) for field in pq.read_schema(file)])


def said(definition: Path, file: Path | str, out: Path, **more: Any) -> str:
    with pytest.raises(UsageError) as error:
        replay(definition, file, out, **more)
    assert not out.with_name(f".{out.name}.part").exists()
    return str(error.value)


def metadata(path: Path) -> dict[str, str]:
    found = pq.read_schema(path).metadata
    return {key.decode(): value.decode() for key, value in found.items() if b"noskew" in key}


# -- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["customer_id", "country"])
def test_rows_are_the_events_with_their_features_in_row_order(tmp_path: Path, key: str) -> None:
    definition, rows = defined(tmp_path, key), events()
    alive = [row for row in rows if row["amount_cents"] < 2**40]
    file, out = file_of(tmp_path, rows), tmp_path / "out.parquet"

    report = replay(definition, file, out)

    names = compile_plan(load(definition)).names
    table = pq.read_table(out)
    assert (report.order, report.read, report.written) == ("row", 40, len(alive))
    assert report.dead == 40 - len(alive) == 3
    assert table.schema.names == [
        "stream_partition", "stream_offset", "transaction_id", key, "event_time", *names, "flags",
    ]  # fmt: skip
    assert table["stream_offset"].to_pylist() == [
        i for i, row in enumerate(rows) if row["amount_cents"] < 2**40
    ]
    assert set(table["stream_partition"].to_pylist()) == {0}
    for name in ("transaction_id", key):
        assert table[name].to_pylist() == [row[name] for row in alive]
    assert table["event_time"].cast(pa.int64()).to_pylist() == [row["event_time"] for row in alive]
    wanted = vectors(load(definition), alive)
    for i, row in enumerate(wanted):
        assert {name: bits(table[name][i].as_py()) for name in names} == {
            name: bits(value) for name, value in row.items()
        }
    assert 1 in {flag & 1 for flag in table["flags"].to_pylist()}


def test_the_files_metadata_says_what_it_is(tmp_path: Path, definition: Path) -> None:
    file, out = file_of(tmp_path, events()), tmp_path / "out.parquet"
    replay(definition, file, out)

    assert metadata(out) == {
        "noskew.fingerprint": compile_plan(load(definition)).fingerprint.hex(),
        "noskew.order": "row",
        "noskew.future_times": "unchecked",
        "noskew.sources": f'["{file}"]',
        "noskew.model": "",
    }


def test_a_simulated_file_is_replayed_in_canonical_order_whatever_its_rows(
    tmp_path: Path, definition: Path
) -> None:
    file, mixed = tmp_path / "payments.parquet", tmp_path / "mixed.parquet"
    simulate(100, 20, days=3, customers=40, terminals=30, out=file)
    table = pq.read_table(file)
    pq.write_table(table.take(random.Random(1).sample(range(len(table)), len(table))), mixed)

    report = replay(definition, f"payments={file}", tmp_path / "a.parquet")
    replay(definition, mixed, tmp_path / "b.parquet")

    assert (report.order, report.written, report.dead) == ("canonical", 2000, 0)
    one, two = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")
    for name in one.schema.names:
        # NaN is unequal to itself.
        assert [bits(v) if isinstance(v, float) else v for v in one[name].to_pylist()] == [
            bits(v) if isinstance(v, float) else v for v in two[name].to_pylist()
        ], name
    found = metadata(tmp_path / "a.parquet")
    assert (found["noskew.order"], found["noskew.future_times"]) == ("canonical", "refused")


def test_labels_are_taken_from_a_file_of_their_own(tmp_path: Path) -> None:
    definition = defined(tmp_path, more=FRAUDS, streams=LABELS)
    payments, labels = tmp_path / "payments.parquet", tmp_path / "labels.parquet"
    simulate(100, 20, days=30, customers=40, terminals=30, out=payments, labels_out=labels)
    # Without labels the same payments: what the labels add is told by the difference.
    nothing = tmp_path / "nothing.parquet"
    pq.write_table(pq.read_table(labels)[:0], nothing)

    report = replay(definition, [f"payments={payments}", f"labels={labels}"], tmp_path / "a")
    replay(definition, [f"labels={nothing}", f"payments={payments}"], tmp_path / "b")
    both = tmp_path / "both.parquet"
    parts = [pq.read_table(file).cast(_nullable(file)) for file in (labels, payments)]
    pq.write_table(pa.concat_tables(parts, promote_options="default"), both)
    replay(definition, both, tmp_path / "c")

    known = pq.ParquetFile(labels).metadata.num_rows
    assert (report.order, report.written, report.read) == ("canonical", 2000, 2000 + known)
    assert json.loads(metadata(tmp_path / "a")["noskew.sources"]) == [
        f"payments={payments}",
        f"labels={labels}",
    ]
    one, two, three = (pq.read_table(tmp_path / name) for name in "abc")
    (feature,) = (name for name in one.schema.names if name.startswith("labels_"))
    assert pc.sum(one[feature]).as_py() > 0
    assert pc.sum(two[feature]).as_py() == 0
    for name in one.schema.names:
        values = [list(map(repr, table[name].to_pylist())) for table in (one, two, three)]
        assert values[0] == values[2], name
        assert name == feature or values[0] == values[1], name


def test_peers_are_replayed_by_the_time_of_events(tmp_path: Path) -> None:
    definition = defined(tmp_path, more="", semantics="flink")
    rows = [{**row, "amount_cents": 5, "customer_id": 1} for row in events()]
    for i, row in enumerate(rows):  # pairs of one time, the later pair first
        row["event_time"] = T0 + (20 - i // 2) * MINUTE

    report = replay(definition, file_of(tmp_path, rows), tmp_path / "out.parquet")

    table = pq.read_table(tmp_path / "out.parquet")
    assert report.order == metadata(tmp_path / "out.parquet")["noskew.order"] == "event_time"
    times = table["event_time"].cast(pa.int64()).to_pylist()
    assert times == sorted(times)
    counts = table["customer_id_count_1h"].to_pylist()
    assert counts == [float(i // 2 * 2 + 2) for i in range(40)]
    wanted = vectors(load(definition), rows)
    found = dict(zip(table["transaction_id"].to_pylist(), table.to_pylist(), strict=True))
    for row, expected in zip(rows, wanted, strict=True):
        assert {name: bits(found[row["transaction_id"]][name]) for name in expected} == {
            name: bits(value) for name, value in expected.items()
        }


@pytest.mark.parametrize(
    ("begin", "end", "first", "last"),
    [
        ("2023-11-14T23:13:20", "2023-11-15T00:13:20", 60, 120),
        ("2023-11-15T00:13:20+01:00", "2023-11-15T00:13:20+00:00", 60, 120),
        ("2023-11-14T23:13:20.000001", None, 60 + 1 / MINUTE, math.inf),
        (None, "2023-11-14T23:13:20.000001Z", -math.inf, 60 + 1 / MINUTE),
    ],
)
def test_a_span_is_half_open_and_what_comes_before_only_warms_up(
    tmp_path: Path, definition: Path, begin: str | None, end: str | None, first: float, last: float
) -> None:
    rows = [{**row, "amount_cents": 5} for row in events()]
    for i, row in enumerate(rows):  # no late ones: every ten minutes, the limits among them
        row["event_time"] = T0 + i * 10 * MINUTE
    file = file_of(tmp_path, rows)
    replay(definition, file, tmp_path / "all.parquet")

    report = replay(definition, file, tmp_path / "some.parquet", begin=begin, end=end)

    inside = [first <= (row["event_time"] - T0) / MINUTE < last for row in rows]
    assert (report.read, report.written) == (40, sum(inside))
    assert 0 < sum(inside) < 40
    whole, some = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("all", "some"))
    kept = whole.filter(pa.array(inside))
    for name in kept.schema.names:
        assert list(map(repr, some[name].to_pylist())) == list(map(repr, kept[name].to_pylist()))


def test_a_span_that_holds_no_moment_is_refused(tmp_path: Path, definition: Path) -> None:
    with pytest.raises(UsageError, match="--from 2026-11-02 is not before --to 2026-11-01"):
        replay(definition, tmp_path / "x", tmp_path / "y", begin="2026-11-02", end="2026-11-01")


def test_the_report_is_printed_and_is_json(tmp_path: Path, definition: Path) -> None:
    report = replay(definition, file_of(tmp_path, events()), tmp_path / "out.parquet")
    text = StringIO()
    render(report, Console(file=text, width=100))

    value = report.to_json()
    assert (value["order"], value["read"], value["written"], value["dead"]) == ("row", 40, 37, 3)
    assert "out.parquet" in text.getvalue()
    assert "37" in text.getvalue()


def test_the_same_replay_may_be_done_again(tmp_path: Path, definition: Path) -> None:
    file, out = file_of(tmp_path, events()), tmp_path / "out.parquet"
    replay(definition, file, out)
    before = out.read_bytes()

    replay(definition, file, out)

    assert out.read_bytes() == before


# -- what is refused ---------------------------------------------------------------------------


def test_an_output_of_another_definition_source_or_kind_is_not_overwritten(
    tmp_path: Path, definition: Path
) -> None:
    file, out = file_of(tmp_path, events()), tmp_path / "out.parquet"
    replay(definition, file, out)
    before = out.read_bytes()
    other = file_of(tmp_path, events(), "other.parquet")

    assert "is of another sources" in said(definition, other, out)
    defined(tmp_path, more="by.max('amount_cents', over='1h')")
    assert "is of another fingerprint" in said(definition, file, out)
    assert "remove it, or give another --out" in said(definition, file, out)
    assert out.read_bytes() == before
    strange = tmp_path / "notes.txt"
    strange.write_text("mine")
    assert "is of another fingerprint ('none'" in said(definition, file, strange)
    assert "is of another" in said(definition, file, file)
    assert strange.read_text() == "mine"


def test_an_output_that_cannot_be_written_is_told(tmp_path: Path, definition: Path) -> None:
    out = tmp_path / "nowhere" / "out.parquet"

    assert f"--out {out} cannot be written" in said(definition, file_of(tmp_path, events()), out)


@pytest.mark.parametrize("flag", ["begin", "end"])
def test_a_time_that_is_none_is_told_with_an_example(
    tmp_path: Path, definition: Path, flag: str
) -> None:
    told = said(
        definition, file_of(tmp_path, events()), tmp_path / "out.parquet", **{flag: "yesterday"}
    )

    option = {"begin": "--from", "end": "--to"}[flag]
    assert f"{option} 'yesterday' is not an ISO time such as 2026-11-23T08:00:00" in told


def test_inputs_must_be_of_the_streams_and_fit_together(tmp_path: Path, definition: Path) -> None:
    file, out = file_of(tmp_path, events()), tmp_path / "out.parquet"

    assert "names stream 'labels'; the pipeline reads 'payments'" in said(
        definition, f"labels={file}", out
    )
    for inputs in ([], ["kafka", str(file)], ["labels=kafka"]):
        with pytest.raises(UsageError, match="cannot be read together: give --input kafka once"):
            command(definition, inputs, out, settings())
    # Two files have no common row order.
    with pytest.raises(UsageError, match="has no 'stream_partition', 'stream_offset', 'record_t"):
        command(definition, [str(file), str(file)], out, settings())
    assert "cannot be read as Parquet" in said(definition, tmp_path / "none.parquet", out)
    assert not out.exists()


def test_a_wrong_definition_is_told_first(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is not there"):
        replay(tmp_path / "none.py", "none.parquet", tmp_path / "out.parquet")


def test_a_missing_bundle_is_told_before_anything_is_read(tmp_path: Path, definition: Path) -> None:
    with pytest.raises(UsageError, match="noskew train"):
        command(
            definition,
            ["none.parquet"],
            tmp_path / "out.parquet",
            settings(model=tmp_path / "no_bundle"),
            score=True,
        )
