"""What runs in a forked process: ``noskew``, and where it is to kill itself."""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Crash:
    """Where a process kills itself: before or after one call of a method, the first being 1."""

    module: str
    owner: str
    method: str
    call: int
    after: bool

    def arm(self) -> None:
        """Lay the trap, in the process that is to end by it."""
        owner = getattr(importlib.import_module(self.module), self.owner)
        whole, calls = getattr(owner, self.method), itertools.count(1)

        def dying(*arguments: Any, **options: Any) -> Any:
            ends = next(calls) == self.call
            if ends and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            found = whole(*arguments, **options)
            if ends:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(owner, self.method, dying)


def main(arguments: list[str], said: str, crash: Crash | None) -> None:
    """Be ``noskew``: in the new process, with both streams in a file."""
    from noskew.dataflows import cli

    to = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(to, 1)
    os.dup2(to, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["noskew", *arguments]
    if crash is not None:
        crash.arm()
    cli.main()
