"""What `noskew replay` makes of paths and options, and why records could not be used."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from noskew.dataflows.commands.replay import render, replay
from noskew.dataflows.errors import UsageError
from noskew.dataflows.settings import settings

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.commands.replay import Report

T0 = 1_700_000_000_000_000

DEFINITION = """\
from noskew.dataflows import Pipeline, Stream

payments = Stream("payments", topic="transactions", schema="transaction.avsc",
                  id="transaction_id", key="customer_id", time="event_time")
pipeline = Pipeline(name="p", score=payments,
                    features=[payments.by("customer_id").sum("amount_cents", over="1h")])
"""


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    path = tmp_path / "definition.py"
    path.write_text(DEFINITION)
    return path


def file_of(path: Path, amounts: list[int], times: list[int]) -> Path:
    path.parent.mkdir(exist_ok=True)
    columns: dict[str, Any] = {
        "transaction_id": list(range(len(amounts))),
        "event_time": pa.array(times, pa.timestamp("us")),
        "customer_id": [1] * len(amounts),
        "amount_cents": amounts,
    }
    pq.write_table(pa.table(columns), path)
    return path


def run(definition: Path, given: str, out: Path, **more: Any) -> Report:
    return replay(definition, [given], out, settings(), **more)


@pytest.mark.parametrize("stream", ["", "payments="])
def test_a_path_may_have_an_equals_sign(tmp_path: Path, definition: Path, stream: str) -> None:
    file = file_of(tmp_path / "day=2026-01-01" / "in.parquet", [5, 6], [T0, T0])

    report = run(definition, f"{stream}{file}", tmp_path / "out.parquet")

    assert (report.read, report.written) == (2, 2)


def test_a_name_before_a_file_that_is_there_is_still_a_stream(
    tmp_path: Path, definition: Path
) -> None:
    file = file_of(tmp_path / "in.parquet", [5], [T0])

    with pytest.raises(UsageError, match="names stream 'lables'; the pipeline reads 'payments'"):
        run(definition, f"lables={file}", tmp_path / "out.parquet")


@pytest.mark.parametrize("out", [".", "made"])
def test_a_folder_is_no_output(
    tmp_path: Path, definition: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = file_of(tmp_path / "made" / "in.parquet", [5], [T0])
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match="is a folder: give the Parquet file to write"):
        run(definition, str(file), type(tmp_path)(out))


def test_an_order_there_is_not_is_refused_for_files_too(tmp_path: Path, definition: Path) -> None:
    file = file_of(tmp_path / "in.parquet", [5], [T0])

    with pytest.raises(UsageError, match="--order 'odd' is not one of auto, journal, canonical"):
        run(definition, str(file), tmp_path / "out.parquet", order="odd")


def test_the_report_says_why_records_could_not_be_used(tmp_path: Path, definition: Path) -> None:
    file = file_of(tmp_path / "in.parquet", [5, 2**41, 2**42, 5, 5], [T0, T0, T0, 7, T0])
    text = StringIO()

    report = run(definition, str(file), tmp_path / "out.parquet")
    render(report, Console(file=text, width=100))

    assert (report.dead, report.written) == (3, 2)
    assert report.to_json()["dead_reasons"] == {"range": 2, "time_too_old": 1}
    lines = [line.strip("│ \n").split() for line in text.getvalue().splitlines()]
    assert ["range", "│", "2"] in lines
    assert ["time_too_old", "│", "1"] in lines
    assert not any("dead reasons" in line for line in text.getvalue().splitlines())
