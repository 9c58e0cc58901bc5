"""Single records of our own topics to bytes and back.

For sparse records, tests and audits; the dense stream of scores is written by a kernel
(``noskew.kernels.scores``), which gives the same bytes. Times are int microseconds, both ways.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any, cast

import fastavro
import numpy as np

from noskew.schemas import framing
from noskew.schemas.files import load


def encode(name: str, record: dict[str, Any], schema_id: int) -> bytes:
    """Return a record of ``<name>.avsc`` in classic framing.

    Fields with a default may be left out. Raises ValueError naming the field that does not fit.
    """
    out = BytesIO()
    try:
        fastavro.schemaless_writer(
            out, _parsed(name), record, strict_allow_default=True, disable_tuple_notation=True
        )
    except Exception as error:  # fastavro raises many kinds; the caller needs one
        message = f"{name}: the record does not fit its schema ({error}): {str(record)[:300]}"
        raise ValueError(message) from error
    return framing.framed(schema_id, out.getvalue())


def decode(name: str, value: bytes) -> dict[str, Any]:
    """Return a framed record written with ``<name>.avsc``, whatever its schema id.

    ValueError where it is not framed, is malformed, or bytes are left over.
    """
    if len(value) < framing.HEADER or value[0] != 0:
        message = f"{name}: not framed: {framing.guess(value)}"
        raise ValueError(message)
    stream = BytesIO(value[framing.HEADER :])
    try:
        record = fastavro.schemaless_reader(stream, _parsed(name), None)
    except Exception as error:
        message = f"{name}: malformed ({type(error).__name__}: {error})"
        raise ValueError(message) from error
    left = len(value) - framing.HEADER - stream.tell()
    if left:
        message = f"{name}: {left} bytes are left after the record"
        raise ValueError(message)
    return cast("dict[str, Any]", record)


def schema_id(value: bytes) -> int:
    """Return the schema id of a framed record."""
    return int.from_bytes(value[1 : framing.HEADER])


def vector(packed: bytes) -> list[float]:
    """Return the values of a score's ``vector``."""
    return cast("list[float]", np.frombuffer(packed, "<f8").tolist())


@cache
def _parsed(name: str) -> Any:
    return fastavro.parse_schema(_plain(load(name)))


def _plain(schema: Any) -> Any:
    """Leave logical types out, so that times stay integers."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    return schema
