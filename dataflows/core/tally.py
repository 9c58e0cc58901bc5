"""Counts what became of the records of a run, and how long their scores took to be out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from noskew.kernels.layout import (
    FATE_APPLIED,
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_CAPPED,
    FLAG_INCOMPLETE,
    FLAG_WARMING,
)
from noskew.schemas.columns import NULL
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.engine import Features

_BUCKETS = 400
_PER_OCTAVE = 8
_STALE_US = 86_400_000_000
"""Older records are history being worked off: their age says nothing about latency."""


@dataclass(slots=True)
class Account:
    """What became of one stream's records.

    Scored stream: delivered = scored + dead + duplicate + unscored (a late one is scored, too).
    Other streams: delivered = applied + late + dead + duplicate.

    dead   reason -> dead letters
    """

    delivered: int = 0
    scored: int = 0
    unscored: int = 0
    applied: int = 0
    late: int = 0
    duplicate: int = 0
    dead: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch, fate: NDArray[np.uint8]) -> None:
        """Count records by their fate, uint8[n]."""
        self.delivered += len(batch)
        counts = np.bincount(fate, minlength=FATE_DUPLICATE + 1)
        self.late += int(counts[FATE_LATE])
        self.duplicate += int(counts[FATE_DUPLICATE])
        self.applied += int(counts[FATE_APPLIED])
        if counts[FATE_DEAD]:
            reasons, numbers = np.unique(batch.reason[fate == FATE_DEAD], return_counts=True)
            for reason, count in zip(reasons.tolist(), numbers.tolist(), strict=True):
                name = Reason(reason).name.lower()
                self.dead[name] = self.dead.get(name, 0) + count

    def to_json(self, *, scored: bool) -> dict[str, Any]:
        """Return the terms of the account: those of the scored stream, or of another."""
        terms: dict[str, Any] = {"delivered": self.delivered}
        if scored:
            terms |= {"scored": self.scored, "unscored": self.unscored}
        else:
            terms |= {"applied": self.applied}
        dead = dict(sorted(self.dead.items()))
        return terms | {"late": self.late, "duplicate": self.duplicate, "dead": dead}


class Tally:
    """Counts since the start of this process.

    streams   name -> its account, the scored one first
    """

    def __init__(self, streams: Sequence[str]) -> None:
        self.streams = {name: Account() for name in streams}
        self.scored_stream = self.streams[streams[0]]
        self.incomplete = 0
        self.warming = 0
        self.capped = 0
        self.rebuilt = 0
        self.entries = 0
        self.latency = Latency()

    @property
    def delivered(self) -> int:
        """Return how many records of all streams were delivered."""
        return sum(account.delivered for account in self.streams.values())

    @property
    def scored(self) -> int:
        """Return how many scores were put out."""
        return self.scored_stream.scored

    @property
    def dead(self) -> int:
        """Return how many records of all streams are dead letters."""
        return sum(sum(account.dead.values()) for account in self.streams.values())

    def add(self, turn: Turn, features: Features, emitted: NDArray[np.bool_]) -> None:
        """Count a turn; ``emitted``: bool[n], which of its scored records got a score."""
        accounts = zip(self.streams.values(), turn.batches, features.fates, strict=True)
        for account, batch, fate in accounts:
            account.add(batch, fate)
        own = self.scored_stream
        own.scored += int(emitted.sum())
        own.unscored += int((~(emitted | features.dead)).sum())
        flags = features.flags
        self.incomplete += int(((flags & FLAG_INCOMPLETE) > 0).sum())
        self.warming += int(((flags & FLAG_WARMING) > 0).sum())
        self.capped += int(((flags & FLAG_CAPPED) > 0).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the scored stream's counts, each stream's, and latency quantiles in ms."""
        first = self.scored_stream
        return {
            **first.to_json(scored=True),
            "incomplete": self.incomplete,
            "warming": self.warming,
            "capped": self.capped,
            "streams": {
                name: account.to_json(scored=account is first)
                for name, account in self.streams.items()
            },
            "rebuilt": self.rebuilt,
            "journal_entries": self.entries,
            "latency_p50_ms": self.latency.quantile_ms(0.5),
            "latency_p99_ms": self.latency.quantile_ms(0.99),
        }


class Latency:
    """A histogram of times from a record's Kafka timestamp to its score's acknowledgement."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BUCKETS, np.int64)

    def add(self, record_time_us: NDArray[np.int64], now_us: int) -> None:
        """Count records whose score is acknowledged at ``now_us``. For display only."""
        known = record_time_us[record_time_us != NULL]
        waited_us = np.maximum(now_us - known, 1)
        waited_us = waited_us[waited_us < _STALE_US]
        bucket = np.minimum(np.log2(waited_us) * _PER_OCTAVE, _BUCKETS - 1).astype(np.int64)
        self.counts += np.bincount(bucket, minlength=_BUCKETS)

    def quantile_ms(self, share: float) -> float | None:
        """Return the upper edge of the bucket (9 % wide) that holds a quantile, None if empty."""
        total = int(self.counts.sum())
        if not total:
            return None
        bucket = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return float(2 ** ((bucket + 1) / _PER_OCTAVE) / 1000)
