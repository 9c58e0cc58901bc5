"""Clocks, lateness and the horizon, on sequences short enough to work out by hand."""

from __future__ import annotations

import numpy as np

from noskew.kernels.judge import CLOCK_FIELDS, CLOCK_HORIZON, CLOCK_ORIGIN, judge
from noskew.kernels.layout import (
    FLAG_INCOMPLETE,
    FLAG_LATE,
    FLAG_WARMING,
    MODE_DEAD,
    MODE_EVALUATE,
    MODE_INSERT,
    NO_TIME,
)


class Judged:
    """Judge (time, partition[, reason]) records one batch at a time; lateness 10, skew 100."""

    def __init__(self, partitions: int, reach_us: int = 0) -> None:
        self.clock = np.full(partitions, NO_TIME, np.int64)
        self.clocks = np.full(CLOCK_FIELDS, NO_TIME, np.int64)
        self.reach_us = reach_us
        self.horizons: list[int] = []
        self.modes: list[int] = []
        self.flags: list[int] = []

    def feed(self, *records: tuple[int, ...]) -> None:
        rows = [(*record, 0)[:3] for record in records]
        time, partition, reason = (np.array(part) for part in zip(*rows, strict=True))
        count = len(rows)
        horizon, mode = np.empty(count, np.int64), np.empty(count, np.uint8)
        flags = np.empty(count, np.int32)
        judge(
            time.astype(np.int64), partition.astype(np.int32), reason.astype(np.uint8),
            10, 100, self.reach_us, self.clock, self.clocks, horizon, mode, flags,
        )  # fmt: skip
        self.horizons += horizon.tolist()
        self.modes += mode.tolist()
        self.flags += flags.tolist()


def test_a_record_is_late_only_beyond_the_allowed_lateness_of_its_own_partition() -> None:
    judged = Judged(2)

    judged.feed((1000, 0), (990, 0), (989, 0), (989, 1))

    assert judged.modes == [MODE_INSERT, MODE_INSERT, MODE_EVALUATE, MODE_INSERT]
    assert [flag & FLAG_LATE for flag in judged.flags] == [0, 0, FLAG_LATE, 0]


def test_the_horizon_waits_for_a_silent_partition_no_longer_than_the_skew() -> None:
    judged = Judged(2)

    judged.feed((1000, 0), (1000, 0), (500, 1), (2000, 1), (1500, 0), (1500, 0))

    # Silent: greatest - 100 - 10. Both known: max(least, greatest - 100) - 10.
    assert judged.horizons == [NO_TIME, 890, 890, 890, 1890, 1890]


def test_the_horizon_is_as_of_before_the_record_and_marks_what_lies_below_it() -> None:
    judged = Judged(1)

    judged.feed((1000, 0), (990, 0), (1005, 0), (994, 0))

    assert judged.horizons == [NO_TIME, 990, 990, 995]
    assert [flag & FLAG_INCOMPLETE for flag in judged.flags] == [0, 0, 0, FLAG_INCOMPLETE]


def test_dead_letters_and_late_records_move_no_clock() -> None:
    judged = Judged(1)

    judged.feed((5000, 0, 3), (1000, 0), (900, 0), (9000, 0, 1))

    assert judged.modes == [MODE_DEAD, MODE_INSERT, MODE_EVALUATE, MODE_DEAD]
    assert judged.flags[0] == judged.flags[3] == 0
    assert judged.clock.tolist() == [1000]
    assert judged.clocks[CLOCK_HORIZON] == 990
    assert judged.clocks[CLOCK_ORIGIN] == 1000


def test_a_record_is_warming_while_its_window_reaches_before_the_first_record() -> None:
    judged = Judged(1, reach_us=50)

    judged.feed((1000, 0), (1049, 0), (1050, 0))

    assert [flag & FLAG_WARMING for flag in judged.flags] == [FLAG_WARMING, FLAG_WARMING, 0]
