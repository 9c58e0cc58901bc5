"""Random rows over several streams: whenever they are drained, and said slowly with lists."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from mirrors import FIELDS, Mirror, table
from turns import DAY, HOUR, MINUTE, START, Record, plan_of, stream_of

from noskew.dataflows.definition.plan import Op, Stat, Window
from noskew.kernels.layout import FATE_APPLIED, FOREVER

if TYPE_CHECKING:
    from mirrors import Stored

    from noskew.dataflows.definition.plan import Plan, TablePlan


@pytest.mark.parametrize("seed", range(60))
def test_rows_do_not_depend_on_when_they_are_swept_and_drained(seed: int) -> None:
    rng = random.Random(seed)
    plan = random_plan(rng, endless=0.08)
    records = [random_record(rng, number, len(plan.streams)) for number in range(150)]
    ports = (2,) * len(plan.streams)
    often, once = Mirror(plan, ports), Mirror(plan, ports)
    for begin in range(0, 150, 10):
        for mirror in (often, once):
            mirror.take(*records[begin : begin + 10])
        if rng.random() < 0.3:
            once.engine.sweep()
        often.flush()

    assert once.flush() == often.stored


def random_plan(rng: random.Random, endless: float) -> Plan:
    streams = tuple(
        stream_of(
            place, FIELDS, lateness_us=rng.choice([0, HOUR, DAY]), skew_us=rng.choice([HOUR, DAY]),
            revise=place > 0 and rng.random() < 0.6,
        )
        for place in range(rng.choice([1, 2, 3]))
    )  # fmt: skip
    tables: list[TablePlan] = []
    for stream in streams:
        ops: list[Op] = []
        windows: list[Window] = []
        for _ in range(rng.choice([0, 1, 2]) if stream.place == 0 else rng.choice([1, 2])):
            node = sum(len(one.ops) for one in tables) + len(ops)
            if rng.random() < endless:
                ops.append(Op(Stat.SINCE_LAST, node, empty=math.nan))
                continue
            windows.append(Window(rng.choice([HOUR, 3 * HOUR]), rng.choice([0, HOUR])))
            stat = rng.choice([Stat.COUNT, Stat.SUM, Stat.MAX])
            column = -1 if stat is Stat.COUNT else 0
            ops.append(Op(stat, node, len(windows) - 1, column))
        at = [op.node for op in ops]
        tables.append(table(stream.place, tuple(windows), tuple(ops), *at))
    return plan_of(streams, tuple(tables))


def random_record(rng: random.Random, number: int, streams: int) -> Record:
    back = rng.choice([0, 0, 1, MINUTE, HOUR, 3 * HOUR, DAY])
    values = {
        "id": rng.randrange(12),
        "card": rng.choice(["a", "b", "c", "d", None]),
        "amount": rng.randrange(5),
    }
    after_us = number * rng.choice([MINUTE, 20 * MINUTE]) - back
    return Record(rng.choice([0, 0, *range(streams)]), after_us, values, rng.randrange(2))


@dataclass
class Slow:
    """Every row is made anew from the list of all that was ever aggregated."""

    plan: Plan
    entries: list[tuple[Record, int]] = field(default_factory=list)
    rows: dict[str, Stored] = field(default_factory=dict)
    seq: int = 0

    def take(self, record: Record, fate: int, horizon_us: int, line_us: int) -> None:
        """Aggregate a record that was judged already; lines after ``START``, as of before it."""
        changed = set()
        stream = self.plan.streams[record.stream]
        reach_us = max(t.reach_us for t in self.plan.tables if t.stream == record.stream)
        closed_us = min(line_us, horizon_us - reach_us)
        if fate == FATE_APPLIED:
            for old in list(self.entries):
                same = old[0].stream == record.stream and old[0].values["id"] == record.values["id"]
                if stream.revise and same and old[0].after_us > closed_us:
                    self.entries.remove(old)
                    changed.add(old[0].values["card"])
            if record.values["card"] is not None:
                self.entries.append((record, self.seq))
                changed.add(record.values["card"])
        for key in sorted(map(str, changed)):
            self.rewrite(key, horizon_us)
        self.seq += 1

    def rewrite(self, key: str, horizon_us: int) -> None:
        time_us = self.newest_us(key)
        if time_us is None:
            return
        words, moments = [], []
        now = [self.members(key, t, op, time_us, horizon_us) for t, op in self.ops()]
        for (one, op), members in zip(self.ops(), now, strict=True):
            amounts = [int(record.values["amount"] or 0) for record in members]
            found = float(len(members) if op.stat is Stat.COUNT else sum(amounts))
            if op.stat is Stat.MAX:
                found = float(max(amounts)) if members else op.empty
            words.append(found)
            window = one.windows[op.window]
            for record, _ in self.entries:
                ends = (window.delay_us, window.reach_us)
                moments += [record.after_us + end_us for end_us in ends]
        for moment_us in sorted({moment for moment in moments if moment > time_us}):
            then = [self.members(key, t, op, moment_us, horizon_us) for t, op in self.ops()]
            if then != now:
                self.rows[key] = (time_us, moment_us, self.seq, tuple(words))
                return
        self.rows[key] = (time_us, FOREVER, self.seq, tuple(words))

    def ops(self) -> list[tuple[TablePlan, Op]]:
        return [(one, op) for one in self.plan.tables for op in one.ops]

    def newest_us(self, key: str) -> int | None:
        mine = [r.after_us for r, _ in self.entries if r.stream == 0 and r.values["card"] == key]
        return max(mine, default=None)

    def members(
        self, key: str, one: TablePlan, op: Op, as_of_us: int, horizon_us: int
    ) -> list[Record]:
        window = one.windows[op.window]
        low_us = max(as_of_us, horizon_us) - window.reach_us
        return [
            record
            for record, _ in sorted(self.entries, key=lambda e: (e[0].after_us, e[1]))
            if (record.stream, record.values["card"]) == (one.stream, key)
            and low_us < record.after_us <= as_of_us - window.delay_us
        ]

    def live(self, horizon_us: int) -> dict[str, Stored]:
        gone_us = horizon_us - self.plan.reach_us
        return {key: row for key, row in self.rows.items() if row[0] > gone_us}


@pytest.mark.parametrize("seed", range(40))
def test_rows_equal_lists(seed: int) -> None:
    rng = random.Random(seed)
    plan = random_plan(rng, endless=0.0)
    # The scored stream reaches furthest: its newest event is remembered while there is a row.
    first = plan.tables[0]
    longest = Op(Stat.COUNT, plan.nodes, len(first.windows))
    scored = table(
        0, (*first.windows, Window(DAY)), (*first.ops, longest), *first.row_at, plan.nodes
    )
    plan = plan_of(plan.streams, (scored, *plan.tables[1:]))
    mirror, slow = Mirror(plan, (2,) * len(plan.streams)), Slow(plan)
    for number in range(150):
        record = random_record(rng, number, len(plan.streams))
        clocks = mirror.engine.clocks
        lines = clocks.horizon_us - START, int(clocks.fold_us[record.stream]) - START
        found = mirror.take(record)
        slow.take(record, int(found.fates[record.stream][0]), *lines)
        if rng.random() < 0.3:
            assert mirror.flush() == in_order(slow.live(clocks.horizon_us - START), plan)


def in_order(rows: dict[str, Stored], plan: Plan) -> dict[str, Stored]:
    """Put the words, which are in the order of tables, in that of the vector; NaN is -1."""
    at = [place for one in plan.tables for place in one.row_at]
    return {
        key: (
            time_us,
            until_us,
            seq,
            tuple(-1.0 if math.isnan(w) else w for _, w in sorted(zip(at, words, strict=True))),
        )
        for key, (time_us, until_us, seq, words) in rows.items()
    }
