"""Test a definition without Kafka: events as dictionaries in, named features out.

The same plan, kernels and rules for records as ``noskew run``, over one partition in the order
given. Events become columns value by value: this is the path of tests, a few thousand events long.
"""

from __future__ import annotations

import dataclasses
import difflib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.errors import UsageError
from noskew.schemas import rules
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.decode import Decoded, Reason
from noskew.schemas.resolve import wanted_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.dataflows.definition.stream import Pipeline
    from noskew.schemas.columns import Column
    from noskew.schemas.resolve import Wanted

__all__ = ["vectors"]

Event: TypeAlias = "Mapping[str, Any]"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def vectors(pipeline: Pipeline, events: Sequence[Event]) -> list[dict[str, float]]:
    """Return the features of every event, by name, as of the moment it is processed.

    events  field -> value, in processing order. Times are datetimes (UTC where they name no zone)
            or int microseconds; enums are symbols. Fields with a default in the schema may be left
            out, and so may the id and whatever the pipeline does not read.

    Raises UsageError for an event that does not fit the schema or would be a dead letter.
    """
    plan = compile_plan(pipeline)
    if not events:
        return []
    batch = _batch(plan.scored, events)
    computed = Engine(plan, partitions=1).process(batch).vectors
    return [dict(zip(plan.names, vector, strict=True)) for vector in computed.T.tolist()]


def _batch(stream: StreamPlan, events: Sequence[Event]) -> Batch:
    """Return events as a batch that the rules for records have passed."""
    count = len(events)
    known = [field["name"] for field in stream.schema["fields"]]
    for place, event in enumerate(events):
        for name in event:
            if name not in known:
                raise UsageError(_unknown(place, name, known))
    found = Decoded(
        schema_id=np.zeros(count, np.int32),
        reason=np.zeros(count, np.uint8),
        waiting=np.zeros(count, np.bool_),
        time_us=np.zeros(count, np.int64),
        available_us=np.zeros(count, np.int64),
        columns={},
    )
    nulls = {}
    # Times come in microseconds here, whatever unit they have on the wire.
    wanted = [
        dataclasses.replace(want, millis=False)
        for want in wanted_fields(stream.schema, stream.fields)
    ]
    for want in wanted:
        values = [_value(stream, want, place, event) for place, event in enumerate(events)]
        found.columns[want.name] = _column(want, values)
        nulls[want.name] = np.array([value is None for value in values], np.bool_)
    without_timestamps = np.full(count, NULL, np.int64)
    rules.apply(found, stream, wanted, nulls, without_timestamps)
    for place in np.flatnonzero(found.reason)[:1].tolist():
        reason = Reason(int(found.reason[place])).name.lower()
        message = (
            f"event {place} would be a dead letter ({reason}): {found.details[place]}; "
            "correct the event, or the definition if such a value is right"
        )
        raise UsageError(message)
    return Batch(
        stream=stream.place,
        partition=np.zeros(count, np.int32),
        offset=np.arange(count),
        record_time_us=without_timestamps,
        time_us=found.time_us,
        available_us=found.available_us,
        reason=found.reason,
        columns=found.columns,
    )


def _value(stream: StreamPlan, want: Wanted, place: int, event: Event) -> Any:
    """Return one field's value as its column holds it, None for a null."""
    if want.name not in event:
        if want.name == stream.id:
            return str(place) if want.kind == "string" else place
        if not want.has_default:
            message = (
                f"event {place} has no field {want.name!r}, which the pipeline reads and the "
                "schema gives no default for; add it"
            )
            raise UsageError(message)
        return want.default
    value = event[want.name]
    if value is None:
        return None
    match want.kind, value:
        case "int", datetime():
            aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return (aware - _EPOCH) // _MICROSECOND
        case "int", str() if value in want.symbols:
            return want.symbols.index(value)
        case "int", bool() if want.type == "boolean":
            return int(value)
        case "int", int() if not isinstance(value, bool) and want.type in {"int", "long"}:
            if NULL < value < -NULL:
                return value
        case "float", int() | float() if not isinstance(value, bool):
            return float(value)
        case "string", str():
            return value
    message = (
        f"event {place}: field {want.name!r} is {value!r}, and the schema says {_expected(want)}"
    )
    raise UsageError(message)


def _column(want: Wanted, values: list[Any]) -> Column:
    if want.kind == "string":
        return Strings.from_list(values)
    if want.kind == "float":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array([NULL if value is None else value for value in values], np.int64)


def _expected(want: Wanted) -> str:
    if want.symbols:
        return f"one of {', '.join(want.symbols)}"
    return want.type


def _unknown(place: int, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"event {place} has a field {name!r}, which the schema does not know; {hint}"
