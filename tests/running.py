"""``noskew`` as a user starts it: a subprocess with signals, bounded waits and what it printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

COMMAND: Final = Path(sys.executable).with_name("noskew")
"""The command as a user has it."""


class Running:
    """``noskew run`` (or another command) as a user starts it; leaving ``with`` ends it for sure.

    What it printed is in ``stdout`` and ``stderr``.
    """

    START_S: Final = 60.0
    STOP_S: Final = 30.0

    def __init__(self, arguments: Sequence[str], command: str = "run") -> None:
        self._arguments = [str(COMMAND), command, *arguments]
        self._process: subprocess.Popen[str] | None = None
        self._printed: tuple[str, str] = ("", "")

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        self._collect(self.STOP_S)

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self._started.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._started.poll() is None

    @property
    def stdout(self) -> str:
        """What it printed, once it has ended."""
        return self._printed[0]

    @property
    def stderr(self) -> str:
        """What it said, once it has ended."""
        return self._printed[1]

    @property
    def report(self) -> dict[str, Any]:
        """The JSON that ``--json`` made it print, once it has ended."""
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found

    def until(self, condition: Callable[[], object], timeout_s: float = START_S) -> None:
        """Wait until ``condition()`` is true; fails, with what was said, if the process ends."""
        until(lambda: condition() or not self.alive, timeout_s)
        if not self.alive and not condition():
            self._collect(1)
            raise AssertionError(f"ended with {self._started.returncode}:\n{self.stderr}")

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        self._started.send_signal(number)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait for its end and return the exit code."""
        self._collect(timeout_s)
        return self._started.returncode

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = STOP_S) -> int:
        """Send a signal, wait for the end, return the exit code."""
        self.send_signal(number)
        return self.wait(timeout_s)

    @property
    def _started(self) -> subprocess.Popen[str]:
        assert self._process is not None, "use it in `with`"
        return self._process

    def _collect(self, timeout_s: float) -> None:
        out, err = self._started.communicate(timeout=timeout_s)
        if out or err:
            self._printed = (out, err)
