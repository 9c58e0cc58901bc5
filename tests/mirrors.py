"""What a store holds of an entity kept by two streams, in plain Python, and plans to fill it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from turns import DAY, HOUR, START, Record, plan_of, stream_of, turn_of

from noskew.dataflows.core.engine import Engine
from noskew.dataflows.definition.plan import ColumnPlan, Op, Stat, TablePlan, Window
from noskew.dataflows.store.rows import entity_rows, evaluate
from noskew.kernels.layout import FOREVER
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from noskew.dataflows.core.engine import Features
    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.definition.plan import Plan, StreamPlan

FIELDS = {"card": "string", "amount": "int"}
STREAMS = (
    stream_of(0, FIELDS, lateness_us=0, skew_us=DAY),
    stream_of(1, FIELDS, lateness_us=10 * DAY, skew_us=DAY, revise=True),
)


def table(stream: int, windows: tuple[Window, ...], ops: tuple[Op, ...], *at: int) -> TablePlan:
    return TablePlan(
        stream=stream, entity="card", key_type="string", primary=stream == 0,
        columns=(ColumnPlan("amount"),), filters=(), windows=windows, ops=ops,
        row=tuple(range(len(ops))), row_at=at, row_names=tuple(f"f{place}" for place in at),
    )  # fmt: skip


def windowed(streams: tuple[StreamPlan, ...] = STREAMS) -> Plan:
    """Payments: sums over an hour at place 1; labels: counts over two hours at 0 and 2."""
    payments = table(0, (Window(HOUR),), (Op(Stat.SUM, 1, 0, column=0),), 1)
    ops = (Op(Stat.COUNT, 0, 0), Op(Stat.MEAN, 2, 0, column=0, empty=math.nan))
    return plan_of(streams, (payments, table(1, (Window(HOUR, delay_us=HOUR),), ops, 0, 2)))


def pay(after_us: int, card: str | None, amount: int = 1, partition: int = 0) -> Record:
    return Record(0, after_us, {"id": 0, "card": card, "amount": amount}, partition)


def mark(after_us: int, number: int, card: str | None, amount: int = 1) -> Record:
    return Record(1, after_us, {"id": number, "card": card, "amount": amount})


Stored: TypeAlias = tuple[int, int, int, tuple[float, ...]]
"""Time and ``valid_until`` after ``START``, seq, words as floats (NaN as -1)."""


@dataclass
class Mirror:
    """What a store holds after each flush."""

    plan: Plan
    partitions: tuple[int, ...] = (1, 1)
    engine: Engine = field(init=False)
    rows: dict[str, Rows] = field(default_factory=dict)
    stored: dict[str, Stored] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    seq: int = 0

    def __post_init__(self) -> None:
        self.engine = Engine(self.plan, self.partitions)

    def take(self, *records: Record) -> Features:
        """Have records processed as one turn."""
        turn = turn_of(self.plan.streams, self.partitions, records, self.seq)
        self.seq += len(records)
        return self.engine.process(turn)

    def flush(self) -> dict[str, Stored]:
        """Sweep, drain, apply; return what is stored then."""
        self.engine.sweep()
        (drained,) = self.engine.rows()
        assert isinstance(drained.key, Strings)
        assert isinstance(drained.gone, Strings)
        keys = [str(key) for key in drained.key.to_list()]
        gone = [str(key) for key in drained.gone.to_list()]
        assert len({*keys, *gone}) == len(keys) + len(gone)
        assert len(set(drained.slot.tolist())) == len(keys)
        for row, key in enumerate(keys):
            until_us = int(drained.until_us[row])
            self.stored[key] = (
                int(drained.time_us[row]) - START,
                FOREVER if until_us == FOREVER else until_us - START,
                int(drained.seq[row]),
                tuple(np.nan_to_num(drained.words[row].view(np.float64), nan=-1.0).tolist()),
            )
        for key in gone:
            self.stored.pop(key, None)
        self.written, self.deleted = keys, gone
        self.rows = dict.fromkeys(keys, drained)
        return self.stored

    def values(self, key: str, at_us: int) -> dict[str, float]:
        """Return what a reader is told, of a row that was written just now."""
        drained = self.rows[key]
        words = drained.words[self.written.index(key)]
        return evaluate(entity_rows(self.plan)["card"].fields, words, START + at_us)
