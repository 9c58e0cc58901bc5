"""The sizes that `noskew check` tells are those of the state's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.dataflows import Pipeline
from noskew.dataflows.core.table import Table
from noskew.dataflows.definition import sizes
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    from noskew.dataflows import Stream


def test_the_sizes_told_are_those_of_the_state(payments: Stream) -> None:
    card = payments.by("customer_id")
    minimum = card.min("amount_cents", over="1d")
    features = [
        card.mean("amount_cents", over=["1d", "7d"]),
        card.max("tip_cents", over="1d"),
        minimum,
        card.max("amount_cents", over="1d"),
        (minimum * 2).named("twice"),
        card.since_last(),
    ]
    plan = compile_plan(Pipeline(name="p", score=payments, features=features))
    nullable = plan.scored.nullable

    told = sizes.bytes_per_key(plan.tables[0], nullable)
    table = Table(plan.tables[0], nullable)
    state = table._state

    slot = state.slots.itemsize * state.slots.shape[1]
    entry = state.entries.itemsize * state.entries.shape[1]
    chunk = state.chunks.itemsize * state.chunks.shape[1]
    entries_per_chunk = len(state.entries) // len(state.chunks)
    assert told == slot + state.changed.itemsize + 2 * state.lookup.itemsize
    assert sizes.bytes_per_entry(plan.tables[0]) == entry
    assert sizes.bytes_per_chunk(plan.tables[0]) == chunk + entries_per_chunk * entry
