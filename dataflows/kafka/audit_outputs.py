"""A pipeline's own topics as an audit reads them: journal, scores and dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.audit import Rows
from noskew.dataflows.core.audit_scores import sources
from noskew.dataflows.core.journal import Entry
from noskew.dataflows.errors import UnsafeResumeError, UsageError
from noskew.dataflows.kafka.journal_log import SHARD
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from noskew.dataflows.core.audit_findings import Findings
    from noskew.dataflows.core.journal import Topic
    from noskew.dataflows.kafka.audit_log import AuditLog, Ends
    from noskew.dataflows.kafka.topics import Admin

NEVER = 2**62
"""An offset or seq above all: everything below it is gone."""


@dataclass(slots=True)
class Outputs:
    """The topics and how far they are read.

    Looked at in this order, so that nothing is judged that is on its way: ``before`` is the end of
    the scores and the dead letters first; then the journal's end, which covers all of that; then
    their ends again, which hold all that the journal covers.
    """

    journal: str
    scores: str
    dead: str
    ends: dict[str, Ends]
    before: dict[str, NDArray[np.int64]]

    @classmethod
    def find(
        cls, pipeline: str, admin: Admin, log: AuditLog, findings: Findings, wait_s: float
    ) -> Outputs:
        """Look at the topics, and tell of transactions left open.

        Raises UsageError where one is absent, UnsafeResumeError where the journal is cut.
        """
        partitions: dict[str, int] = {}
        for name in ("scores", "dead", "journal", "alerts"):
            topic = admin.topic(f"{pipeline}.{name}")
            if topic is not None:
                partitions[name] = topic.partitions
            elif name != "alerts":
                raise UsageError(
                    f"topic '{pipeline}.{name}' does not exist at {admin.brokers}: there is "
                    "nothing to audit before the pipeline has run; see also --brokers"
                )
        before = {
            name: log.committed(f"{pipeline}.{name}", partitions[name])
            for name in ("scores", "dead")
        }
        order: list[str] = [
            name for name in ("journal", "scores", "dead", "alerts") if name in partitions
        ]
        ends = {name: log.settled(f"{pipeline}.{name}", partitions[name], wait_s) for name in order}
        for name, found in ends.items():
            for partition, high in found.open.items():
                end = int(found.end[partition])
                findings.add(
                    "open", f"{pipeline}.{name}", partition, (end, high), (high, end),
                    f"a transaction is open, and did not end within {wait_s:g} s",
                )  # fmt: skip
        low = int(ends["journal"].low[SHARD])
        if low > 0:
            raise UnsafeResumeError(
                f"the journal '{pipeline}.journal' begins at offset {low}, not 0: its beginning "
                "was deleted by retention, and without it nothing can be proved; set "
                "retention.ms=-1 and start anew under another pipeline name"
            )
        return cls(f"{pipeline}.journal", f"{pipeline}.scores", f"{pipeline}.dead", ends, before)


class Journal:
    """The entries of the shard's journal."""

    def __init__(self, outputs: Outputs, log: AuditLog, findings: Findings) -> None:
        self.end = int(outputs.ends["journal"].end[SHARD])
        self._topic = outputs.journal
        self._log = log
        self._findings = findings

    def entries(self) -> Generator[tuple[int, Entry], None, None]:
        """Yield (offset, entry); tell of records that are none."""
        for chunk in self._log.read(self._topic, SHARD, 0, self.end):
            for value, place in zip(chunk.values, chunk.offset.tolist(), strict=True):
                try:
                    entry = Entry.decode(value)
                except ValueError as error:
                    number = ("a journal entry", str(error))
                    span = (place, place + 1)
                    self._findings.add("undecodable", self._topic, SHARD, span, number, "no entry")
                else:
                    yield place, entry


