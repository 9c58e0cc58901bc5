"""Between what a user writes and what it means: ``Pipeline`` to ``Meaning`` and back."""

from __future__ import annotations

import json
import operator
from typing import TYPE_CHECKING, Any, Final

from meaning import Arithmetic, Calendar, Field, Literal, Meaning, SinceLast, Windowed
from strategies import AMOUNT, CUSTOMER, ONLINE, SECOND, TERMINAL

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.definition import expression as written
from noskew.dataflows.definition.plan import Row, Stat

if TYPE_CHECKING:
    from pathlib import Path

    from meaning import Expression

_SIGNS: Final = {Row.ADD: "+", Row.SUBTRACT: "-", Row.MULTIPLY: "*", Row.DIVIDE: "/"}
_OPERATORS: Final = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv
}  # fmt: skip


def meaning_of(pipeline: Pipeline) -> Meaning:
    """Return what a definition means, from its expressions: no plan takes part."""
    return Meaning(
        features={feature.name: _meant(feature.expression) for feature in pipeline.features},
        primary=pipeline.score.key,
        allowed_lateness_us=pipeline.score.allowed_lateness_us,
        max_skew_us=pipeline.score.max_skew_us,
    )


def pipeline_of(meaning: Meaning, strings: frozenset[str], folder: Path) -> Pipeline:
    """Write a definition that means ``meaning``, over the strategies' stream."""
    fields = [
        {"name": "payment_id", "type": "long"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        *(
            {"name": name, "type": ["null", "string" if name in strings else "long"]}
            for name in (CUSTOMER, TERMINAL)
        ),
        {"name": AMOUNT, "type": ["null", "long"]},
        {"name": ONLINE, "type": "boolean"},
    ]
    schema = folder / f"payment_{'_'.join(sorted(strings))}.avsc"
    schema.write_text(json.dumps({"type": "record", "name": "Payment", "fields": fields}))
    payments = Stream(
        "payments",
        topic="payments",
        schema=schema,
        id="payment_id",
        key=meaning.primary,
        time="event_time",
        allowed_lateness=_seconds(meaning.allowed_lateness_us),
        max_skew=_seconds(meaning.max_skew_us),
    )
    features = [
        _written(expression, payments).named(name) for name, expression in meaning.features.items()
    ]
    return Pipeline(name="meant", score=payments, features=features)


def _meant(expression: Any) -> Expression:
    match expression:
        case written.Number(value=value):
            return Literal(value)
        case written.Arithmetic(row=row, left=left, right=right):
            return Arithmetic(_SIGNS[row], _meant(left), _meant(right))
        case written.RowFunction(row=Row.COLUMN, column=column):
            return Field(column)
        case written.RowFunction(row=row, utc_offset_s=offset_s):
            return Calendar(row.name.lower(), offset_s)
        case written.Statistic(stat=Stat.SINCE_LAST, entity=entity):
            return SinceLast(entity)
        case written.Statistic(entity=entity, stat=stat, column=column) as one:
            return Windowed(entity, stat.name.lower(), one.over_us, column, one.delay_us)
    raise AssertionError(expression)


def _written(expression: Expression, payments: Stream) -> Any:
    match expression:
        case Literal(value):
            return value
        case Field(column):
            return payments.column(column)
        case Calendar(part, offset_s):
            sign, minutes = "-" if offset_s < 0 else "+", abs(offset_s) // 60
            offset = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
            return getattr(payments, part)(utc_offset=offset)
        case Arithmetic(sign, left, right):
            return _OPERATORS[sign](_written(left, payments), _written(right, payments))
        case SinceLast(entity):
            return payments.by(entity).since_last()
        case Windowed(entity, stat, window_us, column, delay_us):
            call = getattr(payments.by(entity), "count" if stat == "count_values" else stat)
            named = [column] if column else []
            return call(*named, over=_seconds(window_us), delay=_seconds(delay_us))


def _seconds(duration_us: int) -> str:
    return f"{duration_us // SECOND}s"
