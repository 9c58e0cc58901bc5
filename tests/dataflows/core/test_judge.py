"""The judge against its sentences said slowly: clocks, lines, late, duplicates, revisions."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.judge import Judge
from noskew.dataflows.definition.plan import Op, Plan, Stat, StreamPlan, TablePlan, Window
from noskew.kernels.layout import (
    FATE_APPLIED,
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_INCOMPLETE,
    FLAG_LATE,
    FLAG_WARMING,
    NO_TIME,
    NULL,
)
from noskew.schemas.columns import Strings

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_700_000_000_000_000
PARTITIONS = (2, 3)


@dataclass(frozen=True)
class Record:
    stream: int
    partition: int
    time_us: int
    id: int
    dead: bool


@dataclass
class Slow:
    """Every line is found anew from all accepted records."""

    plan: Plan
    clocks: dict[tuple[int, int], float] = field(default_factory=dict)
    horizon: float = -math.inf
    folds: list[float] = field(default_factory=lambda: [-math.inf, -math.inf])
    origin: int | None = None
    accepted: list[Record] = field(default_factory=list)
    open: dict[int, Record] = field(default_factory=dict)

    def line(self, stream: int) -> float:
        plan = self.plan.streams[stream]
        clocks = [self.clocks.get((stream, p), -math.inf) for p in range(PARTITIONS[stream])]
        return max(min(clocks), max(clocks) - plan.max_skew_us) - plan.allowed_lateness_us

    def judge(self, record: Record) -> tuple[int, int, int]:
        """Return fate, flags and the time of the entry replaced."""
        if record.dead:
            return FATE_DEAD, 0, NULL
        plan = self.plan.streams[record.stream]
        place = (record.stream, record.partition)
        horizon = self.horizon
        fate, old = FATE_APPLIED, NULL
        if record.time_us < self.clocks.get(place, -math.inf) - plan.allowed_lateness_us:
            fate = FATE_LATE
        elif plan.dedupe_us and any(
            (r.stream, r.partition, r.id) == (*place, record.id)
            and abs(r.time_us - record.time_us) <= plan.dedupe_us
            for r in self.accepted
        ):
            fate = FATE_DUPLICATE
        elif plan.revise and record.id in self.open:
            reach = max(t.reach_us for t in self.plan.tables if t.stream == record.stream)
            closed = min(self.folds[record.stream], horizon - reach)
            last = self.open[record.id]
            clock = self.clocks[(record.stream, last.partition)]
            lost = min(closed, clock - plan.allowed_lateness_us)
            was = last.time_us
            if lost <= was <= closed:
                fate = FATE_LATE
            elif was > closed:
                old = was
        flags = 0
        if record.stream == 0 and fate in {FATE_APPLIED, FATE_LATE}:
            origin = record.time_us if self.origin is None else self.origin
            flags |= FLAG_LATE * (fate == FATE_LATE)
            flags |= FLAG_INCOMPLETE * (record.time_us < horizon)
            flags |= FLAG_WARMING * (record.time_us - self.plan.reach_us < origin)
        if fate == FATE_APPLIED:
            self._accept(record, place)
        return fate, flags, old

    def _accept(self, record: Record, place: tuple[int, int]) -> None:
        if record.stream == 0 and self.origin is None:
            self.origin = record.time_us
        self.accepted.append(record)
        if record.stream == 1:
            self.open[record.id] = record
        self.clocks[place] = max(self.clocks.get(place, -math.inf), record.time_us)
        self.horizon = max(self.horizon, self.line(0))
        self.folds[0] = self.horizon
        self.folds[1] = max(self.folds[1], min(self.line(1), self.horizon))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("strings", [False, True])
def test_the_judge_equals_its_sentences(seed: int, *, strings: bool) -> None:
    rng = random.Random(seed)
    plan = plan_of(rng, "string" if strings else "int")
    slow, judge = Slow(plan), Judge(plan, PARTITIONS)
    records = [record_of(rng, n) for n in range(400)]
    expected = []
    for record in records:
        lines = (slow.horizon, *slow.folds)
        expected.append((lines, slow.judge(record)))
    cuts = sorted(rng.sample(range(400), 3))
    at = 0
    for begin, end in zip([0, *cuts], [*cuts, 400], strict=True):
        found = judge.judge(turn_of(records[begin:end], begin, strings=strings))
        for i in range(end - begin):
            lines, (fate, flags, old) = expected[at]
            got = (found.horizon_us[i], *found.fold_us[:, i])
            shown = (seed, at, records[at])
            assert (found.fate[i], found.flags[i], found.old_us[i]) == (fate, flags, old), shown
            assert [v if v > NO_TIME else -math.inf for v in clean(got)] == clean(lines), shown
            at += 1


def clean(lines: tuple[float, ...]) -> list[float]:
    """Lines below every time there is are one: the clock that has not started."""
    return [-math.inf if line < START - 1000 * DAY else line for line in lines]


def test_ids_that_cannot_matter_any_more_are_forgotten() -> None:
    plan = plan_of(random.Random(0), "int")
    plan = replace(plan, streams=(replace(plan.streams[0], dedupe_us=HOUR), plan.streams[1]))
    judge = Judge(plan, PARTITIONS)
    for first in range(0, 40_000, 2_000):
        records = [
            Record(0, 0, START + n * HOUR, n, dead=False) for n in range(first, first + 2000)
        ]
        assert not judge.judge(turn_of(records, first, strings=False)).fate.any()

    assert len(judge._ids[0].rows) <= 4096  # bounded memory is the point


def test_long_ids_find_room() -> None:
    """Twenty of them are more than a table's text has room for at first."""
    plan = plan_of(random.Random(0), "string")
    plan = replace(plan, streams=(replace(plan.streams[0], dedupe_us=HOUR), plan.streams[1]))
    judge = Judge(plan, PARTITIONS)
    records = [Record(0, 0, START, n, dead=False) for n in range(20)]

    first = judge.judge(turn_of(records, 0, strings=True, width=4000))
    again = judge.judge(turn_of(records, 20, strings=True, width=4000))

    assert first.fate.tolist() == [FATE_APPLIED] * 20
    assert again.fate.tolist() == [FATE_DUPLICATE] * 20


