"""``noskew audit``: proves that every record taken has exactly one outcome, once and in order."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from noskew.dataflows.core.audit import Input, Rows
from noskew.dataflows.core.audit_findings import Findings
from noskew.dataflows.core.audit_journal import Follow
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka.audit_log import AuditLog
from noskew.dataflows.kafka.audit_outputs import Journal, Letters, Outputs, Scores
from noskew.dataflows.kafka.topics import Admin

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.core.audit import Account, Window
    from noskew.dataflows.settings import Settings

_COLUMNS = (TextColumn("journal"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())

WAIT_S = 10.0
"""How long a transaction that is open now may take to end."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that delivered nothing: ``first <= offset < next``.

    records  how many records are somewhere in between, where it is not known at which offsets
    why      what the input topic holds there now
    """

    first: int
    next: int
    records: int
    why: str


@dataclass(frozen=True, slots=True)
class Line:
    """What became of one partition of a stream; ``gaps`` are the first few, ``nothing`` is all."""

    stream: str
    topic: str
    partition: int
    scored: bool
    account: Account
    adds_up: bool
    gaps: tuple[Gap, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the line as JSON values."""
        return {
            "partition": self.partition,
            "delivered": self.account.delivered,
            **self.account.terms(scored=self.scored),
            "adds_up": self.adds_up,
            "nothing": self.account.nothing,
            "gaps_in_all": self.account.ranges,
            "gaps": [asdict(gap) for gap in self.gaps],
        }


