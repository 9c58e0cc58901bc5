"""Kernels as parts of others, and as what Python calls; each case in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_TWO = """
import numpy as np
from noskew.kernels.jit import kernel

@kernel
def last(values, at):
    return values[at]

@kernel(inline=True)
def twice(values, at):
    return 2 * last(values, at)

@kernel
def total(values, sign):
    found = 0
    for at in range(values.shape[0]):
        found += sign * twice(values, at) + last(values, 0) + last(values, np.int32(1))
    return found

values = np.arange(5)
"""
"""A chain of three, and what they work on: its last is the entry, the others are parts."""


def run(script: str, directory: Path, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "NOSKEW_"))}
    path = directory / "chain.py"
    path.write_text(_TWO + script)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env=clean | {"NOSKEW_CACHE_DIR": str(directory)} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_a_chain_of_kernels_is_one_entry_on_disk(tmp_path: Path) -> None:
    assert run("print(total(values, 1), total(values, -1))", tmp_path) == "25 -15\n"
    assert len(list(tmp_path.rglob("*.nbc"))) == 1
    assert run("print(total(values, 1), total(values, -1))", tmp_path) == "25 -15\n"


def test_python_may_call_a_part_too(tmp_path: Path) -> None:
    calls = "print(total(values, 1), last(values, 3), twice(values, 4), last(values, 2))"
    assert run(calls, tmp_path) == "25 3 8 2\n"
    assert run(calls, tmp_path) == "25 3 8 2\n"


def test_a_part_is_compiled_once_for_all_integers(tmp_path: Path) -> None:
    assert run("total(values, 1); print(len(last.overloads))", tmp_path) == "1\n"


def test_a_negative_index_is_an_error_where_indexes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("last(values, -1)", tmp_path, NUMBA_BOUNDSCHECK="1")
    assert "IndexError" in failed.value.stderr


def test_types_that_do_not_fit_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("total('text', 1)", tmp_path)
    assert "TypingError" in failed.value.stderr
    assert "unicode_type" in failed.value.stderr
