"""Buffers of framed records, and a registry in a dictionary: what the decoder's tests share."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
import numpy as np

from noskew.schemas.columns import NULL, Strings
from noskew.schemas.writer import RegistryAwayError, UnknownSchemaError, WriterSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.schemas.decode import Decoded, Decoder

T0 = 1_700_000_000_000_000


def payment(**more: Any) -> dict[str, Any]:
    """A payment as ``transaction.avsc`` has it."""
    return {
        "transaction_id": 1,
        "event_time": T0,
        "customer_id": 5,
        "terminal_id": 7,
        "amount_cents": 1234,
        "currency": "EUR",
        "entry_mode": "CHIP",
        "merchant_category": 5411,
        "country": "DE",
        "card_present": True,
        "channel": "pos",
        **more,
    }


@dataclass
class Dictionary:
    """Ids to schemas; ids in ``away`` get no answer."""

    schemas: dict[int, Any]
    away: set[int] = field(default_factory=set)

    def schema(self, schema_id: int) -> WriterSchema:
        if schema_id in self.away:
            raise RegistryAwayError("away")
        if schema_id not in self.schemas:
            raise UnknownSchemaError(f"schema {schema_id} is unknown")
        text = json.dumps(self.schemas[schema_id])
        parsed = self.schemas[schema_id]
        return WriterSchema(schema_id, text, parsed, hashlib.sha256(text.encode()).digest())


@dataclass
class Wants:
    """A ``Reading``: by default the payments of ``transaction.avsc``."""

    schema: dict[str, Any]
    fields: dict[str, str]
    id: str = "transaction_id"
    time: str = "event_time"
    available: str = "event_time"
    nullable: frozenset[str] = frozenset()
    max_abs: dict[str, int] = field(default_factory=dict)
    quantum: dict[str, int] = field(default_factory=dict)


def record(*fields: tuple[Any, ...], name: str = "T", **more: Any) -> dict[str, Any]:
    """A record schema from (name, type[, default])."""
    out = []
    for one in fields:
        entry = {"name": one[0], "type": one[1]}
        if len(one) > 2:
            entry["default"] = one[2]
        out.append(entry)
    return {"type": "record", "name": name, "fields": out, **more}


def body(schema: Any, value: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(schema)), value)
    return out.getvalue()


def plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: plain(v) for k, v in schema.items() if k != "logicalType"}
    return [plain(one) for one in schema] if isinstance(schema, list) else schema


def framed(schema_id: int, data: bytes) -> bytes:
    return b"\0" + (schema_id % 2**32).to_bytes(4) + data


def decode(
    decoder: Decoder, values: Sequence[bytes | None], record_time_us: int | None = T0
) -> Decoded:
    payload = np.frombuffer(b"".join(one or b"" for one in values), np.uint8)
    start = np.cumsum([0, *(len(one or b"") for one in values)], dtype=np.int64)
    absent = np.array([one is None for one in values], np.bool_)
    times = np.full(len(values), NULL if record_time_us is None else record_time_us, np.int64)
    return decoder.decode(payload, start, absent, times)


def listed(column: Any) -> list[Any]:
    """A column as Python values, nulls as None."""
    if isinstance(column, Strings):
        return column.to_list()
    if column.dtype == np.int64:
        return [None if one == NULL else one for one in column.tolist()]
    return [None if one != one else one for one in column.tolist()]  # noqa: PLR0124  # NaN is unequal to itself
