"""Expressions: what a feature computes, as values; equal expressions are the same feature.

They are what features carry, pipelines settle (see ``vector``) and the compiler reads. A name and a
description are derived from each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from noskew.dataflows.definition import condition
from noskew.dataflows.definition.durations import show, show_offset
from noskew.dataflows.definition.plan import WINDOWLESS, Row, Stat
from noskew.dataflows.definition.semantics import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.definition.plan import Filter, Window
    from noskew.dataflows.definition.stream import Stream

NAMES: Final = {
    Stat.COUNT: "count",
    Stat.COUNT_VALUES: "count",
    Stat.SUM: "sum",
    Stat.MEAN: "mean",
    Stat.MIN: "min",
    Stat.MAX: "max",
    Stat.VAR: "var",
    Stat.STD: "std",
    Stat.FIRST: "first",
    Stat.LAST: "last",
    Stat.DISTINCT: "distinct",
    Stat.RATE: "rate",
    Stat.DECAYED_SUM: "decayed_sum",
    Stat.DECAYED_COUNT: "decayed_count",
    Stat.EWMA: "ewma",
    Stat.SINCE_LAST: "since_last",
}
"""How a statistic is written in definitions and derived names."""

EMPTY: Final[dict[Stat, float]] = dict.fromkeys(
    (Stat.COUNT, Stat.COUNT_VALUES, Stat.SUM, Stat.DISTINCT, Stat.RATE, Stat.DECAYED_SUM,
     Stat.DECAYED_COUNT),
    0.0,
)  # fmt: skip
"""Value of a statistic of nothing, where that is not NaN."""

SIGNS: Final = {Row.ADD: "+", Row.SUBTRACT: "-", Row.MULTIPLY: "*", Row.DIVIDE: "/"}


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of an entity's earlier events.

    column        the column aggregated, "" where there is none
    over_us       the window's width W; None: all of history; 0 for WINDOWLESS ones
    delay_us      the delay d
    closed, include_self, resolution  as written; None: as the pipeline's semantics have it
    where         which events count; None: all
    empty         value of a window without members (of the column); None: NaN
    ddof          VAR, STD
    half_life_us  DECAYED_*, EWMA
    window        what closed, resolution and semantics make of over and delay, and
    foreign       whether its stream is one that is not scored: both known once it is in a pipeline
    """

    stream: Stream
    entity: str
    stat: Stat
    column: str = ""
    over_us: int | None = 0
    delay_us: int = 0
    closed: str | None = None
    include_self: bool | None = None
    resolution: str | None = None
    where: Filter | None = None
    empty: float | None = None
    ddof: int = 1
    half_life_us: int = 0
    window: Window | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class RowFunction:
    """A function of the scored record alone: COLUMN of ``column``, HOUR or WEEKDAY of its time."""

    stream: Stream
    row: Row
    column: str
    utc_offset_s: int


@dataclass(frozen=True, slots=True)
class Number:
    """A constant in arithmetic."""

    value: float


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left`` and ``right`` joined by ADD, SUBTRACT, MULTIPLY or DIVIDE."""

    row: Row
    left: Expression
    right: Expression
    operations: int = field(compare=False)


Expression: TypeAlias = "Statistic | RowFunction | Number | Arithmetic"


def leaves(expression: Expression) -> Iterator[Statistic | RowFunction]:
    """Yield what an expression is made of, left to right, without numbers."""
    match expression:
        case Arithmetic(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)
        case Statistic() | RowFunction():
            yield expression


def derived_name(expression: Expression) -> str:
    """Return the name an expression gives itself, "" for arithmetic and numbers."""
    match expression:
        case Statistic(stat=stat, delay_us=delay) as one:
            front = one.stream.name if one.foreign else ""
            parts = [front, one.entity, one.column, NAMES[stat], _span(one, "all")]
            parts += ["delay", show(delay)] if delay else []
            return "_".join(part for part in parts if part)
        case RowFunction(row=Row.COLUMN, column=column):
            return column
        case RowFunction(row=row, utc_offset_s=offset):
            sign = "minus" if offset < 0 else "plus"
            suffix = f"_utc_{sign}_{show_offset(offset)[1:].replace(':', '')}" if offset else ""
            return f"{row.name.lower()}{suffix}"
        case _:
            return ""


def describe(expression: Expression, *, inner: bool = False) -> str:
    """Return what is computed, in words; arithmetic as a formula, in brackets if ``inner``."""
    match expression:
        case Number(value=value):
            return repr(int(value) if value.is_integer() else value)
        case Arithmetic(row=row, left=left, right=right):
            text = f"{describe(left, inner=True)} {SIGNS[row]} {describe(right, inner=True)}"
            return f"({text})" if inner else text
        case RowFunction(row=Row.COLUMN, column=column):
            return column
        case RowFunction(row=row, stream=stream, utc_offset_s=offset):
            zone = f"UTC{show_offset(offset)}" if offset else "UTC"
            return f"{row.name.lower()} of {stream.time} ({zone})"
        case Statistic() as one:
            return ", ".join([_what(one), *_options(one)])


def _span(one: Statistic, everything: str) -> str:
    """Return the window or half-life in a name, "" where there is none."""
    if one.stat in WINDOWLESS:
        return show(one.half_life_us) if one.half_life_us else ""
    return everything if one.over_us is None else show(one.over_us)


def _what(one: Statistic) -> str:
    name = one.stream.name
    if one.stat is Stat.SINCE_LAST:
        of = f" of {name}" if one.foreign else ""
        return f"seconds since the last event{of} per {one.entity}"
    events = name if one.foreign else "events"
    column = f"{name}.{one.column}" if one.foreign else one.column
    what = f"{NAMES[one.stat]} of {column if one.column else events} per {one.entity}"
    if one.half_life_us:
        return f"{what} with half-life {show(one.half_life_us)}"
    return f"{what} over {_span(one, 'all of history')}"


def _options(one: Statistic) -> Iterator[str]:
    """Yield what is not as usual."""
    if one.delay_us:
        yield f"delayed {show(one.delay_us)}"
    ends = one.closed
    if one.window is not None:
        found = (one.window.low_closed, one.window.high_open)
        ends = next(name for name, both in CLOSED.items() if both == found)
        if one.window.resolution_us:
            yield f"old end in steps of {show(one.window.resolution_us)}"
    elif one.resolution is not None:
        yield f"old end in steps of {one.resolution}"
    if ends not in (None, "right"):
        yield f"closed {ends}"
    if one.include_self is False:
        yield "without itself"
    if one.where is not None:
        yield f"where {condition.show(one.where, one.stream.record.fields)}"
    usual = EMPTY.get(one.stat)
    if one.empty != usual:
        yield f"empty {'NaN' if one.empty is None else one.empty}"
    if one.ddof != 1:
        yield f"ddof {one.ddof}"
