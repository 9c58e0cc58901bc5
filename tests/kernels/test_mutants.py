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


def run_doubles(what: str, out: Path) -> tuple[int, str, dict[str, object] | None]:
    """Return how the harness ends with something wrong, what it says, and its result if any."""
    command = [sys.executable, "tests/mutant_doubles.py", what, str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stderr, json.loads(out.read_text()) if out.exists() else None


def test_a_mutant_that_changes_nothing_survives_every_case(tmp_path: Path) -> None:
    status, said, found = run_doubles("unchanged", tmp_path / "found.json")

    assert found is not None, said
    survivors = found["survivors"]
    assert isinstance(survivors, list)
    assert len(survivors) == found["mutants"] != 0
    assert (status, found["caught"], found["caught_by"]) == (1, 0, {})


@pytest.mark.parametrize(
    ("deed", "case", "end"),
    [
        ("raises", "broken_case", "ERROR"),
        ("hangs", "broken_case", "HANG"),
        ("dies", "broken_case", "SIGNAL"),
        ("fills", "broken_case", "MEMORY"),
        ("unprepared", "unprepared_case", "cannot be prepared"),
        ("wears-out", "worn_case", "MEMORY"),
    ],
)
def test_a_case_that_sound_kernels_fail_stops_all(
    deed: str, case: str, end: str, tmp_path: Path
) -> None:
    """Or else every mutant would seem to be caught. The last case passes until mutants hang."""
    status, said, found = run_doubles(f"case-{deed}", tmp_path / "found.json")

    assert (status, found) == (2, None), said
    assert f"case {case} " in said
    assert end in said


@pytest.mark.parametrize(
    ("deed", "end"), [("hangs", "HANG"), ("dies", "SIGNAL"), ("fills", "MEMORY")]
)
def test_how_a_mutant_ended_is_told(deed: str, end: str, tmp_path: Path) -> None:
    _, said, found = run_doubles(f"mutant-{deed}", tmp_path / "found.json")

    assert found is not None, said
    assert found["caught_by"] == {end: found["caught"]}
    assert found["caught"]


def test_a_mutant_that_cannot_be_put_in_stops_all(tmp_path: Path) -> None:
    status, said, found = run_doubles("mutant-raises", tmp_path / "found.json")

    assert (status, found) == (2, None), said
    assert "was not tried" in said


def test_no_listed_mutant_is_of_code_that_has_changed() -> None:
    command = [sys.executable, "tests/mutate.py", "--stale"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr


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