@dataclass(slots=True)
class Report:
    """What an audit has found.

    entries, owners  of the journal;  void: parts of it that count for nothing
    in_flight        scores and dead letters that came while the audit ran: not judged
    """

    pipeline: str
    entries: int
    owners: int
    void: int
    in_flight: int
    lines: list[Line]
    findings: Findings
    seconds: float

    @property
    def holds(self) -> bool:
        """Return whether the identity holds and nothing else is wrong."""
        return not len(self.findings) and all(line.adds_up for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        streams: dict[str, Any] = {}
        for line in self.lines:
            own = streams.setdefault(line.stream, {"topic": line.topic, "partitions": []})
            own["partitions"].append(line.to_json())
        return {
            "pipeline": self.pipeline,
            "holds": self.holds,
            "findings_in_all": len(self.findings),
            "findings": [one.to_json() for one in self.findings.listed],
            "streams": streams,
            "journal_entries": self.entries,
            "owners": self.owners,
            "void_parts": self.void,
            "in_flight": self.in_flight,
            "seconds": round(self.seconds, 3),
        }


def audit(
    definition: Path, settings: Settings, *, retained: bool = False, wait_s: float = WAIT_S
) -> Report:
    """Hold a pipeline's scores and dead letters against its journal; it may be running.

    retained  scores and dead letters that retention has deleted are no finding
    wait_s    how long a transaction that is open now may take to end

    Raises UsageError where there is nothing to audit, UnsafeResumeError where the journal's
    beginning is gone or of another version, DeliveryError where the broker stops answering.
    """
    began_s, bar = time.monotonic(), Console(stderr=True)
    if not 0 <= wait_s <= 3600:
        raise UsageError(f"wait_s is {wait_s:g}: give seconds from 0 to 3600")
    plan = compile_plan(load(definition))
    admin = Admin.connect(settings.brokers)
    log, findings = AuditLog(settings.brokers), Findings()
    outputs = Outputs.find(plan.name, admin, log, findings, wait_s)
    journal = Journal(outputs, log, findings)
    entries = journal.entries()
    _, first = next(entries, (0, None))
    if first is None:
        raise UsageError(
            f"the journal of pipeline {plan.name!r} at {settings.brokers} has no committed entry: "
            "run it first"
        )
    follow = Follow(outputs.journal, first, findings)
    books = _Books(follow, outputs, log, findings, retained=retained)
    with Progress(*_COLUMNS, console=bar, disable=not bar.is_terminal, transient=True) as progress:
        task = progress.add_task("journal", total=journal.end)
        for place, entry in entries:
            follow.take(place, entry)
            if follow.full:
                books.settle(follow.window())
                progress.update(task, completed=place + 1)
    follow.finish(journal.end)
    books.settle(follow.window())
    in_flight = books.finish()
    lines = books.lines(admin, log, findings)
    return Report(
        plan.name,
        follow.entries,
        follow.owners,
        follow.void,
        in_flight,
        lines,
        findings,
        time.monotonic() - began_s,
    )


class _Books:
    """All inputs, beside the scores and dead letters that are theirs."""

    def __init__(
        self, follow: Follow, outputs: Outputs, log: AuditLog, findings: Findings, *, retained: bool
    ) -> None:
        first = follow.first
        origins = first.next_offset.tolist()
        self._streams = first.streams
        self._topics = first.topics
        self._inputs = [
            Input(
                topic.name,
                partition,
                origins[begin + partition],
                findings,
                scored=begin == 0,
                retained=retained,
            )
            for begin, topic in zip(first.first_inputs, first.topics, strict=True)
            for partition in range(topic.partitions)
        ]
        scored = first.topics[0]
        self._scores = [
            Scores(outputs, scored, partition, log, findings)
            for partition in range(scored.partitions)
        ]
        letters = Letters(outputs, first, log, findings)
        self._letters = [letters.of(source) for source in range(len(self._inputs))]
        self._before = outputs.before
        for one in self._inputs:
            one.letter_floor = letters.floors[one.partition]

    def settle(self, windows: list[Window]) -> None:
        """Account for a window of every input."""
        for source, (one, window) in enumerate(zip(self._inputs, windows, strict=True)):
            scores = Rows.none()
            if one.scored:
                scores = self._scores[source].below(window.end)
                one.floor = self._scores[source].floor
            letters, self._letters[source] = self._letters[source].split(window.end)
            one.settle(window, scores, letters)

    def finish(self) -> int:
        """Account for what the journal does not reach; return how much of it is in flight."""
        in_flight = 0
        for source, one in enumerate(self._inputs):
            # What came after the first look may be of an interval after the journal's.
            scores = old_scores = Rows.none()
            if one.scored:
                scores = self._scores[source].rest()
                old_scores = scores[scores.place < self._before["scores"][one.partition]]
            letters = self._letters[source]
            old_letters = letters[letters.place < self._before["dead"][one.partition]]
            in_flight += len(scores) + len(letters) - len(old_scores) - len(old_letters)
            one.finish(old_scores, old_letters)
        return in_flight

    def lines(self, admin: Admin, log: AuditLog, findings: Findings) -> list[Line]:
        """Return what became of each input, its gaps explained by what its topic holds."""
        found = []
        inputs = iter(self._inputs)
        for stream, topic in zip(self._streams, self._topics, strict=True):
            there = admin.topic(topic.name)
            same = there is not None and (None in {there.id, topic.id} or there.id == topic.id)
            low = admin.offsets(topic.name, there.partitions, "earliest") if there and same else ()
            for _ in range(topic.partitions):
                one = next(inputs)
                begins = int(low[one.partition]) if one.partition < len(low) else None
                gaps = tuple(explained(one, gap, begins, log, findings)
                             for gap in one.account.listed)  # fmt: skip
                found.append(
                    Line(stream, topic.name, one.partition, one.scored, one.account,
                         one.adds_up, gaps)
                )  # fmt: skip
        return found


def explained(
    one: Input, gap: tuple[int, int, int], begins: int | None, log: AuditLog, findings: Findings
) -> Gap:
    """Look what the topic holds at offsets that delivered nothing."""
    first, following, records = gap
    if begins is None:
        return Gap(*gap, "the topic is gone: what was there is not known")
    if begins > first:
        return Gap(*gap, f"retention deleted it: the partition begins at {begins}")
    present = log.present(one.topic, one.partition, first, following)
    if present > records:
        findings.add(
            "skipped", one.topic, one.partition, (first, following), (records, present),
            "records that were not delivered",
        )  # fmt: skip
        return Gap(*gap, f"there, but not delivered: {present - records} records")
    return Gap(*gap, "no record there: markers of transactions, aborted or compacted records")


def render(report: Report, console: Console) -> None:
    """Print a table per stream, the findings, and one closing line."""
    for stream in dict.fromkeys(line.stream for line in report.lines):
        mine = [line for line in report.lines if line.stream == stream]
        names = list(dict.fromkeys(n for one in mine for n in one.account.terms(scored=one.scored)))
        table = Table(title=escape(f"{stream} ({mine[0].topic})"))
        for name in ("partition", "delivered", *names, "adds up", "no record"):
            table.add_column(name, justify="right")
        for one in mine:
            terms = one.account.terms(scored=one.scored)
            numbers = [one.account.delivered, *(terms.get(name, 0) for name in names)]
            table.add_row(
                str(one.partition),
                *(f"{number:,}" for number in numbers),
                "yes" if one.adds_up else "no",
                f"{one.account.nothing:,}",
            )
        console.print(table)
    for text in _told(report):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _told(report: Report) -> list[str]:
    told = []
    for line in report.lines:
        place = f"{line.topic} partition {line.partition}"
        for gap in line.gaps:
            within = f", beside {gap.records} records" if gap.records else ""
            told.append(f"{place} offsets {gap.first} to {gap.next - 1}{within}: {gap.why}")
        more = line.account.ranges - len(line.gaps)
        if more:
            told.append(f"{place}: {more:,} more stretches that delivered nothing")
    told += [str(one) for one in report.findings.listed]
    told += [f"{kind}: {count:,} more" for kind, count in report.findings.unlisted().items()]
    if report.in_flight:
        told.append(f"came while this audit ran, and not judged: {report.in_flight:,}")
    delivered = sum(line.account.delivered for line in report.lines)
    ends = "the identity holds, each once and in order"
    if not report.holds:
        ends = f"the identity does not hold ({len(report.findings):,} findings)"
    told.append(
        f"{report.pipeline}: {delivered:,} records in {report.entries:,} journal entries by "
        f"{report.owners:,} instances: {ends}"
    )
    return told
