"""Server processes that outlive the command which started them, known by pid and start time.

A pid alone is not a name: after a crash another program may carry it. So every process is
remembered with the moment the kernel says it began, and nothing is signalled unless both agree.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

POLL_S: Final = 0.02
"""How long a wait for a process rests between two looks."""

LOG_LINES: Final = 20
"""How many last lines of a server's log an error shows."""

# Below the range (32768 and up on Linux) from which outgoing connections take their ports: a
# client that retries while its server is down would else, now and then, take the server's own
# port and connect to itself.
_FREE_PORTS: Final = range(15_000, 32_000)


class StackError(Exception):
    """A server of the local stack cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its pid and when it began, in the kernel's words."""

    pid: int
    began: str

    @property
    def alive(self) -> bool:
        """True while this very process exists; a paused one does, a zombie does not."""
        return _began(self.pid) == self.began

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone and its pid may be another's."""
        if self.alive:
            os.kill(self.pid, number)

    def stop(self, *, kill: bool, patience_s: float = 15.0) -> None:
        """End the process: SIGTERM, and SIGKILL after ``patience_s``; at once with ``kill``.

        Raises:
            StackError: it is still there 10 s after SIGKILL.

        """
        # A stopped process sees SIGTERM only once it runs again.
        self.signal(signal.SIGKILL if kill else signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if self._gone_within(patience_s):
            return
        self.signal(signal.SIGKILL)
        if not self._gone_within(10.0):
            message = f"process {self.pid} is still there after SIGKILL; end it by hand"
            raise StackError(message)

    def _gone_within(self, limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while self.alive:
            if time.monotonic() > end:
                return False
            time.sleep(POLL_S)
        return True


def spawn(command: Sequence[str], *, log: Path) -> Process:
    """Start ``command`` in its own session, with its output appended to ``log``.

    The process goes on when this one ends. Its input is empty.
    """
    no_input = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        list(command),
        os.environ,
        file_actions=[
            no_input,
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGINT],
    )
    return Process(pid, _began(pid) or "")


def await_ready(
    name: str, process: Process, is_ready: Callable[[], bool], *, log: Path, limit_s: float
) -> None:
    """Wait until ``is_ready()``; an ``OSError`` from it means not yet.

    Raises:
        StackError: the process ended, or ``limit_s`` passed; with the last lines of its log.

    """
    end = time.monotonic() + limit_s
    while process.alive and time.monotonic() < end:
        try:
            if is_ready():
                return
        except OSError:
            pass
        time.sleep(POLL_S)
    what = f"was not ready within {limit_s:.0f} s" if process.alive else "ended while starting"
    message = f"{name} {what}; the end of {log}:\n{tail(log)}"
    raise StackError(message)


def tail(log: Path, lines: int = LOG_LINES) -> str:
    """Return the last lines of a log file, or a word saying that it is empty."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.splitlines()[-lines:]) or "(nothing was logged)"


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(*, but: Collection[int] = ()) -> int:
    """Return a loopback port on which nothing listens, drawn at random, not one of ``but``.

    Raises:
        StackError: none of 1,000 drawn ports was free.

    """
    draw = SystemRandom()
    for _ in range(1_000):
        port = draw.choice(_FREE_PORTS)
        if port not in but and is_free(port):
            return port
    message = f"no free port between {_FREE_PORTS.start} and {_FREE_PORTS.stop}; close some servers"
    raise StackError(message)


def _began(pid: int) -> str | None:
    """Return when a process began; None if there is none, or only its zombie."""
    _reap(pid)
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name, in brackets, may itself hold blanks and brackets.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    # Not Linux: ps prints the time to a second, which is enough to notice a reused pid.
    found = subprocess.run(  # noqa: S603 - a fixed command and a number
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, began = found.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()


def _reap(pid: int) -> None:
    """Collect the process if it ended and is a child of ours; else do nothing."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
