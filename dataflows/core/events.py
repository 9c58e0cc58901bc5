"""Events as dictionaries, made into the turn that the engine takes: the path of tests.

Value by value, so a few thousand events long. The rules for records apply: what would be a dead
letter is refused with the reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.micros import in_microseconds
from noskew.dataflows.definition.literals import plain
from noskew.dataflows.definition.plan import RECORD_TIMESTAMP
from noskew.dataflows.definition.stream import Stream
from noskew.dataflows.errors import UsageError
from noskew.schemas import rules
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.decode import Decoded, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.definition.plan import Plan, StreamPlan
    from noskew.schemas.columns import Column
    from noskew.schemas.resolve import Wanted

Event: TypeAlias = "Mapping[str, Any]"
Given: TypeAlias = "Event | tuple[Stream | str, Event]"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of one stream, as given and as its columns hold it.

    place   of its stream
    number  its place among the events given
    values  field -> int, float, str or None: every field the plan reads of the stream
    """

    place: int
    number: int
    given: Event
    values: dict[str, Any]
    time_us: int


def happenings(plan: Plan, events: Sequence[Given]) -> list[Happening]:
    """Return events in the order given, checked against their streams' schemas.

    Raises UsageError for an event of no stream, with a field or a value the schema does not know,
    or without one it demands.
    """
    if isinstance(events, Mapping) or not isinstance(events, Iterable):
        raise UsageError(f"events are {events!r}: give a list of them, in processing order")
    wanted = [in_microseconds(stream)[0] for stream in plan.streams]
    found = []
    for number, one in enumerate(events):
        place, event = _stream(plan, number, one)
        stream = plan.streams[place]
        known = [field["name"] for field in stream.schema["fields"]]
        for name in event:
            if name not in known:
                of = f"the schema of stream {stream.name!r}"
                told = f"event {number} has a field {name!r}, which {of} does not know"
                raise UsageError(_unknown(told, str(name), known))
        values = {want.name: _value(stream, want, number, event) for want in wanted[place]}
        found.append(Happening(place, number, event, values, values[stream.time]))
    return found


def turn(plan: Plan, found: Sequence[Happening]) -> Turn:
    """Return events in processing order as a turn; each stream is one partition.

    Raises UsageError for one that would be a dead letter.
    """
    streams = np.array([one.place for one in found], np.int32)
    batches = []
    offset = np.empty(len(found), np.int64)
    for stream in plan.streams:
        at = np.flatnonzero(streams == stream.place)
        batch = _batch(stream, [found[i] for i in at.tolist()])
        batch.seq = at
        offset[at] = batch.offset
        batches.append(batch)
    return Turn(0, tuple(batches), streams, streams.copy(), offset)


def _stream(plan: Plan, number: int, one: object) -> tuple[int, Event]:
    """Return the place of an event's stream, and the event."""
    if isinstance(one, Mapping):
        return 0, one
    names = [stream.name for stream in plan.streams]
    if not (isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], Mapping)):
        raise UsageError(
            f"event {number} is {one!r}: give a dictionary of the scored stream {names[0]!r}, or "
            f"a pair of a stream and a dictionary, such as ({names[-1]!r}, {{...}})"
        )
    name = one[0].name if isinstance(one[0], Stream) else one[0]
    if name not in names:
        told = f"event {number} is of stream {name!r}, which pipeline {plan.name!r} does not read"
        raise UsageError(_unknown(told, str(name), names))
    return names.index(name), one[1]


def _batch(stream: StreamPlan, events: list[Happening]) -> Batch:
    """Return one stream's events as a batch that the rules for records have passed."""
    count = len(events)
    found = Decoded(
        schema_id=np.zeros(count, np.int32),
        reason=np.zeros(count, np.uint8),
        waiting=np.zeros(count, np.bool_),
        time_us=np.zeros(count, np.int64),
        available_us=np.zeros(count, np.int64),
        columns={},
    )
    nulls = {}
    wanted, reading = in_microseconds(stream)
    for want in wanted:
        values = [event.values[want.name] for event in events]
        found.columns[want.name] = _column(want, values)
        nulls[want.name] = np.array([value is None for value in values], np.bool_)
    stamps = np.full(count, NULL, np.int64)
    if stream.available == RECORD_TIMESTAMP:
        # Events are given in processing order, so it only has to be there.
        times = found.columns[stream.time]
        assert isinstance(times, np.ndarray)
        stamps[:] = times
    rules.apply(found, reading, wanted, nulls, stamps)
    for place in np.flatnonzero(found.reason)[:1].tolist():
        reason = Reason(int(found.reason[place])).name.lower()
        message = (
            f"event {events[place].number} would be a dead letter ({reason}): "
            f"{found.details[place]}; correct the event, or the definition if such a value is right"
        )
        raise UsageError(message)
    return Batch(
        stream=stream.place,
        partition=np.zeros(count, np.int32),
        offset=np.arange(count),
        record_time_us=stamps,
        time_us=found.time_us,
        available_us=found.available_us,
        reason=found.reason,
        columns=found.columns,
    )


def _value(stream: StreamPlan, want: Wanted, number: int, event: Event) -> Any:
    """Return one field's value as its column holds it, None for a null."""
    name = want.name
    if name not in event and name == stream.available and stream.time in event:
        name = stream.time  # events are given in processing order
    if name not in event:
        if name == stream.id and not (stream.dedupe_us or stream.revise):
            return str(number) if want.kind == "string" else number
        if not want.has_default:
            message = (
                f"event {number} has no field {name!r}, which the pipeline reads of stream "
                f"{stream.name!r} and the schema gives no default for; add it"
            )
            raise UsageError(message)
        return want.default
    value = plain(event[name])
    if value is None:
        return None
    timed = name in _times(stream)
    match want.kind, value:
        case "int", datetime() if timed:
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
            with suppress(OverflowError):  # an int beyond all float64
                return float(value)
        case "string", str():
            with suppress(UnicodeEncodeError):  # half a surrogate pair: not in UTF-8
                value.encode()
                return value
    expected = "a datetime, or int microseconds" if timed else _expected(want)
    raise UsageError(f"event {number}: field {name!r} is {value!r}, and the schema says {expected}")


def _times(stream: StreamPlan) -> set[str]:
    """Return the fields that are moments."""
    found = {stream.time, stream.available}
    for field in stream.schema["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        logical = (kind.get("logicalType", "") for kind in kinds if isinstance(kind, dict))
        if any(name.startswith("timestamp-") for name in logical):
            found.add(field["name"])
    return found


def _column(want: Wanted, values: list[Any]) -> Column:
    if want.kind == "string":
        return Strings.from_list(values)
    if want.kind == "float":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array([NULL if value is None else value for value in values], np.int64)


def _expected(want: Wanted) -> str:
    null = " or null" if want.nullable else ""
    if want.symbols:
        return f"one of {', '.join(want.symbols)}{null}"
    return f"{want.type}{null}"


def _unknown(told: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return f"{told}; {hint}"
