"""The command line: help for everything, one message and the right exit code for every mistake."""

from __future__ import annotations

import importlib
import inspect
import io
import json
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from live import Live, ends
from outages import Forked, assert_clean
from paths import ROOT
from rich.console import Console
from running import COMMAND
from typer.testing import CliRunner

from noskew.dataflows import card_fraud
from noskew.dataflows.cli import app
from noskew.dataflows.commands.check import check
from noskew.dataflows.commands.demo import demo
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.parquet import LABELS_SCHEMA, PAYMENTS_SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

DEF: Final = str(card_fraud.__file__)
BOUND_S: Final = 60.0
NOWHERE: Final = "127.0.0.1:1"
NO_URL: Final = ("--registry", "localhost:8081")
NO_REGISTRY: Final = (
    r"setting registry: 'localhost:8081' is no address of a schema registry: give one like "
    r"http://127.0.0.1:8081 \(--registry or NOSKEW_REGISTRY\)"
)
AWAY: Final = ("--brokers", NOWHERE, "--registry", f"http://{NOWHERE}")
BARE: Final = ["--redis", "none", "--model", "none", "--state-dir"]

WRONG: Final = """\
from noskew.dataflows import Pipeline, Stream

payments = Stream(
    "payments", topic="transactions", schema="transaction.avsc",
    id="transaction_id", key="customer_id", time="event_time",
)
pipeline = Pipeline(
    name="wrong",
    score=payments,
    features=[payments.by("customer_id").sum("amount", over="1h")],
)
"""


def commands() -> dict[str, Any]:
    """Return every command by its words: a group's members, not the group."""
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, one in group.commands.items():
        members = getattr(one, "commands", None)
        if members is None:
            found[name] = one
        else:
            found.update({f"{name} {inner}": member for inner, member in members.items()})
    return found


COMMANDS: Final = commands()


# -- help --------------------------------------------------------------------------------------


