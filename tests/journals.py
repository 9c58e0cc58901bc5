"""Journals of three inputs, without a broker: two partitions of payments and one of labels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.batch import Turn
from noskew.dataflows.core.journal import Entry, Topic, runs
from noskew.kernels.layout import NO_TIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Place = tuple[int, int]
"""Input and offset."""

STREAMS = ("payments", "labels")
TOPICS = (
    Topic("transactions", bytes(range(16)), 2),
    Topic("fraud_labels", bytes(range(16, 32)), 1),
)
INPUTS = 3


def owner(start: Sequence[int] = (0, 10, 20), seq: int = 0) -> Entry:
    """Return the entry of an instance that takes over there."""
    return Entry(
        origin="owner",
        shard=0,
        owner="host:1:abc",
        generation=1,
        fingerprint=bytes(range(32)),
        seq=seq,
        count=0,
        runs=b"",
        streams=STREAMS,
        topics=TOPICS,
        next_offset=np.array(start, np.int64),
        position_us=np.full(INPUTS, NO_TIME, np.int64),
        event_us=np.full(INPUTS, NO_TIME, np.int64),
        horizon_us=NO_TIME,
        model=None,
    )


def turn(places: Sequence[Place]) -> Turn:
    """Return records of any streams in processing order; the journal looks at no more of them."""
    inputs = np.array([place[0] for place in places], np.int32)
    offset = np.array([place[1] for place in places], np.int64)
    return Turn(0, (), (inputs == INPUTS - 1).astype(np.int32), inputs, offset)


def changed(entry: Entry, **fields: object) -> Entry:
    """Return an entry with whatever a test breaks."""
    return dataclasses.replace(entry, **fields)  # type: ignore[arg-type]  # whatever a test breaks


def followed(entries: Iterable[Entry]) -> list[tuple[int, int, int, int]]:
    """Return all runs: input, first offset, next offset, count."""
    found: list[tuple[int, int, int, int]] = []
    for one in runs(entries):
        found += zip(*(column.tolist() for column in one.columns), strict=True)
    return found


def again(entry: Entry) -> Entry:
    """Return an entry as it is read back."""
    return Entry.decode(entry.encode(9))
