"""What a decoded value may be: nulls, limits of numbers, plausible times (DESIGN section 3).

Column-wise; the rules are applied in the order of ``Reason``, so that a record with several faults
has the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.schemas.columns import NULL, Strings
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from noskew.schemas.decode import Decoded, Reading
    from noskew.schemas.resolve import Wanted

OLDEST_US: Final = 946_684_800_000_000
"""2000-01-01T00:00:00Z."""

LATEST_US: Final = 253_402_300_800_000_000
"""10000-01-01T00:00:00Z: refused even without a record timestamp, so that no sum can overflow."""

AHEAD_US: Final = 300_000_000
"""How far event and availability time may lie after Kafka's timestamp: 5 minutes."""

RECORD_TIMESTAMP: Final = "record_timestamp"
"""The availability "field" that stands for Kafka's own timestamp."""

TEXT_MAX: Final = 4096
"""Bytes of UTF-8 a text that is read may have: ids, keys and texts told apart are kept whole."""

_MILLI_LIMIT: Final = 2**62 // 1000


def quantised(column: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    """Return ``rint(x * 10**power)`` as float64[n], ties to even; NaN stays, too much is infinite.

    The one rounding with which a float becomes an integer: whoever aggregates takes it from here.
    """
    with np.errstate(over="ignore"):
        whole: NDArray[np.float64] = np.rint(column * float(10**power))
    return whole


def apply(
    out: Decoded,
    reading: Reading,
    wanted: list[Wanted],
    nulls: Mapping[str, NDArray[np.bool_]],
    record_time_us: NDArray[np.int64],
) -> None:
    """Set reasons, details and both times of ``out``; ``nulls`` holds bool[n] per field."""
    bad = out.waiting.copy()
    _check_nulls(out, bad, reading, wanted, nulls=nulls, record_time_us=record_time_us)
    for want in wanted:
        _check_range(out, bad, want, reading, nulls[want.name])
    for want in wanted:
        if want.millis:
            column = out.columns[want.name]
            assert not isinstance(column, Strings)
            clipped = np.clip(column, -_MILLI_LIMIT, _MILLI_LIMIT) * 1000
            out.columns[want.name] = np.where(column == NULL, NULL, clipped).astype(np.int64)
    _times(out, reading, record_time_us)
    named = [(reading.time, out.time_us)]
    if reading.available not in (reading.time, RECORD_TIMESTAMP):
        named.append((reading.available, out.available_us))
    for name, times in named:
        _check_old(out, bad, name, times)
    for name, times in named:
        _check_future(out, bad, name, times, record_time_us)


def _mark(
    out: Decoded, bad: NDArray[np.bool_], mask: NDArray[np.bool_], reason: Reason
) -> list[int]:
    """Give ``reason`` to the records of ``mask`` that have none; return their positions."""
    fresh = mask & ~bad & (out.reason == 0)
    out.reason[fresh] = reason
    return np.flatnonzero(fresh).tolist()


def _check_nulls(
    out: Decoded,
    bad: NDArray[np.bool_],
    reading: Reading,
    wanted: list[Wanted],
    *,
    nulls: Mapping[str, NDArray[np.bool_]],
    record_time_us: NDArray[np.int64],
) -> None:
    always = {reading.id, reading.time, reading.available}
    for want in wanted:
        if want.name in always or want.name not in reading.nullable:
            use = " (it identifies or times the record)" if want.name in always else ""
            for i in _mark(out, bad, nulls[want.name], Reason.NULL_VALUE):
                out.details[i] = f"field {want.name!r} is null, which is not allowed{use}"
    if reading.available == RECORD_TIMESTAMP:
        for i in _mark(out, bad, record_time_us == NULL, Reason.NULL_VALUE):
            out.details[i] = "the record has no timestamp, which is its availability time"


def _check_range(
    out: Decoded,
    bad: NDArray[np.bool_],
    want: Wanted,
    reading: Reading,
    null: NDArray[np.bool_],
) -> None:
    column = out.columns[want.name]
    if isinstance(column, Strings):
        for i in _mark(out, bad, column.length > TEXT_MAX, Reason.RANGE):
            size = int(column.length[i])
            out.details[i] = f"field {want.name!r} is {size} bytes long, beyond {TEXT_MAX}"
        return
    if want.kind == "float":
        for i in _mark(out, bad, np.isinf(column), Reason.RANGE):
            out.details[i] = f"field {want.name!r} is {column[i]}: infinite"
        if want.name in reading.quantum:
            _check_quantum(out, bad, want.name, column.astype(np.float64), reading)
        return
    limit = reading.max_abs.get(want.name, 2**63 - 1)
    for i in _mark(out, bad, ~null & ((column > limit) | (column < -limit)), Reason.RANGE):
        out.details[i] = f"field {want.name!r} is {column[i]}, beyond max_abs {limit}"


def _check_quantum(
    out: Decoded,
    bad: NDArray[np.bool_],
    name: str,
    column: NDArray[np.float64],
    reading: Reading,
) -> None:
    power = reading.quantum[name]
    whole = quantised(column, power)
    limit = reading.max_abs.get(name, 2**53)
    # NaN is a null here, and compares false.
    for i in _mark(out, bad, np.abs(whole) > limit, Reason.RANGE):
        out.details[i] = (
            f"field {name!r} is {column[i]}, {whole[i]:.17g} of its quantum 1e-{power}, beyond "
            f"max_abs {limit}"
        )


def _times(out: Decoded, reading: Reading, record_time_us: NDArray[np.int64]) -> None:
    for name, into in ((reading.time, "time_us"), (reading.available, "available_us")):
        column = record_time_us if name == RECORD_TIMESTAMP else out.columns[name]
        if isinstance(column, Strings) or column.dtype != np.int64:
            message = f"time field {name!r} is no int column"
            raise TypeError(message)
        setattr(out, into, column.astype(np.int64))


def _check_old(out: Decoded, bad: NDArray[np.bool_], name: str, times: NDArray[np.int64]) -> None:
    for i in _mark(out, bad, times < OLDEST_US, Reason.TIME_TOO_OLD):
        value = int(times[i])
        out.details[i] = f"field {name!r} is {value} us, before 2000-01-01{_unit(value)}"


def _check_future(
    out: Decoded,
    bad: NDArray[np.bool_],
    name: str,
    times: NDArray[np.int64],
    record_time_us: NDArray[np.int64],
) -> None:
    known = record_time_us != NULL
    limit = np.where(known, np.minimum(record_time_us, LATEST_US) + AHEAD_US, LATEST_US)
    for i in _mark(out, bad, times > np.minimum(limit, LATEST_US), Reason.TIME_IN_FUTURE):
        value = int(times[i])
        if known[i]:
            against = f"more than 5 min after the record's timestamp {record_time_us[i]} us"
        else:
            against = "after the year 9999"
        scale = "; it looks like nanoseconds" if OLDEST_US < value // 1000 < LATEST_US else ""
        out.details[i] = f"field {name!r} is {value} us, {against}{scale}"


def _unit(value: int) -> str:
    """Guess the unit of a time that is too small for microseconds."""
    for factor, unit in ((1_000, "milliseconds"), (1_000_000, "seconds")):
        if OLDEST_US <= value * factor < LATEST_US:
            return f"; it looks like {unit}"
    return ""