def test_the_commands_are_these() -> None:
    assert set(COMMANDS) == {
        "check", "run", "replay", "audit", "train", "simulate", "bench", "demo",
        "stack up", "stack down", "stack status",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_which_says_what_it_does_and_every_option(name: str) -> None:
    command = COMMANDS[name]
    told = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200"})

    assert told.exit_code == 0
    summary = inspect.getdoc(command.callback)
    assert summary is not None
    assert re.match(r"[A-Z][^\n]{10,}\.$", summary), summary
    assert " ".join(summary.split()) in " ".join(told.output.replace("│", " ").split())
    for parameter in command.params:
        assert parameter.name == "help" or getattr(parameter, "help", ""), parameter.name
    assert "--json" in told.output, "every command can print JSON"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_library_function_of_the_same_name(name: str) -> None:
    module, _, inner = name.partition(" ")
    function = getattr(
        importlib.import_module(f"noskew.dataflows.commands.{module}"), inner or module
    )

    assert inspect.getdoc(function)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_tells_of_every_command(name: str) -> None:
    text = (ROOT / "README.md").read_text()

    assert re.search(rf"(noskew |make |`){re.escape(name)}\b", text)


def test_without_a_command_help_is_shown() -> None:
    told = CliRunner().invoke(app, [])

    assert "check" in told.output
    assert "Exact streaming features" in told.output


# -- mistakes ----------------------------------------------------------------------------------

MISTAKES: Final[dict[str, tuple[list[str], str]]] = {
    "check: no file": (["check", "{tmp}/none.py"], "none.py is not there; give the .py file"),
    "run: no file": (["run", "{tmp}/none.py"], "none.py is not there; give the .py file"),
    "run: setting": (["run", DEF, "--threads", "0"], "setting threads = '0'|setting threads = 0"),
    "run: wait": (["run", DEF, "--align-wait-s", "soon"], "setting align_wait_s = 'soon'"),
    "run: servers": (
        ["run", DEF, *AWAY, *BARE, "{tmp}/s"],
        "2 problems:\n- the schema registry .*\n- no Kafka broker answers at .*--brokers",
    ),
    "run: state": (
        ["run", DEF, *AWAY, *BARE, "{tmp}/a.file/s"],
        "state directory .*a.file/s cannot be used .*; make it writable, or give --state-dir",
    ),
    "run: registry": (
        ["run", DEF, *AWAY, *NO_URL, *BARE, "{tmp}/s"],
        f"2 problems:\n- {NO_REGISTRY}\n- no Kafka broker answers at .*--brokers",
    ),
    "replay: registry": (
        ["replay", DEF, "--input", "kafka", "--out", "{tmp}/out.parquet", *NO_URL],
        NO_REGISTRY,
    ),
    "replay: out": (
        ["replay", DEF, "--input", "{tmp}/some.parquet", "--out", "{tmp}/a.file/out.parquet"],
        "--out .*a.file/out.parquet cannot be written",
    ),
    "simulate: registry": (["simulate", *NO_URL], NO_REGISTRY),
    "replay: no file": (
        ["replay", DEF, "--input", "{tmp}/none.parquet", "--out", "{tmp}/out.parquet"],
        "none.parquet cannot be read as Parquet",
    ),
    "replay: no broker": (
        ["replay", DEF, "--input", "kafka", "--out", "{tmp}/out.parquet", *AWAY],
        "no Kafka broker answers at '127.0.0.1:1' .*--brokers or NOSKEW_BROKERS",
    ),
    "replay: order": (
        ["replay", DEF, "--input", "kafka", "--order", "odd", "--out", "{tmp}/out.parquet"],
        "--order 'odd' is not one of auto, journal, canonical",
    ),
    "replay: time": (
        ["replay", DEF, "--input", "x", "--out", "{tmp}/o", "--from", "soon"],
        "--from 'soon' is not an ISO time such as",
    ),
    "train: no file": (
        ["train", DEF, "--input", "{tmp}/none", "--labels", "{tmp}/none", "--out", "{tmp}/b"],
        "none cannot be read as Parquet",
    ),
    "train: delay": (
        ["train", DEF, "--input", "x", "--labels", "x", "--out", "b", "--label-delay", "soon"],
        "--label-delay.*'soon'",
    ),
    "simulate: rate": (["simulate", "--rate", "-1", "--out", "{tmp}/a"], "rate -1 x seconds 60"),
    "simulate: out": (
        ["simulate", "--seconds", "1", "--out", "{tmp}/nowhere/a"],
        "nowhere/a cannot be written",
    ),
    "simulate: no broker": (["simulate", *AWAY], "no Kafka broker answers at .*--brokers"),
    "bench: part": (["bench", "--only", "odd"], "--only 'odd' is no part; there are live"),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_message_and_exit_2(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "a.file").touch()
    both = pa.unify_schemas([PAYMENTS_SCHEMA, LABELS_SCHEMA])
    pq.write_table(both.empty_table(), tmp_path / "some.parquet")

    said = refused(tmp_path, *arguments)

    assert re.match(f"noskew: ({told}|.*({told}))", said), said
    assert said.count("noskew: ") == 1
    assert len(said.splitlines()) == told.count("\n") + 1, said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["check"], "Missing argument 'DEF'"),
        (["check", DEF, "--verbose"], "No such option"),
        (["replay", DEF, "--out", "x"], "Missing option '--input'"),
        (["simulate", "--end", "soon"], "Invalid value for '--end'"),
        (["stack", "nonsense"], "No such command 'nonsense'"),
    ],
)
def test_wrong_usage_is_told_with_the_way_to_help_and_exit_2(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    said = refused(tmp_path, *arguments)

    assert told in said
    assert "--help" in said


def test_a_wrong_definition_is_told_with_its_line_and_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)

    for name in ("check", "run"):
        said = refused(tmp_path, name, str(path))
        assert said.startswith(f"noskew: {path}:10: ")
        assert "'amount', which is no field of" in said
        assert "did you mean 'amount_cents'" in said
        assert len(said.splitlines()) == 1


def test_a_server_of_the_demo_that_cannot_be_had_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "state.json").write_text("[]")

    with pytest.raises(UsageError, match=r"state\.json"):
        demo(Console(file=io.StringIO()), directory=tmp_path)


