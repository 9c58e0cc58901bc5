"""What goes out one by one: dead letters, which keep a record whole, and alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.layout import KEY_CAP
from noskew.schemas import records
from noskew.schemas.reason import STAGE, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.core.engine import CappedKey, SplitKey
    from noskew.dataflows.core.journal import Topic
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.kafka.outbox import Outbox

DETAIL_MAX = 1000
"""Longest detail of a dead letter, in characters."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Names of the output topics and the registry's ids of their schemas."""

    scores: str
    dead: str
    alerts: str
    journal: str
    score_id: int
    dead_id: int
    alert_id: int
    journal_id: int


class Letters:
    """Writes single records: the slow path of what must not be lost.

    topics   what each stream reads, in the plan's order
    """

    def __init__(
        self, plan: Plan, topics: Sequence[Topic], outputs: Outputs, outbox: Outbox
    ) -> None:
        self._plan = plan
        self._topics = tuple(topics)
        self._outputs = outputs
        self._outbox = outbox

    def dead(self, batch: Batch) -> None:
        """Keep every dead letter of one stream's records in its own partition number."""
        for position in np.flatnonzero(batch.reason).tolist():
            self._dead(batch, position)

    def _dead(self, batch: Batch, position: int) -> None:
        partition, offset = int(batch.partition[position]), int(batch.offset[position])
        letter = batch.letters[partition, offset]
        reason = Reason(int(batch.reason[position]))
        topic = self._topics[batch.stream]
        record_time_us = int(batch.record_time_us[position])
        value = {
            "reason": reason.name.lower(),
            "detail": letter.detail[:DETAIL_MAX],
            "stage": STAGE[reason],
            "pipeline": self._plan.name,
            "source": {
                "stream": self._plan.streams[batch.stream].name,
                "topic": topic.name,
                "topic_id": topic.id,
                "partition": partition,
                "offset": offset,
                "record_time": record_time_us if record_time_us > 0 else None,
            },
            "schema_id": letter.schema_id,
            "key": letter.key,
            "value": letter.value,
            "headers": [{"name": name, "value": value} for name, value in letter.headers],
            "seq": int(batch.seq[position]),
        }
        encoded = records.encode("dead_letter", value, self._outputs.dead_id)
        self._outbox.send_one(self._outputs.dead, partition, encoded, letter.key)

    def split_key(self, split: SplitKey) -> None:
        """Tell of a key that came from two partitions."""
        self._alert(
            "split_key",
            split.entity,
            split.key,
            split.seq,
            before=f"partition {split.first_partition}",
            after=f"partition {split.partition}",
            remedy="see how the producer partitions this topic: one key must stay in one "
            "partition, or features marked local are not; the key is counted in both",
        )

    def key_cap(self, capped: CappedKey) -> None:
        """Tell of a key that holds as many entries as one may."""
        self._alert(
            "key_cap",
            capped.entity,
            capped.key,
            capped.seq,
            before=None,
            after=f"{KEY_CAP:,} events held",
            remedy="further events of this key are scored and flagged capped, but not "
            "aggregated: see whether the key is a default value, or shorten its windows",
        )

    def _alert(
        self,
        kind: str,
        entity: str,
        key: int | str,
        seq: int,
        *,
        before: str | None,
        after: str,
        remedy: str,
    ) -> None:
        touched = [name for t in self._plan.tables if t.entity == entity for name in t.row_names]
        value = {
            "kind": kind,
            "severity": "warning",
            "subject": f"{entity}={key}",
            "before": before,
            "after": after,
            "features": touched,
            "models": [] if self._plan.model is None else [self._plan.model],
            "source": None,
            "remedy": remedy,
            "pipeline": self._plan.name,
            "seq": seq,
            "time": None,
        }
        encoded = records.encode("alert", value, self._outputs.alert_id)
        self._outbox.send_one(self._outputs.alerts, 0, encoded)
