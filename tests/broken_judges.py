"""Broken variants of the meaning: clocks, fates, full and split keys, rows, a sentence each.

Not among them: the clock moved *before* the record is judged. A record that raises its clock stands
at or above every line its own time can cause, so that variant is equivalent.
"""

# ruff: noqa: ARG002  # a broken variant ignores what the contract looks at

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from naive import NEVER, NOT_YET, Naive

if TYPE_CHECKING:
    from meaning import Event, Statistic
    from naive import Entry, Instance, Instant, Now, Place


# -- clocks and fates --------------------------------------------------------------------------


class LateAtTheEdge(Naive):
    def is_late(self, event: Event) -> bool:
        clock_us = self.clocks[event.stream][event.partition]
        return event.time_us <= clock_us - self.source(event).allowed_lateness_us


class NeverLate(Naive):
    def is_late(self, event: Event) -> bool:
        return False


class LateByTheLine(Naive):
    def is_late(self, event: Event) -> bool:
        return event.time_us < self.line_us(event.stream)


class LateByTheScoredStreamsLateness(Naive):
    def is_late(self, event: Event) -> bool:
        clock_us = self.clocks[event.stream][event.partition]
        return event.time_us < clock_us - self.meaning.scored.allowed_lateness_us


class DuplicatesAccepted(Naive):
    def is_duplicate(self, event: Event) -> bool:
        return False


class DuplicateBeyondTheSpan(Naive):
    def is_duplicate(self, event: Event) -> bool:
        return self.source(event).dedupe_us > 0 and any(
            one.partition == event.partition for one in self.accepted(event)
        )


class DuplicateBelowTheSpan(Naive):
    def is_duplicate(self, event: Event) -> bool:
        span_us = self.source(event).dedupe_us
        return span_us > 0 and any(
            one.partition == event.partition and abs(one.time_us - event.time_us) < span_us
            for one in self.accepted(event)
        )


class DuplicateOnlyAfterwards(Naive):
    def is_duplicate(self, event: Event) -> bool:
        return super().is_duplicate(event) and event.time_us >= self.accepted(event)[0].time_us


class DuplicateInAnyPartition(Naive):
    def is_duplicate(self, event: Event) -> bool:
        span_us = self.source(event).dedupe_us
        return span_us > 0 and any(
            abs(one.time_us - event.time_us) <= span_us for one in self.accepted(event)
        )


class NothingRevised(Naive):
    def revised(self, event: Event, now: Now) -> Event | None:
        return None


class FirstOfAnIdIsRevised(Naive):
    def revised(self, event: Event, now: Now) -> Event | None:
        found = super().revised(event, now)
        return None if found is None else self.accepted(event)[0]


class AlwaysOpen(Naive):
    def is_open(self, event: Event, now: Now) -> bool:
        return True


class OpenAboveTheFoldLine(Naive):
    def closed_us(self, stream: int, now: Now) -> Instant:
        return now.lines_us[stream]


class OpenInReach(Naive):
    def closed_us(self, stream: int, now: Now) -> Instant:
        return now.horizon_us - self.meaning.reach_us(stream)


class OpenAtTheLine(Naive):
    def is_open(self, event: Event, now: Now) -> bool:
        return event.time_us >= self.closed_us(event.stream, now)


class IdsNeverForgotten(Naive):
    def is_forgotten_id(self, event: Event, now: Now) -> bool:
        return False


class ClosedIdsForgotten(Naive):
    def is_forgotten_id(self, event: Event, now: Now) -> bool:
        return not self.is_open(event, now)


class LineWithoutSkew(Naive):
    def line_us(self, stream: int) -> Instant:
        return min(self.clocks[stream]) - self.meaning.streams[stream].allowed_lateness_us


class LineOfTheFastest(Naive):
    def line_us(self, stream: int) -> Instant:
        return max(self.clocks[stream]) - self.meaning.streams[stream].allowed_lateness_us


