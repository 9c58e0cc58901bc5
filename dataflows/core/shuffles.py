"""Other orders of the same events in which nothing but the order changes: for tests.

An order is allowed if every event meets the same fate (no other is late, a duplicate, revised or
revised too late), and if events whose order has a meaning keep it: those of one stream and one
time, and those of one id where a stream drops duplicates or takes revisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noskew.dataflows.core.members import APPLIED, LATE, Reading

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from noskew.dataflows.core.events import Happening
    from noskew.dataflows.definition.plan import Plan


def another(
    plan: Plan, before: Reading, kept: Sequence[int], draw: random.Random
) -> list[Happening] | None:
    """Return another allowed order in which the events at ``kept`` have the same ones before them.

    kept  ascending positions; they stay, and what lies between two of them is shuffled

    None where the order drawn is the old one, or is not allowed after all.
    """
    fates = {step.event.number: step.fate for step in before.steps}
    events = [step.event for step in before.steps]
    found: list[Happening] = []
    clocks: dict[int, int] = {}
    first = 0
    for end in [*kept, len(events)]:
        part = _shuffled(plan, events[first:end], fates, dict(clocks), draw)
        found += [*part, *events[end : end + 1]]
        for event in events[first : end + 1]:
            if fates[event.number] == APPLIED:
                clocks[event.place] = max(clocks.get(event.place, event.time_us), event.time_us)
        first = end + 1
    if found == events or _meaning(Reading(plan, found)) != _meaning(before):
        return None
    return found


def _meaning(reading: Reading) -> list[tuple[int, int, int, tuple[bool, ...]]]:
    """Return of every event its fate, what it revises, and what of that was folded by then."""
    out = []
    for step in reading.steps:
        number, frozen = -1, []
        if step.replaces >= 0:
            old = reading.steps[step.replaces]
            number = old.event.number
            tables = [one for one in reading.plan.tables if one.stream == old.event.place]
            frozen = [reading.frozen(table, op, old) for table in tables for op in table.ops]
        out.append((step.event.number, step.fate, number, tuple(frozen)))
    return sorted(out)


def _shuffled(
    plan: Plan,
    events: list[Happening],
    fates: dict[int, int],
    clocks: dict[int, int],
    draw: random.Random,
) -> list[Happening]:
    """Return events in an order in which those late are late and no other; else as they were."""
    left, out = list(events), []
    while left:
        free = _free(plan, left, fates, clocks)
        if not free:
            return events
        event = draw.choice(free)
        left.remove(event)
        out.append(event)
        if fates[event.number] == APPLIED:
            clocks[event.place] = max(clocks.get(event.place, event.time_us), event.time_us)
    return out


def _free(
    plan: Plan, left: list[Happening], fates: dict[int, int], clocks: dict[int, int]
) -> list[Happening]:
    """Return the events of ``left`` that may come next."""
    oldest: dict[int, int] = {}
    for event in left:
        if fates[event.number] != LATE:
            oldest[event.place] = min(oldest.get(event.place, event.time_us), event.time_us)
    seen: set[tuple[int, str, Any]] = set()
    free = []
    for event in left:
        stream = plan.streams[event.place]
        tied = bool(stream.dedupe_us or stream.revise)
        marks: set[tuple[int, str, Any]] = {(event.place, "time", event.time_us)}
        if tied:
            marks.add((event.place, "id", event.values[stream.id]))
        comes_after = bool(marks & seen)
        seen |= marks
        clock_us = clocks.get(event.place, event.time_us)
        is_late = event.time_us < clock_us - stream.allowed_lateness_us
        # A revision of what is closed is late too, whatever its time.
        right = is_late or tied if fates[event.number] == LATE else not is_late
        moves = fates[event.number] == APPLIED
        makes_late = moves and event.time_us - stream.allowed_lateness_us > oldest[event.place]
        if right and not comes_after and not makes_late:
            free.append(event)
    return free
