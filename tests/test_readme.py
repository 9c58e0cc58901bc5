"""The README tells the truth where a machine can tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import readme

from noskew.dataflows import cli, errors
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from pathlib import Path

TEXT = readme.README.read_text()


@pytest.mark.parametrize("name", sorted(readme.GENERATED))
def test_a_generated_part_is_what_would_be_generated(name: str) -> None:
    assert readme.part(TEXT, name) == readme.GENERATED[name]() + "\n", "run: make readme"


def test_the_definition_of_the_first_screen_compiles_and_is_about_20_lines(tmp_path: Path) -> None:
    code = readme.part(TEXT, "definition").removeprefix("```python\n").rsplit("```", 1)[0]
    path = tmp_path / "shown.py"
    path.write_text(code)

    plan = compile_plan(load(path))

    assert len(code.splitlines()) <= 23
    assert "customer_id_count_1h" in plan.names
    assert "terminal_id_count_1d_delay_7d" in plan.names


def test_every_exit_code_is_explained() -> None:
    kinds: list[type[errors.NoskewError]] = [errors.NoskewError]
    kinds += errors.NoskewError.__subclasses__()

    for code in {kind.exit_code for kind in kinds} | {0, 1, cli.BUG}:
        assert re.search(rf"^\| {code} \| .+ \| .+ \|$", TEXT, re.MULTILINE), code


def test_every_reason_for_a_dead_letter_is_listed_in_order() -> None:
    listed = re.search(r"Dead-letter reasons, in order of precedence: (.*?)\.\n", TEXT, re.DOTALL)

    assert listed is not None
    names = re.findall(r"`(\w+)`", listed[1])
    assert names == [reason.name.lower() for reason in Reason if reason]


def test_the_output_of_the_demo_is_real_output() -> None:
    shown = readme.part(TEXT, "demo")

    assert "caught up after" in shown
    assert "payment sent to score out, p50" in shown
