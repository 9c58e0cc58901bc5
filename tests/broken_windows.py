"""Broken variants of the meaning: windows, history, values and statistics, a sentence each."""

# ruff: noqa: ARG002  # a broken variant ignores what the contract looks at

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from naive import NOT_YET, Naive
from naive_statistics import Member

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from meaning import Condition, Event, Key, Statistic, Value
    from naive import Entry, Instant, Now, Place
    from naive_statistics import Exact, Members


# -- windows -----------------------------------------------------------------------------------


class OldEndTakenIn(Naive):
    def after_old_end(
        self, stat: Statistic, entry_us: int, as_of_us: int, horizon_us: Instant
    ) -> bool:
        return entry_us >= self.old_end_us(stat, as_of_us, horizon_us)


class OldEndLeftOut(Naive):
    def after_old_end(
        self, stat: Statistic, entry_us: int, as_of_us: int, horizon_us: Instant
    ) -> bool:
        return entry_us > self.old_end_us(stat, as_of_us, horizon_us)


class NewEndTakenIn(Naive):
    def before_new_end(self, stat: Statistic, entry_us: int, as_of_us: Instant) -> bool:
        return entry_us <= as_of_us - stat.delay_us


class NewEndLeftOut(Naive):
    def before_new_end(self, stat: Statistic, entry_us: int, as_of_us: Instant) -> bool:
        return entry_us < as_of_us - stat.delay_us


class DelayIgnoredAtTheNewEnd(Naive):
    def before_new_end(self, stat: Statistic, entry_us: int, as_of_us: Instant) -> bool:
        return super().before_new_end(replace(stat, delay_us=0), entry_us, as_of_us)


