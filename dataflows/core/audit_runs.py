"""Looks offsets up in the journal's runs of one input: delivered or not, and with which seq."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.audit_findings import spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SPAN_MAX = 1 << 24
"""A run of more offsets is taken as a whole, not offset by offset: it would fill the memory."""

NONE = np.empty(0, np.int64)


class Runs:
    """The runs of one window: r stretches of offsets, ascending, none of them empty.

    A run of as many records as offsets is *full*: every offset has its seq. Of another only the
    number of records is journaled; which offsets they are follows once all have an outcome.

    begin   the input's next offset before the window
    """

    def __init__(self, runs: NDArray[np.int64], begin: int) -> None:
        """Take int64[4, r]: first offset, next offset, records, seq of the first."""
        self.first, self.next, self.records, self.seq = runs
        self.begin = begin
        self._full = (self.next - self.first == self.records) & (self.records <= SPAN_MAX)
        self._outcomes = NONE
        self._have = np.zeros(len(self.first), np.int64)
        self._known = np.zeros(len(self.first), np.bool_)

    def inside(self, offset: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which offsets, int64[n], lie in a run."""
        at = self._at(offset)
        found = at >= 0
        found[found] = offset[found] < self.next[at[found]]
        return found

    def account(self, outcomes: NDArray[np.int64]) -> None:
        """Take the offsets that have an outcome: ascending, each once, all in runs."""
        self._outcomes = outcomes
        self._have = np.bincount(self._at(outcomes), minlength=len(self.first))
        self._known = self._have == self.records

    def short(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield (first, next, records, outcomes) of what has fewer outcomes than records."""
        less = self._have < self.records
        absent = np.setdiff1d(self._offsets(less & self._full), self._outcomes, assume_unique=True)
        for first, following in spans(absent):
            yield first, following, following - first, 0
        yield from self._whole(less & ~self._full)

    def over(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield (first, next, records, outcomes) of runs with more outcomes than records."""
        yield from self._whole(self._have > self.records)

    def seqs(self, offset: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the least and the greatest seq that each offset, int64[n], can have.

        All offsets must lie in runs. The two are equal where the seq is known.
        """
        at = self._at(offset)
        low, high = self.seq[at], self.seq[at] + self.records[at] - 1
        full = self._full[at]
        rank = np.searchsorted(self._outcomes, offset) - np.searchsorted(
            self._outcomes, self.first[at]
        )
        exact = low + np.where(full, offset - self.first[at], rank)
        known = full | self._known[at]
        return np.where(known, exact, low), np.where(known, exact, high)

    def nothing(self) -> Iterator[tuple[int, int, int]]:
        """Yield (first, next, records in between) of the offsets that delivered nothing.

        In between there are records only where which of the offsets they are is not known.
        """
        before = np.concatenate([[self.begin], self.next[:-1]])[: len(self.first)]
        skipped = self.first > before
        for first, following in zip(
            before[skipped].tolist(), self.first[skipped].tolist(), strict=True
        ):
            yield first, following, 0
        holed = self.next - self.first > self.records
        small = self.next - self.first <= SPAN_MAX
        every = self._offsets(holed & self._known & small)
        for first, following in spans(np.setdiff1d(every, self._outcomes, assume_unique=True)):
            yield first, following, 0
        for first, following, records, _ in self._whole(holed & ~(self._known & small)):
            yield first, following, records

    def _at(self, offset: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the run that begins at or before each offset, -1 where there is none."""
        return np.searchsorted(self.first, offset, side="right") - 1

    def _offsets(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return all offsets of some runs, ascending."""
        first = self.first[chosen]
        size = self.next[chosen] - first
        ahead = np.cumsum(size) - size
        return np.repeat(first - ahead, size) + np.arange(int(size.sum()))

    def _whole(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int]]:
        columns = (self.first, self.next, self.records, self._have)
        yield from zip(*(column[chosen].tolist() for column in columns), strict=True)
