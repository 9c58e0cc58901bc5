"""Hypothesis strategies: definitions, and streams of events that stand at their edges.

A time is drawn as an anchor (a clock, the horizon, an earlier event) plus durations that matter
to the definition (window, delay, lateness, skew) plus -1, 0 or +1 microsecond: uniform times
would almost never stand where `<` and `<=` differ (notes/style.md, habit 8).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import strategies as st
from meaning import (
    Arithmetic,
    Calendar,
    Event,
    Field,
    Literal,
    Meaning,
    SinceLast,
    Windowed,
)

from noskew.dataflows.core.batch import Batch
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meaning import Expression, Value

    from noskew.schemas.columns import Column

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
START_US: Final = 1_522_540_800 * SECOND
"""2018-04-01, a Sunday."""
EARLIEST_US: Final = 946_684_800 * SECOND
"""2000-01-01: decoders let nothing older through."""
MAX_ABS: Final = 2**40

CUSTOMER: Final = "customer_id"
TERMINAL: Final = "terminal_id"
AMOUNT: Final = "amount_cents"
ONLINE: Final = "is_online"

INT_KEYS: Final = (7, 0, -1, 2**62)
STRING_KEYS: Final = ("c-7", "", "c-77", "ключ:100%")
AMOUNTS: Final = (0, 1, -1, 2, 3, 7, 10, MAX_ABS, -MAX_ABS, MAX_ABS - 1, 1 - MAX_ABS)
WINDOWS: Final = (SECOND, HOUR, DAY, 7 * DAY)
DELAYS: Final = (0, SECOND, HOUR, 7 * DAY)
STATS: Final = ("count", "count_values", "sum", "mean", "min", "max")

_ANCHORS: Final = ("clock", "clock", "clock", "fastest", "horizon", "earlier", "earlier")


@dataclass(frozen=True)
class Case:
    """A definition, a stream in processing order, and where it is cut into batches.

    strings  the entity columns whose keys are strings
    cuts     ascending positions in ``events``; may repeat (an empty batch)
    """

    meaning: Meaning
    partitions: int
    strings: frozenset[str]
    events: list[Event]
    cuts: list[int]

    def chunks(self) -> list[list[Event]]:
        """Return the events as the batches that the cuts make of them."""
        ends = [*self.cuts, len(self.events)]
        starts = [0, *self.cuts]
        return [self.events[i:j] for i, j in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class _Step:
    """One event as drawn: everything relative, so that shrinking keeps it meaningful."""

    partition: int
    anchor: str
    earlier: int
    away: tuple[int, int]
    signs: tuple[int, int]
    jitter_us: int
    customer: int | None
    terminal: int | None
    amount: int | None
    online: bool
    dead: bool


@st.composite
def meanings(draw: st.DrawFn) -> Meaning:
    """Draw a definition: one or two entities, statistics over shared windows, row functions."""
    windows = draw(st.lists(st.sampled_from(WINDOWS), min_size=1, max_size=2, unique=True))
    delays = draw(st.lists(st.sampled_from(DELAYS), min_size=1, max_size=2, unique=True))
    entities = draw(st.sampled_from([[CUSTOMER], [CUSTOMER, TERMINAL], [TERMINAL]]))
    stats: list[Expression] = []
    for entity in entities:
        pool = [
            Windowed(entity, stat, window_us, column, delay_us)
            for stat in STATS
            for column in ([""] if stat == "count" else [AMOUNT, ONLINE])
            for window_us in windows
            for delay_us in delays
        ]
        stats += draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8, unique=True))
        if draw(st.booleans()):
            stats.append(SinceLast(entity))
    features = list(draw(st.permutations(stats)))
    features += draw(st.lists(row_functions(stats), max_size=3))
    return Meaning(
        features={f"f{i}": feature for i, feature in enumerate(dict.fromkeys(features))},
        primary=CUSTOMER,
        allowed_lateness_us=draw(st.sampled_from([0, SECOND, HOUR, 2 * HOUR])),
        max_skew_us=draw(st.sampled_from([SECOND, HOUR, DAY])),
    )


def row_functions(stats: Sequence[Expression]) -> st.SearchStrategy[Expression]:
    """Draw a column, a calendar part, or arithmetic over these and ``stats``."""
    leaves: list[Expression] = [
        Field(AMOUNT),
        Field(ONLINE),
        *(
            Calendar(part, offset_s)
            for part in ("hour", "weekday")
            for offset_s in (0, 20700, -12600)
        ),
        *(Literal(value) for value in (0.0, -1.0, 0.1, 1e308)),
        *stats,
    ]
    operators = st.sampled_from("+-*/")
    sums = st.recursive(
        st.sampled_from(leaves),
        lambda inner: st.builds(Arithmetic, operators, inner, inner),
        max_leaves=4,
    )
    # A bare literal is no feature, and a bare statistic stands in the vector already.
    return sums.filter(_can_be_written)


@st.composite
def cases(draw: st.DrawFn, size: int = 60) -> Case:
    """Draw a definition and up to ``size`` events at its edges, cut into batches anyhow."""
    meaning = draw(meanings())
    partitions = draw(st.integers(1, 4))
    strings = draw(
        st.sampled_from([frozenset[str](), frozenset({CUSTOMER}), frozenset({TERMINAL})])
    )
    # Of a bare ``lists`` most are a handful long: too short to fill a window and then leave it.
    length = draw(st.integers(0, size))
    steps = draw(st.lists(_STEPS, min_size=length, max_size=length))
    events = _interpret(meaning, partitions, strings, steps)
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=6)))
    return Case(meaning, partitions, strings, events, cuts)


def deep_case(seed: int, size: int) -> Case:
    """Return a stream that fills few keys with many entries, at the edges as ``cases`` are.

    Hypothesis keeps its examples short; what happens between blocks of entries needs long ones.
    """
    rng = random.Random(seed)
    windows, delays = rng.sample(WINDOWS, 2), rng.sample(DELAYS, 2)
    pool = [
        Windowed(entity, stat, window_us, "" if stat == "count" else AMOUNT, delay_us)
        for entity in (CUSTOMER, TERMINAL)
        for stat in STATS
        for window_us in windows
        for delay_us in delays
    ]
    features: list[Expression] = [*rng.sample(pool, 14), *[SinceLast(CUSTOMER)] * (seed % 2)]
    meaning = Meaning(
        features={f"f{i}": feature for i, feature in enumerate(features)},
        primary=CUSTOMER,
        allowed_lateness_us=rng.choice([0, SECOND, HOUR, 2 * HOUR]),
        max_skew_us=rng.choice([SECOND, HOUR, DAY]),
    )
    partitions = rng.randint(1, 3)
    steps = [
        _Step(
            partition=rng.randint(0, 2),
            anchor=rng.choice(("clock",) * 14 + _ANCHORS),
            earlier=rng.randint(0, size),
            away=(rng.randint(0, 11), rng.randint(0, 11)),
            signs=(rng.choice([0] * 12 + [1, -1, -1]), rng.choice([0] * 12 + [1, -1, -1])),
            jitter_us=rng.choice([0, 1, -1, SECOND, -SECOND, HOUR // 7, -HOUR // 7]),
            customer=rng.choice([0] * 9 + [1]),
            terminal=rng.choice([0, 0, 1, None]),
            amount=rng.choice([None, *AMOUNTS]),
            online=False,
            dead=rng.random() < 0.02,
        )
        for _ in range(size)
    ]
    events = _interpret(meaning, partitions, frozenset(), steps)
    cuts = sorted(rng.randint(0, size) for _ in range(8))
    return Case(meaning, partitions, frozenset(), events, cuts)


def batch_of(case: Case, events: Sequence[Event], seq: int) -> Batch:
    """Return events as columns, as the order hands them to the engine."""
    return Batch(
        stream=0,
        partition=np.array([event.partition for event in events], np.int32),
        offset=np.array([event.offset for event in events], np.int64),
        record_time_us=np.full(len(events), NULL, np.int64),
        time_us=np.array([event.time_us for event in events], np.int64),
        available_us=np.array([event.time_us for event in events], np.int64),
        reason=np.array([event.reason for event in events], np.uint8),
        columns={
            name: _column(case, name, [event.values.get(name) for event in events])
            for name in (CUSTOMER, TERMINAL, AMOUNT, ONLINE)
        },
        seq=seq,
    )


_KEYS: Final = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, None])
_STEPS: Final = st.builds(
    _Step,
    partition=st.integers(0, 3),
    anchor=st.sampled_from(_ANCHORS),
    earlier=st.integers(0, 59),
    away=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    signs=st.tuples(st.sampled_from([1, 0, -1]), st.sampled_from([0, 0, 1, -1])),
    jitter_us=st.sampled_from([0, 0, 1, -1]),
    customer=_KEYS,
    terminal=_KEYS,
    amount=st.one_of(st.none(), st.sampled_from(AMOUNTS), st.integers(-100, 100)),
    online=st.booleans(),
    dead=st.sampled_from([False] * 15 + [True]),
)


def _interpret(
    meaning: Meaning, partitions: int, strings: frozenset[str], steps: list[_Step]
) -> list[Event]:
    """Turn relative steps into events, following the clocks as the contract moves them."""
    away = _durations(meaning)
    clocks: list[int | None] = [None] * partitions
    offsets = [0] * partitions
    times: list[int] = []
    events: list[Event] = []
    for step in steps:
        partition = step.partition % partitions
        time_us = _anchor(meaning, clocks, times, partition, step)
        for which, sign in zip(step.away, step.signs, strict=True):
            time_us += sign * away[which % len(away)]
        time_us = max(EARLIEST_US, time_us + step.jitter_us)
        values: dict[str, Value] = {
            CUSTOMER: _key(CUSTOMER in strings, step.customer),
            TERMINAL: _key(TERMINAL in strings, step.terminal),
            AMOUNT: step.amount,
            ONLINE: int(step.online),
        }
        if step.dead:
            events.append(Event(partition, offsets[partition], 0, reason=5))
        else:
            events.append(Event(partition, offsets[partition], time_us, values))
            times.append(time_us)
            clocks[partition] = max(time_us, clocks[partition] or time_us)
        offsets[partition] += 1
    return events


def _can_be_written(expression: Expression) -> bool:
    """Return whether it is a feature without an operator between literals, which Python joins."""
    if not isinstance(expression, Arithmetic):
        return isinstance(expression, Field | Calendar)
    sides = [s for s in (expression.left, expression.right) if not isinstance(s, Literal)]
    return bool(sides) and all(
        _can_be_written(side) for side in sides if isinstance(side, Arithmetic)
    )


def _durations(meaning: Meaning) -> list[int]:
    """Return what lies between an event and the edges it can stand at."""
    found = {meaning.allowed_lateness_us, meaning.max_skew_us, 0}
    for entity in meaning.entities():
        for stat in meaning.windowed(entity):
            found |= {stat.window_us, stat.delay_us, stat.window_us + stat.delay_us}
    return sorted(found)


def _anchor(
    meaning: Meaning, clocks: list[int | None], times: list[int], partition: int, step: _Step
) -> int:
    known = [clock for clock in clocks if clock is not None]
    own = clocks[partition]
    if not times:
        return START_US
    if step.anchor == "earlier":
        return times[step.earlier % len(times)]
    if step.anchor == "clock" and own is not None:
        return own
    if step.anchor == "horizon":
        slowest = min(known) if len(known) == len(clocks) else max(known) - meaning.max_skew_us
        slowest = max(slowest, max(known) - meaning.max_skew_us)
        return slowest - meaning.allowed_lateness_us
    return max(known)


def _key(string: bool, which: int | None) -> Value:  # private, one caller
    if which is None:
        return None
    return STRING_KEYS[which] if string else INT_KEYS[which]


def _column(case: Case, name: str, values: list[Value]) -> Column:
    if name in case.strings:
        return Strings.from_list([None if value is None else str(value) for value in values])
    return np.array([NULL if value is None else value for value in values], np.int64)
