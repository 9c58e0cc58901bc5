"""A field as its writer wrote it is read as Avro resolves it, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from wire import T0, Dictionary, Wants, body, decode, framed, listed, record

from noskew.schemas.decode import Decoder, Reason

BASE = (("id", "long"), ("t", "long"))


def one_field(writer: Any, reader: Any, data: Any, kind: str, **more: Any) -> tuple[int, Any, str]:
    """Decode one record whose third field has these types; data of bytes is written as it is."""
    w = record(*BASE, ("x", writer)) if writer is not None else record(*BASE)
    r = record(*BASE, ("x", reader, *more.pop("default", ())))
    nullable = frozenset({"x"}) if isinstance(reader, list) and "null" in reader else frozenset()
    wants = Wants(r, {"id": "int", "t": "int", "x": kind}, "id", "t", "t", nullable)
    value = {"id": 1, "t": T0}
    raw = (
        body(record(*BASE), value) + data
        if isinstance(data, bytes)
        else body(w, {**value, "x": data})
    )
    out = decode(Decoder(wants, Dictionary({1: w})), [framed(1, raw)])
    return int(out.reason[0]), listed(out.columns["x"])[0], out.details.get(0, "")


E1 = {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}
E2 = {"type": "enum", "name": "E", "symbols": ["C", "A"]}
E3 = {**E2, "default": "C"}
RESOLVED = [
    ("int", "long", 5, "int", 5),
    ("int", "double", 5, "float", 5.0),
    ("long", "double", 2**53 + 1, "float", float(2**53)),
    ("int", "float", 16777217, "float", 16777216.0),
    ("float", "double", 1.5, "float", 1.5),
    ("boolean", "boolean", True, "int", 1),
    ("bytes", "string", "hé".encode(), "string", "hé"),
    (["null", "int"], ["null", "long"], None, "int", None),
    (["null", "int"], "long", 4, "int", 4),
    (["string", "int"], "long", 4, "int", 4),
    (["int", "double"], "double", 4, "float", 4.0),
    ("long", ["null", "long"], 4, "int", 4),
    (E1, E2, "A", "int", 1),
    (E1, E3, "B", "int", 0),
    (["null", E1], ["null", E2], "C", "int", 0),
    ("double", "double", float("nan"), "float", None),
]


@pytest.mark.parametrize(("writer", "reader", "data", "kind", "expected"), RESOLVED)
def test_a_field_is_read_as_avro_resolves_it(
    writer: Any, reader: Any, data: Any, kind: str, expected: Any
) -> None:
    data = body(writer, data) if isinstance(data, bytes) else data
    assert one_field(writer, reader, data, kind)[:2] == (0, expected)


REFUSED = [
    ("string", "long", "12", "int", Reason.WRONG_TYPE, "string"),
    ("double", "long", 1.0, "int", Reason.WRONG_TYPE, "double"),
    ("long", "int", 5, "int", Reason.WRONG_TYPE, "long"),
    (["string", "int"], "long", "x", "int", Reason.WRONG_TYPE, "holds a str"),
    (["null", "int"], "long", None, "int", Reason.NULL_VALUE, "null"),
    ("null", "long", None, "int", Reason.NULL_VALUE, "null"),
    (E1, E2, "B", "int", Reason.WRONG_TYPE, "reader's, C, A"),
    (E1, "long", "B", "int", Reason.WRONG_TYPE, "enum E"),
    ([E1, "int"], "long", 5, "int", Reason.WRONG_TYPE, "told from"),
    (None, "long", b"", "int", Reason.WRONG_TYPE, "missing"),
    ("double", "double", float("-inf"), "float", Reason.RANGE, "infinite"),
    (E1, E2, b"\x01", "int", Reason.UNDECODABLE, "enum index -1"),
    (E1, E2, b"\x06", "int", Reason.UNDECODABLE, "enum index 3"),
    (E1, "long", b"", "int", Reason.UNDECODABLE, "does not follow"),
    (["null", "long"], ["null", "long"], b"\x01\x02", "int", Reason.UNDECODABLE, "does not"),
    (["null", "long"], ["null", "long"], b"\x04\x02", "int", Reason.UNDECODABLE, "does not"),
    ("int", "long", b"\xff" * 5 + b"\x01", "int", Reason.UNDECODABLE, "does not fit"),
    ("long", "long", b"\xff" * 10 + b"\x01", "int", Reason.UNDECODABLE, "64 bits"),
    ("long", "long", b"\xff" * 9 + b"\x02", "int", Reason.UNDECODABLE, "64 bits"),
    ("string", "string", b"\x03ab", "string", Reason.UNDECODABLE, "does not"),
    ("string", "string", b"\x04\xff\xfe", "string", Reason.UNDECODABLE, "does not"),
    ("string", "string", b"\x80\x80\x80\x80\x40abc", "string", Reason.UNDECODABLE, "does not"),
    ("bytes", "string", b"\x04\xff\xfe", "string", Reason.WRONG_TYPE, "x"),
]


@pytest.mark.parametrize(("writer", "reader", "data", "kind", "reason", "said"), REFUSED)
def test_a_field_that_cannot_be_read_says_why(
    writer: Any, reader: Any, data: Any, kind: str, reason: Reason, said: str
) -> None:
    found = one_field(writer, reader, data, kind)
    assert found[0] == reason
    assert said in found[2]


def test_a_field_the_writer_lacks_takes_the_readers_default() -> None:
    assert one_field(None, "long", b"", "int", default=(9,))[:2] == (0, 9)
    assert one_field(None, ["null", "long"], b"", "int", default=(None,))[:2] == (0, None)
    assert one_field(None, "string", b"", "string", default=("d",))[:2] == (0, "d")
    assert one_field(None, E2, b"", "int", default=("A",))[:2] == (0, 1)


def test_an_alias_of_the_reader_finds_a_renamed_field_and_record() -> None:
    writer = record(("id", "long"), ("when", "long"), name="Old")
    reader = record(("id", "long"), ("t", "long"), name="New", aliases=["Old"])
    reader["fields"][1]["aliases"] = ["when"]
    wants = Wants(reader, {"id": "int", "t": "int"}, "id", "t", "t")
    value = framed(1, body(writer, {"id": 1, "when": T0}))
    assert decode(Decoder(wants, Dictionary({1: writer})), [value]).time_us.tolist() == [T0]
    del reader["aliases"]
    out = decode(Decoder(wants, Dictionary({1: writer})), [value])
    assert out.reason.tolist() == [Reason.WRONG_TYPE]
    assert "aliases" in out.details[0]


def test_several_writer_schemas_in_one_batch_keep_their_places() -> None:
    older = record(*BASE, ("s", "string"))
    newer = record(("s", "bytes"), *reversed(BASE), ("extra", {"type": "array", "items": "int"}))
    wants = Wants(older, {"id": "int", "t": "int", "s": "string"}, "id", "t", "t")
    values = []
    for i in range(20):
        value = {"id": i, "t": T0 + i, "s": f"s{i}" if i % 3 else f"s{i}".encode(), "extra": [1, 2]}
        values.append(framed(1, body(older, value)) if i % 3 else framed(2, body(newer, value)))
    out = decode(Decoder(wants, Dictionary({1: older, 2: newer})), values)
    assert not out.reason.any()
    assert listed(out.columns["id"]) == list(range(20))
    assert listed(out.columns["s"]) == [f"s{i}" for i in range(20)]


def test_a_wanted_field_that_cannot_be_a_column_is_refused_at_once() -> None:
    schema = record(*BASE, ("x", "bytes"))
    for fields, said in (
        ({"x": "int"}, "bytes"),
        ({"id": "string"}, "'int'"),
        ({"y": "int"}, "id, t, x"),
    ):
        with pytest.raises(ValueError, match=said):
            Decoder(Wants(schema, fields, "id", "t", "t"), Dictionary({}))
