"""Payments and labels on real servers: order, restarts, late, dead and repeated records.

What a label does to a later payment is said here slowly, over lists, and compared bit for bit.
"""

from __future__ import annotations

import math
import random
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
import pytest
from kafka_io import Record, ends
from live import Live

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.errors import UnsafeResumeError
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from noskew.dataflows.commands.run import Report
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
START_US: Final = 1_522_540_800 * SECOND

PAYMENTS: Final = 300
PAYMENT_PARTITIONS: Final = 2
LABEL_PARTITIONS: Final = 4
"""More than the payments have: a dead label's partition number is one that no score has."""
LATENESS: Final = (HOUR, 2 * DAY)
SKEW: Final = DAY
SPAN: Final = HOUR
REACH: Final = (DAY + HOUR, DAY + HOUR)
"""How far back features of all tables, and of the labels' tables, reach."""

FEATURES: Final = """\
    card.count(over="1h"),
    labels.by("terminal_id").sum("is_fraud", over="1d", delay="1h"),
    labels.by("terminal_id").count(over="1d"),
"""
NOT_FRAMED: Final = b"no label"

Input = tuple[int, int]
"""Input and offset."""


@dataclass(frozen=True)
class Sent:
    """A payment or a label as it was sent; ``values`` is None of one that cannot be decoded."""

    stream: int
    partition: int
    offset: int
    available_us: int
    values: dict[str, Any] | None

    @property
    def place(self) -> Input:
        return (self.partition + self.stream * PAYMENT_PARTITIONS, self.offset)

    @property
    def time_us(self) -> int:
        assert self.values is not None
        return int(self.values["event_time"])


@dataclass
class Slow:
    """What each record becomes, and each payment's vector, in the order they are taken."""

    clocks: dict[int, int] = field(default_factory=dict)
    lines: list[float] = field(default_factory=lambda: [-math.inf, -math.inf])
    payments: list[tuple[int, int]] = field(default_factory=list)
    accepted: list[tuple[int, int, int]] = field(default_factory=list)
    labels: dict[int, tuple[int, int, bool]] = field(default_factory=dict)

    def process(self, sent: Sent) -> tuple[str, list[float]]:
        """Return "applied", "late", "duplicate" or "dead", and the vector of a payment."""
        if sent.values is None:
            return "dead", []
        source, time_us, line = sent.place[0], sent.time_us, self.lines[0]
        late = time_us < self.clocks.get(source, time_us) - LATENESS[sent.stream]
        if sent.stream == 0:
            number = sent.values["transaction_id"]
            fate, vector = self._payment(sent.values, number, source, line, late=late)
        else:
            fate, vector = self._label(sent.values, late=late), []
        if fate == "applied":
            self.clocks[source] = max(time_us, self.clocks.get(source, time_us))
            self._move()
        return fate, vector

    def _payment(
        self, values: dict[str, Any], number: int, source: int, line: float, *, late: bool
    ) -> tuple[str, list[float]]:
        time_us, customer = values["event_time"], values["customer_id"]
        repeated = any(
            (number, source) == one[:2] and abs(time_us - one[2]) <= SPAN for one in self.accepted
        )
        if not late and repeated:
            return "duplicate", []
        since = max(time_us, line)
        own = [t for t, who in self.payments if who == customer and since - HOUR < t <= time_us]
        seen = [(t, fraud) for t, at, fraud in self.labels.values() if at == values["terminal_id"]]
        frauds = [f for t, f in seen if since - HOUR - DAY < t <= time_us - HOUR]
        count = sum(since - DAY < t <= time_us for t, _ in seen)
        own_count = len(own) + (since - HOUR < time_us)
        if not late:
            self.payments.append((time_us, customer))
            self.accepted.append((number, source, time_us))
        return "late" if late else "applied", [float(own_count), float(sum(frauds)), float(count)]

    def _label(self, values: dict[str, Any], *, late: bool) -> str:
        number = values["transaction_id"]
        if late:
            return "late"
        if number in self.labels:
            closed = min(self.lines[1], self.lines[0] - REACH[1])
            if self.labels[number][0] <= closed:
                return "late"
        self.labels[number] = (values["event_time"], values["terminal_id"], values["is_fraud"])
        return "applied"

    def _move(self) -> None:
        inputs = (range(PAYMENT_PARTITIONS), range(PAYMENT_PARTITIONS, LABEL_PARTITIONS + 2))
        for stream, own in enumerate(inputs):
            clocks = [self.clocks.get(source, -math.inf) for source in own]
            reached = max(min(clocks), max(clocks) - SKEW) - LATENESS[stream]
            if stream:
                reached = min(reached, self.lines[0])
            self.lines[stream] = max(self.lines[stream], reached)


