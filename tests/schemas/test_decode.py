"""Records become columns, and each record that cannot be used gets its own reason, alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import T0, Dictionary, Wants, body, decode, framed, listed, payment, record

from noskew.schemas import files
from noskew.schemas.decode import Decoder, Reason

PAYMENT = files.load("transaction")
FIELDS = {
    "transaction_id": "int",
    "event_time": "int",
    "customer_id": "int",
    "terminal_id": "int",
    "amount_cents": "int",
    "card_present": "int",
    "entry_mode": "int",
    "country": "string",
}


def payments(**more: Any) -> Wants:
    given_ = {"nullable": frozenset({"terminal_id"}), "max_abs": {"amount_cents": 2**40}, **more}
    return Wants(PAYMENT, FIELDS, **given_)


def sent(schema_id: int = 1, **more: Any) -> bytes:
    return framed(schema_id, body(PAYMENT, payment(**more)))


def decoder(**more: Any) -> Decoder:
    return Decoder(payments(**more), Dictionary({1: PAYMENT}))


def test_payments_become_columns_of_integers_and_text() -> None:
    out = decode(decoder(), [sent(), sent(transaction_id=2, terminal_id=None, card_present=False)])
    assert out.reason.tolist() == [0, 0]
    assert {name: listed(column) for name, column in out.columns.items()} == {
        "transaction_id": [1, 2],
        "event_time": [T0, T0],
        "customer_id": [5, 5],
        "terminal_id": [7, None],
        "amount_cents": [1234, 1234],
        "card_present": [1, 0],
        "entry_mode": [1, 1],
        "country": ["DE", "DE"],
    }
    assert out.time_us.tolist() == out.available_us.tolist() == [T0, T0]


BAD: list[tuple[str, bytes | None, Reason, str]] = [
    ("tombstone", None, Reason.NO_VALUE, "tombstone"),
    ("empty", b"", Reason.NOT_FRAMED, "empty"),
    ("short", b"\0\0\0", Reason.NOT_FRAMED, "3 bytes"),
    ("json", b'{"a": 1}', Reason.NOT_FRAMED, "JSON"),
    ("guid", b"\1" + b"\xaa" * 16 + b"abc", Reason.NOT_FRAMED, "GUID"),
    ("single object", b"\xc3\x01" + bytes(9), Reason.NOT_FRAMED, "single-object"),
    ("unknown id", sent(99), Reason.UNKNOWN_SCHEMA, "99"),
    (
        "wide id",
        framed(0, b"\0\0\0\7" + b"x" * 9),
        Reason.UNKNOWN_SCHEMA,
        "8-byte ids it would be 7",
    ),
    ("negative id", sent(-1), Reason.UNKNOWN_SCHEMA, "negative"),
    ("cut", sent()[:-1], Reason.UNDECODABLE, "does not follow"),
    ("cut early", sent()[:9], Reason.UNDECODABLE, "does not follow"),
    ("no body", framed(1, b""), Reason.UNDECODABLE, "does not follow"),
    ("trailing", sent() + b"\1\2", Reason.TRAILING_BYTES, "2 bytes"),
    ("too much", sent(amount_cents=2**40 + 1), Reason.RANGE, "max_abs 1099511627776"),
    ("too little", sent(amount_cents=-(2**40) - 1), Reason.RANGE, "max_abs"),
    ("milliseconds", sent(event_time=T0 // 1000), Reason.TIME_TOO_OLD, "milliseconds"),
    ("seconds", sent(event_time=T0 // 10**6), Reason.TIME_TOO_OLD, "seconds"),
    ("the year 1999", sent(event_time=946_684_799_999_999), Reason.TIME_TOO_OLD, "2000"),
    ("the year 2100", sent(event_time=4_102_444_800_000_000), Reason.TIME_IN_FUTURE, "5 min"),
    ("five minutes on", sent(event_time=T0 + 300_000_001), Reason.TIME_IN_FUTURE, "5 min"),
    ("nanoseconds", sent(event_time=T0 * 1000), Reason.TIME_IN_FUTURE, "nanoseconds"),
    ("smallest long", sent(customer_id=-(2**63)), Reason.RANGE, "customer_id"),
]


@pytest.mark.parametrize(
    ("value", "reason", "said"), [one[1:] for one in BAD], ids=[b[0] for b in BAD]
)
def test_a_bad_record_has_its_reason_and_its_neighbours_have_none(
    value: bytes | None, reason: Reason, said: str
) -> None:
    out = decode(decoder(), [sent(transaction_id=3), value, sent(transaction_id=4)])
    assert out.reason.tolist() == [0, reason, 0]
    assert listed(out.columns["transaction_id"]) == [3, None, 4]
    assert listed(out.columns["country"]) == ["DE", None, "DE"]
    assert said in out.details[1]
    assert out.time_us.tolist() == [T0, 0, T0]


@pytest.mark.parametrize("event_time", [946_684_800_000_000, T0 + 300_000_000])
def test_the_limits_of_time_are_inside(event_time: int) -> None:
    assert decode(decoder(), [sent(event_time=event_time)]).reason.tolist() == [0]


@pytest.mark.parametrize("amount", [2**40, -(2**40)])
def test_the_limits_of_a_range_are_inside(amount: int) -> None:
    assert decode(decoder(), [sent(amount_cents=amount)]).reason.tolist() == [0]


def test_without_record_timestamps_the_future_is_not_judged_but_the_end_of_time_is() -> None:
    values = [sent(event_time=4_102_444_800_000_000), sent(event_time=2**62)]
    out = decode(decoder(), values, record_time_us=None)
    assert out.reason.tolist() == [0, Reason.TIME_IN_FUTURE]


def test_a_record_with_two_faults_has_the_first() -> None:
    value = sent(amount_cents=2**50, event_time=T0 // 1000)
    assert decode(decoder(), [value, value + b"x"]).reason.tolist() == [
        Reason.RANGE,
        Reason.TRAILING_BYTES,
    ]


def test_null_is_refused_where_the_pipeline_forbids_it() -> None:
    writer = record(*((f["name"], ["null", f["type"]]) for f in PAYMENT["fields"][:3]), name="T")
    reader = record(*((f["name"], ["null", f["type"]], None) for f in PAYMENT["fields"][:3]))
    wants = Wants(reader, dict.fromkeys(("transaction_id", "event_time", "customer_id"), "int"))
    names = ("transaction_id", "event_time", "customer_id")
    full = dict(zip(names, (1, T0, 2), strict=True))
    values = [framed(1, body(writer, full | {name: None})) for name in names]
    out = decode(Decoder(wants, Dictionary({1: writer})), [*values, framed(1, body(writer, full))])
    assert out.reason.tolist() == [Reason.NULL_VALUE] * 3 + [0]
    assert all(name in out.details[i] for i, name in enumerate(names))
    lenient = Wants(reader, wants.fields, nullable=frozenset(names))
    out = decode(Decoder(lenient, Dictionary({1: writer})), values)
    assert out.reason.tolist() == [Reason.NULL_VALUE, Reason.NULL_VALUE, 0]


def test_records_of_an_id_without_answer_wait_and_the_rest_goes_on() -> None:
    schemas = Dictionary({1: PAYMENT, 2: PAYMENT}, away={2})
    one = Decoder(payments(), schemas)
    values = [sent(1), sent(2, transaction_id=9), sent(1)]
    out = decode(one, values)
    assert out.waiting.tolist() == [False, True, False]
    assert out.reason.tolist() == [0, 0, 0]
    assert out.away == "away"
    assert out.time_us[1] == 0
    schemas.away.clear()
    out = decode(one, values)
    assert not out.waiting.any()
    assert listed(out.columns["transaction_id"]) == [1, 9, 1]
    assert list(one.writers) == [1, 2]


UNSAFE = [
    (record(("n", ["null", "T"])), "contains itself"),
    (record(("a", {"type": "array", "items": "null"})), "no bytes"),
    (record(("a", {"type": "map", "values": record(name="E")})), "no bytes"),
    (record(*((f"f{i}", "int") for i in range(501))), "500 fields"),
    ({"type": "record", "name": "T", "fields": [{"name": "x", "type": "unheard"}]}, "unheard"),
    (5, "no Avro schema"),
]


@pytest.mark.parametrize(("writer", "said"), UNSAFE)
def test_an_unsafe_writer_schema_is_refused_for_all_its_records(writer: Any, said: str) -> None:
    one = Decoder(payments(), Dictionary({1: PAYMENT, 2: writer}))
    out = decode(one, [sent(1), framed(2, b"\2" * 5000 + b"\0"), framed(2, b"")])
    assert out.reason.tolist() == [0, Reason.UNSAFE_SCHEMA, Reason.UNSAFE_SCHEMA]
    assert said in out.details[1]


def test_nesting_and_expansion_are_limited() -> None:
    deep: Any = "int"
    for level in range(20):
        deep = record(("f", deep), name=f"R{level}")
    wide: Any = record(*((f"f{i}", "null") for i in range(30)), name="R0")
    for level in range(1, 6):
        first, *others = (f"f{i}" for i in range(30))
        wide = record((first, wide), *((one, f"R{level - 1}") for one in others), name=f"R{level}")
    one = Decoder(payments(), Dictionary({1: deep, 2: wide}))
    out = decode(one, [framed(1, b"\2"), framed(2, b"")])
    assert out.reason.tolist() == [Reason.UNSAFE_SCHEMA] * 2
    assert "16 levels" in out.details[0]
    assert "500 fields" in out.details[1]


@pytest.mark.parametrize("logical", ["timestamp-millis", "local-timestamp-millis"])
def test_times_in_milliseconds_become_microseconds(logical: str) -> None:
    schema = record(("id", "long"), ("t", {"type": "long", "logicalType": logical}))
    wants = Wants(schema, {"id": "int", "t": "int"}, "id", "t", "t")
    values = [framed(1, body(schema, {"id": 1, "t": t})) for t in (T0 // 1000, 2**62, -(2**62))]
    out = decode(Decoder(wants, Dictionary({1: schema})), values)
    assert out.reason.tolist() == [0, Reason.TIME_IN_FUTURE, Reason.TIME_TOO_OLD]
    assert listed(out.columns["t"]) == [T0, None, None]


def test_the_availability_field_is_judged_as_the_time_is() -> None:
    schema = files.load("label")
    fields = {"transaction_id": "int", "event_time": "int", "labelled_at": "int"}
    base = {
        "transaction_id": 1,
        "customer_id": 1,
        "is_fraud": True,
        "event_time": T0 - 5,
        "scenario": 1,
    }
    times = (T0, T0 // 1000, T0 + 300_000_001)
    values = [framed(1, body(schema, {**base, "labelled_at": one})) for one in times]
    out = decode(
        Decoder(Wants(schema, fields, available="labelled_at"), Dictionary({1: schema})), values
    )
    assert out.reason.tolist() == [0, Reason.TIME_TOO_OLD, Reason.TIME_IN_FUTURE]
    assert out.available_us[0] == T0
    stamped = Wants(schema, fields, available="record_timestamp")
    assert (
        decode(Decoder(stamped, Dictionary({1: schema})), values, T0 + 7).available_us[0] == T0 + 7
    )


def test_a_record_without_the_timestamp_that_times_it_is_dead() -> None:
    stamped = payments(available="record_timestamp")
    out = decode(Decoder(stamped, Dictionary({1: PAYMENT})), [sent()], record_time_us=None)
    assert out.reason.tolist() == [Reason.NULL_VALUE]
    assert out.details[0] == "the record has no timestamp, which is its availability time"


FLOATS = record(("id", "long"), ("t", "long"), ("x", ["null", "double"]))


def quantised(*values: float | None, power: int = 2, max_abs: int = 2**40) -> Any:
    wants = Wants(
        FLOATS,
        {"id": "int", "t": "int", "x": "float"},
        *("id", "t", "t"),
        nullable=frozenset("x"),
        max_abs={"x": max_abs},
        quantum={"x": power},
    )
    found = [framed(1, body(FLOATS, {"id": 1, "t": T0, "x": x})) for x in values]
    return decode(Decoder(wants, Dictionary({1: FLOATS})), found)


def test_a_quantum_ends_at_max_abs_of_its_integers() -> None:
    # 1.005 is below the tie in binary, 0.125 is a tie: to even.
    out = quantised(10.0, -10.0, 10.004, 10.006, -10.01, max_abs=1000)
    assert out.reason.tolist() == [0, 0, 0, Reason.RANGE, Reason.RANGE]
    assert out.details[3] == ("field 'x' is 10.006, 1001 of its quantum 1e-2, beyond max_abs 1000")
    assert quantised(0.125, max_abs=12).reason.tolist() == [0]
    assert quantised(0.375, max_abs=37).reason.tolist() == [Reason.RANGE]


def test_a_quantum_takes_max_abs_exactly_and_no_more() -> None:
    most = 2**40
    out = quantised(float(most), float(-most), float(most + 1), power=0)
    assert out.reason.tolist() == [0, 0, Reason.RANGE]


def test_in_a_quantum_nan_is_null_and_what_is_too_large_is_dead() -> None:
    out = quantised(float("nan"), None, 1e308, float("inf"), float("-inf"), power=9)
    assert out.reason.tolist() == [0, 0, Reason.RANGE, Reason.RANGE, Reason.RANGE]
    assert listed(out.columns["x"])[:2] == [None, None]
    assert "infinite" in out.details[3]


@pytest.mark.parametrize("name", ["id", "key", "other"])
def test_a_text_beyond_4096_bytes_is_dead(name: str) -> None:
    schema = record(("id", "string"), ("t", "long"), ("key", "string"), ("other", "string"))
    wants = Wants(schema, {"id": "string", "t": "int", "key": "string", "other": "string"},
                  "id", "t", "t")  # fmt: skip
    plain_ = {"id": "", "t": T0, "key": "", "other": ""}
    texts = ["x" * 4096, "é" * 2048, "x" * 4097, "é" * 2048 + "x"]
    values = [framed(1, body(schema, {**plain_, name: text})) for text in texts]
    out = decode(Decoder(wants, Dictionary({1: schema})), values)
    assert out.reason.tolist() == [0, 0, Reason.RANGE, Reason.RANGE]
    assert out.details[3] == f"field {name!r} is 4097 bytes long, beyond 4096"


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60)), st.integers(0, 70), st.integers(0, 255))
def test_garbage_never_raises_and_never_touches_its_neighbours(
    junk: list[bytes], at: int, byte: int
) -> None:
    whole = sent(transaction_id=77)
    broken = bytearray(whole)
    broken[at % len(broken)] = byte
    values = [whole]
    for one in junk:
        values += [one, framed(1, one), whole]
    values += [bytes(broken), whole]
    out = decode(decoder(), values)
    clean = [i for i, one in enumerate(values) if one == whole]
    assert not out.reason[clean].any()
    assert set(np.array(listed(out.columns["transaction_id"]))[clean].tolist()) == {77}
    assert set(out.details) == set(np.flatnonzero(out.reason).tolist())
