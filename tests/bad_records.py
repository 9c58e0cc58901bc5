"""Every kind of record that cannot be used, and payments to send between them."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meaning import Event
from paths import SHARED
from strategies import SECOND, START_US
from wire import body, framed

from noskew.schemas import files
from noskew.schemas.reason import Reason
from noskew.schemas.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS: Final = {
    "currency": "EUR",
    "entry_mode": "CHIP",
    "merchant_category": 5411,
    "country": "DE",
    "card_present": True,
    "channel": "pos",
}
"""Fields of a payment that no feature reads."""

PARTITIONS: Final = 2
MAX_ABS: Final = 2**40
YEAR_2100_US: Final = 4_102_444_800_000_000
STRANGER: Final = 999_999
"""An id that the registry never gave."""
LARGE: Final = 999_950
"""Bytes of a value that a topic just takes: with its place and reason around it, it is larger."""
POISON: Final = "vectors/schema/poison.jsonl"


@dataclass(frozen=True)
class Bad:
    """A record that cannot be used, the reason, and what its dead letter must tell of it."""

    what: str
    value: bytes | None
    reason: Reason
    said: tuple[str, ...]
    key: bytes | None = b"0"
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


class Writers:
    """Writers' schemas, each under a subject of its own: nothing is known before its first use."""

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        self._registry = Registry(url, None, timeout_s=10.0)
        self._count = 0

    def id_of(self, schema: Any) -> int:
        """Register a schema and return its id."""
        self._count += 1
        return self._registry.register(
            f"{self._name}.writer{self._count}-value", json.dumps(schema)
        )

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

    def value(schema_id: int = known, schema: Any = None, /, **more: Any) -> bytes:
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
