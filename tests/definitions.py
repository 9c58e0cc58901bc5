"""Between what a user writes and what it means: ``Pipeline`` to ``Meaning`` and back."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any, Final

from meaning import (
    And,
    Arithmetic,
    Calendar,
    Compare,
    Field,
    Literal,
    Meaning,
    Not,
    Or,
    Source,
    Statistic,
)
from strategies import AMOUNT, COUNTRY, CUSTOMER, KIND, ONLINE, PAYMENT, PRICE, SECOND, TERMINAL

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.definition import expression as written
from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Negated, Row, Stat

if TYPE_CHECKING:
    from pathlib import Path

    from meaning import Condition, Expression

    from noskew.dataflows.definition.plan import Filter

_SIGNS: Final = {Row.ADD: "+", Row.SUBTRACT: "-", Row.MULTIPLY: "*", Row.DIVIDE: "/"}
_OPERATORS: Final = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_IS: Final = {
    Is.EQUAL: "==", Is.NOT_EQUAL: "!=", Is.LESS: "<", Is.LESS_EQUAL: "<=", Is.GREATER: ">",
    Is.GREATER_EQUAL: ">=", Is.IN: "isin", Is.NULL: "is_null",
}  # fmt: skip
_ENDS: Final = {
    (False, False): "right", (True, True): "left", (True, False): "both", (False, True): "neither",
}  # fmt: skip


def meaning_of(pipeline: Pipeline) -> Meaning:
    """Return what a definition means, from its expressions: no plan takes part."""
    places = {stream: place for place, stream in enumerate(pipeline.streams)}
    return Meaning(
        features={f.name: _meant(f.expression, places) for f in pipeline.features},
        streams=tuple(
            Source(
                id=stream.id,
                key=stream.key,
                allowed_lateness_us=stream.allowed_lateness_us,
                max_skew_us=stream.max_skew_us,
                dedupe_us=stream.dedupe_us,
                revise=stream.revise,
                quantum=dict(stream.quantum),
            )
            for stream in pipeline.streams
        ),
    )


def pipeline_of(
    meaning: Meaning, strings: frozenset[str], folder: Path, semantics: str = "noskew"
) -> Pipeline:
    """Write a definition that means ``meaning``, over the strategies' streams."""
    schema = _schema(strings, folder)
    streams = [
        Stream(
            f"stream{place}",
            topic=f"stream{place}",
            schema=schema,
            id=source.id,
            key=source.key,
            time="event_time",
            available="event_time",
            allowed_lateness=_seconds(source.allowed_lateness_us),
            max_skew=_seconds(source.max_skew_us),
            dedupe=_seconds(source.dedupe_us) if source.dedupe_us else None,
            revise=source.revise,
            quantum={name: f"1e-{power}" for name, power in source.quantum.items()},
        )
        for place, source in enumerate(meaning.streams)
    ]
    features = [
        _written(expression, streams).named(name) for name, expression in meaning.features.items()
    ]
    return Pipeline(name="meant", score=streams[0], features=features, semantics=semantics)


def _schema(strings: frozenset[str], folder: Path) -> Path:
    types: dict[str, Any] = {
        PAYMENT: "string" if PAYMENT in strings else "long",
        "event_time": {"type": "long", "logicalType": "timestamp-micros"},
        **{
            name: ["null", "string" if name in strings else "long"] for name in (CUSTOMER, TERMINAL)
        },
        AMOUNT: ["null", "long"],
        ONLINE: "boolean",
        PRICE: ["null", "double"],
        KIND: ["null", "int"],
        COUNTRY: ["null", "string"],
    }
    fields = [{"name": name, "type": type_} for name, type_ in types.items()]
    path = folder / f"payment_{'_'.join(sorted(strings))}.avsc"
    path.write_text(json.dumps({"type": "record", "name": "Payment", "fields": fields}))
    return path


def _meant(expression: Any, places: dict[Stream, int]) -> Expression:
    match expression:
        case written.Number(value=value):
            return Literal(value)
        case written.Arithmetic(row=row, left=left, right=right):
            return Arithmetic(_SIGNS[row], _meant(left, places), _meant(right, places))
        case written.RowFunction(row=Row.COLUMN, column=column):
            return Field(column)
        case written.RowFunction(row=row, utc_offset_s=offset_s):
            return Calendar(row.name.lower(), offset_s)
        case written.Statistic() as one:
            return _statistic(one, places[one.stream])
    raise AssertionError(expression)


def _statistic(one: written.Statistic, place: int) -> Statistic:
    common: dict[str, Any] = {"column": one.column, "stream": place}
    if one.window is None:
        return Statistic(one.stat, one.entity, half_life_us=one.half_life_us, **common)
    usual = written.EMPTY.get(one.stat)
    return Statistic(
        one.stat,
        one.entity,
        over_us=one.over_us,
        delay_us=one.delay_us,
        closed=_ENDS[one.window.low_closed, one.window.high_open],
        resolution_us=one.window.resolution_us,
        include_self=one.include_self is not False,
        where=None if one.where is None else _condition(one.where),
        empty=None if one.empty == usual else one.empty,
        ddof=one.ddof,
        **common,
    )


def _condition(one: Filter) -> Condition:
    match one:
        case Comparison(field, op, values):
            return Compare(field, _IS[op], values)
        case Both(left, right):
            return And(_condition(left), _condition(right))
        case Either(left, right):
            return Or(_condition(left), _condition(right))
        case Negated(inner):
            return Not(_condition(inner))


def _written(expression: Expression, streams: list[Stream]) -> Any:
    match expression:
        case Literal(value):
            return value
        case Field(column):
            return streams[0].column(column)
        case Calendar(part, offset_s):
            sign, minutes = "-" if offset_s < 0 else "+", abs(offset_s) // 60
            offset = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
            return getattr(streams[0], part)(utc_offset=offset)
        case Arithmetic(sign, left, right):
            return _OPERATORS[sign](_written(left, streams), _written(right, streams))
        case Statistic():
            return _written_statistic(expression, streams[expression.stream])


def _written_statistic(one: Statistic, stream: Stream) -> Any:
    name = "count" if one.stat is Stat.COUNT_VALUES else one.stat.name.lower()
    call = getattr(stream.by(one.entity), name)
    column = [one.column] if one.column else []
    if one.stat is Stat.SINCE_LAST:
        return call()
    if one.windowless:
        return call(*column, half_life=_seconds(one.half_life_us))
    settings: dict[str, Any] = {
        "over": None if one.over_us is None else _seconds(one.over_us),
        "delay": _seconds(one.delay_us),
        "closed": one.closed,
        "include_self": one.include_self,
    }
    if one.resolution_us:
        settings["resolution"] = _seconds(one.resolution_us)
    if one.where is not None:
        settings["where"] = _written_condition(one.where, stream)
    if one.empty is not None:
        settings["empty"] = one.empty
    if one.stat in {Stat.VAR, Stat.STD}:
        settings["ddof"] = one.ddof
    return call(*column, **settings)


def _written_condition(one: Condition, stream: Stream) -> Any:
    match one:
        case Compare(column, "isin", values):
            return stream.column(column).isin(values)
        case Compare(column, "is_null"):
            return stream.column(column).is_null()
        case Compare(column, sign, values):
            return _OPERATORS[sign](stream.column(column), values[0])
        case And(left, right):
            return _written_condition(left, stream) & _written_condition(right, stream)
        case Or(left, right):
            return _written_condition(left, stream) | _written_condition(right, stream)
        case Not(inner):
            return ~_written_condition(inner, stream)


def _seconds(duration_us: int) -> str:
    return f"{duration_us // SECOND}s"
