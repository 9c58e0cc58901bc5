"""Follows a journal entry by entry: does each follow on the one before, and what do they cover.

Unlike a restart, which refuses a damaged journal, an audit says what is wrong and goes on from
where the damaged entry says it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.audit import Window
from noskew.kernels.runs import decode_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.audit_findings import Findings
    from noskew.dataflows.core.journal import Entry

WINDOW_RECORDS = 1 << 21
WINDOW_RUNS = 1 << 19
"""What is judged at once: it bounds the memory, to a few hundred MB."""


class Follow:
    """The journal so far.

    first          its first entry
    entries, records, owners   how many there have been
    void           parts that another instance has taken anew: they count for nothing
    """

    def __init__(self, journal: str, first: Entry, findings: Findings) -> None:
        self.first = first
        self.entries, self.records, self.void = 1, 0, 0
        self.owners = 1
        self._journal = journal
        self._findings = findings
        self._seq = first.end
        self._next_offset = first.next_offset.copy()
        self._generation = first.generation
        self._known = {first.owner}
        self._left: set[str] = set()
        self._at_work = first.owner
        self._parts: list[Entry] = []
        self._inputs = {
            (stream, partition): begin + partition
            for stream, begin, topic in zip(
                first.streams, first.first_inputs, first.topics, strict=True
            )
            for partition in range(topic.partitions)
        }
        self._runs: list[NDArray[np.int64]] = []
        self._gaps: list[list[tuple[str, int, int]]] = [[] for _ in self._inputs]
        self._held_runs = self._held_records = 0
        if first.origin != "owner" or first.seq or first.count:
            self._wrong(0, "owner at seq 0", f"{first.origin} at seq {first.seq}", "its beginning")

    @property
    def full(self) -> bool:
        """Return whether the window is large enough to be judged."""
        return self._held_records >= WINDOW_RECORDS or self._held_runs >= WINDOW_RUNS

    def take(self, place: int, entry: Entry) -> None:
        """Look at the entry at offset ``place`` of the journal."""
        self.entries += 1
        was = self.first
        if not _same(was, entry):
            self._wrong(
                place, _named(was), _named(entry), "an entry of other streams, topics or features"
            )
            return
        if entry.generation < self._generation:
            self._wrong(
                place, self._generation, entry.generation, "the generation went back", "owner"
            )
        self._generation = max(self._generation, entry.generation)
        if entry.origin == "owner":
            self._take_over(place, entry)
        else:
            self._progress(place, entry)

    def window(self) -> list[Window]:
        """Return what has been covered since the last window, input by input, and begin anew."""
        runs = np.concatenate([np.empty((5, 0), np.int64), *self._runs], axis=1)
        counts = np.bincount(runs[0], minlength=len(self._inputs))
        runs = runs[1:, np.argsort(runs[0], kind="stable")]
        cut = np.split(runs, np.cumsum(counts)[:-1], axis=1)
        found = [
            Window(own, tuple(gaps), int(end))
            for own, gaps, end in zip(cut, self._gaps, self._next_offset, strict=True)
        ]
        self._runs, self._gaps = [], [[] for _ in self._inputs]
        self._held_runs = self._held_records = 0
        return found

    def finish(self, end: int) -> None:
        """Say what an end of the journal at offset ``end`` leaves undone."""
        left = sum(bool(part.runs) for part in self._parts)
        if left:
            self._wrong(
                end,
                "the entry that covers them",
                f"{left} parts",
                f"the journal ends within an interval, at seq {self._seq}",
                "parts",
            )

    def _take_over(self, place: int, entry: Entry) -> None:
        self.owners += 1
        self._known.add(entry.owner)
        ahead = entry.seq > self._seq
        same = entry.seq == self._seq
        if ahead or (same and not np.array_equal(entry.next_offset, self._next_offset)):
            self._wrong(
                place,
                f"seq {self._seq} at {self._next_offset.tolist()}",
                f"seq {entry.seq} at {entry.next_offset.tolist()}",
                f"{entry.owner} took over where the journal does not stand",
            )
        # One that stands behind is of an instance that found another at work: it changes nothing.
        if same:
            self._works(entry.owner)

    def _works(self, owner: str) -> None:
        """Note that an instance owns the shard from here on."""
        if owner != self._at_work:
            self._left.add(self._at_work)
            self._at_work = owner

    def _progress(self, place: int, entry: Entry) -> None:
        if entry.owner not in self._known:
            self._wrong(
                place, "its owner entry first", entry.owner, "an instance that never took over",
                "owner",
            )  # fmt: skip
            self._known.add(entry.owner)
        if entry.owner in self._left:
            self._wrong(
                place,
                self._at_work,
                entry.owner,
                "an instance wrote after another took over",
                "owner",
            )
        else:
            self._works(entry.owner)
        before = len(self._parts)
        self._parts = [part for part in self._parts if part.owner == entry.owner]
        self.void += before - len(self._parts)
        self._parts.append(entry)
        if entry.count:
            self._cover(place, entry)
        elif entry.seq != self._seq or not np.array_equal(entry.next_offset, self._next_offset):
            self._broken(place, entry)

    def _cover(self, place: int, entry: Entry) -> None:
        """Take in what an entry and its parts cover."""
        data = np.frombuffer(b"".join(part.runs for part in self._parts), np.uint8)
        out = np.empty((4, len(data) // 4 + 1), np.int64)
        reached = self._next_offset.copy()
        size = decode_runs(data, reached, out)
        count = int(out[3, :size].sum()) if size >= 0 else -1
        if entry.seq != self._seq:
            self._broken(place, entry)
            return
        if count != entry.count or not np.array_equal(reached, entry.next_offset):
            self._wrong(
                place,
                f"{entry.count} records to {entry.next_offset.tolist()}",
                f"{max(count, 0)} to {reached.tolist()}",
                f"the runs of the entry at seq {entry.seq}, with {len(self._parts) - 1} parts "
                "before it, are not whole",
                "parts",
            )
            self._skip(entry)
            return
        found = out[:, :size]
        seq = entry.seq + np.cumsum(found[3]) - found[3]
        self._runs.append(np.vstack([found, seq]))
        for part in self._parts:
            for gap in part.gaps:
                source = self._inputs.get((gap.stream, gap.partition))
                if source is None:
                    self._wrong(place, "an input", f"{gap.stream} {gap.partition}", "a range")
                else:
                    self._gaps[source].append((gap.reason, gap.first, gap.next))
        self._held_runs += size
        self._held_records += count
        self.records += count
        self._resume(entry)

    def _broken(self, place: int, entry: Entry) -> None:
        self._wrong(
            place,
            f"seq {self._seq} at {self._next_offset.tolist()}",
            f"seq {entry.seq}, {entry.count} records to {entry.next_offset.tolist()}",
            "an entry that does not follow on the one before it",
        )
        self._skip(entry)

    def _skip(self, entry: Entry) -> None:
        """Go on behind a damaged entry; never back, or what was taken in is taken in again."""
        if entry.end >= self._seq and (entry.next_offset >= self._next_offset).all():
            self._resume(entry)
        self._parts = []

    def _resume(self, entry: Entry) -> None:
        self._seq, self._next_offset = entry.end, entry.next_offset.copy()
        self._parts = []

    def _wrong(
        self,
        place: int,
        expected: int | str,
        found: int | str,
        detail: str,
        kind: str = "journal",
    ) -> None:
        span = (place, place + 1)
        self._findings.add(kind, self._journal, self.first.shard, span, (expected, found), detail)


def _same(was: Entry, entry: Entry) -> bool:
    """Return whether offsets and features mean the same; an id that no broker told is like any."""
    pairs = zip(was.topics, entry.topics, strict=False)
    return (was.streams, was.fingerprint) == (entry.streams, entry.fingerprint) and all(
        (old.name, old.partitions) == (new.name, new.partitions)
        and (None in {old.id, new.id} or old.id == new.id)
        for old, new in pairs
    )


def _named(entry: Entry) -> str:
    inputs = ", ".join(
        f"{stream} from {topic.partitions} partitions of {topic.name} "
        f"(id {'unknown' if topic.id is None else topic.id.hex()})"
        for stream, topic in zip(entry.streams, entry.topics, strict=True)
    )
    return f"{inputs} by definition {entry.fingerprint.hex()[:12]}"