class DelayIgnoredAtTheOldEnd(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        return super().old_end_us(replace(stat, delay_us=0), as_of_us, horizon_us)


class HorizonIgnored(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        return super().old_end_us(stat, as_of_us, NOT_YET)


class HorizonClosesOneLess(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        return super().old_end_us(stat, as_of_us, horizon_us - 1)


class HorizonClosesWithoutTheDelay(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        return super().old_end_us(stat, as_of_us, horizon_us + stat.delay_us)


class TilesIgnored(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        return super().old_end_us(replace(stat, resolution_us=0), as_of_us, horizon_us)


class TilesOfTheTimeOfReading(Naive):
    def old_end_us(self, stat: Statistic, as_of_us: int, horizon_us: Instant) -> Instant:
        if not stat.resolution_us or stat.over_us is None:
            return super().old_end_us(stat, as_of_us, horizon_us)
        reached_us = max(as_of_us, horizon_us)
        tile_us = reached_us - reached_us % stat.resolution_us
        return tile_us - stat.delay_us - stat.over_us


class TiesInvisible(Naive):
    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        found = super().members(stat, place, as_of_us, now)
        return [entry for entry in found if entry.time_us != as_of_us]


class NewestOnly(Naive):
    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        return super().members(stat, place, as_of_us, now)[-1:]


class TiesTheOtherWayRound(Naive):
    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        found = super().members(stat, place, as_of_us, now)
        return found if stat.windowless else sorted(found, key=lambda e: (e.time_us, -e.seq))


class MembersInOrderOfArrival(Naive):
    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        found = super().members(stat, place, as_of_us, now)
        return found if stat.windowless else sorted(found, key=lambda entry: entry.seq)


class OwnEventLeftOut(Naive):
    def own(self, stat: Statistic, event: Event, now: Now) -> list[Entry]:
        return []


class OwnEventNeverLeftOut(Naive):
    def own(self, stat: Statistic, event: Event, now: Now) -> list[Entry]:
        return super().own(replace(stat, include_self=True), event, now)


class OwnEventLeftOutWhenLate(Naive):
    def own(self, stat: Statistic, event: Event, now: Now) -> list[Entry]:
        return [] if self.is_late(event) else super().own(stat, event, now)


class OwnEventAmongLabels(Naive):
    def own(self, stat: Statistic, event: Event, now: Now) -> list[Entry]:
        return super().own(replace(stat, stream=0), event, now)


# -- all of history ----------------------------------------------------------------------------


class NothingFolded(Naive):
    def fold(self, place: Place, now: Now) -> bool:
        return False


class FoldedInOrderOfArrival(Naive):
    def fold(self, place: Place, now: Now) -> bool:
        before = {at: list(folded) for at, folded in self.folded.items()}
        any_passed = super().fold(place, now)
        for at, folded in self.folded.items():
            old = before.get(at, [])
            folded[len(old) :] = sorted(folded[len(old) :], key=lambda entry: entry.seq)
        return any_passed


class FoldedOnlyWhenRead(Naive):
    def aggregate(self, event: Event, now: Now) -> bool:
        return super().aggregate(event, replace(now, lines_us=(NOT_YET,) * len(now.lines_us)))


class FoldedAtTheHorizon(Naive):
    def fold_us(self, stream: int) -> Instant:
        return self.horizon_us()


class FoldedAtTheStreamsOwnLine(Naive):
    def fold_us(self, stream: int) -> Instant:
        return self.line_us(stream)


class FoldedIsAlwaysKnown(Naive):
    def is_unknown(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> bool:
        return stat.stat is Stat.SINCE_LAST and super().is_unknown(stat, place, as_of_us, now)


class RevisedIsUnfolded(Naive):
    def revise(self, event: Event, now: Now) -> None:
        old = self.revised(event, now)
        if old is not None and self.is_open(old, now):
            for folded in self.folded.values():
                folded[:] = [entry for entry in folded if entry.event is not old]
        super().revise(event, now)


class SinceLastRemembersAll(Naive):
    def is_unknown(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> bool:
        return stat.stat is not Stat.SINCE_LAST and super().is_unknown(stat, place, as_of_us, now)


# -- keys and values ---------------------------------------------------------------------------


class NullKeyIsAKey(Naive):
    def key(self, entity: str, event: Event) -> Key | None:
        key = super().key(entity, event)
        return "null" if key is None else key


class NullIsZero(Naive):
    def value(self, stat: Statistic, entry: Entry) -> Exact | None:
        value = super().value(stat, entry)
        return 0 if value is None and stat.column else value


class QuantumCutOff(Naive):
    def value(self, stat: Statistic, entry: Entry) -> Exact | None:
        value = entry.event.values.get(stat.column)
        if not isinstance(value, float) or math.isnan(value):
            return super().value(stat, entry)
        unit = 10 ** self.meaning.streams[stat.stream].quantum[stat.column]
        return int(value * unit) if unit == 1 else super().value(stat, entry)


class NullComparesTrue(Naive):
    def compares(self, value: Value, sign: str, literals: tuple[int | float | str, ...]) -> bool:
        null = value is None or (isinstance(value, float) and math.isnan(value))
        return null or super().compares(value, sign, literals)


class WhereIgnored(Naive):
    def holds(self, condition: Condition | None, values: dict[str, Value]) -> bool:
        return True


class CountSkipsTheNullsOfItsWhere(Naive):
    def holds(self, condition: Condition | None, values: dict[str, Value]) -> bool:
        return super().holds(condition, values) and None not in values.values()


# -- statistics --------------------------------------------------------------------------------


class EmptyIgnored(Naive):
    def compute(self, of: Members) -> float:
        return super().compute(replace(of, stat=replace(of.stat, empty=None)))


class OneDegreeOfFreedom(Naive):
    def compute(self, of: Members) -> float:
        return super().compute(replace(of, stat=replace(of.stat, ddof=1)))


class MeanOverMembers(Naive):
    def compute(self, of: Members) -> float:
        value = super().compute(of)
        if of.stat.stat is not Stat.MEAN or not of.values:
            return value
        return super().compute(replace(of, stat=replace(of.stat, stat=Stat.SUM))) / len(of.members)


class MeanTimesReciprocal(Naive):
    def compute(self, of: Members) -> float:
        value = super().compute(of)
        if of.stat.stat is not Stat.MEAN or not of.values:
            return value
        return float(sum(of.numbers)) * (1 / len(of.values))


class VarianceOfSquares(Naive):
    def compute(self, of: Members) -> float:
        value = super().compute(of)
        if of.stat.stat is not Stat.VAR or len(of.values) <= of.stat.ddof:
            return value
        numbers = [float(number) for number in of.numbers]
        n = len(numbers)
        if n == 0:
            return value
        return (sum(x * x for x in numbers) - sum(numbers) ** 2 / n) / (n - of.stat.ddof)


class FirstIsLast(Naive):
    def compute(self, of: Members) -> float:
        if of.stat.stat is Stat.FIRST:
            return super().compute(replace(of, stat=replace(of.stat, stat=Stat.LAST)))
        return super().compute(of)


class FirstAndLastOfMembersWithoutAValue(Naive):
    def compute(self, of: Members) -> float:
        if of.stat.stat in {Stat.FIRST, Stat.LAST} and of.members:
            at = 0 if of.stat.stat is Stat.FIRST else -1
            return super().compute(replace(of, members=[of.members[at]]))
        return super().compute(of)


class RateIgnoresTheWindow(Naive):
    def compute(self, of: Members) -> float:
        return super().compute(replace(of, stat=replace(of.stat, over_us=1_000_000)))


class DecayedAfresh(Naive):
    def compute(self, of: Members) -> float:
        if of.stat.stat not in {Stat.DECAYED_SUM, Stat.DECAYED_COUNT}:
            return super().compute(of)
        one = [super(DecayedAfresh, self).compute(replace(of, members=[m])) for m in of.members]
        return math.fsum(one) if of.members else super().compute(of)


class DecayCountsNulls(Naive):
    def compute(self, of: Members) -> float:
        if of.stat.half_life_us and of.stat.column:
            of = replace(of, members=[Member(m.time_us, m.value or 0) for m in of.members])
        return super().compute(of)


class DecayedByTheNewest(Naive):
    def compute(self, of: Members) -> float:
        newest_us = max((member.time_us for member in of.members), default=of.as_of_us)
        return super().compute(replace(of, as_of_us=newest_us) if of.stat.half_life_us else of)


class SinceLastProcessed(Naive):
    def members(self, stat: Statistic, place: Place, as_of_us: int, now: Now) -> list[Entry]:
        found = super().members(stat, place, as_of_us, now)
        if stat.stat is not Stat.SINCE_LAST:
            return found
        return sorted(found, key=lambda entry: entry.seq)[-1:]
