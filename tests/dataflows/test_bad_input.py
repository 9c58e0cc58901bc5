"""What cannot be used becomes a dead letter with its own reason; its neighbours notice nothing.

One live run over every kind of bad record, between good payments that would come out otherwise if
any of the bad ones moved a clock or was counted.
"""

from __future__ import annotations

import copy
import json
import math
import struct
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
import pytest
from definitions import meaning_of
from kafka_io import Record, ends, payment
from live import Live
from meaning import Event
from naive import Naive, bits
from paths import SHARED, shared
from strategies import SECOND, START_US
from wire import body, framed

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.schemas import files
from noskew.schemas.reason import STAGE, Reason
from noskew.schemas.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from live import Found

    from noskew.dataflows.commands.run import Report
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

PARTITIONS: Final = 2
NAME: Final = "bad_input"
MAX_ABS: Final = 2**40
YEAR_2100_US: Final = 4_102_444_800_000_000
STRANGER: Final = 999_999
"""An id that the registry never gave."""
LARGE: Final = 999_950
"""Bytes of a value that a topic just takes: with its place and reason around it, it is larger."""
POISON: Final = "vectors/schema/poison.jsonl"
EMPTY: Final = {"count": 0.0, "sum": 0.0, "mean": math.nan, "min": math.nan, "max": math.nan}

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Bad:
    """A record that cannot be used, the reason, and what its dead letter must tell of it."""

    what: str
    value: bytes | None
    reason: Reason
    said: tuple[str, ...]
    key: bytes | None = b"0"
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


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


# -- what is sent ------------------------------------------------------------------------------


class Writers:
    """Writers' schemas, each under a subject of its own: nothing is known before its first use."""

    def __init__(self, url: str) -> None:
        self._registry = Registry(url, None, timeout_s=10.0)
        self._count = 0

    def id_of(self, schema: Any) -> int:
        """Register a schema and return its id."""
        self._count += 1
        return self._registry.register(f"{NAME}.writer{self._count}-value", json.dumps(schema))

    def altered(self, name: str, type_: Any) -> tuple[int, Any]:
        """Register transaction.avsc with another type for one field; return id and schema."""
        schema = copy.deepcopy(files.load("transaction"))
        entry = next(entry for entry in schema["fields"] if entry["name"] == name)
        entry["type"] = type_
        return self.id_of(schema), schema

    def close(self) -> None:
        """Leave the registry."""
        self._registry.close()


def event(number: int, **values: Any) -> Event:
    """Return payment ``number``: of six customers, of three terminals or none."""
    customer = number % 6
    return Event(
        customer % PARTITIONS,
        -1,
        START_US + number * 7 * 60 * SECOND,
        {
            "transaction_id": number,
            "customer_id": customer,
            "terminal_id": None if number % 5 == 4 else number // 2 % 3,
            "amount_cents": 100 + 13 * number,
            **values,
        },
    )