@pytest.mark.parametrize(
    ("failure", "code", "told"),
    [
        ("ZeroDivisionError('odd')", 70, "noskew: this is a fault of noskew: please report it"),
        # As Rust's panics reach Python.
        ("type('Panic', (BaseException,), {})('odd')", 70, "noskew: this is a fault of noskew"),
        ("errors.DeliveryError('odd')", 75, "noskew: odd\n"),
        ("errors.NoskewError('odd')", 2, "noskew: odd\n"),
        ("KeyboardInterrupt()", 130, ""),
    ],
)
def test_how_a_command_failed_is_told_by_its_exit_code(failure: str, code: int, told: str) -> None:
    program = (
        "import sys\n"
        "from noskew.dataflows import cli, errors\n"
        "from noskew.dataflows.commands import check\n"
        f"def failing(*_, **__): raise {failure}\n"
        "check.check = failing\n"
        "sys.argv = ['noskew', 'check', 'x.py']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert ("Traceback" in done.stderr) == (code == 70)
    assert done.stdout.strip() == ""


# -- what is printed ---------------------------------------------------------------------------


def test_check_prints_the_shipped_definitions_features_and_exits_with_0(tmp_path: Path) -> None:
    code, said = forked(tmp_path, "check", DEF)

    assert code == 0, said
    for name in (feature.name for feature in load(DEF).features):
        assert f" {name} " in said
    assert check(ROOT / "dataflows" / "card_fraud.py").fingerprint in said


def test_check_prints_json(tmp_path: Path) -> None:
    value = printed(tmp_path, "check", DEF, "--json")

    assert value == json.loads(
        json.dumps(check(ROOT / "dataflows" / "card_fraud.py").to_json())
    ) | {"definition": DEF}


def test_check_prints_its_report_also_where_it_refuses_and_exits_with_1(tmp_path: Path) -> None:
    code, said = forked(tmp_path, "check", DEF, "--at", "12000/s", "--memory", "4GB")

    assert code == 1, said
    assert "does not fit: --memory is 4 GB" in said
    assert "noskew: card_fraud takes " in said


def test_simulate_replay_and_train_print_json_one_after_the_other(tmp_path: Path) -> None:
    payments, labels, features = (
        str(tmp_path / f"{name}.parquet") for name in ("payments", "labels", "features")
    )
    made = printed(
        tmp_path, "simulate", "--rate", "100", "--seconds", "60", "--days", "60",
        "--customers", "50", "--out", payments, "--labels-out", labels, "--json",
    )  # fmt: skip
    inputs = ["--input", f"payments={payments}", "--input", f"labels={labels}"]
    replayed = printed(tmp_path, "replay", DEF, *inputs, "--out", features, "--json")
    trained = printed(
        tmp_path, "train", DEF, "--input", features, "--labels", labels,
        "--out", str(tmp_path / "bundle"), "--json",
    )  # fmt: skip

    assert made["payments"] == replayed["written"] == replayed["read"] - made["labels"] == 6000
    assert replayed["order"] == "canonical"
    assert made["labels"] == pq.read_metadata(labels).num_rows > 0
    assert trained["rows"]["in_files"] == 6000
    assert trained["out"] == str(tmp_path / "bundle")


def test_stack_status_and_down_print_json_where_there_is_none(tmp_path: Path) -> None:
    # In a folder of its own: the working directory may have a stack that somebody uses.
    for arguments, code, value in (
        (["status", "--json"], 1, {}),
        (["down", "--json"], 0, {"stopped": False}),
    ):
        done = subprocess.run(
            [str(COMMAND), "stack", *arguments], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, json.loads(done.stdout), done.stderr) == (code, value, "")


def test_bench_prints_json(tmp_path: Path) -> None:
    value = printed(tmp_path, "bench", "--only", "decode", "--events", "200", "--json")

    assert [figure["part"] for figure in value["figures"]] == ["decode"]


@pytest.mark.stack
def test_run_prints_json_on_stdout_and_all_else_on_stderr(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    with own.start("--until-end", "--json") as running:
        assert running.wait(BOUND_S) == 0, running.stderr

    assert running.report["delivered"] == running.report["scored"] == 0
    assert running.report["pipeline"] == own.name
    assert "caught up" in running.stderr


@pytest.mark.stack
def test_run_over_an_empty_topic_waits_and_ends_with_0_when_told(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    with own.start() as running:
        running.until(lambda: _journal_begun(own))
        assert running.alive
        assert running.stop(signal.SIGTERM) == 0, running.stderr

    assert_clean(running.stderr)
    assert own.scores() == own.dead() == []


# -- helpers -----------------------------------------------------------------------------------


def forked(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed to either stream."""
    said = folder / f"{len(list(folder.glob('*.said')))}.said"
    said.touch()
    with Forked([one.replace("{tmp}", str(folder)) for one in arguments], said) as running:
        return running.wait(BOUND_S), running.said


def refused(folder: Path, *arguments: str) -> str:
    """Run what must exit with 2; return what it printed."""
    code, said = forked(folder, *arguments)
    assert code == 2, said
    assert_clean(said)
    return said


def printed(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run what must print one JSON object, and nothing else on a file."""
    code, said = forked(folder, *arguments)
    assert code == 0, said
    value = json.loads(said[said.index("{\n") :])
    assert isinstance(value, dict)
    return value


def _journal_begun(own: Live) -> bool:
    return sum(ends(own.stack.brokers, f"{own.name}.journal")) > 0