def plan_of(rng: random.Random, kind: str) -> Plan:
    def stream(place: int, **more: Any) -> StreamPlan:
        lateness, skew = rng.choice([0, HOUR, DAY]), rng.choice([HOUR, DAY])
        return StreamPlan(
            place, f"s{place}", "t", {}, "", "id", "k", "t", "t", {"id": kind, "k": "int"},
            frozenset(), {}, lateness, skew, {}, **more,
        )  # fmt: skip

    def table(place: int) -> TablePlan:
        window = Window(rng.choice([HOUR, DAY]))
        return TablePlan(
            place, "k", "int", place == 0, (), (), (window,), (Op(Stat.COUNT, place, 0),), (0,),
            (place,), ("n",),
        )  # fmt: skip

    streams = (
        stream(0, dedupe_us=rng.choice([0, HOUR, DAY])),
        stream(1, revise=rng.random() < 0.7),
    )
    return Plan("p", streams, (table(0), table(1)), (), ("a", "b"), 2, (True, True), b"", None)


def record_of(rng: random.Random, number: int) -> Record:
    stream = rng.choice([0, 0, 1])
    back = rng.choice([0, 0, HOUR, DAY, 2 * DAY]) + rng.choice([-1, 0, 1])
    time_us = START + number * HOUR // 4 - back
    return Record(stream, rng.randrange(PARTITIONS[stream]), time_us, rng.randrange(30),
                  dead=rng.random() < 0.03)  # fmt: skip


def turn_of(records: list[Record], seq: int, *, strings: bool, width: int = 0) -> Turn:
    batches = []
    for place in range(2):
        mine = [r for r in records if r.stream == place]
        ids = [r.id for r in mine]
        batches.append(
            Batch(
                stream=place,
                partition=np.array([r.partition for r in mine], np.int32),
                offset=np.zeros(len(mine), np.int64),
                record_time_us=np.zeros(len(mine), np.int64),
                time_us=np.array([r.time_us for r in mine], np.int64),
                available_us=np.array([r.time_us for r in mine], np.int64),
                reason=np.array([r.dead for r in mine], np.uint8),
                columns={
                    "id": Strings.from_list([f"id-{i}".rjust(width, ".") for i in ids])
                    if strings
                    else np.array(ids, np.int64)
                },
            )
        )
    stream = np.array([r.stream for r in records], np.int32)
    inputs = np.array([r.partition + (2 if r.stream else 0) for r in records], np.int32)
    return Turn(seq, tuple(batches), stream, inputs, np.zeros(len(records), np.int64))
