"""Hypothesis strategies: definitions, and records of one or two streams that stand at their edges.

A time is drawn as an anchor (a clock, a line, an earlier record) plus durations that matter to the
definition (window, delay, lateness, skew, ...) plus -1, 0 or +1 microsecond: uniform times would
almost never stand where `<` and `<=` differ (notes/style.md, habit 8).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from drawn_meanings import (
    AMOUNT,
    AMOUNTS,
    COUNTRIES,
    COUNTRY,
    CUSTOMER,
    DAY,
    DELAYS,
    EARLIEST_US,
    FIELDS,
    HOUR,
    INT_KEYS,
    KIND,
    MAX_ABS,
    NULLABLE,
    NUMBERS,
    ONLINE,
    PAYMENT,
    PRICE,
    PRICES,
    SECOND,
    START_US,
    STRING_KEYS,
    TERMINAL,
    TILES,
    WINDOWED,
    WINDOWS,
    Draw,
    draw_meaning,
    draw_source,
    draw_statistic,
)
from hypothesis import strategies as st
from meaning import Event, Meaning
from meaning_plans import plan_of

from noskew.dataflows.core.batch import Batch, Turn
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meaning import Value

    from noskew.dataflows.definition.plan import Plan
    from noskew.schemas.columns import Column

__all__ = [
    "AMOUNT",
    "AMOUNTS",
    "COUNTRIES",
    "COUNTRY",
    "CUSTOMER",
    "DAY",
    "DELAYS",
    "EARLIEST_US",
    "FIELDS",
    "HOUR",
    "INT_KEYS",
    "KIND",
    "MAX_ABS",
    "NULLABLE",
    "NUMBERS",
    "ONLINE",
    "PAYMENT",
    "PRICE",
    "PRICES",
    "SECOND",
    "START_US",
    "STRING_KEYS",
    "TERMINAL",
    "TILES",
    "WINDOWED",
    "WINDOWS",
    "Case",
    "cases",
    "deep_case",
    "durations",
    "interpret",
    "random_case",
    "turn_of",
]

_ANCHORS: Final = ("clock", "clock", "clock", "fastest", "horizon", "line", "earlier", "earlier")


@dataclass(frozen=True)
class Case:
    """A definition, records in processing order, and where they are cut into turns.

    partitions  of each stream
    strings     the fields, of keys and ids, that are strings
    cuts        ascending positions in ``events``; may repeat (an empty turn)
    """

    meaning: Meaning
    partitions: tuple[int, ...]
    strings: frozenset[str]
    events: list[Event]
    cuts: list[int]

    @property
    def fields(self) -> dict[str, str]:
        """Return each field's kind."""
        kinds = {COUNTRY: "string", PRICE: "float", **dict.fromkeys(self.strings, "string")}
        return {name: kinds.get(name, "int") for name in FIELDS}

    @property
    def plan(self) -> Plan:
        """Return the plan made by hand."""
        return plan_of(self.meaning, self.fields, NULLABLE)

    def chunks(self) -> list[list[Event]]:
        """Return the events as the turns that the cuts make of them."""
        ends = [*self.cuts, len(self.events)]
        starts = [0, *self.cuts]
        return [self.events[i:j] for i, j in zip(starts, ends, strict=True)]


# -- records -----------------------------------------------------------------------------------

_CHOICES: Final[dict[str, Sequence[Any]]] = {
    "stream": (0, 0, 1),
    "partition": (0, 0, 1, 2),
    "anchor": _ANCHORS,
    "earlier": range(60),
    "away": range(16),
    "and_away": range(16),
    "sign": (0, 1, -1),
    "and_sign": (0, 0, 1, -1),
    "jitter_us": (0, 0, 1, -1),
    "like": (False, False, True),
    CUSTOMER: (0, 0, 0, 0, 0, 1, 1, 2, None),
    TERMINAL: (0, 0, 0, 0, 0, 1, 1, 2, None),
    PAYMENT: (None, 0, 0, 1, 1, 2),
    AMOUNT: AMOUNTS,
    ONLINE: (0, 1),
    PRICE: PRICES,
    KIND: (0, 1, 2, None),
    COUNTRY: COUNTRIES,
    "dead": (False,) * 15 + (True,),
}
"""What one record is drawn from: everything relative, so that shrinking keeps it meaningful."""

