"""The end of the dataflow: scores and dead letters out, then the journal, then the rows.

The order is the guarantee: a journal entry is produced only after every output it covers is
acknowledged, and rows are written only after the entry is. A restart reads progress from the last
entry and from nothing else (DESIGN section 6, "until the protocol exists").
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.journal import Gap
from noskew.dataflows.core.tally import Tally
from noskew.dataflows.errors import PoisonedStateError
from noskew.kernels.digest import digest_rows
from noskew.schemas import records
from noskew.schemas.reason import STAGE, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.core.engine import Engine
    from noskew.dataflows.core.journal import Ledger
    from noskew.dataflows.core.order import Waiting
    from noskew.dataflows.core.scores import ScoreEncoder
    from noskew.dataflows.core.steps import Work
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.kafka.outbox import Outbox
    from noskew.dataflows.kafka.reader import Reader
    from noskew.dataflows.store.writer import Store
    from noskew.schemas.decode import Decoder

INTERVAL_MIN_S = 0.02
"""Shortest time between journal entries."""

FLUSHES = 7
"""Flushes in the running median: few, so that a backlog's long ones are soon forgotten."""

COMMIT_S = 1.0
"""Shortest time between commits of group offsets: lag monitors look no more often."""

FLUSH_SHARE = 10
"""An interval lasts at least this many times the median flush, so that flushing stays cheap."""


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


