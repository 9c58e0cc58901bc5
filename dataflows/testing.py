"""Test a definition without Kafka: events as dictionaries in, named features out.

The same plan, kernels and rules for records as ``noskew run``; each stream is one partition, and
events are processed in the order given. This is the path of tests, a few thousand events long.
"""

from __future__ import annotations

import math
import random
import struct
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core import shuffles
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.events import happenings, turn
from noskew.dataflows.core.members import DUPLICATE, Reading
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.stream import Pipeline
from noskew.dataflows.errors import UsageError
from noskew.kernels.layout import FLAG_INCOMPLETE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.events import Event, Given, Happening
    from noskew.dataflows.definition.plan import Plan

__all__ = ["members", "shuffled", "vectors"]


def vectors(pipeline: Pipeline, events: Sequence[Given]) -> list[dict[str, float]]:
    """Return the features of every scored event, by name, as of the moment it is processed.

    events  in processing order: field -> value for an event of the scored stream, or a pair of a
            stream (or its name) and such a dictionary. Times are datetimes (UTC where they name no
            zone) or int microseconds; enums are symbols. May be left out: fields with a default in
            the schema, fields the pipeline does not read, the time of availability, and the id
            where the stream neither drops duplicates nor takes revisions.

    A duplicate of the scored stream has no features: all are NaN. With ``semantics`` under which
    events of one time see each other, events are processed in the order of their times.

    Raises UsageError for an event that does not fit the schema or would be a dead letter.
    """
    plan = _plan(pipeline)
    found = _processed(plan, happenings(plan, events))
    if not found:
        return []
    computed, _ = _computed(plan, found)
    scored = [event.number for event in found if event.place == 0]
    return [
        dict(zip(plan.names, computed[:, at].tolist(), strict=True))
        for at in np.argsort(np.array(scored, np.int64)).tolist()
    ]


def members(pipeline: Pipeline, events: Sequence[Given], at: int = -1) -> dict[str, list[Event]]:
    """Return, for each statistic by name, the events it was computed of, by (time, order).

    events  as for ``vectors``
    at      which of the scored events, as in a list

    The event itself is among them where it counts. Left out are events that a ``where`` does not
    take or whose column is null. ``since_last`` has the newest other event. Columns, calendar parts
    and arithmetic have no window and are not in the result.

    This is a second reading of the definition in plain Python. Where a value follows from it (all
    but variances, first, last and decays), the features computed must equal it: AssertionError.
    Raises UsageError as ``vectors`` does, and where ``at`` is no scored event or a duplicate.
    """
    plan = _plan(pipeline)
    found = _processed(plan, happenings(plan, events))
    scored = [i for i, event in enumerate(found) if event.place == 0]
    by_number = sorted(scored, key=lambda i: found[i].number)
    if not -len(scored) <= at < len(scored):
        raise UsageError(f"at={at}: there are {len(scored)} scored events")
    computed, flags = _computed(plan, found)
    reading = Reading(plan, found)
    position = by_number[at]
    if reading.steps[position].fate == DUPLICATE:
        raise UsageError(
            f"event {found[position].number} is a duplicate: it is dropped and has no features"
        )
    column = scored.index(position)
    listed: dict[str, list[Event]] = {}
    for table in plan.tables:
        for op in table.ops:
            seen = reading.members(table, op, position)
            value = float(computed[op.node, column]) if op.node < len(plan.names) else None
            known = reading.value(table, op, position, seen)
            if value is None:
                continue
            if flags[column] & FLAG_INCOMPLETE and math.isnan(value):
                known = None  # it reaches below what is remembered, and says so
            name = plan.names[op.node]
            listed[name] = [found[i].given for i in seen]
            if known is not None and _bits(known) != _bits(value):
                numbers = [found[i].number for i in seen]
                message = (
                    f"feature {name!r} of event {found[position].number} is {value!r}, but of its "
                    f"members, events {numbers}, it is {known!r}: this is a mistake in noskew, "
                    "please report it with the definition and the events"
                )
                raise AssertionError(message)
    return {name: listed[name] for name in plan.names if name in listed}


