"""A payment's schema with one field of every type that matters to a definition."""

from __future__ import annotations

from typing import Any

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}

FIELDS: dict[str, Any] = {
    "payment_id": "string",
    "customer_id": "long",
    "terminal_id": ["null", "string"],
    "event_time": MICROS,
    "known_at": MILLIS,
    "local_at": {"type": "long", "logicalType": "local-timestamp-micros"},
    "maybe_at": ["null", MICROS],
    "unix_seconds": "long",
    "amount_cents": "long",
    "tip_cents": ["null", "int"],
    "is_online": "boolean",
    "entry_mode": {"type": "enum", "name": "EntryMode", "symbols": ["CHIP", "MANUAL"]},
    "other_mode": "EntryMode",
    "ratio": "double",
    "country": "string",
    "blob": "bytes",
    "tags": {"type": "array", "items": "string"},
    "either": ["long", "string"],
}


def schema(fields: dict[str, Any] = FIELDS) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "Payment",
        "fields": [{"name": name, "type": type_} for name, type_ in fields.items()],
    }
