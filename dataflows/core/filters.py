"""Filters of ``where=`` evaluated over whole columns: one bit a filter and record."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Negated
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Filter
    from noskew.schemas.columns import Column

OPERATORS: Final[dict[Is, Callable[[Any, Any], Any]]] = {
    Is.EQUAL: operator.eq,
    Is.NOT_EQUAL: operator.ne,
    Is.LESS: operator.lt,
    Is.LESS_EQUAL: operator.le,
    Is.GREATER: operator.gt,
    Is.GREATER_EQUAL: operator.ge,
}
"""How a value is compared with a literal."""


def passes(
    filters: tuple[Filter, ...], columns: Mapping[str, Column], count: int
) -> NDArray[np.int64]:
    """Return int64[n]: bit f is set where a record passes ``filters[f]``; at most 62 filters."""
    bits = np.zeros(count, np.int64)
    for place, one in enumerate(filters):
        bits |= _holds(one, columns).astype(np.int64) << place
    return bits


def _holds(one: Filter, columns: Mapping[str, Column]) -> NDArray[np.bool_]:
    match one:
        case Both(left, right):
            return _holds(left, columns) & _holds(right, columns)
        case Either(left, right):
            return _holds(left, columns) | _holds(right, columns)
        case Negated(inner):
            return ~_holds(inner, columns)
        case Comparison(field, op, values):
            return _compares(columns[field], op, values)


def _compares(column: Column, op: Is, values: tuple[int | float | str, ...]) -> NDArray[np.bool_]:
    """Compare a column with literals; a null compares false."""
    if isinstance(column, Strings):
        return _compares_text(column, op, [str(value).encode() for value in values])
    numbers = [value for value in values if not isinstance(value, str)]
    whole = column.dtype == np.int64
    null = column == NULL if whole else np.isnan(column)
    if op is Is.NULL:
        return null
    if op is Is.IN:
        found = np.zeros(len(column), np.bool_)
        for value in numbers:
            found |= _compares_number(column, Is.EQUAL, value)
    else:
        found = _compares_number(column, op, numbers[0])
    return found & ~null


def _compares_number(column: NDArray[Any], op: Is, value: float) -> NDArray[np.bool_]:
    """Compare as numbers, without rounding an integer column; its nulls are left to the caller."""
    if column.dtype == np.int64 and math.isfinite(value):
        if value != math.floor(value):
            if op in {Is.EQUAL, Is.NOT_EQUAL}:
                return np.full(len(column), op is Is.NOT_EQUAL)
            # An integer is below 1.5 where it is at most 1, and above it where it is more than 1.
            op = Is.LESS_EQUAL if op in {Is.LESS, Is.LESS_EQUAL} else Is.GREATER
        value = math.floor(value)
    found: NDArray[np.bool_] = OPERATORS[op](column, value)
    return found


def _compares_text(column: Strings, op: Is, values: list[bytes]) -> NDArray[np.bool_]:
    null = column.length < 0
    if op is Is.NULL:
        return null
    if op in {Is.EQUAL, Is.NOT_EQUAL, Is.IN}:
        equal = np.zeros(len(column), np.bool_)
        for value in values:
            equal |= _is(column, value)
        return ~equal & ~null if op is Is.NOT_EQUAL else equal
    # An order of texts is rare: the slow path, value by value. Bytes of UTF-8 have the order of
    # their code points; and they are not decoded, because those of a dead letter need not be text.
    heap = column.heap.tobytes()
    found = np.zeros(len(column), np.bool_)
    for row in np.flatnonzero(~null).tolist():
        start = int(column.start[row])
        text = heap[start : start + int(column.length[row])]
        found[row] = OPERATORS[op](text, values[0])
    return found


def _is(column: Strings, text: bytes) -> NDArray[np.bool_]:
    """Return where a text is exactly ``text``: lengths first, then byte by byte of these."""
    equal: NDArray[np.bool_] = column.length == len(text)
    at = np.flatnonzero(equal)
    for place, byte in enumerate(text):
        at = at[column.heap[column.start[at] + place] == byte]
    equal[:] = False
    equal[at] = True
    return equal