def shuffled(pipeline: Pipeline, events: Sequence[Given], times: int = 20, seed: int = 0) -> None:
    """Assert that features do not depend on the order of arrival, where they must not.

    Each of ``times`` times some scored events are drawn, the last one always. They stay where they
    are, and what lies between them is shuffled within its allowed lateness: no event becomes late,
    or a duplicate, that was not, and none that was no longer is. What has a meaning is kept: the
    order of events of one stream and one time, and of one id where a stream drops duplicates or
    takes revisions. So those drawn have the same events before them, and their features must be the
    same, bit for bit. (The events between them may well differ: each sees what came before it.)

    seed  of the orders drawn; equal seeds draw equal orders

    Raises AssertionError naming feature, event, both values and both orders; UsageError as
    ``vectors`` does, and where no other order was found or ``semantics`` takes events by their
    times, so that nothing would be shown.
    """
    plan = _plan(pipeline)
    if plan.peers:
        raise UsageError(
            f"pipeline {plan.name!r} has semantics under which events are taken by their times: "
            "there is no order of arrival that features could depend on"
        )
    before = Reading(plan, _processed(plan, happenings(plan, events)))
    found = [step.event for step in before.steps]
    scored = [i for i, event in enumerate(found) if event.place == 0]
    if not scored:
        raise UsageError("there is no scored event, so no feature that could depend on an order")
    draw = random.Random(seed)  # noqa: S311  # reproducible orders, no secrets
    expected, _ = _computed(plan, found)
    tried = 0
    for _ in range(times):
        kept = sorted({*draw.sample(scored, draw.randrange(len(scored))), scored[-1]})
        other = shuffles.another(plan, before, kept, draw)
        if other is None:
            continue
        tried += 1
        other = _processed(plan, other)
        computed, _ = _computed(plan, other)
        _same(plan, found, other, [expected, computed], kept)
    if not tried:
        raise UsageError(
            f"none of {times} orders drawn was another one in which no event becomes late: give "
            "several events before the last scored one, closer together than allowed_lateness"
        )


def _plan(pipeline: Pipeline) -> Plan:
    if not isinstance(pipeline, Pipeline):
        raise UsageError(f"{pipeline!r} is no pipeline: give the Pipeline of your definition")
    return compile_plan(pipeline)


def _processed(plan: Plan, found: list[Happening]) -> list[Happening]:
    """Return events in the order they are processed in."""
    if not plan.peers:
        return found
    return sorted(found, key=lambda event: event.time_us or 0)


def _computed(plan: Plan, found: list[Happening]) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return vectors, float64[features, scored events] in processing order, and their flags."""
    features = Engine(plan, (1,) * len(plan.streams)).process(turn(plan, found))
    return features.vectors, features.flags


def _same(
    plan: Plan,
    before: list[Happening],
    after: list[Happening],
    computed: list[NDArray[np.float64]],
    kept: list[int],
) -> None:
    """Assert that the events at ``kept`` have the same vectors in both orders."""
    columns = [
        {event.number: at for at, event in enumerate(e for e in order if e.place == 0)}
        for order in (before, after)
    ]
    for position in kept:
        number = before[position].number
        old, new = (
            values[:, column[number]].tolist()
            for values, column in zip(computed, columns, strict=True)
        )
        for name, one, other in zip(plan.names, old, new, strict=True):
            if _bits(one) != _bits(other):
                orders = [[event.number for event in order] for order in (before, after)]
                message = (
                    f"feature {name!r} of event {number} depends on the order of arrival: "
                    f"{one!r} in the order {orders[0][: position + 1]}, {other!r} in the order "
                    f"{orders[1][: position + 1]}"
                )
                raise AssertionError(message)


def _bits(value: float) -> bytes:
    """Return the bits by which two values are told apart: one NaN, one zero."""
    return struct.pack("<d", math.nan if math.isnan(value) else value + 0.0)