@pytest.fixture(params=["one run", "three runs"])
def ran(
    request: pytest.FixtureRequest, stack: Stack, tmp_path: Path, topic_name: str
) -> tuple[Live, list[Sent], list[Report]]:
    """Run payments and labels, all at once in canonical order, or in three runs as they come."""
    at_once = request.param == "one run"
    own = Live.make(
        stack,
        tmp_path,
        topic_name,
        partitions=PAYMENT_PARTITIONS,
        features=FEATURES,
        stream='dedupe="1h"',
        labels='allowed_lateness="2d", revise=True',
        label_partitions=LABEL_PARTITIONS,
        align_wait_s="none" if at_once else 0.2,
    )
    sent = drawn(random.Random(5))
    parts = [sent] if at_once else three_parts(sent)
    reports = []
    for part in parts:
        put(own, part)
        reports.append(own.run_until_end())
    return own, sent, reports


def test_payments_see_the_labels_taken_before_them(
    ran: tuple[Live, list[Sent], list[Report]], tmp_path: Path
) -> None:
    own, sent, reports = ran
    places = {one.place: one for one in sent}
    order = own.taken()

    assert sorted(order) == sorted(places)
    assert (order == canonical(sent)) == (len(reports) == 1)
    slow = Slow()
    said = {place: slow.process(places[place]) for place in order}
    vectors = {place: vector for place, (_, vector) in said.items() if vector}
    assert sum(vector[1] > 0 for vector in vectors.values()) > 20
    assert of_scores(own) == vectors
    assert_accounted(own, reports, sent, {place: fate for place, (fate, _) in said.items()})
    for wanted in ("journal", "canonical"):
        out = tmp_path / f"{wanted}.parquet"
        report = replay(own.definition, ["kafka"], out, settings(**own.flags), order=wanted)
        assert report.order == wanted
        if wanted == "journal" or len(reports) == 1:
            assert of_file(out, own) == vectors


def assert_accounted(
    own: Live, reports: Sequence[Report], sent: Sequence[Sent], fates: dict[Input, str]
) -> None:
    """Counts, gaps of the journal and dead letters are exactly what became of each record."""
    counts = Counter((one.stream, fates[one.place]) for one in sent)
    assert min(counts.values()) > 2
    assert len(counts) == 6, "payments: applied, duplicate, dead; labels: applied, late, dead"
    scored, labels = ([r.tally.streams[name] for r in reports] for name in ("payments", "labels"))
    for account in scored:
        dead = sum(account.dead.values())
        assert account.delivered == account.scored + dead + account.duplicate + account.unscored
    for account in labels:
        dead = sum(account.dead.values())
        assert account.delivered == account.applied + account.late + dead + account.duplicate
    assert sum(one.delivered for one in scored + labels) == len(sent)
    assert sum(one.duplicate for one in scored) == counts[0, "duplicate"]
    assert sum(one.scored for one in scored) == counts[0, "applied"]
    assert sum(one.applied for one in labels) == counts[1, "applied"]
    assert sum(one.late for one in labels) == counts[1, "late"]
    assert sum(sum(one.dead.values()) for one in labels) == counts[1, "dead"]

    gaps = [gap for entry in own.journal() for gap in entry.gaps]
    first = {"payments": 0, "labels": PAYMENT_PARTITIONS}
    journaled = {
        (first[gap.stream] + gap.partition, offset): gap.reason
        for gap in gaps
        for offset in range(gap.first, gap.next)
    }
    assert journaled == {place: fate for place, fate in fates.items() if fate != "applied"}

    topics = dict(zip(("payments", "labels"), (own.topic, own.labels), strict=True))
    seqs = {place: seq for seq, place in enumerate(own.taken())}
    letters = own.dead()
    assert ends(own.stack.brokers, f"{own.name}.dead")[PAYMENT_PARTITIONS:] != [0, 0]
    for letter in letters:
        source = letter.value["source"]
        place = (first[source["stream"]] + source["partition"], source["offset"])
        assert fates.pop(place) == "dead"
        assert letter.partition == source["partition"]
        assert source["topic"] == topics[source["stream"]]
        assert letter.value["value"] == NOT_FRAMED
        assert letter.value["seq"] == seqs[place]
    assert "dead" not in fates.values()


