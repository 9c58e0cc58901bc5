"""What an audit has found wrong: each finding names the place, both numbers and the next step."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LISTED = 10
"""Findings of one kind in one partition that are told one by one; all are counted."""

_STOP = "stop the pipeline, keep its topics, and find what wrote them besides it; start anew "
_ANEW = _STOP + "under another pipeline name"
_READERS = "readers that counted them have counted twice: have them drop a source they have seen"

REMEDIES = {
    "lost": "whoever reads the scores has not seen these events: score them with 'noskew replay', "
    "keep the topics, and report it",
    "gone": "retention has deleted them: set retention.ms=-1 to be able to prove more, and audit "
    "what is left with --retained",
    "twice": _READERS + ", and see whether another program writes the topic",
    "order": "see whether another program writes the topic; readers that rely on the order of a "
    "partition must sort by offset",
    "beyond": "nothing may be out before it is journaled: see whether another program writes the "
    "topic, or an old version without transactions ran; do not start the pipeline over it",
    "uncovered": _ANEW,
    "both": _ANEW,
    "seq": _ANEW,
    "source": _ANEW,
    "undecodable": "see who wrote it: only this pipeline may write the topic",
    "outcome": "the journal contradicts itself: keep it for inspection, and start anew under "
    "another pipeline name",
    "journal": "two instances may have written it, or it was cut: keep it for inspection, and "
    "start anew under another pipeline name",
    "owner": "two instances have written it: see that one pipeline is run once; keep the journal "
    "for inspection, and start anew under another pipeline name",
    "parts": "the interval was not written whole: start the pipeline, which takes it anew, then "
    "audit again",
    "letter_lost": "the records themselves are in the input topic at these offsets: take them from "
    "there, and report it",
    "letter_twice": "whoever retries dead letters must drop a source they have seen; see whether "
    "another program writes the topic",
    "skipped": "these records were never taken: keep the topics, and report it",
    "open": "who wrote it is still at work, or died: start the pipeline (it aborts what is left "
    "open) or wait for its transaction time-out, then audit again",
    "identity": "the terms do not add up though nothing else was found: report it",
}
"""Every kind of finding (append only), and what to do next."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    topic, partition, first, next   where: offsets ``first <= offset < next`` of that topic
    expected, found                 both numbers: what the journal (or the rule) says, what is there
    """

    kind: str
    topic: str
    partition: int
    first: int
    next: int
    expected: int | str
    found: int | str
    detail: str

    @property
    def remedy(self) -> str:
        """Return the next step."""
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        """Return the finding as one line."""
        span = f"offset {self.first}"
        if self.next > self.first + 1:
            span = f"offsets {self.first} to {self.next - 1}"
        return (
            f"{self.kind}: topic {self.topic} partition {self.partition} {span}: {self.detail} "
            f"(expected {self.expected}, found {self.found}): {self.remedy}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {**asdict(self), "remedy": self.remedy}


class Findings:
    """Everything found so far: the first few of each kind and partition, and how many in all."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def __len__(self) -> int:
        return self.counts.total()

    def add(
        self,
        kind: str,
        topic: str,
        partition: int,
        span: tuple[int, int],
        numbers: tuple[int | str, int | str],
        detail: str,
    ) -> None:
        """Note one; ``span``: first and next offset, ``numbers``: what is expected and found."""
        place = (kind, topic, partition)
        self.counts[place] += 1
        if self.counts[place] <= LISTED:
            self.listed.append(Finding(kind, topic, partition, *span, *numbers, detail))

    def unlisted(self) -> dict[str, int]:
        """Return how many of each kind are counted, but not listed."""
        left: Counter[str] = Counter()
        for (kind, _, _), count in self.counts.items():
            left[kind] += max(count - LISTED, 0)
        return {kind: count for kind, count in sorted(left.items()) if count}


def each(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return offsets, int64[n], ascending and each once.

    They come nearly sorted, which numpy's own ``unique`` (a hash table) makes nothing of.
    """
    ordered = np.sort(offsets, kind="stable")
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]


def spans(offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the ranges (first, next) of ascending offsets, int64[n]."""
    if len(offsets):
        breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
        firsts = offsets[np.concatenate([[0], breaks])]
        lasts = offsets[np.concatenate([breaks, [len(offsets)]]) - 1]
        yield from zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)
