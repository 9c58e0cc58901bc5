"""Keeps a reader from running ahead of what is waiting to be processed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from noskew.dataflows.core.order import Waiting
    from noskew.dataflows.kafka.reader import Read, Reader

WAITING_MAX = 200_000
"""Records that may wait for their turn before the partitions that have most are paused."""


class ThrottledReader:
    """A reader that pauses the fullest partitions while too much waits for its turn.

    Memory stays bounded when one partition lags behind the others: its records are awaited, and
    theirs pile up. A paused partition has records waiting, so the merge does not wait for it.
    """

    def __init__(self, reader: Reader, waiting: Waiting) -> None:
        self._reader = reader
        self._waiting = waiting
        self._paused: set[int] = set()
        self._held: set[int] = set()

    def read(self) -> Read:
        """Read, after pausing or resuming partitions as the waiting records demand."""
        if self._waiting.rows > WAITING_MAX or self._paused:
            self._balance()
        return self._reader.read()

    def hold(self, partition: int, offset: int) -> None:
        """Stop reading a partition at ``offset``, whatever waits."""
        self._held.add(partition)
        self._paused.discard(partition)
        self._reader.hold(partition, offset)

    def release(self, partition: int) -> None:
        """Read a held partition again."""
        self._held.discard(partition)
        self._reader.release(partition)

    def ended(self) -> bool:
        """Return whether no partition has an unread record; False while one is held."""
        return not (self._held or self._paused) and bool(self._reader.at_end.all())

    def close(self) -> None:
        """Leave the brokers."""
        self._reader.close()

    def _balance(self) -> None:
        counts = self._waiting.counts()
        share = WAITING_MAX // max(1, len(counts))
        for partition in list(self._paused):
            if counts[partition] < share // 2:
                self._paused.discard(partition)
                self._reader.release(partition)
        if self._waiting.rows > WAITING_MAX:
            for partition in np.flatnonzero(counts > share).tolist():
                if partition not in self._paused | self._held:
                    self._paused.add(partition)
                    self._reader.hold(partition, int(self._reader.next_offset[partition]))
