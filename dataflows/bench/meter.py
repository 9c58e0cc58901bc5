"""Runs a command as its user would and measures it from outside: wall, CPU, peak memory.

Linux only: CPU time and the peak of resident memory come from ``/proc``. (``ru_maxrss`` of a child
is at least its parent's, which makes it useless here.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.errors import NoskewError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SAMPLE_S: Final = 0.02
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_CAUGHT_UP: Final = re.compile(r"caught up after ([\d.]+) s")
_LAST_LINES: Final = 20


@dataclass(slots=True)
class Run:
    """A finished run. The ``live_`` numbers leave start-up out.

    out          what the process printed on standard output
    wall_s, cpu_s, peak_mb   of the whole process
    live_s       from when it began to read until it had caught up, as it says itself ("caught up
                 after 12.3 s"); None if it did not say so
    live_cpu_s   CPU from then on until it ended, so with everything it still had to put out
    """

    out: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    live_s: float | None = None
    live_cpu_s: float | None = None


def noskew(
    *arguments: str | Path, say: Callable[[str], None] = lambda _: None, settings: bool = False
) -> Run:
    """Run a ``noskew`` command; ``settings`` lets NOSKEW_* of the environment through."""
    command = [sys.executable, "-m", "noskew.dataflows.cli", *map(str, arguments)]
    return measured(command, say, settings=settings)


def measured(
    command: Sequence[str], say: Callable[[str], None] = lambda _: None, *, settings: bool = False
) -> Run:
    """Run a command to its end and measure it.

    Raises NoskewError with what it said last where its exit code is not 0.
    """
    keep = ("NOSKEW_CACHE_DIR",)
    environment = {
        name: value
        for name, value in os.environ.items()
        if settings or name in keep or not name.startswith("NOSKEW_")
    }
    pipe = subprocess.PIPE
    began_s = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:  # noqa: S603  # our own commands
        watch = _Watch(process, say, began_s)
        threads = [threading.Thread(target=one) for one in (watch.listen, watch.sample)]
        for thread in threads:
            thread.start()
        try:
            out = "" if process.stdout is None else process.stdout.read()
            # Without reaping it, so that its last numbers are still there to be read.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            ended_s = time.monotonic()
            cpu_s = cpu(process.pid)
        except BaseException:
            process.kill()
            raise
        finally:
            watch.ended = True
            process.wait()
            for thread in threads:
                thread.join()
    if process.returncode:
        last = "".join(watch.said[-_LAST_LINES:]) or out
        raise NoskewError(
            f"{' '.join(command[2:5])} ended with exit code {process.returncode}:\n{last}"
        )
    run = Run(out, ended_s - began_s, cpu_s, watch.peak_mb)
    if watch.live_from_s is not None:
        run.live_s = watch.live_s
        run.live_cpu_s = cpu_s - float(np.interp(watch.live_from_s, watch.at_s, watch.cpu_s))
    return run


def cpu(pid: int) -> float:
    """Return the CPU seconds a process (and the children it waited for) has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * _TICK_S


@dataclass(slots=True)
class _Watch:
    """What is noted of a running process, by two threads."""

    process: subprocess.Popen[str]
    say: Callable[[str], None]
    began_s: float
    ended: bool = False
    peak_mb: float = 0.0
    live_s: float | None = None
    live_from_s: float | None = None
    said: list[str] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def listen(self) -> None:
        for line in self.process.stderr or ():
            found = _CAUGHT_UP.search(line)
            if found and self.live_from_s is None:
                self.live_s = float(found[1])
                self.live_from_s = time.monotonic() - self.live_s
            self.said.append(line)
            self.say(line.rstrip())

    def sample(self) -> None:
        self.at_s.append(self.began_s)
        self.cpu_s.append(0.0)
        while not self.ended:
            try:
                used_s = cpu(self.process.pid)
                status = Path(f"/proc/{self.process.pid}/status").read_text()
            except OSError:
                return
            self.at_s.append(time.monotonic())
            self.cpu_s.append(used_s)
            # A process that has ended has no memory any more.
            peak = re.search(r"VmHWM:\s+(\d+) kB", status)
            if peak:
                self.peak_mb = max(self.peak_mb, int(peak[1]) / 1024)
            time.sleep(SAMPLE_S)
