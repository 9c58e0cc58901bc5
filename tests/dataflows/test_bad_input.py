"""What cannot be used becomes a dead letter with its own reason; its neighbours notice nothing.

One live run over every kind of bad record, between good payments that would come out otherwise if
any of the bad ones moved a clock or was counted.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq
import pytest
from bad_records import FAULTS, FIELDS, PARTITIONS, POISON, Writers, bad_ones, event
from definitions import meaning_of
from kafka_io import Record, ends, payment
from live import Live
from meaning import bits
from naive import Naive
from paths import shared
from strategies import SECOND, START_US
from wire import body, framed

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.schemas.reason import STAGE, Reason

if TYPE_CHECKING:
    from bad_records import Bad
    from live import Found
    from meaning import Event

    from noskew.dataflows.commands.run import Report
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

NAME: Final = "bad_input"
EMPTY: Final = {"count": 0.0, "sum": 0.0, "mean": math.nan, "min": math.nan, "max": math.nan}

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Ran:
    """What was sent, by place, and what the run made of it."""

    own: Live
    report: Report
    good: dict[Place, Event]
    bad: dict[Place, Bad]
    order: list[Place]
    scores: list[Found]
    dead: list[Found]


@pytest.fixture(scope="module")
def ran(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Send good payments and bad records in turn, and run until all is done."""
    own = Live.make(stack, tmp_path_factory.mktemp(NAME), NAME, partitions=PARTITIONS)
    known = own.schema_id()
    writers = Writers(stack.registry, NAME)
    bad = list(bad_ones(known, writers))
    lenient, schema = writers.altered("amount_cents", ["null", "long"])
    writers.close()
    good: dict[Place, Event] = {}
    refused: dict[Place, Bad] = {}
    sent: list[Record] = []
    offsets = [0] * PARTITIONS
    for number, wrong in enumerate([*bad, *[None] * 20]):
        fine = event(number)
        at_ms = fine.time_us // 1000
        place = (fine.partition, offsets[fine.partition])
        offsets[place[0]] += 1
        good[place] = replace(fine, offset=place[1])
        value = payment(fine, known)
        if number % 10 == 9:  # a good record, though its schema allows bad ones
            full = {**FIELDS, **fine.values, "event_time": fine.time_us}
            value = framed(lenient, body(schema, full))
        sent.append(Record(place[0], value, at_ms, b"k"))
        if wrong is not None:
            place = (event(number + 1).partition, offsets[event(number + 1).partition])
            offsets[place[0]] += 1
            refused[place] = wrong
            sent.append(Record(place[0], wrong.value, at_ms, wrong.key, list(wrong.headers)))
    own.send(sent)
    report = own.run_until_end()
    return Ran(own, report, good, refused, own.taken(), own.scores(), own.dead())


def test_each_bad_record_becomes_a_dead_letter_with_its_reason_and_all_its_bytes(ran: Ran) -> None:
    topic = Admin.connect(ran.own.stack.brokers).topic(ran.own.topic)
    assert topic is not None
    seqs = {place: seq for seq, place in enumerate(ran.order)}
    found = {(one.partition, one.value["source"]["offset"]): one for one in ran.dead}

    assert len(found) == len(ran.dead)
    assert {ran.bad[p].what if p in ran.bad else p for p in found} == {
        bad.what for bad in ran.bad.values()
    }
    for place, bad in ran.bad.items():
        value = dict(found[place].value)
        detail = value.pop("detail")
        assert value.pop("reason") == bad.reason.name.lower(), (bad.what, detail)
        framed_as = value.pop("schema_id")
        if bad.reason in {Reason.NO_VALUE, Reason.NOT_FRAMED}:
            assert framed_as is None, bad.what
        elif bad.value is not None and bad.value[1] < 128:
            assert framed_as == int.from_bytes(bad.value[1:5]), bad.what
        assert value == {
            "stage": STAGE[bad.reason],
            "pipeline": NAME,
            "source": {
                "stream": "payments",
                "topic": ran.own.topic,
                "topic_id": topic.id,
                "partition": place[0],
                "offset": place[1],
                "record_time": value["source"]["record_time"],
            },
            "key": bad.key,
            "value": bad.value,
            "headers": [{"name": name, "value": one} for name, one in bad.headers],
            "seq": seqs[place],
        }, bad.what
        assert found[place].key == bad.key
        assert START_US <= value["source"]["record_time"] <= START_US + 100 * 7 * 60 * SECOND


