"""How long kernels take to compile once per install, and to load in a warm start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Final

from noskew.dataflows.bench.figures import Figure
from noskew.dataflows.errors import NoskewError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND: Final = (sys.executable, "-m", "noskew.dataflows.warm")
_READY: Final = re.compile(r"kernels ready in ([\d.]+) s")


def measure() -> Iterator[Figure]:
    """Measure ``python -m noskew.dataflows.warm`` in an empty cache, and again in the full one."""
    with tempfile.TemporaryDirectory(prefix="noskew_warm_") as folder:
        cold_s, warm_s = _ready(folder), _ready(folder)
    yield Figure("start", "kernels of a run compiled, once per install", "s", cold_s, 1)
    yield Figure("start", "kernels of a run loaded and run once, warm", "s", warm_s, 1)


def _ready(cache: str) -> float:
    env = {**os.environ, "NOSKEW_CACHE_DIR": cache}
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
    found = _READY.search(done.stdout)
    if found is None:
        raise NoskewError(f"warming the kernels failed (exit {done.returncode}): {done.stderr}")
    return float(found[1])
