"""The layout of an entity row in Redis: one packed little-endian blob (DESIGN section 5).

    u16 layout version | 32 bytes fingerprint | u64 seq | i64 event time us |
    i64 valid_until us (maximum: never) | one 8-byte word per statistic, two if it is anchored

An anchored statistic's words are its anchor (i64 us) and a value (float64); a reader evaluates
it. Any other statistic is one float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.definition.plan import TablePlan

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


def width(table: TablePlan) -> int:
    """Return how many words a row of ``table`` has."""
    return sum(2 if anchored else 1 for anchored in _anchored(table))


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


def evaluate(table: TablePlan, words: NDArray[np.int64], at_us: int) -> dict[str, float]:
    """Return the named values of a row for a reader's time.

    ``since_last`` is (at - anchor) in seconds, one correctly rounded quotient; NaN before the
    anchor, where the row does not know it.
    """
    out = {}
    at = 0
    for name, anchored in zip(table.row_names, _anchored(table), strict=True):
        if anchored:
            passed_us = at_us - int(words[at])
            out[name] = passed_us / _US_PER_S if passed_us >= 0 else math.nan
        else:
            out[name] = float(words[at : at + 1].view(np.float64)[0])
        at += 2 if anchored else 1
    return out


def _anchored(table: TablePlan) -> list[bool]:
    return [int(table.op_kind[op]) == Stat.SINCE_LAST for op in table.row_ops]
