"""Counts what became of the records of a run, and how long their scores took to be out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from noskew.kernels.layout import FLAG_INCOMPLETE, FLAG_LATE, FLAG_WARMING
from noskew.schemas.columns import NULL
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch

_BUCKETS = 400
_PER_OCTAVE = 8
_STALE_US = 86_400_000_000
"""Older records are history being worked off: their age says nothing about latency."""


@dataclass(slots=True)
class Tally:
    """Counts since the start of this process. delivered = scored + dead + unscored."""

    delivered: int = 0
    scored: int = 0
    unscored: int = 0
    late: int = 0
    incomplete: int = 0
    warming: int = 0
    rebuilt: int = 0
    entries: int = 0
    dead: dict[str, int] = field(default_factory=dict)
    latency: Latency = field(default_factory=lambda: Latency())  # noqa: PLW0108  # defined below

    def add(self, batch: Batch, emitted: NDArray[np.bool_], flags: NDArray[np.int32]) -> None:
        """Count a batch of which the records marked ``emitted`` got a score."""
        self.delivered += len(batch)
        self.scored += int(emitted.sum())
        bad = batch.reason > 0
        if bad.any():
            reasons, counts = np.unique(batch.reason[bad], return_counts=True)
            for reason, count in zip(reasons.tolist(), counts.tolist(), strict=True):
                name = Reason(reason).name.lower()
                self.dead[name] = self.dead.get(name, 0) + count
        self.unscored += len(batch) - int(emitted.sum()) - int(bad.sum())
        self.late += int(((flags & FLAG_LATE) > 0).sum())
        self.incomplete += int(((flags & FLAG_INCOMPLETE) > 0).sum())
        self.warming += int(((flags & FLAG_WARMING) > 0).sum())

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and latency quantiles in milliseconds."""
        return {
            "delivered": self.delivered,
            "scored": self.scored,
            "unscored": self.unscored,
            "dead": dict(sorted(self.dead.items())),
            "late": self.late,
            "incomplete": self.incomplete,
            "warming": self.warming,
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