class Deliver:
    """Puts out what a batch gave, and settles: outputs, journal, rows, in this order.

    live   the journal has been followed to its end: from here on things are put out
    """

    def __init__(
        self,
        plan: Plan,
        outputs: Outputs,
        outbox: Outbox,
        encoder: ScoreEncoder,
        ledger: Ledger,
        engine: Engine,
        waiting: Waiting,
        reader: Reader,
        decoder: Decoder,
        store: Store | None,
        score_from: NDArray[np.int64],
    ) -> None:
        self.tally = Tally()
        self._plan = plan
        self._outputs = outputs
        self._outbox = outbox
        self._encoder = encoder
        self._ledger = ledger
        self._engine = engine
        self._waiting = waiting
        self._reader = reader
        self._decoder = decoder
        self._schemas_noted = 0
        self._store = store
        self._score_from = score_from
        self._settled_s = self._committed_s = time.monotonic()
        self._flushes_s: deque[float] = deque([0.0], maxlen=FLUSHES)
        self._emitted_us: list[NDArray[np.int64]] = []
        # A first start has nothing to rebuild.
        self.live = ledger.seq == 0

    def __call__(self, work: Work) -> None:
        """Put out one item; settle at an empty one, if it is time to or the end.

        Raises PoisonedStateError where the steps before do not stand where the journal does.
        """
        if work.batch is not None:
            if work.silent:
                self.tally.rebuilt += len(work.batch)
            else:
                self._put_out(work.batch, work)
            return
        if not (work.silent or self.live):
            self._begin(work)
        interval_s = max(INTERVAL_MIN_S, FLUSH_SHARE * statistics.median(self._flushes_s))
        due = time.monotonic() - self._settled_s >= interval_s
        if self.live and (due or self._ledger.full or work.stop):
            self._settle(work)

    @property
    def settled(self) -> bool:
        """Return whether everything that was put out is journaled."""
        return self.live and not self._ledger.pending

    def close(self) -> None:
        """End the producer; what was not settled is done again at the next start."""
        self._outbox.close()

    def _begin(self, work: Work) -> None:
        """State is as the journal left it: check that, hand every row over, and go live."""
        entry, clocks = self._ledger.last, self._engine.clocks
        rebuilt = (work.end, int(clocks.horizon_us), clocks.event_clock.tolist())
        journaled = (entry.end, entry.horizon_us, entry.event_us.tolist())
        if rebuilt != journaled:
            raise PoisonedStateError(
                f"state rebuilt from the journal stands at (seq, horizon, clocks) = {rebuilt}, the "
                f"journal recorded {journaled}: the input topic or the definition is not what it "
                "was; start anew under another pipeline name, and keep both for inspection"
            )
        self._waiting.resume(entry.position_us)
        # What these report was alerted before it was journaled.
        self._engine.splits()
        self._engine.caps()
        self._rows(entry.end - 1)
        self.live = True

    def _settle(self, work: Work) -> None:
        """Wait for the outputs, journal them, then hand the rows over."""
        ledger, clocks = self._ledger, self._engine.clocks
        if ledger.seq != work.end:
            raise PoisonedStateError(
                f"the steps stand at seq {work.end}, the journal at {ledger.seq}: records were "
                "lost or doubled inside the process; start again, and report this"
            )
        began_s = time.monotonic()
        self._alerts()
        self._writers()
        if ledger.pending:
            self._outbox.flush()
            for entry in ledger.close(
                self._waiting.taken_us, clocks.event_clock, int(clocks.horizon_us)
            ):
                encoded = entry.encode(self._outputs.journal_id)
                self._outbox.send_one(self._outputs.journal, entry.shard, encoded)
            self._outbox.flush()
            self._rows(ledger.last.end - 1)
            if work.stop or time.monotonic() - self._committed_s >= COMMIT_S:
                self._committed_s = time.monotonic()
                self._reader.commit(ledger.last.next_offset)
            self._note(time.monotonic() - began_s)
        self._settled_s = time.monotonic()

    def _note(self, flush_s: float) -> None:
        self.tally.entries += 1
        self._flushes_s.append(flush_s)
        # For display only: the wall clock decides nothing.
        now_us = time.time_ns() // 1000
        for record_time_us in self._emitted_us:
            self.tally.latency.add(record_time_us, now_us)
        self._emitted_us.clear()

    def _put_out(self, batch: Batch, work: Work) -> None:
        if work.features is None:
            raise AssertionError("a batch reached the sinks without features")
        dead = batch.reason > 0
        unscored = batch.offset < self._score_from[batch.partition]
        emitted = ~(dead | unscored)
        keep = np.flatnonzero(emitted)
        features = work.features
        vectors = features.vectors
        if len(keep):
            digest = digest_rows(vectors)
            buffer, start = self._encoder.encode(
                batch,
                keep,
                vectors,
                work.margin,
                work.score,
                digest=digest,
                flags=features.flags,
            )
            self._outbox.send(self._outputs.scores, buffer, start, batch.partition[keep])
            self._emitted_us.append(batch.record_time_us[keep])
        for position in np.flatnonzero(dead).tolist():
            self._dead_letter(batch, position)
        self._ledger.take(batch, _gaps(batch, dead, unscored & ~dead))
        self.tally.add(batch, emitted, features.flags)

    def _dead_letter(self, batch: Batch, position: int) -> None:
        """Keep one record whole: the slow path."""
        partition, offset = int(batch.partition[position]), int(batch.offset[position])
        letter = batch.letters[partition, offset]
        reason = Reason(int(batch.reason[position]))
        topic = self._ledger.last.topic
        record_time_us = int(batch.record_time_us[position])
        value = {
            "reason": reason.name.lower(),
            "detail": letter.detail[:1000],
            "stage": STAGE[reason],
            "pipeline": self._plan.name,
            "source": {
                "stream": self._plan.scored.name,
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
            "seq": batch.seq + position,
        }
        encoded = records.encode("dead_letter", value, self._outputs.dead_id)
        self._outbox.send_one(self._outputs.dead, partition, encoded, letter.key)

    def _writers(self) -> None:
        """Journal writers' schemas at their first use."""
        for writer in list(self._decoder.writers.values())[self._schemas_noted :]:
            self._ledger.saw(writer.id, writer.sha256, f"{self._ledger.last.topic.name}-value")
            self._schemas_noted += 1

    def _alerts(self) -> None:
        """Raise alerts for what the engine found, and journal the decisions among them."""
        for split in self._engine.splits():
            detail = f"partition {split.first_partition} so far, now also {split.partition}"
            self._ledger.decide("split_key", f"{split.entity}={split.key}", detail, split.seq)
            self._alert(
                "split_key",
                f"{split.entity}={split.key}",
                split.seq,
                before=f"partition {split.first_partition}",
                after=f"partition {split.partition}",
                remedy="see how the producer partitions this topic: one key must stay in one "
                "partition, or features marked local are not; the key is counted in both",
            )
        for cap in self._engine.caps():
            self._alert(
                "key_cap",
                f"{cap.entity}={cap.key}",
                cap.seq,
                before=None,
                after="2^22 events held",
                remedy="further events of this key are scored and flagged capped, but not "
                "aggregated: see whether the key is a default value, or shorten its windows",
            )

    def _alert(
        self, kind: str, subject: str, seq: int, *, before: str | None, after: str, remedy: str
    ) -> None:
        value = {
            "kind": kind,
            "severity": "warning",
            "subject": subject,
            "before": before,
            "after": after,
            "features": [],
            "models": [] if self._plan.model is None else [self._plan.model],
            "source": None,
            "remedy": remedy,
            "pipeline": self._plan.name,
            "seq": seq,
            "time": None,
        }
        encoded = records.encode("alert", value, self._outputs.alert_id)
        self._outbox.send_one(self._outputs.alerts, 0, encoded)

    def _rows(self, seq: int) -> None:
        self._engine.sweep()
        rows = [table.drain() for table in self._engine.tables]
        if self._store is not None:
            self._store.commit(rows, seq)


def _gaps(batch: Batch, dead: NDArray[np.bool_], unscored: NDArray[np.bool_]) -> Iterator[Gap]:
    """Yield the ranges of offsets without a score."""
    for reason, chosen in (("dead", dead), ("unscored", unscored)):
        at = np.flatnonzero(chosen)
        if not len(at):
            continue
        at = at[np.argsort(batch.partition[at], kind="stable")]
        partition, offset = batch.partition[at], batch.offset[at]
        breaks = np.flatnonzero((np.diff(partition) != 0) | (np.diff(offset) != 1)) + 1
        firsts = np.concatenate([[0], breaks])
        lasts = np.concatenate([breaks, [len(at)]]) - 1
        for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
            yield Gap(reason, int(partition[first]), int(offset[first]), int(offset[last]) + 1)
