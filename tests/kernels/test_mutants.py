"""The tests notice a broken sign in the window kernels; and no index of theirs is out of bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LISTED = ROOT / "tests" / "mutants.json"
INNER = "NUMBA_BOUNDSCHECK"


def run_mutants(out: Path, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "tests/mutate.py", "--json", str(out), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert out.exists(), done.stderr[-3000:]
    found: dict[str, object] = json.loads(out.read_text())
    return found


def test_a_sample_of_broken_kernels_is_noticed(tmp_path: Path) -> None:
    found = run_mutants(tmp_path / "found.json", "--sample", "24", "--seed", "4")

    assert found["mutants"] == 24
    assert found["survivors"] == []


def test_a_mutant_that_no_case_catches_is_reported(tmp_path: Path) -> None:
    """With no time for any case, every mutant survives."""
    found = run_mutants(tmp_path / "found.json", "tallies", "--longest-s", "0")

    survivors = found["survivors"]
    assert isinstance(survivors, list)
    assert len(survivors) == found["mutants"] != 0
    assert found["caught"] == 0


def test_each_listed_mutant_says_why_it_cannot_be_caught() -> None:
    listed = json.loads(LISTED.read_text())

    assert all(len(why) > 15 for why in listed.values())
    assert list(listed) == sorted(listed)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_every_broken_kernel_is_noticed(tmp_path: Path) -> None:
    found = run_mutants(tmp_path / "found.json")

    survivors, mutants = found["survivors"], found["mutants"]
    assert isinstance(survivors, list)
    assert isinstance(mutants, int)
    assert len(survivors) <= 0.05 * mutants, survivors
    assert found["stale"] == [], "a name in tests/mutants.json is of code that has changed"


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.environ.get(INNER) == "1", reason="this is the bounds-checked run")
def test_kernels_with_checked_indices_pass_the_same_tests() -> None:
    tests = [
        "tests/kernels",
        *(f"tests/dataflows/core/test_{name}.py" for name in ("table", "pools", "memory")),
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not full"]
    done = subprocess.run(
        [*command, "-k", "not mutant and not broken", *tests],
        cwd=ROOT,
        env=os.environ | {INNER: "1"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-5000:]