def bad_ones(known: int, writers: Writers) -> Iterator[Bad]:
    """Yield every kind of bad record; those with a body are payments of a customer that is busy."""

    def value(schema_id: int = known, schema: Any = None, **more: Any) -> bytes:
        one = event(12, amount_cents=900_000)
        full = {**FIELDS, **one.values, "event_time": one.time_us, **more}
        return framed(schema_id, body(schema or files.load("transaction"), full))

    odd: list[tuple[str, bytes | None]] = [("trace", b"\0\xff"), ("trace", b"two"), ("no", None)]
    follow = f"does not follow schema {known}"
    yield Bad("cut short", value()[:-3], Reason.UNDECODABLE, (follow,), key=None)
    yield Bad("no body", framed(known, b""), Reason.UNDECODABLE, (follow,), key=b"")
    yield Bad(
        "more bytes", value() + b"\1\2", Reason.TRAILING_BYTES, ("2 bytes", f"schema {known}")
    )
    yield Bad("JSON", b'{"a": 1}', Reason.NOT_FRAMED, ("JSON",), b"\xff\0", odd)
    yield Bad("empty", b"", Reason.NOT_FRAMED, ("empty (0 bytes)",), headers=odd)
    yield Bad("tombstone", None, Reason.NO_VALUE, ("tombstone",), headers=odd)
    yield Bad("large", b"x" * LARGE, Reason.NOT_FRAMED, ("byte 78",))
    yield Bad("stranger", value(STRANGER), Reason.UNKNOWN_SCHEMA, (f"schema id {STRANGER}",))

    key = writers.altered("customer_id", "string")
    types = ("'customer_id' is string", "reads long")
    yield Bad("key is text", value(*key, customer_id="0"), Reason.WRONG_TYPE, types)
    for name, use in (
        ("amount_cents", "not allowed"),
        ("transaction_id", "identifies"),
        ("customer_id", "not allowed"),
    ):
        writer = writers.altered(name, ["null", "long"])
        text = (f"{name!r} is null", use)
        yield Bad(f"null {name}", value(*writer, **{name: None}), Reason.NULL_VALUE, text)
    for amount in (MAX_ABS + 1, -MAX_ABS - 1, 2**63 - 1, -(2**63)):
        told = (f"'amount_cents' is {amount}", f"max_abs {MAX_ABS}")
        yield Bad(f"amount {amount}", value(amount_cents=amount), Reason.RANGE, told)
    for time, reason, cause in (
        (START_US // 1000, Reason.TIME_TOO_OLD, "looks like milliseconds"),
        (START_US // SECOND, Reason.TIME_TOO_OLD, "looks like seconds"),
        (YEAR_2100_US, Reason.TIME_IN_FUTURE, "5 min after the record's timestamp"),
        (START_US * 1000, Reason.TIME_IN_FUTURE, "looks like nanoseconds"),
    ):
        told = (f"'event_time' is {time}", cause)
        yield Bad(f"time {time}", value(event_time=time), reason, told)

    nothing = {"type": "array", "items": "null"}
    bomb = {"type": "record", "name": "Bomb", "fields": [{"name": "a", "type": nothing}]}
    turns = {"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}
    many = b"\x80\x80\x80\x80\x80\x40\0"
    yield Bad("nulls", framed(writers.id_of(bomb), many), Reason.UNSAFE_SCHEMA, ("no bytes",))
    endless = framed(writers.id_of(turns), b"\2" * 100_000 + b"\0")
    yield Bad("recursion", endless, Reason.UNSAFE_SCHEMA, ("contains itself",))
    yield from poison(writers)


FIELDS: Final = {
    "currency": "EUR",
    "entry_mode": "CHIP",
    "merchant_category": 5411,
    "country": "DE",
    "card_present": True,
    "channel": "pos",
}

FAULTS: Final = {
    "poison-00-valid": Reason.WRONG_TYPE,  # a good record, but no payment
    "poison-03-trailing-bytes": Reason.TRAILING_BYTES,
    "poison-04-older-schema-prefix": Reason.TRAILING_BYTES,
    "poison-14-boolean-2": Reason.WRONG_TYPE,
    "poison-15-array-of-null-2^40": Reason.UNSAFE_SCHEMA,
    "poison-16-array-of-empty-record-2^40": Reason.UNSAFE_SCHEMA,
    "poison-17-array-int64min-block": Reason.UNSAFE_SCHEMA,
    "poison-20-recursion-5000": Reason.UNSAFE_SCHEMA,
    "poison-21-recursion-100000": Reason.UNSAFE_SCHEMA,
    "poison-22-recursion-50-ok": Reason.UNSAFE_SCHEMA,  # legal, but no recursion is decoded
    "wire-tombstone": Reason.NO_VALUE,
    "wire-empty-value": Reason.NOT_FRAMED,
    "wire-magic-json": Reason.NOT_FRAMED,
    "wire-magic-5": Reason.NOT_FRAMED,
    "wire-v1-guid-in-prefix": Reason.NOT_FRAMED,
    "wire-apicurio-8-byte-id": Reason.UNKNOWN_SCHEMA,
    "wire-unknown-id": Reason.UNKNOWN_SCHEMA,
    "wire-id-zero": Reason.UNKNOWN_SCHEMA,
    "wire-id-negative-int": Reason.UNKNOWN_SCHEMA,
    "wire-single-object-encoding": Reason.NOT_FRAMED,
}
"""Reason of each shared poison record; of those not named, the body does not follow the schema."""


def poison(writers: Writers) -> Iterator[Bad]:
    """Yield the shared poison, its schema id exchanged for the one that the registry gave."""
    if SHARED is None or not (SHARED / POISON).exists():
        return
    given: dict[str, int] = {}
    for line in (SHARED / POISON).read_text().splitlines():
        row = json.loads(line)
        name, wire = row["id"], row["wire_hex"]
        if name == "wire-header-guid-short-payload":
            continue  # schema ids in headers are not read yet
        value = None if wire is None else bytes.fromhex(wire)
        text = json.dumps(row["writer"])
        if name.startswith("poison-") or name == "wire-too-short":
            given[text] = given[text] if text in given else writers.id_of(row["writer"])
            rest = b"\2" * int(name.rpartition("-")[2]) + b"\0" if value is None else value[5:]
            value = framed(given[text], rest)
        yield Bad(name, value, FAULTS.get(name, Reason.UNDECODABLE), ())


@pytest.fixture(scope="module")
def ran(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Send good payments and bad records in turn, and run until all is done."""
    folder = tmp_path_factory.mktemp(NAME)
    own = Live.make(stack, folder, NAME, partitions=PARTITIONS)
    known = own.schema_id()
    writers = Writers(stack.registry)
    bad = list(bad_ones(known, writers))
    nullable, _ = writers.altered("amount_cents", ["null", "long"])
    writers.close()
    good = [event(number) for number in range(max(60, len(bad) + 10))]
    placed: dict[Place, Event] = {}
    refused: dict[Place, Bad] = {}
    sent: list[Record] = []
    offsets = [0] * PARTITIONS
    for number, (fine, wrong) in enumerate(zip_longest(good, bad)):
        place = (fine.partition, offsets[fine.partition])
        placed[place] = replace(fine, offset=place[1])
        value = payment(fine, known)
        if number == len(good) - 1:  # a good record of a schema that allows bad ones
            schema = copy.deepcopy(files.load("transaction"))
            next(f for f in schema["fields"] if f["name"] == "amount_cents")["type"] = [
                "null",
                "long",
            ]
            value = framed(
                nullable, body(schema, {**FIELDS, **fine.values, "event_time": fine.time_us})
            )
        sent.append(Record(place[0], value, fine.time_us // 1000, b"k"))
        offsets[place[0]] += 1
        if wrong is not None:
            # Into the partition of the next payment.
            place = ((number + 1) % PARTITIONS, offsets[(number + 1) % PARTITIONS])
            refused[place] = wrong
            at_ms = fine.time_us // 1000
            sent.append(Record(place[0], wrong.value, at_ms, wrong.key, list(wrong.headers)))
            offsets[place[0]] += 1
    own.send(sent)
    report = own.run_until_end()
    return Ran(own, report, placed, refused, own.taken(), own.scores(), own.dead())


# -- what came out -----------------------------------------------------------------------------


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
    naive = Naive(meaning_of(ran.own.pipeline), PARTITIONS)
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
    rows = {at: (r.time_us, r.until_us, tuple(r.words.tolist())) for at, r in ran.own.rows().items()}
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
    assert (tally.scored, tally.unscored, tally.late) == (len(ran.good), 0, 0)
    assert tally.dead == Counter(bad.reason.name.lower() for bad in ran.bad.values())


def test_the_journal_names_exactly_the_dead_ones_as_without_score(ran: Ran) -> None:
    gaps = [gap for entry in ran.own.journal() for gap in entry.gaps]
    places = [(gap.partition, at) for gap in gaps for at in range(gap.first, gap.next)]

    assert {gap.reason for gap in gaps} == {"dead"}
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
