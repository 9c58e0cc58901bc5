"""How much memory a table's keys and entries take, from its plan and the layout of its state.

What is counted is what a key uses; arrays double as they grow, so up to twice that is reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition.plan import Stat
from noskew.kernels.layout import CHUNK, CHUNK_COLUMNS, EDGE_SUMS, SLOT_EDGES

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import TablePlan

_WORD: Final = 8
_INDEX: Final = 12
"""Bytes beside a slot: its place in the list of changes, and two of the hash table (half full)."""


def bytes_per_key(table: TablePlan, nullable: frozenset[str]) -> int:
    """Return the bytes of one key's state without its entries.

    The slot's fields; per edge its position, its number of members and, per column, a sum and
    (if the column is in ``nullable``) a number of values; one word per different minimum and
    maximum; its share of the index. The text of string keys comes on top.
    """
    edge = EDGE_SUMS + len(table.columns) + sum(name in nullable for name in table.columns)
    ops = zip(
        table.op_kind.tolist(), table.op_window.tolist(), table.op_column.tolist(), strict=True
    )
    extremes = {op for op in ops if op[0] in (Stat.MIN, Stat.MAX)}
    return _WORD * (SLOT_EDGES + len(table.edge_low) * edge + len(extremes)) + _INDEX


def bytes_per_entry(table: TablePlan) -> int:
    """Return the bytes of one entry: its time, and a word per aggregated column."""
    return _WORD * (1 + len(table.columns))


def bytes_per_chunk(table: TablePlan) -> int:
    """Return the bytes of one chunk, the unit in which a key with entries takes memory."""
    return _WORD * (CHUNK_COLUMNS + 4 * len(table.columns)) + CHUNK * bytes_per_entry(table)
