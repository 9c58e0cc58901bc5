"""How a run is asked to stop: by a signal, or because the topic is done.

Imports next to nothing, so that the command line can listen to signals from its first moment.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

from noskew.dataflows.errors import DeliveryError

if TYPE_CHECKING:
    from types import FrameType

STOP_S = 7.0
"""How long a stop waits for servers that do not answer: within the 10 s that supervisors grant."""


class Stop:
    """A stop that was asked for: by a signal, or by the end of the topic.

    The first signal drains and ends the run, the second ends the process at once.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._asked_s = 0.0

    def __call__(self) -> bool:
        """Return whether a stop was asked for."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for a stop."""
        if not self._asked.is_set():
            self._asked_s = time.monotonic()
            self._asked.set()

    def left_s(self) -> float:
        """Return how much of the time for a stop is left; all of it before one is asked for."""
        spent_s = time.monotonic() - self._asked_s if self._asked.is_set() else 0.0
        return max(0.0, STOP_S - spent_s)

    def waits(self, waited_s: float) -> None:
        """Give up waiting for a broker once a stop has waited long enough for it.

        Raises DeliveryError: what was not acknowledged is not journaled and is done again.
        """
        if self._asked.is_set() and min(waited_s, time.monotonic() - self._asked_s) > STOP_S:
            raise DeliveryError(
                f"stopped while the broker did not answer for {STOP_S:g} s: what it has not "
                "acknowledged is not journaled and will be done again at the next start"
            )

    def on_signals(self) -> None:
        """Let SIGTERM and SIGINT ask for the stop; the second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self.ask()
        signal.signal(number, signal.SIG_DFL)