class Scores:
    """One partition of the scores, read on as the journal is followed.

    floor   scores of lower offsets have been deleted by retention
    """

    def __init__(
        self, outputs: Outputs, scored: Topic, partition: int, log: AuditLog, findings: Findings
    ) -> None:
        ends = outputs.ends["scores"]
        self._topic = outputs.scores
        self._partition = partition
        # Where the broker tells no id, the scores have zeros.
        self._topic_id = np.frombuffer(scored.id or bytes(16), np.uint8)
        self._at, self._end = int(ends.low[partition]), int(ends.end[partition])
        self.floor = NEVER if self._at > 0 else 0
        self._log = log
        self._findings = findings
        self._pending = Rows.none()
        self._behind = -1
        self._least = -1
        """The least offset of the newest chunk."""

    def below(self, end: int) -> Rows:
        """Return the scores of offsets below ``end`` that have not been returned."""
        parts = [self._pending]
        # A chunk that is all of later offsets ends it: what comes out of order comes near.
        if self._least < end:
            parts += self._read(end)
        found, self._pending = Rows.joined(parts).split(end)
        return found

    def rest(self) -> Rows:
        """Return all scores that have not been returned."""
        found = Rows.joined([self._pending, *self._read(NEVER)])
        self._pending = Rows.none()
        return found

    def _read(self, end: int) -> list[Rows]:
        parts = []
        for chunk in self._log.read(self._topic, self._partition, self._at, self._end):
            self._at = int(chunk.offset[-1]) + 1
            rows = self._rows(chunk.values, chunk.offset)
            if not len(rows):
                continue
            if self.floor == NEVER:
                self.floor = int(rows.offset[0])
            parts.append(rows)
            self._least = int(rows.offset.min())
            if self._least >= end:
                break
        else:
            self._at = self._end
        return parts

    def _rows(self, values: list[bytes], place: NDArray[np.int64]) -> Rows:
        found = sources(values)
        good = np.ones(len(place), np.bool_)
        for position, why in found.bad.items():
            good[position] = False
            self._odd("undecodable", int(place[position]), ("a score", why), "no score")
        strange = (found.topic_id != self._topic_id).any(axis=1)
        strange |= found.partition != self._partition
        for position in np.flatnonzero(strange & good).tolist():
            was = (found.topic_id[position].tobytes().hex(), int(found.partition[position]))
            number = (f"{self._topic_id.tobytes().hex()} {self._partition}", f"{was[0]} {was[1]}")
            self._odd("source", int(place[position]), number, "a score of another topic's event")
        good &= ~strange
        offset = found.offset[good]
        behind = np.concatenate([[self._behind], offset])
        self._behind = int(behind[-1])
        return Rows(offset, found.seq[good], place[good], behind[:-1])

    def _odd(self, kind: str, place: int, number: tuple[str, str], detail: str) -> None:
        span = (place, place + 1)
        self._findings.add(kind, self._topic, self._partition, span, number, detail)


class Letters:
    """All dead letters, by input: 32 bytes of memory each.

    floors   by partition number: letters of lower seqs have been deleted by retention
    """

    def __init__(self, outputs: Outputs, first: Entry, log: AuditLog, findings: Findings) -> None:
        self._topic = outputs.dead
        self._first = first
        self._findings = findings
        self._streams = {name: place for place, name in enumerate(first.streams)}
        self._found: dict[int, list[tuple[int, int, int]]] = {}
        self.floors: list[int] = []
        ends = outputs.ends["dead"]
        for partition, (low, end) in enumerate(
            zip(ends.low.tolist(), ends.end.tolist(), strict=True)
        ):
            self.floors.append(NEVER if low > 0 else 0)
            for chunk in log.read(self._topic, partition, low, end):
                for value, place in zip(chunk.values, chunk.offset.tolist(), strict=True):
                    self._take(partition, place, value)

    def of(self, source: int) -> Rows:
        """Return the letters of an input."""
        rows = np.array(self._found.pop(source, []), np.int64).reshape(-1, 3)
        behind = np.concatenate([[-1], rows[:, 0]])[:-1]
        return Rows(rows[:, 0], rows[:, 1], rows[:, 2], behind)

    def _take(self, partition: int, place: int, value: bytes) -> None:
        try:
            letter = records.decode("dead_letter", value)
        except ValueError as error:
            self._odd("undecodable", partition, place, ("a dead letter", str(error)), "no letter")
            return
        source, seq = letter["source"], int(letter["seq"])
        if self.floors[partition] == NEVER:
            self.floors[partition] = seq
        stream = self._streams.get(source["stream"])
        topic = None if stream is None else self._first.topics[stream]
        if (
            stream is None
            or topic is None
            or source["partition"] != partition
            or partition >= topic.partitions
            or (None not in {topic.id, source["topic_id"]} and topic.id != source["topic_id"])
        ):
            number = (f"a stream's partition {partition}", f"{source}")
            self._odd("source", partition, place, number, "a dead letter of another topic's record")
            return
        at = self._first.first_inputs[stream] + partition
        self._found.setdefault(at, []).append((int(source["offset"]), seq, place))

    def _odd(
        self, kind: str, partition: int, place: int, number: tuple[str, str], detail: str
    ) -> None:
        span = (place, place + 1)
        self._findings.add(kind, self._topic, partition, span, number, detail)
