"""Where compiled kernels are kept, seen from processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SHOW = (
    "from noskew.kernels.jit import cache_directory; from noskew.kernels.exact import quotient;"
    "print(quotient(2**60 + 1, 3) == (2**60 + 1) / 3, cache_directory())"
)


def run(**environment: str) -> tuple[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "NOSKEW_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SHOW],
        env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    right, directory = done.stdout.split()
    return right, directory


def test_compiled_code_is_kept_where_the_environment_says(tmp_path: Path) -> None:
    right, directory = run(NOSKEW_CACHE_DIR=str(tmp_path))

    assert right == "True"
    assert directory.startswith(str(tmp_path))
    assert list(tmp_path.rglob("*.nbc"))


def test_bounds_checked_code_is_kept_apart(tmp_path: Path) -> None:
    _, plain = run(NOSKEW_CACHE_DIR=str(tmp_path))
    _, checked = run(NOSKEW_CACHE_DIR=str(tmp_path), NUMBA_BOUNDSCHECK="1")

    assert plain != checked


def test_without_a_directory_kernels_compile_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    assert run(NOSKEW_CACHE_DIR=str(blocked)) == ("True", "None")


def test_uncompiled_kernels_need_no_directory(tmp_path: Path) -> None:
    assert run(NOSKEW_CACHE_DIR=str(tmp_path), NUMBA_DISABLE_JIT="1") == ("True", "None")
