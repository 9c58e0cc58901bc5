"""A small plan and its rows, for tests of the store and of its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.rows import Rows
from noskew.dataflows.definition.plan import WINDOWLESS, Op, Plan, Stat, TablePlan, Window
from noskew.dataflows.store.rows import NEVER
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Sequence

FINGERPRINT = bytes(range(1, 33))
CUSTOMER = "customer_id"
TERMINAL = "terminal_id"
HOUR_US = 3_600_000_000


def plan() -> Plan:
    """Return a plan of payments and labels.

    The int entity has statistics of payments: a sum, since_last, a mean, a decayed sum. The string
    entity has some of both, mixed in the vector: a count of labels, one of payments, a decayed
    count of labels.
    """
    moving = {"sum_1h": Stat.SUM, "since": Stat.SINCE_LAST, "m": Stat.MEAN}
    tables = (
        table(0, CUSTOMER, moving | {"faded": Stat.DECAYED_SUM}, (0, 1, 2, 3)),
        table(0, TERMINAL, {"n_1d": Stat.COUNT}, (1,)),
        table(1, TERMINAL, {"frauds": Stat.COUNT, "faded_frauds": Stat.DECAYED_COUNT}, (0, 2)),
    )
    names = ("sum_1h", "since", "m", "faded", "frauds", "n_1d", "faded_frauds")
    return Plan(
        name="pay",
        streams=(),
        tables=tables,
        rows=(),
        names=names,
        nodes=len(names),
        ordered=(False,) * 4 + (True,) * 3,
        fingerprint=FINGERPRINT,
        model=None,
    )


def table(stream: int, entity: str, stats: dict[str, Stat], at: tuple[int, ...]) -> TablePlan:
    """Return a table plan of which only what the store reads is meant."""
    return TablePlan(
        stream=stream,
        entity=entity,
        key_type="int" if entity == CUSTOMER else "string",
        primary=entity == CUSTOMER,
        columns=(),
        filters=(),
        windows=(Window(HOUR_US),),
        ops=tuple(
            Op(stat, node=0, window=-1 if stat in WINDOWLESS else 0, half_life_us=HOUR_US)
            for stat in stats.values()
        ),
        row=tuple(range(len(stats))),
        row_at=at,
        row_names=tuple(stats),
    )


def customers(
    ids: Sequence[int],
    *,
    seq: int = 0,
    slots: Sequence[int] | None = None,
    gone: Sequence[int] = (),
    time_us: int = 1_000_000,
    until_us: int = NEVER,
) -> Rows:
    """Return rows of the int entity: every word says which id and seq it is of."""
    words = np.empty((len(ids), 6), np.int64)
    words[:, 0] = (np.array(ids, np.float64) * 1000 + seq).view(np.int64)
    words[:, 1] = time_us
    words[:, 2] = 0
    words[:, 3] = np.full(len(ids), seq + 0.5).view(np.int64)
    words[:, 4] = time_us
    words[:, 5] = np.full(len(ids), 8.0).view(np.int64)
    return Rows(
        entity=CUSTOMER,
        slot=np.array(ids if slots is None else slots, np.int32),
        key=np.array(ids, np.int64),
        time_us=np.full(len(ids), time_us, np.int64),
        until_us=np.full(len(ids), until_us, np.int64),
        seq=np.full(len(ids), seq, np.int64),
        words=words,
        gone=np.array(gone, np.int64),
    )


def terminals(
    ids: Sequence[str],
    *,
    seq: int = 0,
    slots: Sequence[int] | None = None,
    gone: Sequence[str] = (),
) -> Rows:
    """Return rows of the string entity: ``seq`` payments, no label in reach, one long ago."""
    words = np.zeros((len(ids), 4), np.int64)
    words[:, 1] = np.full(len(ids), float(seq)).view(np.int64)
    words[:, 2] = 1_000_000 - HOUR_US
    words[:, 3] = np.full(len(ids), 1.0).view(np.int64)
    return Rows(
        entity=TERMINAL,
        slot=np.array(range(len(ids)) if slots is None else slots, np.int32),
        key=Strings.from_list(ids),
        time_us=np.full(len(ids), 1_000_000, np.int64),
        until_us=np.full(len(ids), NEVER, np.int64),
        seq=np.full(len(ids), seq, np.int64),
        words=words,
        gone=Strings.from_list(gone),
    )
