"""A definition reduced to what can change a value, and events as a person would write them.

This is what ``naive`` reads: named expressions, no arrays, nothing that a compiler made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = int | float | str | None
Key: TypeAlias = int | str


@dataclass(frozen=True)
class Event:
    """One delivered record: ``reason`` other than 0 is a dead letter, whose time means nothing."""

    partition: int
    offset: int
    time_us: int
    values: dict[str, Value] = field(default_factory=dict)
    reason: int = 0
    available_us: int | None = None


@dataclass(frozen=True)
class Windowed:
    """count, count_values, sum, mean, min or max of an entity over (T - d - W, T - d]."""

    entity: str
    stat: str
    window_us: int
    column: str = ""
    delay_us: int = 0


@dataclass(frozen=True)
class SinceLast:
    """Seconds since the entity's newest other event."""

    entity: str


@dataclass(frozen=True)
class Field:
    """The event's own value of a column."""

    column: str


@dataclass(frozen=True)
class Calendar:
    """``hour`` or ``weekday`` (Monday 0) of the event's time, at a fixed offset from UTC."""

    part: str
    offset_s: int = 0


@dataclass(frozen=True)
class Literal:
    """A number written in the definition."""

    value: float


@dataclass(frozen=True)
class Arithmetic:
    """One of ``+ - * /`` on two values."""

    sign: str
    left: Expression
    right: Expression


Stat: TypeAlias = Windowed | SinceLast
Expression: TypeAlias = Windowed | SinceLast | Field | Calendar | Literal | Arithmetic


@dataclass(frozen=True)
class Meaning:
    """A definition reduced to what can change a value: named expressions, in vector order."""

    features: dict[str, Expression]
    primary: str
    allowed_lateness_us: int
    max_skew_us: int

    def stats(self) -> list[Stat]:
        """Return every statistic, operands of arithmetic included."""
        found: list[Stat] = []
        rest = list(self.features.values())
        while rest:
            expression = rest.pop(0)
            if isinstance(expression, Windowed | SinceLast):
                found.append(expression)
            elif isinstance(expression, Arithmetic):
                rest[:0] = [expression.left, expression.right]
        return found

    def entities(self) -> list[str]:
        """Return the columns that state is kept by."""
        return list(dict.fromkeys(stat.entity for stat in self.stats()))

    def windowed(self, entity: str) -> list[Windowed]:
        """Return the statistics of an entity that have a window."""
        return [s for s in self.stats() if s.entity == entity and isinstance(s, Windowed)]

    def anchored(self, entity: str) -> bool:
        """Return whether the entity has a ``since_last``, which remembers for ever."""
        return any(s.entity == entity and isinstance(s, SinceLast) for s in self.stats())

    def row(self, entity: str) -> dict[str, Stat]:
        """Return what the entity's Redis row holds: its own statistics, in vector order."""
        return {
            name: expression
            for name, expression in self.features.items()
            if isinstance(expression, Windowed | SinceLast) and expression.entity == entity
        }

    def reach_us(self, entity: str | None = None) -> int:
        """Return how far back windows reach: of one entity, or of all."""
        entities = self.entities() if entity is None else [entity]
        return max(
            (s.delay_us + s.window_us for name in entities for s in self.windowed(name)), default=0
        )
