"""A definition is loaded from a file, or the file's fault is told with its line."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from noskew.dataflows import Pipeline
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
from noskew.dataflows import Pipeline, Stream

payments = Stream("payments", topic="t", schema="payment.avsc", id="payment_id",
                  key="customer_id", time="event_time")
anything = Pipeline(name="p", score=payments, features=[payments.hour()])
"""


@pytest.fixture
def path(schema_path: Path) -> Path:
    return schema_path.parent / "fraud.py"


def test_the_one_pipeline_is_found_whatever_its_name(path: Path) -> None:
    path.write_text(TEXT + "same = anything\n")

    assert load(path).name == "p"
    assert isinstance(load(str(path)), Pipeline)


def test_a_schema_lies_beside_the_definition_wherever_one_stands(
    path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(TEXT)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    assert load(path).score.record.origin == str(path.parent / "payment.avsc")


def test_a_schema_beside_the_definition_comes_before_a_shipped_one(path: Path) -> None:
    path.write_text(TEXT.replace("payment.avsc", "transaction.avsc"))
    (path.parent / "payment.avsc").rename(path.parent / "transaction.avsc")

    assert "payment_id" in load(path).score.record.fields


def test_a_shipped_schema_is_found_by_its_name(path: Path) -> None:
    path.write_text(
        TEXT.replace("payment.avsc", "transaction.avsc").replace("payment_id", "transaction_id")
    )

    assert load(path).score.record.origin == "noskew.schemas/transaction.avsc"


def test_an_edit_is_seen_at_once(path: Path) -> None:
    path.write_text(TEXT)
    stamp = path.stat()
    load(path)
    path.write_text(TEXT.replace('"p"', '"q"'))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert load(path).name == "q"
    assert not (path.parent / "__pycache__").exists()


def test_loading_leaves_no_module_behind(path: Path) -> None:
    path.write_text(TEXT)
    before = set(sys.modules)

    load(path)

    assert not [name for name in set(sys.modules) - before if "noskew_definition" in name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x +\n", "fraud.py:2: this is not Python: invalid syntax: y = x +"),
        ("x = 1\n\nx / 0\n", "fraud.py:3: ZeroDivisionError: division by zero"),
        ("import nosuchmodule\n", "fraud.py:1: ModuleNotFoundError: No module named"),
        ("def f():\n    raise SystemExit(3)\nf()\n", "fraud.py:2: SystemExit: 3"),
        ("x = 1\n", "fraud.py: makes no Pipeline; write pipeline = Pipeline("),
        (
            TEXT + "other = Pipeline(name='q', score=payments, features=[payments.hour()])\n",
            "fraud.py: makes 2 pipelines (anything, other); write one per file",
        ),
        (
            TEXT + "\npayments.column('amount')\n",
            "fraud.py:7: stream 'payments': column() names 'amount'",
        ),
        (
            TEXT + "\ntry:\n    payments.x\nexcept Exception:\n    1 / 0\n",
            "fraud.py:10: ZeroDivisionError",
        ),
    ],
)
def test_an_error_in_the_file_is_a_message_with_its_line(
    path: Path, text: str, message: str
) -> None:
    path.write_text(text)

    with pytest.raises(DefinitionError) as caught:
        load(path)

    assert str(caught.value).startswith(str(path.parent))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_named(path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"fraud\.py is not there; give the \.py file"):
        load(path)
    with pytest.raises(DefinitionError, match="is a folder"):
        load(path.parent)


def test_bytes_that_are_no_text_are_a_message_too(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00x")

    with pytest.raises(DefinitionError, match="this is not Python"):
        load(path)


def test_what_a_definition_imports_is_cheap() -> None:
    heavy = "{'numpy', 'numba', 'fastavro', 'bytewax', 'confluent_kafka', 'lightgbm', 'redis'}"
    code = f"import noskew.dataflows, sys; print(sorted({heavy} & set(sys.modules)))"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


def test_what_a_definition_prints_stays_out_of_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "loud.py"
    path.write_text("print('hello')\n")

    with pytest.raises(DefinitionError, match="makes no Pipeline"):
        load(path)

    assert capsys.readouterr() == ("", "hello\n")
