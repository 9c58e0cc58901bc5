"""The published boundary cases, read from ``conformance.json``, and each system's own arithmetic.

A case is a small story: events by their times relative to T and in order of arrival, one of which
is *asked*, a window and a statistic. Each system answers it with a value, and we say whether the
preset of that name gives it exactly, only in a replay, or not at all, and then why.

``answer`` computes each system's value again from the interval it documents. It shares nothing
with the package, nor with the presets.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Final = ROOT / "tests" / "conformance.json"
MARKS: Final = {"exact": "", "replay": " r", "no": " ✗"}

_UNITS_US: Final = {"us": 1, "s": 10**6, "m": 60 * 10**6, "h": 3_600 * 10**6, "d": 86_400 * 10**6}


@dataclass(frozen=True)
class Event:
    """One event of a story: its time in us, and the order it arrived in."""

    time_us: int
    order: int
    amount: int | None
    asked: bool
    other_card: bool


@dataclass(frozen=True)
class Answer:
    """What a system gives, and how we stand to it; ``ours`` and ``why`` where we do not give it."""

    value: float | str | None
    status: str
    ours: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Case:
    """A story and every system's answer.

    over      None: all of history
    settings  what the statistic is written with besides: closed, include_self, delay, ...
    rows      the events but the asked one are of another stream: entity rows and feature rows
    """

    name: str
    about: str
    as_of: str
    stat: str
    over: str | None
    settings: dict[str, Any]
    allowed_lateness: str
    rows: bool
    clause: str
    events: tuple[Event, ...]
    answers: dict[str, Answer]

    @property
    def asked(self) -> Event:
        return next(event for event in self.events if event.asked)


def length_us(text: str) -> int:
    """Return "-1h 3m 20s" in microseconds."""
    size = sum(int(n) * _UNITS_US[unit] for n, unit in re.findall(r"([0-9]+)([a-z]+)", text))
    return -size if text.startswith("-") else size


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


@cache
def cases() -> tuple[Case, ...]:
    return tuple(_case(one) for one in document()["cases"])


def _case(one: dict[str, Any]) -> Case:
    as_of_us = round(datetime.fromisoformat(one["as_of"]).timestamp()) * 10**6
    return Case(
        name=one["name"],
        about=one["about"],
        as_of=one["as_of"],
        stat=one["stat"],
        over=one["over"],
        settings=one.get("settings", {}),
        allowed_lateness=one.get("allowed_lateness", "1h"),
        rows=one.get("rows", False),
        clause=one.get("clause", ""),
        events=tuple(
            Event(as_of_us + length_us(at), order, amount, "asked" in tags, "other card" in tags)
            for order, (at, amount, *tags) in enumerate(one["events"])
        ),
        answers={system: Answer(**answer) for system, answer in one["answers"].items()},
    )


# -- who is a member, system by system ----------------------------------------------------------


def _bounds(case: Case) -> tuple[int, float, int]:
    """Return T, W and d in us."""
    width_us = float("inf") if case.over is None else length_us(case.over)
    return case.asked.time_us, width_us, length_us(case.settings.get("delay", "0s"))


def _floor(time_us: float, step_us: int) -> float:
    return time_us // step_us * step_us if math.isfinite(time_us) else time_us


def _here(case: Case) -> list[Event]:
    """Return the events of the asked card that are aggregated at all, in order of arrival."""
    self_too = case.settings.get("include_self", True) and not case.rows
    return [e for e in case.events if not e.other_card and (self_too or not e.asked)]


def _arrived(case: Case) -> list[Event]:
    return [event for event in _here(case) if event.order <= case.asked.order]


def _late(case: Case) -> set[int]:
    """Return the orders of events further behind the newest before them than the lateness."""
    found, clock = set(), float("-inf")
    for event in case.events:
        if event.time_us < clock - length_us(case.allowed_lateness):
            found.add(event.order)
        else:
            clock = max(clock, event.time_us)
    return found


def _noskew(case: Case) -> list[Event]:
    t, w, d = _bounds(case)
    closed = case.settings.get("closed", "right")
    tile = length_us(case.settings.get("resolution", "1us"))
    old = _floor(t - d - w, tile)
    late = _late(case)
    return [
        e
        for e in _arrived(case)
        if (e.asked or e.order not in late)
        and (old < e.time_us or (old == e.time_us and closed in ("left", "both")))
        and (e.time_us < t - d or (e.time_us == t - d and closed in ("right", "both")))
    ]


def _openmldb(case: Case) -> list[Event]:
    t, w, d = _bounds(case)
    low_open = case.settings.get("closed", "both") == "right"
    found = [e for e in _arrived(case) if t - d - w + low_open <= e.time_us <= t - d]
    if case.clause == "EXCLUDE CURRENT_TIME":
        return [e for e in found if e.asked or e.time_us != t]
    if case.clause == "MAXSIZE 2":
        return sorted(found, key=lambda e: e.time_us)[-2:]
    return found


def _kafka_streams(case: Case) -> list[Event]:
    t, w, _ = _bounds(case)
    grace_us = length_us(case.allowed_lateness)
    clock, kept = float("-inf"), []
    for event in _arrived(case):
        clock = max(clock, event.time_us)
        if event.time_us + 1_000 + w > clock - grace_us:  # a millisecond is its unit
            kept.append(event)
    return [e for e in kept if t - w <= e.time_us <= t]


def _chronon(case: Case) -> list[Event]:
    t, w, _ = _bounds(case)
    day, hour = length_us("1d"), length_us("1h")
    hop = day if w >= 12 * day else hour if w >= 12 * hour else length_us("5m")
    return [e for e in _here(case) if _floor(t - w, hop) <= e.time_us < t]


def _tecton(case: Case) -> list[Event]:
    t, w, d = _bounds(case)
    return [e for e in _here(case) if t - d - w < e.time_us <= t - d]


def _flink(case: Case) -> list[Event]:
    t, w, _ = _bounds(case)
    held, newest_out, newest = [], float("-inf"), float("-inf")
    for event in _here(case):
        if event.time_us <= newest_out:
            continue  # a row of its key at or after this time is out already
        held.append(event)
        newest = max(newest, event.time_us)
        watermark = newest - length_us(case.allowed_lateness) - 1_000
        newest_out = max([newest_out, *(e.time_us for e in held if e.time_us <= watermark)])
    return [e for e in held if t - w <= e.time_us <= t]


def _feast(case: Case) -> list[Event]:
    t, w, _ = _bounds(case)
    rows = [e for e in _here(case) if t - w <= e.time_us <= t]
    return sorted(rows, key=lambda e: (e.time_us, e.order))[-1:]


def _tecton_interval(case: Case) -> list[Event]:
    t, w, _ = _bounds(case)
    end = t // length_us("5m") * length_us("5m")
    return [e for e in _here(case) if end - w <= e.time_us < end]


MEMBERS: Final[dict[str, Callable[[Case], list[Event]]]] = {
    "noskew": _noskew,
    "pandas": _noskew,
    "openmldb": _openmldb,
    "kafka_streams": _kafka_streams,
    "chronon": _chronon,
    "tecton": _tecton,
    "flink": _flink,
    "feast": _feast,
    "tecton_interval": _tecton_interval,
}


def answer(system: str, case: Case) -> float | None:
    """Return a system's value of a story, computed from its interval; None is null."""
    events = sorted(MEMBERS[system](case), key=lambda e: (e.time_us, e.order))
    amounts = [event.amount for event in events if event.amount is not None]
    zero = None if case.settings.get("empty") == "nan" else 0
    match case.stat:
        case "count":
            nothing = None if system == "chronon" else zero
            return len(events) if events else nothing
        case "count_values":
            return len(amounts)
        case "sum":
            nothing = zero if system == "noskew" else None
            return sum(amounts) if amounts else nothing
        case "mean":
            return sum(amounts) / len(amounts) if amounts else None
        case "max":
            return max(amounts, default=None)
        case "first":
            return amounts[0] if amounts else None
    assert case.stat == "last"
    if system == "feast":  # the newest row, null or not
        return events[-1].amount if events else None
    if system == "chronon" and events:  # the first of those of the newest time
        return next(e.amount for e in events if e.time_us == events[-1].time_us)
    return amounts[-1] if amounts else None
