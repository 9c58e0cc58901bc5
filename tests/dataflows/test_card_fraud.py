"""The reference definition keeps its meaning, its names and what it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from noskew.dataflows import card_fraud
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.definition.plan import Stat

PINNED = "facae5ae9bf3a5e4e8941583db257272ad3de7140e3bb47d4f77d8a00a8bc17f"
"""Change it only together with what the features mean: models trained before do not fit after."""

NAMES = (
    "amount_cents",
    "hour",
    "weekday",
    "customer_id_count_1h",
    "customer_id_count_1d",
    "customer_id_count_7d",
    "customer_id_count_30d",
    "customer_id_amount_cents_sum_1d",
    "customer_id_amount_cents_mean_1d",
    "customer_id_amount_cents_mean_7d",
    "customer_id_amount_cents_mean_30d",
    "customer_id_amount_cents_min_30d",
    "customer_id_amount_cents_max_30d",
    "amount_vs_mean_30d",
    "customer_id_since_last",
    "terminal_id_count_1d_delay_7d",
    "terminal_id_count_7d_delay_7d",
    "terminal_id_count_30d_delay_7d",
    "terminal_id_amount_cents_sum_1d",
    "terminal_id_amount_cents_mean_30d_delay_7d",
    "terminal_id_amount_cents_min_7d_delay_7d",
    "terminal_id_amount_cents_max_7d",
)


def test_the_reference_definition_keeps_its_meaning() -> None:
    assert compile_plan(card_fraud.pipeline).fingerprint.hex() == PINNED


def test_the_reference_definition_keeps_its_names_and_their_order() -> None:
    plan = compile_plan(card_fraud.pipeline)

    assert plan.names == NAMES
    assert [name for name, ordered in zip(NAMES, plan.ordered, strict=True) if ordered] == [
        name for name in NAMES if name.startswith("terminal_id")
    ]


def test_loaded_as_a_file_it_is_the_same() -> None:
    assert card_fraud.__file__ is not None

    plan = compile_plan(load(Path(card_fraud.__file__)))

    assert plan.fingerprint.hex() == PINNED
    assert plan.model == "card_fraud"


@pytest.mark.parametrize("entity", ["customer_id", "terminal_id"])
def test_every_statistic_occurs_for_both_entities(entity: str) -> None:
    (table,) = (t for t in compile_plan(card_fraud.pipeline).tables if t.entity == entity)

    kinds = set(table.op_kind.tolist())

    assert {Stat.COUNT, Stat.SUM, Stat.MEAN, Stat.MIN, Stat.MAX} <= kinds
