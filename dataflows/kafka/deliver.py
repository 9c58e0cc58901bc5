"""The end of the dataflow: scores, dead letters, alerts and the journal's entry, then the rows.

Each settled interval is one transaction: its outputs and the entry that covers them are visible
together or not at all, and rows are written only after its commit. A restart reads progress from
the last committed entry and from nothing else (DESIGN section 6).
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.journal import Gap
from noskew.dataflows.core.tally import Tally
from noskew.dataflows.errors import PoisonedStateError
from noskew.dataflows.kafka.letters import Letters
from noskew.kernels.digest import digest_rows
from noskew.kernels.layout import FATE_DEAD, FATE_DUPLICATE, FATE_LATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.engine import Engine, Features
    from noskew.dataflows.core.journal import Ledger
    from noskew.dataflows.core.order import Waiting
    from noskew.dataflows.core.scores import ScoreEncoder
    from noskew.dataflows.core.steps import Work
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.kafka.letters import Outputs
    from noskew.dataflows.kafka.reader import Reader
    from noskew.dataflows.kafka.transactions import Transactions
    from noskew.dataflows.store.writer import Store
    from noskew.schemas.decode import Decoder

INTERVAL_MIN_S = 0.02
"""Shortest time between transactions."""

COMMITS = 7
"""Commits in the running median: few, so that a backlog's long ones are soon forgotten."""

GROUP_S = 1.0
"""Shortest time between commits of group offsets: lag monitors look no more often."""

COMMIT_SHARE = 10
"""An interval lasts at least this many times the median commit, so that committing stays cheap."""


