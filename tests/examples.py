"""Small definitions and records, for examples of what the contract means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from meaning import Event, Meaning, Source, Statistic
from naive import Naive
from strategies import AMOUNT, COUNTRY, CUSTOMER, DAY, HOUR, ONLINE, PAYMENT, PRICE, START_US

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from meaning import Expression, Value

MINUTE = HOUR // 60


def source(**settings: Any) -> Source:
    usual: dict[str, Any] = {"allowed_lateness_us": HOUR, "max_skew_us": DAY, "quantum": {PRICE: 2}}
    return Source(PAYMENT, CUSTOMER, **(usual | settings))


def meaning(*features: Expression, **settings: Any) -> Meaning:
    return Meaning({f"f{i}": f for i, f in enumerate(features)}, (source(**settings),))


def labelled(*features: Expression, **settings: Any) -> Meaning:
    """Payments, and labels that may come a day late and be revised."""
    labels = source(**({"allowed_lateness_us": DAY, "revise": True} | settings))
    return Meaning({f"f{i}": f for i, f in enumerate(features)}, (source(), labels))


def count(over_us: int | None = HOUR, **settings: Any) -> Statistic:
    return Statistic(Stat.COUNT, CUSTOMER, over_us, **settings)


def of(stat: Stat, over_us: int | None = HOUR, column: str = AMOUNT, **settings: Any) -> Statistic:
    return Statistic(stat, CUSTOMER, over_us, column, **settings)


def event(
    after_us: int,
    amount: Value = 100,
    customer: Value = 1,
    partition: int = 0,
    number: int = 0,
    **more: Value,
) -> Event:
    values = {CUSTOMER: customer, PAYMENT: number, AMOUNT: amount, ONLINE: 0, COUNTRY: None}
    return Event(partition, after_us, START_US + after_us, {**values, PRICE: None, **more})


def label(after_us: int, amount: Value = 1, **more: Any) -> Event:
    return replace(event(after_us, amount, **more), stream=1)


def vectors(what: Meaning, events: list[Event], partitions: int = 1) -> list[list[float]]:
    naive = Naive(what, [partitions] * len(what.streams))
    return [naive.process(one).vector for one in events]


def same(values: list[float]) -> Any:
    return pytest.approx(values, rel=0, abs=0, nan_ok=True)
