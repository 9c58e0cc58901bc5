"""A small plan and its rows, for tests of the store and of its client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.rows import Rows
from noskew.dataflows.definition.plan import Plan, Stat, TablePlan
from noskew.dataflows.store.rows import NEVER
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Sequence

FINGERPRINT = bytes(range(1, 33))
CUSTOMER = "customer_id"
TERMINAL = "terminal_id"


def plan() -> Plan:
    """Return a plan with an int entity (a sum, since_last, a mean) and a string entity."""
    return Plan(
        name="pay",
        streams=(),
        tables=(
            table(CUSTOMER, "int", {"sum_1h": Stat.SUM, "since": Stat.SINCE_LAST, "m": Stat.MEAN}),
            table(TERMINAL, "string", {"n_1d": Stat.COUNT}),
        ),
        rows=(),
        names=("sum_1h", "since", "m", "n_1d"),
        nodes=4,
        ordered=(False, False, False, True),
        fingerprint=FINGERPRINT,
        model=None,
    )


def table(entity: str, key_type: str, stats: dict[str, Stat]) -> TablePlan:
    """Return a table plan of which only what the store reads is meant."""
    return TablePlan(
        stream=0,
        entity=entity,
        key_type=key_type,
        primary=key_type == "int",
        columns=(),
        edge_offset_us=np.zeros(1, np.int64),
        edge_low=np.zeros(1, np.bool_),
        window_low=np.zeros(0, np.int32),
        window_high=np.zeros(0, np.int32),
        op_kind=np.array(list(stats.values()), np.int32),
        op_window=np.full(len(stats), -1, np.int32),
        op_column=np.full(len(stats), -1, np.int32),
        op_node=np.arange(len(stats), dtype=np.int32),
        row_ops=np.arange(len(stats), dtype=np.int32),
        row_names=tuple(stats),
        reach_us=0,
        anchored=Stat.SINCE_LAST in stats.values(),
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
    words = np.empty((len(ids), 4), np.int64)
    words[:, 0] = (np.array(ids, np.float64) * 1000 + seq).view(np.int64)
    words[:, 1] = time_us
    words[:, 2] = 0
    words[:, 3] = np.full(len(ids), seq + 0.5).view(np.int64)
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
    """Return rows of the string entity."""
    return Rows(
        entity=TERMINAL,
        slot=np.array(range(len(ids)) if slots is None else slots, np.int32),
        key=Strings.from_list(ids),
        time_us=np.full(len(ids), 1_000_000, np.int64),
        until_us=np.full(len(ids), NEVER, np.int64),
        seq=np.full(len(ids), seq, np.int64),
        words=np.full((len(ids), 1), float(seq)).view(np.int64),
        gone=Strings.from_list(gone),
    )
