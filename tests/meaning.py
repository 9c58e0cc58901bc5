"""A definition reduced to what can change a value, and records as a person would write them.

This is what ``naive`` reads: named expressions, no arrays, nothing that a compiler made.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from noskew.dataflows.definition.plan import MOVING, WINDOWLESS

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import Stat

Value: TypeAlias = int | float | str | None
Key: TypeAlias = int | str


@dataclass(frozen=True)
class Event:
    """One delivered record of a stream.

    values        field -> value; a boolean is 0 or 1, an enum the index of its symbol
    reason        other than 0: a dead letter, whose time and values mean nothing
    available_us  when it could first be known; None: at its time
    """

    partition: int
    offset: int
    time_us: int
    values: dict[str, Value] = field(default_factory=dict)
    reason: int = 0
    stream: int = 0
    available_us: int | None = None


@dataclass(frozen=True)
class Compare:
    """``column <sign> values``: one literal; any number of ``isin``; none of ``is_null``."""

    column: str
    sign: str
    values: tuple[int | float | str, ...] = ()


@dataclass(frozen=True)
class And:
    """Both hold."""

    left: Condition
    right: Condition


@dataclass(frozen=True)
class Or:
    """One holds, or both."""

    left: Condition
    right: Condition


@dataclass(frozen=True)
class Not:
    """It does not hold."""

    inner: Condition


Condition: TypeAlias = Compare | And | Or | Not


@dataclass(frozen=True)
class Statistic:
    """One statistic of an entity's events of one stream.

    over_us  None: all of history, or a statistic without a window
    closed   which ends belong to the window: right, left, both or neither
    empty    the value where there is no member (with a value); None: as the table of statistics has
    """

    stat: Stat
    entity: str
    over_us: int | None = None
    column: str = ""
    delay_us: int = 0
    closed: str = "right"
    resolution_us: int = 0
    include_self: bool = True
    where: Condition | None = None
    empty: float | None = None
    ddof: int = 1
    half_life_us: int = 0
    stream: int = 0

    @property
    def windowless(self) -> bool:
        """Return whether it looks at everything up to T."""
        return self.stat in WINDOWLESS

    @property
    def moving(self) -> bool:
        """Return whether its value changes with the time of reading, though nothing happens."""
        return self.stat in MOVING

    @property
    def endless(self) -> bool:
        """Return whether it never forgets: no window, or all of history."""
        return self.windowless or self.over_us is None

    @property
    def reach_us(self) -> int:
        """Return how far below T a member can lie: it is later than T less this."""
        if self.over_us is None:
            return 0
        left = int(self.closed in {"left", "both"})
        return self.over_us + self.delay_us + left + max(self.resolution_us - 1, 0)


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


Expression: TypeAlias = Statistic | Field | Calendar | Literal | Arithmetic


@dataclass(frozen=True)
class Source:
    """A stream: how its records are judged.

    quantum   float column -> decimal places k: its integer is rint(x * 10^k)
    """

    id: str
    key: str
    allowed_lateness_us: int
    max_skew_us: int
    dedupe_us: int = 0
    revise: bool = False
    quantum: dict[str, int] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.id, self.key))


@dataclass(frozen=True)
class Meaning:
    """Named expressions in vector order, and the streams; the scored one is the first."""

    features: dict[str, Expression]
    streams: tuple[Source, ...]

    @property
    def scored(self) -> Source:
        """Return the stream whose events are scored."""
        return self.streams[0]

    def stats(self) -> list[Statistic]:
        """Return every statistic once, operands of arithmetic included."""
        found: list[Statistic] = []
        rest = list(self.features.values())
        while rest:
            expression = rest.pop(0)
            if isinstance(expression, Statistic):
                found.append(expression)
            elif isinstance(expression, Arithmetic):
                rest[:0] = [expression.left, expression.right]
        return list(dict.fromkeys(found))

    def entities(self) -> list[str]:
        """Return the columns that state is kept by."""
        return list(dict.fromkeys(stat.entity for stat in self.stats()))

    def streams_of(self, entity: str) -> list[int]:
        """Return the streams that feed an entity; the scored one always does."""
        return sorted({0, *(stat.stream for stat in self.stats() if stat.entity == entity)})

    def of(self, entity: str, stream: int | None = None) -> list[Statistic]:
        """Return the statistics of an entity, of one stream or of all."""
        return [s for s in self.stats() if s.entity == entity and stream in {None, s.stream}]

    def row(self, entity: str) -> dict[str, Statistic]:
        """Return what the entity's Redis row holds: its own statistics, in vector order."""
        return {
            name: expression
            for name, expression in self.features.items()
            if isinstance(expression, Statistic) and expression.entity == entity
        }

    def reach_us(self, stream: int | None = None) -> int:
        """Return how far back windows reach: over one stream, or over all."""
        return reach_us([s for s in self.stats() if stream in {None, s.stream}])


def reach_us(stats: list[Statistic]) -> int:
    """Return max(d + W) of some statistics, ends and tiles counted in; 0 without windows."""
    return max((stat.reach_us for stat in stats), default=0)


def bits(value: float) -> int:
    """Return a float64's bit pattern as a signed integer: one NaN, but two zeros."""
    if math.isnan(value):
        value = math.nan
    (pattern,) = struct.unpack("<q", struct.pack("<d", value))
    assert isinstance(pattern, int)
    return pattern