Step = dict[str, Any]


def _case(draw: Draw, lengths: Sequence[int]) -> Case:
    meaning = draw_meaning(draw)
    partitions = tuple(draw.pick([1, 2, 3]) for _ in meaning.streams)
    strings = frozenset(draw.pick([(), (CUSTOMER, PAYMENT), (TERMINAL,)]))
    count = draw.pick(lengths)
    steps = [{name: draw.pick(choices) for name, choices in _CHOICES.items()} for _ in range(count)]
    events = interpret(meaning, partitions, strings, steps)
    cuts = sorted(draw.pick(range(count + 1)) for _ in range(draw.pick(range(6))))
    return Case(meaning, partitions, strings, events, cuts)


@st.composite
def cases(draw: st.DrawFn, size: int = 60) -> Case:
    """Draw a definition and up to ``size`` records at its edges, cut into turns anyhow."""
    return _case(Draw(lambda n: draw(st.integers(0, n - 1))), range(size + 1))


def random_case(seed: int, size: int = 60) -> Case:
    """Return a case as ``cases`` draws them, always the same and of full length."""
    return _case(Draw(random.Random(seed).randrange), [size])


def deep_case(seed: int, size: int) -> Case:
    """Return records that fill few keys with many entries, at the edges as ``cases`` are.

    Hypothesis keeps its examples short; what happens between blocks of entries needs long ones.
    """
    rng = random.Random(seed)
    draw = Draw(rng.randrange)
    over = rng.sample(WINDOWS, 2)
    streams = tuple(draw_source(draw, place) for place in range(1 + seed % 2))
    features = [
        draw_statistic(draw, draw.pick([CUSTOMER, CUSTOMER, TERMINAL]), stream, over)
        for stream in range(len(streams))
        for _ in range(10)
    ]
    meaning = Meaning(
        features={f"f{i}": feature for i, feature in enumerate(dict.fromkeys(features))},
        streams=streams,
    )
    partitions = tuple(draw.pick([1, 2]) for _ in streams)
    steps = []
    for _ in range(size):
        step = {name: draw.pick(choices) for name, choices in _CHOICES.items()}
        step |= {CUSTOMER: draw.pick([0] * 9 + [1]), TERMINAL: draw.pick([0, 0, 1, None])}
        step |= {PAYMENT: draw.pick([None, None, *range(20)]), "dead": rng.random() < 0.02}
        if rng.random() < 0.8:
            step |= {"anchor": "clock", "sign": 0, "and_sign": 0}
            step["jitter_us"] = draw.pick([0, 1, -1, SECOND, -SECOND, HOUR // 7, -HOUR // 7])
        steps.append(step)
    events = interpret(meaning, partitions, frozenset(), steps)
    cuts = sorted(rng.randint(0, size) for _ in range(8))
    return Case(meaning, partitions, frozenset(), events, cuts)


def interpret(
    meaning: Meaning, partitions: tuple[int, ...], strings: frozenset[str], steps: list[Step]
) -> list[Event]:
    """Turn relative steps into records, following the clocks as the contract moves them."""
    away = durations(meaning)
    clocks: list[list[int | None]] = [[None] * count for count in partitions]
    offsets = [[0] * count for count in partitions]
    events: list[Event] = []
    alive: list[Event] = []
    for number, step in enumerate(steps):
        stream = step["stream"] % len(partitions)
        partition = step["partition"] % partitions[stream]
        values = _values(step, number, strings)
        time_us = _anchor(meaning, clocks, alive, stream, partition, step)
        if step["like"] and alive:  # as a label is of a payment
            like = alive[-1 - step["earlier"] % len(alive)]
            values |= {name: like.values[name] for name in (CUSTOMER, TERMINAL, PAYMENT)}
            time_us = like.time_us
        for which, sign in (("away", "sign"), ("and_away", "and_sign")):
            time_us += step[sign] * away[step[which] % len(away)]
        time_us = max(EARLIEST_US, time_us + step["jitter_us"])
        offset = offsets[stream][partition]
        offsets[stream][partition] += 1
        if step["dead"]:
            events.append(Event(partition, offset, 0, values, reason=5, stream=stream))
            continue
        events.append(Event(partition, offset, time_us, values, stream=stream))
        alive.append(events[-1])
        clocks[stream][partition] = max(time_us, clocks[stream][partition] or time_us)
    return events


def durations(meaning: Meaning) -> list[int]:
    """Return what lies between an event and the edges it can stand at."""
    found = {0}
    for source in meaning.streams:
        found |= {source.allowed_lateness_us, source.max_skew_us, source.dedupe_us}
    for stat in meaning.stats():
        over_us = stat.over_us or 0
        found |= {over_us, stat.delay_us, over_us + stat.delay_us, stat.half_life_us}
        found |= {stat.resolution_us, over_us + stat.resolution_us}
    return sorted(found)


def _anchor(
    meaning: Meaning,
    clocks: list[list[int | None]],
    alive: list[Event],
    stream: int,
    partition: int,
    step: Step,
) -> int:
    if not alive:
        return START_US
    own = clocks[stream][partition]
    known = [clock for one in clocks for clock in one if clock is not None]
    if step["anchor"] == "earlier":
        which: int = step["earlier"]
        return alive[which % len(alive)].time_us
    if step["anchor"] == "clock" and own is not None:
        return own
    if step["anchor"] in {"horizon", "line"}:
        of = 0 if step["anchor"] == "horizon" else stream
        source, mine = meaning.streams[of], [c for c in clocks[of] if c is not None]
        if mine:
            skewed = max(mine) - source.max_skew_us
            slowest = min(mine) if len(mine) == len(clocks[of]) else skewed
            return max(slowest, skewed) - source.allowed_lateness_us
    return max(known)


def _values(step: Step, number: int, strings: frozenset[str]) -> dict[str, Value]:
    payment = 100 + number if step[PAYMENT] is None else step[PAYMENT]
    return {
        **{name: _key(name in strings, step[name]) for name in (CUSTOMER, TERMINAL)},
        PAYMENT: f"p{payment}" if PAYMENT in strings else payment,
        **{name: step[name] for name in (AMOUNT, ONLINE, PRICE, KIND, COUNTRY)},
    }


def _key(string: bool, which: int | None) -> Value:  # private, one caller
    if which is None:
        return None
    return STRING_KEYS[which] if string else INT_KEYS[which]


# -- as the engine takes them ------------------------------------------------------------------


def turn_of(case: Case, events: Sequence[Event], seq: int) -> Turn:
    """Return records in processing order as the order hands them to the engine."""
    streams = len(case.partitions)
    first = np.cumsum([0, *case.partitions]).tolist()
    return Turn(
        seq=seq,
        batches=tuple(_batch(case, events, stream, seq) for stream in range(streams)),
        stream=np.array([event.stream for event in events], np.int32),
        input=np.array([first[event.stream] + event.partition for event in events], np.int32),
        offset=np.array([event.offset for event in events], np.int64),
    )


def _batch(case: Case, events: Sequence[Event], stream: int, seq: int) -> Batch:
    mine = [event for event in events if event.stream == stream]
    return Batch(
        stream=stream,
        partition=np.array([event.partition for event in mine], np.int32),
        offset=np.array([event.offset for event in mine], np.int64),
        record_time_us=np.full(len(mine), NULL, np.int64),
        time_us=np.array([event.time_us for event in mine], np.int64),
        available_us=np.array([event.time_us for event in mine], np.int64),
        reason=np.array([event.reason for event in mine], np.uint8),
        columns={
            name: _column(kind, [event.values.get(name) for event in mine])
            for name, kind in case.fields.items()
        },
        seq=np.array(
            [seq + i for i, event in enumerate(events) if event.stream == stream], np.int64
        ),
    )


def _column(kind: str, values: list[Value]) -> Column:
    if kind == "string":
        return Strings.from_list([None if value is None else str(value) for value in values])
    if kind == "float":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array([NULL if value is None else value for value in values], np.int64)
