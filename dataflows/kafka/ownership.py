"""Who owns a shard: the one whose owner entry is the newest in the journal.

The broker fences whoever came before, by the epoch of the transactional id. The journal says who
came after, so that a person can be told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from noskew.dataflows.errors import AlreadyRunningError, DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows.kafka.journal_log import JournalLog

APPEAR_S: Final = 5.0
"""How long a fenced instance looks for the owner entry of who has fenced it."""

LOOK_S: Final = 0.1


class Ownership:
    """What one instance knows of who owns its shard.

    owner   this instance, as its owner entry names it
    """

    def __init__(
        self,
        pipeline: str,
        owner: str,
        log: JournalLog,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.owner = owner
        self._pipeline = pipeline
        self._log = log
        self._pause = pause
        self._before: set[str] = set()

    def entered(self) -> None:
        """Note that whoever has journaled so far came before this instance."""
        self._before = {entry.owner for entry in self._log.tail()}

    def lost(self, reason: str, fenced: bool) -> Exception:  # noqa: FBT001  # a callback
        """Return the error to end with, once a transaction has failed for ``reason``.

        AlreadyRunningError where another instance owns the shard now, DeliveryError where none
        does: the broker alone ended the transaction, and the next start does it again.
        """
        other = self._other(APPEAR_S if fenced else 0.0)
        if other is not None:
            return AlreadyRunningError(
                f"pipeline {self._pipeline!r} is owned by {other} now, which took it over from "
                f"{self.owner} ({reason}); nothing of the unfinished transaction is visible. One "
                "pipeline is run once: leave that one running, or stop it before starting this one"
            )
        if fenced:
            reason += (
                ". The broker has ended this producer's epoch, and no other instance has written "
                "an owner entry: the transaction was open for too long"
            )
        return DeliveryError(
            f"{reason}. What was not committed is not visible and will be done again at the next "
            f"start from the journal; {self.owner} ends here: mend the cause, then start again"
        )

    def _other(self, wait_s: float) -> str | None:
        """Return who has journaled after us, None where nobody has or where none can be asked."""
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                newest = [entry.owner for entry in self._log.tail()][-1:]
            except DeliveryError:
                return None
            if newest and newest[0] != self.owner and newest[0] not in self._before:
                return newest[0]
            if time.monotonic() >= deadline_s:
                return None
            self._pause(LOOK_S)
