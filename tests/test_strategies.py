"""The generated streams reach every edge: each broken variant of the meaning is told apart."""

# ruff: noqa: ARG002  # a broken variant ignores what the contract looks at

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from naive import INCOMPLETE, NEVER, NOT_YET, WARMING, Naive
from strategies import AMOUNT, cases

if TYPE_CHECKING:
    from meaning import Event, Key, Windowed
    from naive import Answer, Entry, Instant
    from strategies import Case


class OldEndTakenIn(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        low_us = stat.delay_us + stat.window_us
        return (
            as_of_us - low_us <= entry_us <= as_of_us - stat.delay_us
            and entry_us > horizon_us - low_us
        )


class NewEndLeftOut(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        low_us = stat.delay_us + stat.window_us
        return (
            as_of_us - low_us < entry_us < as_of_us - stat.delay_us
            and entry_us > horizon_us - low_us
        )


class HorizonIgnored(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        return super().is_member(stat, entry_us, as_of_us, NOT_YET)


class HorizonClosesOneLess(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        return super().is_member(stat, entry_us, as_of_us, horizon_us - 1)


class HorizonClosesWithoutTheDelay(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        return super().is_member(stat, entry_us, as_of_us, horizon_us + stat.delay_us)


class DelayIgnored(Naive):
    def is_member(self, stat: Windowed, entry_us: int, as_of_us: int, horizon_us: Instant) -> bool:
        return super().is_member(replace(stat, delay_us=0), entry_us, as_of_us, horizon_us)


class TiesInvisible(Naive):
    def visible(self, place: tuple[str, Key], event: Event) -> list[Entry]:
        return [e for e in super().visible(place, event) if e.time_us != event.time_us]


class NewestOnly(Naive):
    def visible(self, place: tuple[str, Key], event: Event) -> list[Entry]:
        return super().visible(place, event)[-1:]


class OwnEventLeftOut(Naive):
    def own(self, event: Event, seq: int) -> list[Entry]:
        return []


class OwnEventLeftOutWhenLate(Naive):
    def own(self, event: Event, seq: int) -> list[Entry]:
        return [] if self.is_late(event) else super().own(event, seq)


class NullKeyIsAKey(Naive):
    def key(self, entity: str, event: Event) -> Key | None:
        key = super().key(entity, event)
        return "null" if key is None else key


class LateAtTheEdge(Naive):
    def is_late(self, event: Event) -> bool:
        clock_us = self.clocks[event.partition]
        return event.time_us <= clock_us - self.meaning.allowed_lateness_us


class NeverLate(Naive):
    def is_late(self, event: Event) -> bool:
        return False


class LateByTheHorizon(Naive):
    def is_late(self, event: Event) -> bool:
        return event.time_us < self.horizon_us()


class HorizonWithoutSkew(Naive):
    def horizon_us(self) -> Instant:
        return min(self.clocks) - self.meaning.allowed_lateness_us


class HorizonOfTheFastest(Naive):
    def horizon_us(self) -> Instant:
        return max(self.clocks) - self.meaning.allowed_lateness_us


class HorizonOfStartedPartitions(Naive):
    def horizon_us(self) -> Instant:
        started = [clock for clock in self.clocks if clock != NOT_YET]
        return min(started, default=NOT_YET) - self.meaning.allowed_lateness_us


class HorizonWithoutLateness(Naive):
    def horizon_us(self) -> Instant:
        return super().horizon_us() + self.meaning.allowed_lateness_us


class ClockOfTheLast(Naive):
    def move_clock(self, event: Event, *, late: bool) -> None:
        if not late:
            self.clocks[event.partition] = event.time_us


class DeadLetterMovesTheOrigin(Naive):
    def process(self, event: Event) -> Answer:
        if event.reason and self.origin_us is None:
            self.origin_us = event.time_us
        return super().process(event)


class IncompleteAtTheHorizon(Naive):
    def flags(self, event: Event, horizon_us: Instant, *, late: bool, capped: bool) -> int:
        found = super().flags(event, horizon_us, late=late, capped=capped)
        return found | INCOMPLETE * (event.time_us == horizon_us)


class WarmingAtTheOrigin(Naive):
    def flags(self, event: Event, horizon_us: Instant, *, late: bool, capped: bool) -> int:
        found = super().flags(event, horizon_us, late=late, capped=capped)
        return found | WARMING * (event.time_us - self.meaning.reach_us() == self.origin_us)


class NullIsZero(Naive):
    def windowed(self, stat: Windowed, members: list[Entry]) -> float:
        filled = [
            replace(entry, values={k: 0 if v is None else v for k, v in entry.values.items()})
            for entry in members
        ]
        return super().windowed(stat, filled)


class CountSkipsNulls(Naive):
    def windowed(self, stat: Windowed, members: list[Entry]) -> float:
        if stat.stat == "count":
            members = [entry for entry in members if entry.values[AMOUNT] is not None]
        return super().windowed(stat, members)


class MeanOverMembers(Naive):
    def windowed(self, stat: Windowed, members: list[Entry]) -> float:
        value = super().windowed(stat, members)
        if stat.stat != "mean" or math.isnan(value):
            return value
        return super().windowed(replace(stat, stat="sum"), members) / len(members)


class MeanTimesReciprocal(Naive):
    def windowed(self, stat: Windowed, members: list[Entry]) -> float:
        value = super().windowed(stat, members)
        if stat.stat != "mean" or math.isnan(value):
            return value
        total = super().windowed(replace(stat, stat="sum"), members)
        return total * (1 / super().windowed(replace(stat, stat="count_values"), members))


class SinceLastIgnoresTies(Naive):
    def since_last(self, event: Event, others: list[Entry], horizon_us: Instant) -> float:
        apart = [entry for entry in others if entry.time_us != event.time_us]
        return super().since_last(event, apart, horizon_us)


class SinceLastProcessed(Naive):
    def since_last(self, event: Event, others: list[Entry], horizon_us: Instant) -> float:
        return super().since_last(event, others[-1:], horizon_us)


class SinceLastRemembersAll(Naive):
    def since_last(self, event: Event, others: list[Entry], horizon_us: Instant) -> float:
        return super().since_last(event, others, NOT_YET)


class RowOfTheRecord(Naive):
    def row_time_us(self, entries: list[Entry]) -> int:
        return entries[-1].time_us


class RowUntilTheLastMoment(Naive):
    def valid_until_us(self, place: tuple[str, Key], at_us: int, horizon_us: Instant) -> int:
        return super().valid_until_us(place, at_us, horizon_us) - 1


class RowForgetsTheHorizon(Naive):
    def valid_until_us(self, place: tuple[str, Key], at_us: int, horizon_us: Instant) -> int:
        return super().valid_until_us(place, at_us, NOT_YET)


class RowUntilSomethingCrossesAnEnd(Naive):
    def valid_until_us(self, place: tuple[str, Key], at_us: int, horizon_us: Instant) -> int:
        return min(
            (
                entry.time_us + end_us
                for entry in self.entries[place]
                for stat in self.meaning.windowed(place[0])
                for end_us in (stat.delay_us, stat.delay_us + stat.window_us)
                if entry.time_us + end_us > at_us
            ),
            default=NEVER,
        )


class GoneOneLater(Naive):
    def is_gone(self, place: tuple[str, Key]) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[place])
        reach_us = self.meaning.reach_us(place[0])
        return super().is_gone(place) and self.horizon_us() > newest_us + reach_us


class GoneByTheLongestOfAll(Naive):
    def is_gone(self, place: tuple[str, Key]) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[place])
        return super().is_gone(place) and self.horizon_us() >= newest_us + self.meaning.reach_us()


class AnchoredIsGoneToo(Naive):
    def is_gone(self, place: tuple[str, Key]) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[place])
        return self.horizon_us() >= newest_us + self.meaning.reach_us(place[0])


# Not among them: the clock moved *before* the event is judged. An event that raises its clock
# stands at or above every horizon its own time can cause, so that variant is equivalent.
MUTANTS = [kind for kind in list(globals().values()) if isinstance(kind, type)]
MUTANTS = [kind for kind in MUTANTS if issubclass(kind, Naive) and kind is not Naive]


def outcome(kind: type[Naive], case: Case) -> tuple[object, ...]:
    naive = kind(case.meaning, case.partitions)
    answers = [naive.process(one) for one in case.events]
    return (
        [(answer.bits, answer.rows) for answer in answers],
        naive.live_rows(),
        naive.gone(),
    )


@cache
def corpus() -> list[tuple[Case, tuple[object, ...]]]:
    """Return streams as the property tests draw them, always the same, and what each means."""
    drawn: list[Case] = []

    @seed(3)
    @settings(
        max_examples=400,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def draw(case: Case) -> None:
        drawn.append(case)

    draw()
    return [(case, outcome(Naive, case)) for case in drawn]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_generated_streams_tell_every_broken_meaning_apart(mutant: type[Naive]) -> None:
    assert any(outcome(mutant, case) != expected for case, expected in corpus())
