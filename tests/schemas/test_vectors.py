"""Decoding agrees with the shared vectors, which other implementations of Avro made."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from paths import SHARED
from wire import T0, Dictionary, Wants, decode, framed, listed, plain, record

from noskew.schemas.decode import Decoder, Reason

VECTORS = None if SHARED is None else SHARED / "vectors" / "schema"


def rows(name: str) -> list[dict[str, Any]]:
    if VECTORS is None:
        return []
    return [json.loads(line) for line in (VECTORS / name).read_text().splitlines()]


NESTED = {"poison-22-recursion-50-ok"}
"""Legal, but refused here: no recursive schema is decoded."""


@pytest.mark.skipif(VECTORS is None, reason="../shared/vectors is not there")
@pytest.mark.parametrize("row", rows("poison.jsonl"), ids=lambda row: row["id"])
def test_poison_is_told_from_data(row: dict[str, Any]) -> None:
    if row["id"] == "wire-header-guid-short-payload":
        pytest.skip("schema ids in headers are not read yet")
    wire = None if row["wire_hex"] is None else bytes.fromhex(row["wire_hex"])
    if row["id"].startswith("poison-2") and wire is None:
        wire = framed(7, b"\2" * (5_000 if "-5000" in row["id"] else 100_000) + b"\0")
    writer = row["writer"]
    kinds = {"id": "string", "amount": "int", "kind": "int", "note": "string"}
    reader = record(
        ("id", "string", ""),
        ("amount", "long", 0),
        ("kind", {"type": "enum", "name": "K", "symbols": ["BUY", "SELL"]}, "BUY"),
        ("note", ["null", "string"], None),
        ("t", "long", T0),
        name="Txn",
    )
    wants = Wants(reader, {**kinds, "t": "int"}, "id", "t", "t", frozenset({"note"}))
    out = decode(Decoder(wants, Dictionary({7: writer} if writer is not None else {})), [wire])
    reason = Reason(int(out.reason[0]))
    if row["expect"] == "ok" and row["id"] not in NESTED:
        assert reason == Reason.OK
        return
    expected = {"unknown-id": Reason.UNKNOWN_SCHEMA, "guid": Reason.NOT_FRAMED}
    expected["tombstone"] = Reason.NO_VALUE
    assert reason == expected.get(row["expect"], reason) != Reason.OK


@pytest.mark.skipif(VECTORS is None, reason="../shared/vectors is not there")
@pytest.mark.parametrize("row", rows("resolution.jsonl"), ids=lambda row: row["id"])
def test_resolution_agrees_with_other_implementations(row: dict[str, Any]) -> None:
    reader, writer = plain(row["reader"]), row["writer"]
    expected: Any = row.get("expected")
    if not isinstance(reader, dict) or reader["type"] != "record":
        reader, writer = record(("x", reader)), record(("x", writer))
        expected = {"x": expected}
    types = {field["name"]: field["type"] for field in reader["fields"]}
    fields = {name: kind for name in types if (kind := kind_of(reader, name))}
    if set(fields) != set(types):
        pytest.skip("has a field that cannot be a column")
    clock = {"name": "t__", "type": "long", "default": T0}
    reader = {**reader, "fields": [*reader["fields"], clock]}
    wants = Wants(reader, {**fields, "t__": "int"}, "t__", "t__", "t__", frozenset(fields))
    value = framed(1, bytes.fromhex(row["encoded_hex"]))
    out = decode(Decoder(wants, Dictionary({1: writer})), [value])
    assert (out.reason[0] != 0) == (row["expect"] == "error"), out.details
    for name in fields if row["expect"] == "value" else ():
        want, found = expected[name], listed(out.columns[name])[0]
        if isinstance(want, str) and fields[name] == "int":
            branches = types[name] if isinstance(types[name], list) else [types[name]]
            want = next(one for one in branches if one != "null")["symbols"].index(want)
        # A float's expectation is written as its shortest decimal, which is another double.
        assert found == want or ("float" in str(types[name]) and np.float32(want) == found)


def kind_of(reader: dict[str, Any], name: str) -> str | None:
    """The kind of column a field can be, None for none."""
    for kind in ("int", "float", "string"):
        with suppress(ValueError):
            Decoder(Wants(reader, {name: kind}), Dictionary({}))
            return kind
    return None