class Deliver:
    """Puts out what a batch gave, and settles: one transaction, then the rows.

    live   the journal has been followed to its end: from here on things are put out
    """

    def __init__(
        self,
        plan: Plan,
        outputs: Outputs,
        outbox: Transactions,
        encoder: ScoreEncoder,
        ledger: Ledger,
        engine: Engine,
        waiting: Waiting,
        reader: Reader,
        decoders: Sequence[Decoder],
        store: Store | None,
        score_from: NDArray[np.int64],
    ) -> None:
        """Put the sinks together.

        decoders    one per stream
        score_from  int64[partitions of the scored topic]  the first offset with a score
        """
        self.tally = Tally(ledger.last.streams)
        self._outputs = outputs
        self._outbox = outbox
        self._letters = Letters(plan, ledger.last.topics, outputs, outbox)
        self._encoder = encoder
        self._ledger = ledger
        self._engine = engine
        self._waiting = waiting
        self._reader = reader
        self._decoders = tuple(decoders)
        self._schemas_noted = [0] * len(self._decoders)
        self._store = store
        self._score_from = score_from
        self._settled_s = self._group_s = time.monotonic()
        self._commits_s: deque[float] = deque([0.0], maxlen=COMMITS)
        self._emitted_us: list[NDArray[np.int64]] = []
        # A first start has nothing to rebuild.
        self.live = ledger.seq == 0

    def __call__(self, work: Work) -> None:
        """Put out one item; settle at an empty one, if it is time to or the end.

        Raises PoisonedStateError where the steps before do not stand where the journal does.
        """
        if work.turn is not None:
            if work.silent:
                self.tally.rebuilt += len(work.turn)
            else:
                self._put_out(work.turn, work)
            return
        if not (work.silent or self.live):
            self._begin(work)
        interval_s = max(INTERVAL_MIN_S, COMMIT_SHARE * statistics.median(self._commits_s))
        due = time.monotonic() - self._settled_s >= interval_s
        if self.live and (due or self._ledger.full or work.stop):
            self._settle(work)

    @property
    def settled(self) -> bool:
        """Return whether everything that was put out is committed."""
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
        # What these report was alerted with the entry that covers it.
        self._engine.splits()
        self._engine.caps()
        self._rows(entry.end - 1)
        self.live = True

    def _settle(self, work: Work) -> None:
        """Commit the outputs and their journal entry at once, then hand the rows over."""
        ledger, clocks = self._ledger, self._engine.clocks
        if ledger.seq != work.end:
            raise PoisonedStateError(
                f"the steps stand at seq {work.end}, the journal at {ledger.seq}: records were "
                "lost or doubled inside the process; start again, and report this"
            )
        self._alerts()
        self._writers()
        if ledger.pending:
            began_s = time.monotonic()
            for entry in ledger.close(
                self._waiting.taken_us, clocks.event_clock, int(clocks.horizon_us)
            ):
                encoded = entry.encode(self._outputs.journal_id)
                self._outbox.send_one(self._outputs.journal, entry.shard, encoded)
            self._outbox.commit()
            self._note(time.monotonic() - began_s)
            self._rows(ledger.last.end - 1)
            if work.stop or time.monotonic() - self._group_s >= GROUP_S:
                self._group_s = time.monotonic()
                self._reader.commit(ledger.last.next_offset)
        self._settled_s = time.monotonic()

    def _note(self, commit_s: float) -> None:
        self.tally.entries += 1
        self._commits_s.append(commit_s)
        # For display only: the wall clock decides nothing.
        now_us = time.time_ns() // 1000
        for record_time_us in self._emitted_us:
            self.tally.latency.add(record_time_us, now_us)
        self._emitted_us.clear()

    def _put_out(self, turn: Turn, work: Work) -> None:
        features = work.features
        if features is None:
            raise AssertionError("a turn reached the sinks without features")
        batch = features.batch
        unscored = batch.offset < self._score_from[batch.partition]
        emitted = ~(features.dead | unscored)
        keep = np.flatnonzero(emitted)
        if len(keep):
            digest = digest_rows(features.vectors)
            buffer, start = self._encoder.encode(
                batch,
                keep,
                features.vectors,
                work.margin,
                work.score,
                digest=digest,
                flags=features.flags,
            )
            self._outbox.send(self._outputs.scores, buffer, start, batch.partition[keep])
            self._emitted_us.append(batch.record_time_us[keep])
        for one in turn.batches:
            self._letters.dead(one)
        self._ledger.take(turn, self._unused(turn, features, unscored & ~features.dead))
        self.tally.add(turn, features, emitted)

    def _unused(self, turn: Turn, features: Features, unscored: NDArray[np.bool_]) -> Iterator[Gap]:
        """Yield the ranges of records without a score, and of other streams' not applied."""
        streams = self._ledger.last.streams
        for name, batch, fate in zip(streams, turn.batches, features.fates, strict=True):
            yield from _gaps("dead", name, batch, fate == FATE_DEAD)
            yield from _gaps("duplicate", name, batch, fate == FATE_DUPLICATE)
            if batch.stream > 0:  # a late record of the scored stream has a score
                yield from _gaps("late", name, batch, fate == FATE_LATE)
        yield from _gaps("unscored", streams[0], features.batch, unscored)

    def _writers(self) -> None:
        """Journal writers' schemas at their first use."""
        for place, decoder in enumerate(self._decoders):
            subject = f"{self._ledger.last.topics[place].name}-value"
            for writer in list(decoder.writers.values())[self._schemas_noted[place] :]:
                self._ledger.saw(writer.id, writer.sha256, subject)
                self._schemas_noted[place] += 1

    def _alerts(self) -> None:
        """Raise alerts for what the engine found, and journal the decisions among them."""
        for split in self._engine.splits():
            detail = f"partition {split.first_partition} so far, now also {split.partition}"
            self._ledger.decide("split_key", f"{split.entity}={split.key}", detail, split.seq)
            self._letters.split_key(split)
        for capped in self._engine.caps():
            self._letters.key_cap(capped)

    def _rows(self, seq: int) -> None:
        self._engine.sweep()
        if self._store is None:
            self._engine.forget_changes()
        else:
            self._store.commit(self._engine.rows(), seq)


def _gaps(reason: str, stream: str, batch: Batch, chosen: NDArray[np.bool_]) -> Iterator[Gap]:
    """Yield the ranges of offsets of the records chosen, bool[n]."""
    at = np.flatnonzero(chosen)
    if not len(at):
        return
    at = at[np.argsort(batch.partition[at], kind="stable")]
    partition, offset = batch.partition[at], batch.offset[at]
    breaks = np.flatnonzero((np.diff(partition) != 0) | (np.diff(offset) != 1)) + 1
    firsts = np.concatenate([[0], breaks])
    lasts = np.concatenate([breaks, [len(at)]]) - 1
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        yield Gap(reason, stream, int(partition[first]), int(offset[first]), int(offset[last]) + 1)
