"""Who is a member of what (DESIGN sections 3.2 to 3.4), said slowly: predicates over whole lists.

Times are Python ints of microseconds. The state of an entity is the list of what was aggregated,
and the list of what was folded below the fold line.
"""

from __future__ import annotations

import math
import operator
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meaning import And, Arithmetic, Calendar, Compare, Field, Key, Literal, Or
from naive_judge import Judge
from naive_statistics import NAIVE, Member, Members

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meaning import Condition, Event, Expression, Meaning, Statistic, Value
    from naive_judge import Instant, Now
    from naive_statistics import Exact

Place: TypeAlias = tuple[int, str, Key]
"""Stream, entity, key."""

EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # plain calendar arithmetic, no zone database
_COMPARE: Final[dict[str, Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Entry:
    """An aggregated event as an entity remembers it."""

    time_us: int
    seq: int
    event: Event

    @property
    def order(self) -> tuple[int, int]:
        """Return where it stands among the entity's entries."""
        return self.time_us, self.seq


class Windows(Judge):
    """What entities remember, and what a statistic makes of it as of an event."""

    def __init__(self, meaning: Meaning, partitions: Sequence[int]) -> None:
        super().__init__(meaning, partitions)
        self.entries: dict[Place, list[Entry]] = defaultdict(list)
        self.folded: dict[tuple[Place, int, bool], list[Entry]] = defaultdict(list)

    # -- the sentences of the contract ---------------------------------------------------------

    def before_new_end(self, stat: Statistic, entry_us: int, as_of_us: Instant) -> bool:
        """At or before T - d; before it where the window is open there."""
        end_us = as_of_us - stat.delay_us
        return entry_us < end_us or (entry_us == end_us and stat.closed in {"right", "both"})

    def after_old_end(
        self, stat: Statistic, entry_us: int, as_of_us: int, horizon_us: Instant
    ) -> bool:
        """After T - d - W; at it where the window is closed there."""
        end_us = self.old_end_us(stat, as_of_us, horizon_us)
        return entry_us > end_us or (entry_us == end_us and stat.closed in {"left", "both"})

    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        """T - d - W, in whole tiles; what the horizon has closed is no member, whatever T."""
        if stat.over_us is None:
            return -math.inf
        end_us = max(as_of_us, horizon_us) - stat.delay_us - stat.over_us
        return end_us - end_us % stat.resolution_us if stat.resolution_us else end_us

    def own(self, stat: Statistic, event: Event, now: Now) -> list[Entry]:
        """The event itself is a member of the windows of its stream, late or not."""
        if stat.stream != 0 or not stat.include_self or stat.stat is Stat.SINCE_LAST:
            return []
        return [Entry(event.time_us, now.seq, event)]

    def fold_to_read(self, place: Place, now: Now) -> None:
        """Before a read, what the fold line has passed is folded."""
        self.fold(place, now)

    def fold(self, place: Place, now: Now) -> bool:
        """Before an insert or a read, what the fold line has passed is folded, oldest first."""
        any_passed = False
        for stat in self.meaning.of(place[1], place[0]):
            if not stat.endless or stat.stat is Stat.SINCE_LAST:
                continue
            folded = self.folded[_folded_at(place, stat)]
            passed = [
                entry
                for entry in self.entries[place]
                if entry not in folded
                and self.before_new_end(stat, entry.time_us, now.lines_us[place[0]])
            ]
            folded += sorted(passed, key=lambda entry: entry.order)
            any_passed = any_passed or bool(passed)
        return any_passed

    def is_unknown(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> bool:
        """A reader stands below what has been folded, or below all that is sure to be held."""
        if stat.stat is Stat.SINCE_LAST:
            # Below the horizon only the newest entry is: nobody can say what came before it.
            return any(as_of_us < e.time_us <= now.horizon_us for e in self.entries[place])
        return stat.endless and any(
            not self.before_new_end(stat, entry.time_us, as_of_us)
            for entry in self.folded[_folded_at(place, stat)]
            if not stat.windowless or self.counts(stat, entry)
        )

    def remembered(self, stat: Statistic, place: Place) -> list[Entry]:
        """What a key has entries of, and what a revision left of folded ones."""
        folded = self.folded[_folded_at(place, stat)] if stat.endless else []
        entries = self.entries[place]
        return [*entries, *(entry for entry in folded if entry not in entries)]

    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        """Return whom a reader at T sees: what is inside, and what is folded for good."""
        inside = [
            entry
            for entry in self.entries[place]
            if self.before_new_end(stat, entry.time_us, as_of_us)
            and self.after_old_end(stat, entry.time_us, as_of_us, now.horizon_us)
        ]
        inside.sort(key=lambda entry: entry.order)
        if stat.stat is Stat.SINCE_LAST or not stat.endless:
            return inside
        folded = self.folded[_folded_at(place, stat)]
        found = [*folded, *(entry for entry in inside if entry not in folded)]
        # A decay takes them in the order of folding, everything else by (time, seq).
        return found if stat.windowless else sorted(found, key=lambda entry: entry.order)

    def counts(self, stat: Statistic, entry: Entry) -> bool:
        """A statistic of a column skips its nulls."""
        return not stat.column or self.value(stat, entry) is not None

    def holds(self, condition: Condition | None, values: dict[str, Value]) -> bool:
        """A null compares false with everything; a negation is true wherever it is not true."""
        match condition:
            case None:
                return True
            case And(left, right):
                return self.holds(left, values) and self.holds(right, values)
            case Or(left, right):
                return self.holds(left, values) or self.holds(right, values)
            case Compare(column, sign, literals):
                return self.compares(values[column], sign, literals)
        return not self.holds(condition.inner, values)

    def compares(self, value: Value, sign: str, literals: tuple[int | float | str, ...]) -> bool:
        """Compare a value with literals."""
        if _is_null(value) or sign == "is_null":
            return _is_null(value) and sign == "is_null"
        if sign == "isin":
            return value in literals
        return bool(_COMPARE[sign](value, literals[0]))

    def value(self, stat: Statistic, entry: Entry) -> Exact | None:
        """Return an entry's value of the column: exact, a float as the integer of its quantum."""
        value = entry.event.values[stat.column] if stat.column else None
        if value is None or _is_null(value):
            return None
        if isinstance(value, float):
            unit: int = 10 ** self.meaning.streams[stat.stream].quantum[stat.column]
            return Fraction(round(value * float(unit)), unit)
        return value

    def compute(self, of: Members) -> float:
        """Return a statistic of its members."""
        return NAIVE[of.stat.stat](of)

    # -- evaluation ----------------------------------------------------------------------------

    def evaluate(self, expression: Expression, event: Event, now: Now) -> float:
        """Return an expression's value as of an event."""
        match expression:
            case Literal(value):
                return value
            case Field(column):
                own = event.values[column]
                assert not isinstance(own, str)
                return math.nan if own is None else float(own)
            case Calendar(part, offset_s):
                moment = EPOCH + timedelta(microseconds=event.time_us, seconds=offset_s)
                return float(moment.hour if part == "hour" else moment.weekday())
            case Arithmetic(sign, left, right):
                sides = self.evaluate(left, event, now), self.evaluate(right, event, now)
                return _arithmetic(sign, *sides)
        return self.statistic(expression, event, now)

    def statistic(self, stat: Statistic, event: Event, now: Now) -> float:
        """Return a statistic as of an event; of nobody: as of an empty history, itself left out."""
        key = self.key(stat.entity, event)
        if key is None:
            return self.compute(Members(stat, [], event.time_us))
        place = (stat.stream, stat.entity, key)
        self.fold_to_read(place, now)
        if self.is_unknown(stat, place, event.time_us, now):
            now.incomplete = True
            return math.nan
        found = self.members(stat, place, event.time_us, now)
        own = [
            entry
            for entry in self.own(stat, event, now)
            if self.before_new_end(stat, entry.time_us, event.time_us)
            and self.after_old_end(stat, entry.time_us, event.time_us, now.horizon_us)
        ]
        return self.compute(self.chosen(stat, [*found, *own], event.time_us))

    def chosen(self, stat: Statistic, entries: list[Entry], as_of_us: int) -> Members:
        """Return the members that a ``where`` lets through, with their values."""
        passed = [e for e in entries if self.holds(stat.where, e.event.values)]
        return Members(stat, [Member(e.time_us, self.value(stat, e)) for e in passed], as_of_us)


def _folded_at(place: Place, stat: Statistic) -> tuple[Place, int, bool]:
    """Return which folded list a statistic reads: those of one new end share it."""
    return place, stat.delay_us, stat.closed in {"right", "both"}


def _is_null(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _arithmetic(sign: str, left: float, right: float) -> float:
    match sign:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right if right != 0 else math.nan
    raise AssertionError(sign)
