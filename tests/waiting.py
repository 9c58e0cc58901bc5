"""Waiting for a condition with a bound, for tests of threads and servers: never a bare sleep."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STEP_S = 0.005


def until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Return as soon as ``condition()`` is true.

    Raises:
        AssertionError: it is not, ``timeout_s`` later.
    """
    pause = threading.Event()
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            message = f"still not true after {timeout_s} s"
            raise AssertionError(message)
        pause.wait(_STEP_S)
