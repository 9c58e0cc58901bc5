"""Keeps a reader from running ahead of what is waiting to be processed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from noskew.dataflows.core.order import Waiting
    from noskew.dataflows.kafka.reader import Read, Reader

WAITING_MAX = 200_000
"""Records that may wait for their turn before the inputs that have most are paused."""


class ThrottledReader:
    """A reader that pauses the fullest inputs while too much waits for its turn.

    Memory stays bounded when one input lags behind the others: its records are awaited, and
    theirs pile up. A paused input has records waiting, so the merge does not wait for it.
    """

    def __init__(self, reader: Reader, waiting: Waiting) -> None:
        self._reader = reader
        self._waiting = waiting
        self._paused: set[int] = set()
        self._held: set[int] = set()

    def read(self) -> Read:
        """Read, after pausing or resuming inputs as the waiting records demand."""
        if self._waiting.rows > WAITING_MAX or self._paused:
            self._balance()
        return self._reader.read()

    def hold(self, source: int, offset: int) -> None:
        """Stop reading an input at ``offset``, whatever waits."""
        self._held.add(source)
        self._paused.discard(source)
        self._reader.hold(source, offset)

    def release(self, source: int) -> None:
        """Read a held input again."""
        self._held.discard(source)
        self._reader.release(source)

    def ended(self) -> bool:
        """Return whether no input has an unread record; False while one is held."""
        return not (self._held or self._paused) and bool(self._reader.at_end.all())

    def close(self) -> None:
        """Leave the brokers."""
        self._reader.close()

    def _balance(self) -> None:
        counts = self._waiting.counts()
        share = WAITING_MAX // max(1, len(counts))
        for source in list(self._paused):
            if counts[source] < share // 2:
                self._paused.discard(source)
                self._reader.release(source)
        if self._waiting.rows > WAITING_MAX:
            for source in np.flatnonzero(counts > share).tolist():
                if source not in self._paused | self._held:
                    self._paused.add(source)
                    self._reader.hold(source, int(self._reader.next_offset[source]))
