"""Conditions of ``where=``: comparisons of a column with literals, joined by ``&``, ``|``, ``~``.

``payments.column("amount_cents") > 20_000`` is one. Its literals are checked against the column's
type here, and written as the column holds them: enums by index, times in microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NoReturn

from noskew.dataflows.definition.fields import nearest
from noskew.dataflows.definition.literals import plain
from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Negated
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from noskew.dataflows.definition.fields import Field
    from noskew.dataflows.definition.plan import Filter
    from noskew.dataflows.definition.stream import Stream

SIGNS: Final = {
    Is.EQUAL: "==", Is.NOT_EQUAL: "!=", Is.LESS: "<", Is.LESS_EQUAL: "<=", Is.GREATER: ">",
    Is.GREATER_EQUAL: ">=",
}  # fmt: skip

MOST_PARTS: Final = 256
"""Comparisons in one condition: what anyone needs, and no recursion is too deep."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_US: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_SHOWN: Final = 8
"""Values of an ``isin`` that are shown; of more, the first and how many others there are."""
_MOST: Final = 2**63 - 1
_EXACT: Final = 2**53
_ORDERS: Final = frozenset({Is.LESS, Is.LESS_EQUAL, Is.GREATER, Is.GREATER_EQUAL})
_HOW: Final = (
    'join conditions with & | ~ and brackets: where=(amount > 100) & (channel == "web"); '
    "and, or, not, if and a < b < c need a truth value, which there is only per event"
)


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What an event of ``stream`` must be to count; comparing a column makes one."""

    stream: Stream
    filter: Filter

    def __and__(self, other: Condition) -> Condition:
        return Condition(self.stream, Both(self.filter, self._other("&", other)))

    def __or__(self, other: Condition) -> Condition:
        return Condition(self.stream, Either(self.filter, self._other("|", other)))

    def __rand__(self, other: object) -> NoReturn:
        self._refuse("&", other)

    def __ror__(self, other: object) -> NoReturn:
        self._refuse("|", other)

    def __invert__(self) -> Condition:
        return Condition(self.stream, Negated(self.filter))

    def __bool__(self) -> NoReturn:
        message = f"{self} has no truth value; {_HOW}"
        raise DefinitionError(message)

    def __str__(self) -> str:
        return show(self.filter, self.stream.record.fields)

    __repr__ = __str__

    def _other(self, sign: str, other: object) -> Filter:
        if not isinstance(other, Condition):
            self._refuse(sign, other)
        if other.stream is not self.stream:
            message = (
                f"{self} is of stream {self.stream.name!r} and {other} of {other.stream.name!r}; "
                "compare columns of one stream: that of the statistic"
            )
            raise DefinitionError(message)
        parts = sum(1 for one in (self.filter, other.filter) for _ in comparisons(one))
        if parts > MOST_PARTS:
            message = (
                f"a condition of {parts} comparisons; write at most {MOST_PARTS}, and "
                "isin([...]) for many values of one column"
            )
            raise DefinitionError(message)
        return other.filter

    def _refuse(self, sign: str, other: object) -> NoReturn:
        message = f"({self}) {sign} {other}: {other} is no condition; {_HOW}"
        raise DefinitionError(message)


def compared(stream: Stream, field: Field, op: Is, literals: object) -> Condition:
    """Return the condition ``field <op> literals``; raises DefinitionError where they do not fit.

    literals  one of a comparison, an iterable of ``IN``, ignored for ``NULL``
    """
    if op is Is.NULL:
        return Condition(stream, Comparison(field.name, op))
    if op is not Is.IN:
        call = f"{field.name} {SIGNS[op]} {literals!r}"
        return Condition(stream, Comparison(field.name, op, (_literal(field, op, literals, call),)))
    call = f"{field.name}.isin({literals!r})"
    if isinstance(literals, (str, bytes)) or not isinstance(literals, Iterable):
        message = f"{call}: {literals!r} is no list; write isin([{literals!r}])"
        raise DefinitionError(message)
    found = {_literal(field, op, one, call) for one in literals}
    if not found:
        message = f"{call}: no value is in an empty list; write the values, or leave the where out"
        raise DefinitionError(message)
    # In one order, so that equal sets are one condition.
    return Condition(stream, Comparison(field.name, op, tuple(sorted(found))))


def comparisons(one: Filter) -> Iterator[Comparison]:
    """Yield the comparisons of a filter, left to right."""
    match one:
        case Both(left, right) | Either(left, right):
            yield from comparisons(left)
            yield from comparisons(right)
        case Negated(inner):
            yield from comparisons(inner)
        case Comparison():
            yield one


def show(one: Filter, fields: Mapping[str, Field], *, inner: bool = False) -> str:
    """Return a filter as it is written, in brackets if ``inner``."""
    match one:
        case Both(left, right) | Either(left, right):
            sign = "&" if isinstance(one, Both) else "|"
            parts = (show(side, fields, inner=True) for side in (left, right))
            text = f" {sign} ".join(parts)
        case Negated(inside):
            return f"~{show(inside, fields, inner=True)}"
        case Comparison(field, Is.NULL):
            text = f"{field} is null"
        case Comparison(field, Is.IN, values):
            some = [_shown(fields[field], value) for value in values[:_SHOWN]]
            if len(values) > _SHOWN:
                some.append(f"... {len(values) - _SHOWN:,} more")
            text = f"{field} in [{', '.join(some)}]"
        case Comparison(field, op, values):
            text = f"{field} {SIGNS[op]} {_shown(fields[field], values[0])}"
    return f"({text})" if inner else text


def _shown(field: Field, value: float | str) -> str:
    """Return a literal as it was written."""
    if field.avro == "enum":
        return repr(field.symbols[int(value)])
    if field.avro == "boolean":
        return str(bool(value))
    if field.timestamp:
        return (_EPOCH + int(value) * _MICROSECOND).replace(tzinfo=None).isoformat(" ")
    return repr(value)


def _literal(field: Field, op: Is, value: object, call: str) -> int | float | str:
    """Return a literal as the column holds it."""
    what = f"{call}: column {field.name!r} is {field.shown}"
    value = plain(value)
    found: int | float | str | None
    if value is None:
        message = f"{what}; no comparison with None is ever true: write .is_null() or ~(...)"
        raise DefinitionError(message)
    if field.avro in ("boolean", "enum") and op in _ORDERS:
        message = f"{what}, which has no order; write == != isin([...])"
        raise DefinitionError(message)
    if field.avro == "boolean":
        hint = "write True or False"
        found = int(value) if isinstance(value, int) and value in (0, 1) else None
    elif field.avro == "enum":
        hint = f"{value!r} is none of its symbols; {nearest(str(value), field.symbols)}"
        known = isinstance(value, str) and value in field.symbols
        found = field.symbols.index(str(value)) if known else None
    elif field.kind == "string":
        hint = f"write text: {str(value)!r}"
        found = value if isinstance(value, str) else None
    elif field.timestamp:
        hint = (
            "write a datetime, or whole microseconds since 1970-01-01 UTC, of the years 1 to 9999"
        )
        found = _moment(value)
    elif field.kind == "int":
        hint = "write a whole number that fits into 64 bits"
        found = _whole(value)
    else:
        hint = "write a finite number, and none beyond 2^53, where float64 has gaps"
        found = _real(value)
    if found is None:
        message = f"{what}; {hint}"
        raise DefinitionError(message)
    return found


def _moment(value: object) -> int | None:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // _MICROSECOND
    found = _whole(value)
    return found if found is not None and _FIRST_US <= found <= _LAST_US else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return None
    return int(value) if abs(value) <= _MOST else None


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and abs(value) > _EXACT:
        return None
    return value + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0: they are equal
