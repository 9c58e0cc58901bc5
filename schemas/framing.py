"""Confluent's classic framing: a zero byte and a 4-byte schema id before the Avro body.

The framing of issue "header GUID" stands in the record's headers and is not read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER: Final = 5
"""Bytes before the body. A record of exactly this length is legal: its body is empty."""

MAX_ID: Final = 2**31 - 1
"""Registries number schemas with a positive 32-bit integer."""

_GUID_SIZE: Final = 17
_WIDE_HEADER: Final = 9


def frame(
    payload: NDArray[np.uint8], start: NDArray[np.int64], absent: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Split framed records into schema ids and bodies.

    payload uint8[bytes], start int64[n + 1] and absent bool[n] are as in ``Raw``. Returns
    (schema_id int32[n], body int64[n], reason uint8[n]): the body of record i is
    ``payload[body[i] : start[i + 1]]``. Where ``reason`` is NO_VALUE or NOT_FRAMED, the schema id
    is -1 and the body is the whole value. An id above 2^31 - 1 reads as negative, as in Java.
    """
    first, size = start[:-1], np.diff(start)
    reason = np.zeros(len(first), np.uint8)
    schema_id = np.full(len(first), -1, np.int32)
    body = first.copy()
    long_enough = ~absent & (size >= HEADER)
    framed = long_enough.copy()
    framed[long_enough] = payload[first[long_enough]] == 0
    reason[~framed] = Reason.NOT_FRAMED
    reason[absent] = Reason.NO_VALUE
    at = first[framed]
    digits = payload[at[:, None] + np.arange(1, HEADER)]
    schema_id[framed] = np.ascontiguousarray(digits).view(">i4")[:, 0]
    body[framed] += HEADER
    return schema_id, body, reason


def guess(value: bytes | None) -> str:
    """Say what a value that is not framed looks like: for the detail of a dead letter."""
    if value is None:
        return "the record has no value (a tombstone)"
    if not value:
        return "the value is empty (0 bytes)"
    if value[0] == 0:
        return f"the value has {len(value)} bytes; framing alone takes {HEADER}"
    if value[:1] == b"\x01" and len(value) >= _GUID_SIZE:
        return "it starts with 01 and 16 bytes: a schema GUID, which is not yet supported"
    if value[:2] == b"\xc3\x01":
        return "it starts with C3 01: Avro's single-object encoding, not Confluent framing"
    if value[:1] == b"\x03" and value[1:2] in {b"\x00", b"\x05"}:
        return "it starts with 03: AWS Glue's framing, not Confluent framing"
    if value.lstrip()[:1] in {b"{", b"[", b'"'}:
        return "it looks like JSON"
    return f"it starts with byte {value[0]:02x}, not with the 00 of Confluent framing"


def guess_unknown(schema_id: int, value: bytes) -> str:
    """Say why an id may be unknown to the registry: for the detail of a dead letter."""
    if schema_id < 0:
        return "the id is negative as a 32-bit integer; no registry gives such ids"
    if schema_id == 0 and len(value) >= _WIDE_HEADER:
        wide = int.from_bytes(value[1:_WIDE_HEADER])
        return f"no registry gives id 0; with Apicurio's 8-byte ids it would be {wide}"
    return "the producer may use another registry, or the schema was deleted for good"


def framed(schema_id: int, body: bytes) -> bytes:
    """Return ``body`` in classic framing; ValueError for an id no registry gives."""
    if not 0 < schema_id <= MAX_ID:
        message = f"schema id {schema_id} is outside 1..{MAX_ID}"
        raise ValueError(message)
    return b"\x00" + schema_id.to_bytes(4) + body