def test_a_journal_of_other_streams_is_refused_with_both(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:

    own = Live.make(stack, tmp_path, topic_name, features=FEATURES, labels='allowed_lateness="2d"')
    own.run_until_end()
    text = own.definition.read_text()
    other = f"{own.labels}.other"
    Admin.connect(stack.brokers).ensure(other, 1, {"message.timestamp.type": "LogAppendTime"})
    own.definition.write_text(text.replace(repr(own.labels), repr(other)))

    with pytest.raises(
        UnsafeResumeError,
        match=rf"3 partitions of '{own.labels}', now it would read 1 of '{other}'",
    ):
        own.run_until_end()


# -- records -----------------------------------------------------------------------------------


def drawn(draw: random.Random) -> list[Sent]:
    """Draw payments and labels in the order in which they are sent: by availability.

    Of the payments some come twice and some cannot be decoded; of the labels some are corrected
    later, some come too late, and some cannot be decoded.
    """
    rows: list[tuple[int, int, int, dict[str, Any] | None]] = []
    for number in range(PAYMENTS):
        time_us = START_US + number * 20 * MINUTE + draw.randrange(MINUTE)
        customer = draw.randrange(6)
        values = {
            "transaction_id": number,
            "customer_id": customer,
            "terminal_id": draw.randrange(3),
            "amount_cents": 100,
            "event_time": time_us,
        }
        partition = customer % PAYMENT_PARTITIONS
        rows.append((time_us, 0, partition, values))
        if number % 20 == 5:
            rows.append((time_us + MINUTE, 0, partition, {**values, "event_time": time_us + 5}))
            again = {**values, "event_time": time_us + 2 * HOUR}  # long after: accepted
            rows.append((time_us + 2 * HOUR, 0, partition, again))
        if number % 50 == 7:
            rows.append((time_us + MINUTE, 0, partition, None))
        label = {k: v for k, v in values.items() if k != "amount_cents"}
        label["is_fraud"] = draw.random() < 0.4
        at = customer % LABEL_PARTITIONS
        wait_us = draw.randrange(HOUR, 30 * HOUR)
        if number % 15 == 11:
            wait_us += 4 * DAY  # older than the labels' allowed lateness then
        rows.append((time_us + wait_us, 1, at, label))
        if number % 4 == 2:
            other = {**label, "is_fraud": not label["is_fraud"]}
            rows.append((time_us + wait_us + draw.randrange(9 * HOUR), 1, at, other))
        if number % 40 == 3:
            rows.append((time_us + wait_us, 1, draw.randrange(LABEL_PARTITIONS), None))
    offsets: Counter[tuple[int, int]] = Counter()
    found = []
    for available_us, stream, partition, given in sorted(rows, key=lambda row: row[:3]):
        values_of = given and {**given, **({"labelled_at": available_us} if stream else {})}
        at_us = given["event_time"] if given and not stream else available_us
        found.append(Sent(stream, partition, offsets[stream, partition], at_us, values_of))
        offsets[stream, partition] += 1
    return found


def three_parts(sent: Sequence[Sent]) -> list[list[Sent]]:
    """Cut what is sent into three, the labels later than they could have come."""
    payments, labels = ([one for one in sent if one.stream == at] for at in range(2))
    third, half = len(payments) // 3, len(labels) // 2
    return [
        payments[:third],
        [*payments[third : 2 * third], *labels[:half]],
        [*payments[2 * third :], *labels[half:]],
    ]


def put(own: Live, sent: Iterable[Sent]) -> None:
    ids = (own.schema_id(), own.label_schema_id())
    names = ("transaction", "label")
    into: tuple[list[Record], list[Record]] = ([], [])
    for one in sent:
        value = NOT_FRAMED
        if one.values is not None:
            value = records.encode(names[one.stream], one.values, ids[one.stream])
        into[one.stream].append(Record(one.partition, value, one.available_us // 1000))
    own.send(into[0])
    own.send_labels(into[1])


def canonical(sent: Sequence[Sent]) -> list[Input]:
    """Return the places by (position clock, stream, partition, offset)."""
    clocks: dict[int, int] = {}
    keyed = []
    for one in sorted(sent, key=lambda one: one.place):
        source = one.place[0]
        if one.values is not None:
            clocks[source] = max(clocks.get(source, one.available_us), one.available_us)
        keyed.append((clocks.get(source, -math.inf), one.place))
    return [place for _, place in sorted(keyed)]


# -- what came out -----------------------------------------------------------------------------


def of_scores(own: Live) -> dict[Input, list[float]]:
    found = own.scores()
    vectors = {
        (one.partition, one.value["source"]["offset"]): list(
            struct.unpack("<3d", one.value["vector"])
        )
        for one in found
    }
    assert len(vectors) == len(found)
    return vectors


def of_file(path: Path, own: Live) -> dict[Input, list[float]]:
    table = pq.read_table(path)
    columns = [table[name].to_pylist() for name in own.plan.names]
    places = zip(
        table["stream_partition"].to_pylist(), table["stream_offset"].to_pylist(), strict=True
    )
    return {place: list(row) for place, *row in zip(places, *columns, strict=True)}
