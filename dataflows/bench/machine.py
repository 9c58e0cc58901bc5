"""What a figure was measured on: CPU, cores, memory and the versions that matter."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = (
    "noskew",
    "bytewax",
    "confluent-kafka",
    "fastavro",
    "lightgbm",
    "numba",
    "numpy",
    "redis",
    "pyarrow",
)


def describe() -> dict[str, Any]:
    """Return the machine as JSON values; ``load`` is the run queue of the last minute."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        found = re.search(r"(?m)^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return " ".join(found[1].split()) if found else platform.machine()
