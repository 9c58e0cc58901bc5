"""The slowest reading of a table's plan: every entry looked at, fractions, predicates."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from noskew.dataflows.definition.plan import (
    WINDOWLESS,
    Op,
    Stat,
    Window,
)
from noskew.kernels.decay import half_power
from noskew.kernels.layout import EVALUATE, FOREVER, INSERT, OWN
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_700_000_000 * SECOND
LATENESS = HOUR

WINDOWS = (
    Window(HOUR),
    Window(DAY, delay_us=HOUR, low_closed=True),
    Window(DAY, high_open=True),
    Window(HOUR, low_closed=True, high_open=True, resolution_us=7 * SECOND),
    Window(None),
    Window(None, delay_us=HOUR, high_open=True),
)
NUMBERS = (Stat.COUNT, Stat.COUNT_VALUES, Stat.SUM, Stat.DISTINCT)
VALUES = (
    Stat.COUNT_VALUES, Stat.SUM, Stat.MEAN, Stat.MIN, Stat.MAX, Stat.VAR, Stat.STD, Stat.FIRST,
    Stat.LAST, Stat.DISTINCT,
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    key: int
    time_us: int
    value: int | None
    passes: bool
    handle: int


def ops_of(rng: random.Random) -> tuple[Op, ...]:
    found: list[Op] = []
    for window in range(len(WINDOWS)):
        for stat in (Stat.COUNT, *VALUES):
            if rng.random() < 0.6:
                found.append(
                    Op(
                        stat,
                        len(found),
                        window,
                        -1 if stat is Stat.COUNT else 0,
                        rng.choice([-1, 0]),
                        rng.random() < 0.8,
                        0.0 if stat in NUMBERS else math.nan,
                        rng.choice([0, 1]),
                    )
                )
    if rng.random() < 0.7:
        found.append(Op(Stat.SINCE_LAST, len(found), empty=math.nan))
    for stat in (Stat.DECAYED_SUM, Stat.DECAYED_COUNT, Stat.EWMA):
        if rng.random() < 0.7:
            column = -1 if stat is Stat.DECAYED_COUNT else 0
            empty = math.nan if stat is Stat.EWMA else 0.0
            found.append(Op(stat, len(found), column=column, empty=empty, half_life_us=HOUR))
    return tuple(found)


class Slow:
    """What each op means, over lists.

    below  whether something was asked for as of a time below what is folded
    """

    def __init__(self, ops: tuple[Op, ...], power: int) -> None:
        self.ops = ops
        self.scale = 10**power
        self.held: list[Entry] = []
        self.folded: dict[int, list[Entry]] = {window: [] for window in range(-1, len(WINDOWS))}
        self.decayed: dict[tuple[int, str], tuple[float, int]] = {}
        self.below = False
        self._known: set[tuple[int, int]] = set()

    def fold(self, key: int, line_us: int) -> None:
        for window, folded in self.folded.items():
            late = 0
            if window >= 0:
                if WINDOWS[window].over_us is not None:
                    continue
                late = WINDOWS[window].delay_us + WINDOWS[window].high_open
            for entry in self.held:
                late_enough = entry.key == key and entry.time_us <= line_us - late
                if late_enough and not self._is_folded(window, entry):
                    folded.append(entry)
                    self._known.add((window, id(entry)))
                    if window < 0:
                        self._decay(entry)

    def _decay(self, entry: Entry) -> None:
        for place, x in self._weights(entry):
            if place not in self.decayed:
                self.decayed[place] = (x, entry.time_us)
                continue
            value, at = self.decayed[place]
            if entry.time_us >= at:
                value = value * half_power(entry.time_us - at, HOUR) + x
                self.decayed[place] = (value, entry.time_us)
            else:
                self.decayed[place] = (value + x * half_power(at - entry.time_us, HOUR), at)

    def _weights(self, entry: Entry) -> Iterator[tuple[tuple[int, str], float]]:
        yield (entry.key, "all"), 1.0
        if entry.value is not None:
            yield (entry.key, "x"), entry.value / self.scale
            yield (entry.key, "n"), 1.0

    def members(
        self, op: Op, key: int, at_us: int, horizon_us: int, own: Entry | None
    ) -> list[Entry] | None:
        low, high = bounds(WINDOWS[op.window], at_us, horizon_us)
        folded = [e for e in self.folded[op.window] if e.key == key]
        if low is None and folded and high < max(e.time_us for e in folded):
            self.below = True
            return None
        held = [e for e in self.held if e.key == key]
        if low is None:
            chosen = list(folded)
            chosen += [e for e in held if e.time_us <= high and not self._is_folded(op.window, e)]
        else:
            chosen = [e for e in held if low < e.time_us <= high]
        chosen.sort(key=lambda e: e.time_us)
        takes_own = own is not None and op.include_self and own.time_us <= high
        if own is not None and takes_own and (low is None or own.time_us > low):
            chosen.append(own)
        return [e for e in chosen if op.filter < 0 or e.passes]

    def _is_folded(self, window: int, entry: Entry) -> bool:
        return (window, id(entry)) in self._known

    def until(self, key: int, at_us: int, horizon_us: int) -> int:
        """Return the first later time at which what an op reads can be another."""
        first = FOREVER
        times = [e.time_us for e in self.held if e.key == key]
        for op in self.ops:
            if op.stat in WINDOWLESS:
                first = min([first, *(t for t in times if t > at_us)])
                continue
            window = WINDOWS[op.window]
            late = window.delay_us + window.high_open
            low, high = bounds(window, at_us, horizon_us)
            if low is None or window.over_us is None:
                seen = [*times, *(e.time_us for e in self.folded[op.window] if e.key == key)]
                first = min([first, *(t + late for t in seen if t > high)])
                continue
            tile = window.resolution_us or 1
            for time_us in times:
                if time_us > low:
                    # It enters if it has not, else it leaves, with the next whole tile.
                    leaves = -(-(time_us + window.low_closed) // tile) * tile
                    leaves += window.over_us + window.delay_us
                    first = min(first, time_us + late if time_us > high else leaves)
        return first

    def value(self, op: Op, key: int, at_us: int, horizon_us: int, own: Entry | None) -> float:
        if op.stat in WINDOWLESS:
            return self._moving(op, key, at_us, horizon_us, own)
        members = self.members(op, key, at_us, horizon_us, own)
        if members is None:
            return math.nan
        if op.stat is Stat.COUNT:
            return float(len(members)) if members else op.empty
        present = [e.value for e in members if e.value is not None]
        n = len(present)
        if not n or (op.stat in (Stat.VAR, Stat.STD) and n <= op.ddof):
            return op.empty
        match op.stat:
            case Stat.COUNT_VALUES:
                return float(n)
            case Stat.SUM:
                return float(Fraction(sum(present), self.scale))
            case Stat.MEAN:
                return float(Fraction(sum(present), n * self.scale))
            case Stat.MIN | Stat.MAX:
                return float(Fraction((min if op.stat is Stat.MIN else max)(present), self.scale))
            case Stat.FIRST:
                return float(Fraction(present[0], self.scale))
            case Stat.LAST:
                return float(Fraction(present[-1], self.scale))
            case Stat.DISTINCT:
                return float(len(set(present)))
            case _:
                mean = Fraction(sum(present), n)
                around = sum((v - mean) ** 2 for v in present) / (n - op.ddof) / self.scale**2
                found = float(around)
                return math.sqrt(found) if op.stat is Stat.STD else found

    def _moving(self, op: Op, key: int, at_us: int, horizon_us: int, own: Entry | None) -> float:
        held = [e for e in self.held if e.key == key]
        if op.stat is Stat.SINCE_LAST:
            if any(at_us < e.time_us <= horizon_us for e in held):
                return math.nan
            before = [e.time_us for e in held if e.time_us <= at_us]
            return (at_us - max(before)) / 1e6 if before else math.nan
        if op.stat is Stat.DECAYED_COUNT:
            return self._recursion(key, "all", at_us, own, final=True, empty=op.empty)
        if op.stat is Stat.DECAYED_SUM:
            return self._recursion(key, "x", at_us, own, final=True, empty=op.empty)
        final = own is not None and own.value is not None
        above = self._recursion(key, "x", at_us, own, final=final, empty=math.nan)
        below = self._recursion(key, "n", at_us, own, final=final, empty=math.nan)
        return above / below

    def _recursion(
        self, key: int, kind: str, at_us: int, own: Entry | None, *, final: bool, empty: float
    ) -> float:
        decayed = self.decayed.get((key, kind))
        if decayed is not None and at_us < decayed[1]:
            self.below = True
            return math.nan
        rest = [
            e for e in self.held
            if e.key == key and e.time_us <= at_us and not self._is_folded(-1, e)
        ]  # fmt: skip
        rest.sort(key=lambda e: e.time_us)
        for entry in [*rest, *([own] if own is not None else [])]:
            for (_, name), x in self._weights(entry):
                if name == kind and decayed is None:
                    decayed = x, entry.time_us
                elif name == kind and decayed is not None:
                    value, last = decayed
                    decayed = value * half_power(entry.time_us - last, HOUR) + x, entry.time_us
        if decayed is None:
            return empty
        value, last = decayed
        return value * half_power(at_us - last, HOUR) if final else value


def bounds(window: Window, at_us: int, horizon_us: int) -> tuple[int | None, int]:
    """Return the times (low, high] between which members lie."""
    high = at_us - window.delay_us - window.high_open
    if window.over_us is None:
        return None, high
    low = max(at_us, horizon_us) - window.over_us - window.delay_us
    if window.resolution_us:
        low = low // window.resolution_us * window.resolution_us
    return low - window.low_closed, high


@dataclass(frozen=True)
class Read:
    """A row read between two parts, and what it must be.

    values  of the ops in order
    """

    key: int
    at_us: int
    horizon_us: int
    fold_us: int
    values: list[float]
    until_us: int


@dataclass(frozen=True)
class Drawn:
    """Records in parts, and what must come out of them.

    rows     (entry, action, horizon, fold line, time of the entry it replaces) a record
    cuts     where parts begin, and the end of the last
    answers  the ops' values a record, NaN where it is not evaluated
    below    the records that stand below what is folded
    reads    what is read before the part that begins there
    """

    ops: tuple[Op, ...]
    power: int
    revise: bool
    rows: list[tuple[Entry, int, int, int, int]]
    cuts: list[int]
    answers: list[list[float]]
    below: list[bool]
    reads: dict[int, list[Read]]


def drawn(seed: int, size: int = 150) -> Drawn:
    """Draw a plan and records, and work out the slowest way what they must give."""
    rng = random.Random(seed)
    revise, power = seed % 3 == 0, rng.choice([0, 0, 2])
    ops = ops_of(rng)
    cuts = sorted(rng.sample(range(1, size), 4))
    found = Drawn(ops, power, revise, [], [0, *cuts, size], [], [], {})
    slow = Slow(ops, power)
    open_entries: dict[int, Entry] = {}
    newest = horizon = fold_line = START
    for number in range(size):
        newest += rng.choice([0, 0, 1, SECOND, HOUR // 3, HOUR, 3 * HOUR])
        edge = rng.choice([0, 0, 0, 0, HOUR, DAY, LATENESS, 7 * SECOND]) + rng.choice([-1, 0, 0, 1])
        time_us = newest - rng.choice([0, 0, 0, max(edge, 0)])
        horizon = max(horizon, newest - rng.choice([LATENESS, DAY]))
        fold_line = max(fold_line, horizon - rng.choice([0, HOUR]))
        any_value, far_value = rng.randint(-(10**6), 10**6), rng.randint(-(2**40), 2**40)
        value = rng.choice([None, 0, 1, 1, -7, 2**40, -(2**40), any_value, far_value])
        handle = rng.randint(0, 40) if revise else -1
        own = Entry(rng.choice([1, 1, 1, 2]), time_us, value, rng.random() < 0.5, handle)
        action = rng.choice([INSERT | EVALUATE | OWN] * 4 + [EVALUATE | OWN, EVALUATE, INSERT])
        old = open_entries.get(handle) if revise and action & INSERT else None
        if old is not None:
            line = min(fold_line, horizon - max(w.reach_us for w in WINDOWS))
            old = old if old.time_us > line else None
            if old is None:
                action &= ~INSERT
        if number in cuts:
            found.reads[number] = [reading(rng, slow, newest, horizon, fold_line) for _ in range(4)]
        answers = [math.nan] * len(ops)
        slow.below = False
        if old is not None:
            slow.fold(old.key, fold_line)
            slow.held = [e for e in slow.held if e is not old]
        if action & EVALUATE:
            slow.fold(own.key, fold_line)
            mine = own if action & OWN else None
            answers = [slow.value(op, own.key, time_us, horizon, mine) for op in ops]
        if action & INSERT:
            slow.fold(own.key, fold_line)
            slow.held.append(own)
            slow.held.sort(key=lambda e: e.time_us)
            slow.fold(own.key, fold_line)
            open_entries[handle] = own
        found.rows.append((own, action, horizon, fold_line, NULL if old is None else old.time_us))
        found.answers.append(answers)
        found.below.append(slow.below)
    return found


def reading(rng: random.Random, slow: Slow, newest: int, horizon: int, fold_line: int) -> Read:
    """Return a row as of about now, of a key that is there or not."""
    key, at_us = rng.choice([1, 1, 2, 3]), newest - rng.choice([0, 1, HOUR, -1, -DAY])
    at_us = max(at_us, horizon - HOUR)
    slow.fold(key, fold_line)
    values = [slow.value(op, key, at_us, horizon, None) for op in slow.ops]
    return Read(key, at_us, horizon, fold_line, values, slow.until(key, at_us, horizon))
