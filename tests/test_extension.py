"""Adding a statistic: this test names each place that does not know it yet.

A statistic is a ``Stat``, and a row in each table by which the parts know it. ``missing`` looks
into every table, then computes the statistic of a short story and compares it with ``naive``.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from definitions import meaning_of
from meaning import Event, Statistic, bits
from naive import Naive
from naive_statistics import NAIVE
from readme import README

from noskew.dataflows import Pipeline
from noskew.dataflows.card_fraud import payments
from noskew.dataflows.core.shape import NEEDS
from noskew.dataflows.definition import expression
from noskew.dataflows.definition.entity import Entity
from noskew.dataflows.definition.expression import NAMES
from noskew.dataflows.definition.feature import Feature
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.testing import vectors
from noskew.kernels import layout

NOON_US = 1_714_564_800_000_000
STORY: list[dict[str, Any]] = [
    {
        "transaction_id": number,
        "event_time": NOON_US + minute * 60_000_000,
        "customer_id": 1,
        "terminal_id": terminal,
        "amount_cents": cents,
    }
    for number, (minute, terminal, cents) in enumerate(
        [(0, 7, 500), (9, 7, 900), (20, None, 200), (25, None, 900), (42, 8, 700)]
    )
]
"""Of its last event every statistic has another value."""


def missing(name: str, number: int) -> list[str]:
    """Return what has to be written where, before statistic ``Stat.<name>`` exists."""
    found = []
    constant = f"OP_{name}"
    if name not in Stat.__members__:
        return [f"dataflows/definition/plan.py: class Stat has no {name} = {number}"]
    stat = Stat[name]
    if getattr(layout, constant, None) != stat:
        found.append(f"kernels/layout.py: no {constant}: Final = {int(stat)}, as in Stat")
    if stat not in NEEDS:
        found.append(f"dataflows/core/shape.py: no row Stat.{name} in NEEDS")
    if stat not in NAMES:
        found.append(f"dataflows/definition/expression.py: no row Stat.{name} in NAMES")
    elif not hasattr(Entity, NAMES[stat]):
        found.append(f"dataflows/definition/entity.py: Entity has no method {NAMES[stat]}")
    if stat not in NAIVE:
        found.append(f"tests/naive_statistics.py: no row Stat.{name} in NAIVE")
    if f"`{NAMES.get(stat, name.lower())}(" not in README.read_text():
        found.append(f"README.md: {NAMES.get(stat, name.lower())} is not in the table")
    if not found:
        computed, meant = values(stat)
        if bits(computed) != bits(meant):
            found.append(
                f"kernels/statistics.py: what it computes for {constant} is {computed!r}, and "
                f"tests/naive_statistics.py says {meant!r}"
            )
    return found


def written(stat: Stat) -> Feature:
    """Return a statistic as a user writes it, with the settings that its method takes."""
    call = getattr(payments.by("customer_id"), NAMES[stat])
    takes = inspect.signature(call).parameters
    settings: dict[str, Any] = {}
    if "half_life" in takes:
        settings["half_life"] = "1h"
    elif "settings" in takes:
        settings["over"] = "1h"
    if stat is Stat.COUNT_VALUES:
        settings["column"] = "terminal_id"
    elif "column" in takes and takes["column"].default is inspect.Parameter.empty:
        settings["column"] = "amount_cents"
    found = call(**settings).named("asked")
    assert isinstance(found, Feature)
    assert isinstance(found.expression, expression.Statistic)
    assert found.expression.stat is stat, "its method makes another statistic"
    return found


def values(stat: Stat) -> tuple[float, float]:
    """Return a statistic of the story's last event, as computed and as meant."""
    pipeline = Pipeline(name="one", score=payments, features=[written(stat)])
    naive = Naive(meaning_of(pipeline), [1])
    for event in STORY:
        told = naive.process(Event(0, event["transaction_id"], event["event_time"], event))
    (meant,) = told.vector
    return vectors(pipeline, STORY)[-1]["asked"], meant


@pytest.mark.parametrize("stat", Stat, ids=lambda stat: stat.name)
def test_a_statistic_is_known_everywhere(stat: Stat) -> None:
    assert missing(stat.name, stat) == []


def test_every_statistic_of_the_kernels_is_one_of_the_plan() -> None:
    numbers = {name: value for name, value in vars(layout).items() if name.startswith("OP_")}

    assert numbers == {f"OP_{stat.name}": stat for stat in Stat}
    assert sorted(Stat) == list(range(len(Stat))), "numbers are appended, none is left out"
    assert set(NEEDS) == set(NAMES) == set(NAIVE) == set(Stat)


def test_the_story_tells_statistics_apart() -> None:
    computed = {stat: values(stat)[0] for stat in Stat}

    assert len(set(computed.values())) == len(Stat), computed


def test_a_new_one_is_told_where_it_begins() -> None:
    assert missing("SPAN", 16) == ["dataflows/definition/plan.py: class Stat has no SPAN = 16"]


@pytest.mark.parametrize(
    ("place", "table", "rows"),
    [
        ("kernels/layout.py", "layout", SimpleNamespace()),
        ("kernels/layout.py", "layout", SimpleNamespace(OP_MAX=4)),
        ("dataflows/core/shape.py", "NEEDS", {}),
        ("dataflows/definition/expression.py", "NAMES", {}),
        ("dataflows/definition/entity.py", "Entity", object),
        ("tests/naive_statistics.py", "NAIVE", {}),
        ("README.md", "README", Path(__file__).with_name("naive.py")),
    ],
)
def test_each_place_that_lacks_it_is_named(
    monkeypatch: pytest.MonkeyPatch, place: str, table: str, rows: object
) -> None:
    monkeypatch.setitem(globals(), table, rows)

    (told,) = missing("MAX", Stat.MAX)

    assert told.startswith(f"{place}: ")
    assert "max" in told.lower()


def test_what_is_computed_wrongly_is_told_with_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAIVE, Stat.MAX, lambda _: 5.0)

    (told,) = missing("MAX", Stat.MAX)

    assert told.startswith("kernels/statistics.py: what it computes for OP_MAX is 900.0, and ")
    assert told.endswith("says 5.0")


def test_the_meaning_read_is_the_statistic_written() -> None:
    pipeline = Pipeline(name="one", score=payments, features=[written(Stat.MAX)])

    (meant,) = meaning_of(pipeline).stats()
    assert meant == Statistic(Stat.MAX, "customer_id", over_us=3_600_000_000, column="amount_cents")
