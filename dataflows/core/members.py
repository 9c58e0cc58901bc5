"""Who is in each window, read from the events themselves: plain Python that shares no kernel.

A second reading of DESIGN section 3 over a list of events, for tests of definitions: every question
looks at every earlier event. Each stream is one partition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from noskew.dataflows.core.filters import OPERATORS
from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.core.events import Happening
    from noskew.dataflows.definition.plan import Filter, Op, Plan, TablePlan

APPLIED, LATE, DUPLICATE = 0, 2, 3
"""What became of an event, as the engine numbers it."""

_SECOND: Final = 1_000_000
_NEVER: Final = -math.inf


@dataclass(slots=True)
class Step:
    """An event in processing order, and what was so just before it.

    fate      APPLIED, LATE or DUPLICATE
    horizon   in us, minus infinity before the first scored event
    fold      the fold line of its own stream, as ``horizon``
    replaces  position of the event it revises, -1 for none
    replaced  position of the event that revises it, -1 for none
    """

    event: Happening
    fate: int
    horizon: float
    fold: float
    replaces: int = -1
    replaced: int = -1


class Reading:
    """Events in processing order, judged, and who of them each statistic sees."""

    def __init__(self, plan: Plan, events: Sequence[Happening]) -> None:
        self.plan = plan
        self.steps: list[Step] = []
        clocks: list[float] = [_NEVER for _ in plan.streams]
        folds: list[float] = [_NEVER for _ in plan.streams]
        for event in events:
            step = self._judge(event, clocks, folds)
            if step.replaces >= 0:
                self.steps[step.replaces].replaced = len(self.steps)
            self.steps.append(step)
            if step.fate == APPLIED:
                clocks[event.place] = max(clocks[event.place], event.time_us)

    def members(self, table: TablePlan, op: Op, at: int) -> list[int]:
        """Return the positions of the events a statistic is computed of, by (time, order).

        at  position of a scored event
        """
        event = self.steps[at].event
        key = event.values[table.entity]
        if key is None:
            return []
        seen = [i for i in self._visible(table, op, at) if self._takes(table, op, i, key)]
        own = op.include_self and table.stream == 0 and op.stat is not Stat.SINCE_LAST
        if own and self._takes(table, op, at, key):
            seen.append(at)
        within = [i for i in seen if self._within(table, op, i, at)]
        # Its own event comes after those of the same time, whatever its position.
        within.sort(key=lambda i: (self.steps[i].event.time_us, i == at, i))
        return within[-1:] if op.stat is Stat.SINCE_LAST else within

    def value(self, table: TablePlan, op: Op, at: int, members: list[int]) -> float | None:
        """Return what a statistic of these members is; None for those not computed here."""
        if op.stat is Stat.SINCE_LAST:
            as_of_us = self.steps[at].event.time_us
            newest = [self.steps[i].event.time_us for i in members]
            return (as_of_us - newest[-1]) / _SECOND if newest else math.nan
        if not members and op.stat in _COMPUTED:
            return op.empty
        if op.stat in {Stat.COUNT, Stat.COUNT_VALUES}:
            return float(len(members))
        if op.stat is Stat.RATE:
            return len(members) / ((table.windows[op.window].over_us or 0) / _SECOND)
        if op.stat not in _COMPUTED:
            return None
        column = table.columns[op.column]
        values = [self.steps[i].event.values[column.field] for i in members]
        if column.kind == "quantum":
            values = [round(value * 10.0**column.power) for value in values]
        if op.stat is Stat.DISTINCT:
            return float(len(set(values)))
        unit = 10**column.power
        match op.stat:
            case Stat.SUM:
                return float(Fraction(sum(values), unit))
            case Stat.MEAN:
                return float(Fraction(sum(values), unit * len(values)))
            case Stat.MIN:
                return float(Fraction(min(values), unit))
        return float(Fraction(max(values), unit))

    def frozen(self, table: TablePlan, op: Op, step: Step) -> bool:
        """Return whether a revised event stays, because it was folded before it was revised."""
        if op.window < 0:
            late_us = 0
        else:
            window = table.windows[op.window]
            if window.over_us is not None:
                return False
            late_us = window.delay_us + window.high_open
        if op.stat is Stat.SINCE_LAST:
            return False
        return step.event.time_us <= self.steps[step.replaced].fold - late_us

    # -- sentences of the contract -------------------------------------------------------------

    def _judge(self, event: Happening, clocks: list[float], folds: list[float]) -> Step:
        """Say what becomes of an event: late, a duplicate, a revision, or simply applied."""
        plan, place, time_us = self.plan, event.place, event.time_us
        stream = plan.streams[place]
        horizon = clocks[0] - plan.scored.allowed_lateness_us
        for other in plan.streams:
            line = clocks[other.place] - other.allowed_lateness_us
            folds[other.place] = max(folds[other.place], min(line, horizon))
        step = Step(event, APPLIED, horizon, folds[place])
        if time_us < clocks[place] - stream.allowed_lateness_us:
            step.fate = LATE
            return step
        if not (stream.dedupe_us or stream.revise):
            return step
        same = [
            i
            for i, one in enumerate(self.steps)
            if one.fate == APPLIED
            and one.event.place == place
            and one.event.values[stream.id] == event.values[stream.id]
        ]
        if stream.dedupe_us and any(
            abs(self.steps[i].event.time_us - time_us) <= stream.dedupe_us for i in same
        ):
            step.fate = DUPLICATE
        elif stream.revise and same:
            old_us = self.steps[same[-1]].event.time_us
            reach_us = max((t.reach_us for t in plan.tables if t.stream == place), default=0)
            closed_us = min(step.fold, horizon - reach_us)
            if old_us > closed_us:
                step.replaces = same[-1]
            elif old_us >= min(closed_us, clocks[place] - stream.allowed_lateness_us):
                step.fate = LATE
            # Older than that it is forgotten, and this one is new.
        return step

    def _visible(self, table: TablePlan, op: Op, at: int) -> list[int]:
        """Return the positions of applied events of the table's stream, less those revised."""
        end = at
        if self.plan.peers:
            # Those of one time see each other, whichever came first.
            time_us = self.steps[at].event.time_us
            while end < len(self.steps) and self.steps[end].event.time_us == time_us:
                end += 1
        found = []
        for i, step in enumerate(self.steps[:end]):
            if i == at or step.fate != APPLIED or step.event.place != table.stream:
                continue
            if 0 <= step.replaced < end and not self.frozen(table, op, step):
                continue
            found.append(i)
        return found

    def _takes(self, table: TablePlan, op: Op, at: int, key: Any) -> bool:
        """Return whether an event is of the entity, passes the filter and has a value."""
        values = self.steps[at].event.values
        if values[table.entity] != key:
            return False
        if op.filter >= 0 and not passes(table.filters[op.filter], values):
            return False
        return op.column < 0 or not _null(values[table.columns[op.column].field])

    def _within(self, table: TablePlan, op: Op, i: int, at: int) -> bool:
        """Return whether an event's time is in the window as of the event at ``at``."""
        time_us, as_of = self.steps[i].event.time_us, self.steps[at].event.time_us
        if op.window < 0:
            return time_us <= as_of
        window = table.windows[op.window]
        if time_us > as_of - window.delay_us - window.high_open:
            return False
        if window.over_us is None:
            return True
        low = max(as_of, self.steps[at].horizon) - (window.delay_us + window.over_us)
        if window.resolution_us:
            low -= low % window.resolution_us
        return time_us > low - window.low_closed


_COMPUTED: Final = frozenset(
    {
        Stat.COUNT,
        Stat.COUNT_VALUES,
        Stat.RATE,
        Stat.DISTINCT,
        Stat.SUM,
        Stat.MEAN,
        Stat.MIN,
        Stat.MAX,
    }
)


def passes(one: Filter, values: dict[str, Any]) -> bool:
    """Return whether an event's values pass a filter; a null compares false with everything."""
    match one:
        case Comparison(field, op, literals):
            return _compares(values[field], op, literals)
        case Both(left, right):
            return passes(left, values) and passes(right, values)
        case Either(left, right):
            return passes(left, values) or passes(right, values)
    return not passes(one.inner, values)


def _compares(value: Any, op: Is, literals: tuple[Any, ...]) -> bool:
    if op is Is.NULL or _null(value):
        return op is Is.NULL and _null(value)
    if op is Is.IN:
        return value in literals
    (literal,) = literals
    return bool(OPERATORS[op](value, literal))


def _null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