def test_its_detail_names_the_field_and_the_value(ran: Ran) -> None:
    for one in ran.dead:
        bad = ran.bad[one.partition, one.value["source"]["offset"]]
        assert 10 < len(one.value["detail"]) <= 1000, bad.what
        for text in bad.said:
            assert text in one.value["detail"], bad.what


def test_the_shared_poison_was_among_them(ran: Ran) -> None:
    shared(POISON)
    assert {bad.what for bad in ran.bad.values()} > FAULTS.keys()


def test_the_neighbours_have_the_bits_of_a_stream_without_bad_records(ran: Ran) -> None:
    naive = Naive(meaning_of(ran.own.pipeline), [PARTITIONS])
    said = {place: naive.process(ran.good[place]) for place in ran.order if place in ran.good}
    names = [value.name for value in ran.own.pipeline.features]

    assert [(one.partition, one.value["source"]["offset"]) for one in ran.scores] == sorted(said)
    for one in ran.scores:
        place = (one.partition, one.value["source"]["offset"])
        found = dict(zip(names, vector(one), strict=True))
        wanted = dict(zip(names, said[place].vector, strict=True))
        assert {n: bits(v) for n, v in found.items()} == {n: bits(v) for n, v in wanted.items()}
        assert one.value["flags"] == said[place].flags
        assert one.value["event_id"] == ran.good[place].values["transaction_id"]
    naive.flush()
    rows = {
        at: (r.time_us, r.until_us, tuple(r.words.tolist())) for at, r in ran.own.rows().items()
    }
    assert rows == {at: (r.time_us, r.until_us, r.words) for at, r in naive.live_rows().items()}
    assert ran.own.alerts() == []


def test_what_was_delivered_is_scored_or_dead_in_each_partition(ran: Ran) -> None:
    tally = ran.report.tally
    delivered = ends(ran.own.stack.brokers, ran.own.topic)

    assert [
        sum(one.partition == partition for one in ran.scores + ran.dead)
        for partition in range(PARTITIONS)
    ] == delivered
    assert tally.delivered == sum(delivered) == len(ran.order)
    account = tally.streams["payments"]
    assert (account.scored, account.unscored, account.late) == (len(ran.good), 0, 0)
    assert account.dead == Counter(bad.reason.name.lower() for bad in ran.bad.values())


def test_the_journal_names_exactly_the_dead_ones_as_without_score(ran: Ran) -> None:
    gaps = [gap for entry in ran.own.journal() for gap in entry.gaps]
    places = [(gap.partition, at) for gap in gaps for at in range(gap.first, gap.next)]

    assert {(gap.reason, gap.stream) for gap in gaps} == {("dead", "payments")}
    assert sorted(places) == sorted(ran.bad)


def test_replay_of_the_journal_gives_the_scores_bits_and_no_bad_record(ran: Ran) -> None:
    out = ran.own.folder / "replayed.parquet"

    report = replay(ran.own.definition, ["kafka"], out, settings(**ran.own.flags))

    assert (report.order, report.read, report.dead) == ("journal", len(ran.order), len(ran.bad))
    table = pq.read_table(out)
    places = zip(
        table["stream_partition"].to_pylist(), table["stream_offset"].to_pylist(), strict=True
    )
    values = zip(*(table[name].to_pylist() for name in ran.own.plan.names), strict=True)
    replayed = dict(zip(places, values, strict=True))
    assert list(replayed) == [place for place in ran.order if place in ran.good]
    for one in ran.scores:
        place = (one.partition, one.value["source"]["offset"])
        assert [bits(v) for v in replayed[place]] == [bits(v) for v in vector(one)], place


def test_a_payment_without_a_terminal_is_scored_and_has_no_row_of_a_terminal(ran: Ran) -> None:
    names = [value.name for value in ran.own.pipeline.features]
    without = [one for one in ran.scores if one.value["entity_keys"]["terminal_id"] is None]

    assert len(without) == sum(e.values["terminal_id"] is None for e in ran.good.values()) > 5
    for one in without:
        for name, value in zip(names, vector(one), strict=True):
            if name.startswith("terminal_id_"):
                wanted = next(EMPTY[stat] for stat in EMPTY if f"_{stat}_" in name)
                assert bits(value) == bits(wanted), name
            elif name == "customer_id_count_1d":
                assert value >= 1
    keys = {key for entity, key in ran.own.rows() if entity == "terminal_id"}
    assert keys == {0, 1, 2}


def vector(score: Found) -> tuple[float, ...]:
    """Return a score's features."""
    packed = score.value["vector"]
    return struct.unpack(f"<{len(packed) // 8}d", packed)