class LineOfStartedPartitions(Naive):
    def line_us(self, stream: int) -> Instant:
        started = [clock for clock in self.clocks[stream] if clock != NOT_YET]
        lateness_us = self.meaning.streams[stream].allowed_lateness_us
        return min(started, default=NOT_YET) - lateness_us


class LineWithoutLateness(Naive):
    def line_us(self, stream: int) -> Instant:
        return super().line_us(stream) + self.meaning.streams[stream].allowed_lateness_us


class HorizonOfAllStreams(Naive):
    def horizon_us(self) -> Instant:
        return min(self.line_us(stream) for stream in range(len(self.clocks)))


class ClockOfTheLast(Naive):
    def move_clock(self, event: Event) -> None:
        self.clocks[event.stream][event.partition] = event.time_us


class LabelsMoveTheOrigin(Naive):
    def accept(self, event: Event) -> None:
        if self.origin_us is None:
            self.origin_us = event.time_us
        super().accept(event)


class IncompleteAtTheHorizon(Naive):
    def is_incomplete(self, event: Event, now: Now) -> bool:
        return event.time_us <= now.horizon_us


class WarmingAtTheOrigin(Naive):
    def is_warming(self, event: Event) -> bool:
        reaches_us = event.time_us - self.meaning.reach_us()
        return super().is_warming(event) or reaches_us == self.origin_us


class WarmingByTheScoredStreamAlone(Naive):
    def is_warming(self, event: Event) -> bool:
        origin_us = event.time_us if self.origin_us is None else self.origin_us
        return event.time_us - self.meaning.reach_us(0) < origin_us


# -- rows and full keys ------------------------------------------------------------------------


class CapOfAllEverAggregated(Naive):
    def is_needed(self, entry: Entry, place: Place, now: Now) -> bool:
        return True


class CapOfWindowsAlone(Naive):
    def is_needed(self, entry: Entry, place: Place, now: Now) -> bool:
        return entry.time_us > now.horizon_us - self.meaning.reach_us(place[0])


class SplitKeysUnseen(Naive):
    def is_forgotten(self, place: Place, horizon_us: Instant) -> bool:
        return True


class SplitKeysNeverForgotten(Naive):
    def is_forgotten(self, place: Place, horizon_us: Instant) -> bool:
        return False


class RowOfTheRecord(Naive):
    def row_time_us(self, scored: list[Entry]) -> int:
        return scored[-1].time_us


class RowOneEarlier(Naive):
    def valid_until_us(self, instance: Instance, at_us: int, now: Now) -> int:
        return super().valid_until_us(instance, at_us, now) - 1


class RowForgetsTheHorizon(Naive):
    def valid_until_us(self, instance: Instance, at_us: int, now: Now) -> int:
        return super().valid_until_us(instance, at_us, replace(now, horizon_us=NOT_YET))


class RowHoldsForEver(Naive):
    def valid_until_us(self, instance: Instance, at_us: int, now: Now) -> int:
        return NEVER


class RowOfValuesNotOfAnchors(Naive):
    def words(self, stat: Statistic, instance: Instance, at_us: int, now: Now) -> list[int]:
        return super().words(stat, instance, at_us, now)[-1:]


class GoneOneLater(Naive):
    def is_gone(self, instance: Instance) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[(0, *instance)])
        stats = self.meaning.of(instance[0])
        reach_us = max(stat.reach_us for stat in stats)
        return super().is_gone(instance) and self.horizon_us() > newest_us + reach_us


class GoneByTheLongestOfAll(Naive):
    def is_gone(self, instance: Instance) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[(0, *instance)])
        reach_us = self.meaning.reach_us()
        return super().is_gone(instance) and self.horizon_us() >= newest_us + reach_us


class EndlessIsGoneToo(Naive):
    def is_gone(self, instance: Instance) -> bool:
        newest_us = max(entry.time_us for entry in self.entries[(0, *instance)])
        stats = self.meaning.of(instance[0])
        return self.horizon_us() >= newest_us + max(stat.reach_us for stat in stats)
