"""The layout of an entity row in Redis: one packed little-endian blob (DESIGN section 5).

    u16 layout version | 32 bytes fingerprint | u64 seq | i64 event time us |
    i64 valid_until us (maximum: never) | one 8-byte word per statistic, two if it moves

A row holds the statistics of one entity instance over all streams, in vector order. A moving
statistic's words are its anchor (i64 us) and its value there (float64); a reader evaluates it for
its own time. Any other statistic is one float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.core.rows import fields_of
from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.rows import RowField, Rows
    from noskew.dataflows.definition.plan import Plan

LAYOUT: Final = 1
NEVER: Final = 2**63 - 1
"""``valid_until`` of a row that no passing of time changes."""

_FINGERPRINT_BYTES: Final = 32
_HEADER_BYTES: Final = 2 + _FINGERPRINT_BYTES + 3 * 8
_US_PER_S: Final = 1_000_000.0


@dataclass(frozen=True, slots=True)
class Row:
    """A row as read back.

    time_us   time of the entity's greatest aggregated event
    until_us  first moment at which the row is no longer exact; ``NEVER``
    words     int64[width]: bit patterns, see the module
    """

    layout: int
    fingerprint: bytes
    seq: int
    time_us: int
    until_us: int
    words: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EntityRow:
    """What the rows of one entity hold.

    key_type  "int" or "string"
    fields    its statistics over all streams, in the row's order
    """

    entity: str
    key_type: str
    fields: tuple[RowField, ...]

    @property
    def words(self) -> int:
        """Return how many words a row has."""
        return sum(field.words for field in self.fields)

    @property
    def row_bytes(self) -> int:
        """Return how many bytes a row has."""
        return _HEADER_BYTES + 8 * self.words


def entity_rows(plan: Plan) -> dict[str, EntityRow]:
    """Return what the rows of each entity of a plan hold, in the order of the entities' tables."""
    found = {}
    for name in dict.fromkeys(table.entity for table in plan.tables):
        tables = [table for table in plan.tables if table.entity == name]
        found[name] = EntityRow(name, tables[0].key_type, fields_of(tables))
    return found


def dtype(words: int) -> np.dtype[Any]:
    """Return the record type of a row of ``words`` words; it has no padding."""
    return np.dtype(
        [
            ("layout", "<u2"),
            ("fingerprint", f"V{_FINGERPRINT_BYTES}"),
            ("seq", "<u8"),
            ("time", "<i8"),
            ("until", "<i8"),
            ("words", "<i8", (words,)),
        ]
    )


def pack(rows: Rows, fingerprint: bytes) -> NDArray[np.void]:
    """Return the k rows as records of ``dtype(width)``; ``tobytes`` of one is its blob."""
    out = np.empty(len(rows.slot), dtype(rows.words.shape[1]))
    out["layout"] = LAYOUT
    out["fingerprint"] = np.frombuffer(fingerprint, f"V{_FINGERPRINT_BYTES}")
    out["seq"] = rows.seq
    out["time"] = rows.time_us
    out["until"] = rows.until_us
    out["words"] = rows.words
    return out


def unpack(blob: bytes) -> Row:
    """Return what a blob of any layout-1 row says.

    Raises:
        ValueError: the blob has another layout or is not whole.
    """
    layout = int.from_bytes(blob[:2], "little")
    words, rest = divmod(len(blob) - _HEADER_BYTES, 8)
    if layout != LAYOUT or words < 0 or rest:
        message = (
            f"a row of layout {layout} and {len(blob)} bytes; this version reads layout {LAYOUT} "
            f"of {_HEADER_BYTES} bytes and 8 per word. Use the version of noskew that wrote it."
        )
        raise ValueError(message)
    record = np.frombuffer(blob, dtype(words))[0]
    return Row(
        layout=layout,
        fingerprint=blob[2 : 2 + _FINGERPRINT_BYTES],
        seq=int(record["seq"]),
        time_us=int(record["time"]),
        until_us=int(record["until"]),
        words=record["words"].astype(np.int64),
    )


def evaluate(
    fields: tuple[RowField, ...], words: NDArray[np.int64], at_us: int
) -> dict[str, float]:
    """Return the named values of a row for a reader's time; NaN for a moving one before its anchor.

    ``since_last`` is (at - anchor) in seconds, one correctly rounded quotient; a decay is its value
    times 2^(-(at - anchor) / half-life), by the very operations of the engine: the same bits.
    """
    numbers = words.view(np.float64)
    out = {}
    at = 0
    for field in fields:
        if field.words == 1:
            out[field.name] = float(numbers[at])
        else:
            out[field.name] = _moved(field, float(numbers[at + 1]), at_us - int(words[at]))
        at += field.words
    return out


def _moved(field: RowField, value: float, passed_us: int) -> float:
    """Return a moving statistic some time after its anchor."""
    if passed_us < 0 or math.isnan(value):
        return math.nan
    if field.op.stat is Stat.SINCE_LAST:
        return passed_us / _US_PER_S
    return value * _half_power(passed_us, field.op.half_life_us)


def _half_power(passed_us: int, half_life_us: int) -> float:
    # Readers without decays shall not wait for the compiler to be imported.
    from noskew.kernels.decay import half_power  # noqa: PLC0415 - see above

    # A few operations: uncompiled they are done before a compiled version is loaded.
    plain = getattr(half_power, "py_func", half_power)
    return float(plain(passed_us, half_life_us))
