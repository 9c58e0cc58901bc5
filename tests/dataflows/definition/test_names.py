"""A feature's name and its description are derived from what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from noskew.dataflows.definition.expression import FeatureGroup, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows import Stream
    from noskew.dataflows.definition.expression import Operand

# What is written -> its names -> what it is in words.
WRITTEN: list[tuple[Callable[[Stream], Operand], list[str], str]] = [
    (
        lambda s: s.by("customer_id").count(over="1h"),
        ["customer_id_count_1h"],
        "count of events per customer_id over 1h",
    ),
    (
        lambda s: s.by("customer_id").count(over=["1h", "1d", "24h"]),
        ["customer_id_count_1h", "customer_id_count_1d", "customer_id_count_1d"],
        "count of events per customer_id over 1h",
    ),
    (
        lambda s: s.by("customer_id").count("tip_cents", over="7d"),
        ["customer_id_tip_cents_count_7d"],
        "count of tip_cents per customer_id over 7d",
    ),
    (
        lambda s: s.by("customer_id").sum("is_online", over="90m"),
        ["customer_id_is_online_sum_90m"],
        "sum of is_online per customer_id over 90m",
    ),
    (
        lambda s: s.by("customer_id").mean("amount_cents", over="7d"),
        ["customer_id_amount_cents_mean_7d"],
        "mean of amount_cents per customer_id over 7d",
    ),
    (
        lambda s: s.by("terminal_id").min("amount_cents", over=("1d",), delay="7d"),
        ["terminal_id_amount_cents_min_1d_delay_7d"],
        "min of amount_cents per terminal_id over 1d, delayed 7d",
    ),
    (
        lambda s: s.by("terminal_id").max("tip_cents", over="1d", delay="0s"),
        ["terminal_id_tip_cents_max_1d"],
        "max of tip_cents per terminal_id over 1d",
    ),
    (
        lambda s: s.by("customer_id").since_last(),
        ["customer_id_since_last"],
        "seconds since the last event per customer_id",
    ),
    (lambda s: s.column("amount_cents"), ["amount_cents"], "amount_cents"),
    (lambda s: s.hour(), ["hour"], "hour of event_time (UTC)"),
    (lambda s: s.weekday(), ["weekday"], "weekday of event_time (UTC)"),
    (
        lambda s: s.hour(utc_offset="-03:30"),
        ["hour_utc_minus_0330"],
        "hour of event_time (UTC-03:30)",
    ),
    (
        lambda s: s.weekday(utc_offset="+02:00"),
        ["weekday_utc_plus_0200"],
        "weekday of event_time (UTC+02:00)",
    ),
    (
        lambda s: ((s.hour() + 1) / (2.5 - s.weekday())).named("odd"),
        ["odd"],
        "(hour of event_time (UTC) + 1) / (2.5 - weekday of event_time (UTC))",
    ),
    (
        lambda s: (3 * s.hour() - 1 / s.hour()).named("odder"),
        ["odder"],
        "(3 * hour of event_time (UTC)) - (1 / hour of event_time (UTC))",
    ),
    (lambda s: s.hour().named("a").named("h"), ["h"], "hour of event_time (UTC)"),
]


@pytest.mark.parametrize(("write", "names", "what"), WRITTEN)
def test_a_name_is_derived_from_what_the_feature_is(
    payments: Stream, write: Callable[[Stream], Operand], names: list[str], what: str
) -> None:
    features = list(write(payments))

    assert [feature.name for feature in features] == names
    assert describe(features[0].expression) == what


def test_several_windows_give_a_group_in_their_order_and_one_window_a_feature(
    payments: Stream,
) -> None:
    card = payments.by("customer_id")
    group = card.count(over=["7d", "1h"])

    assert isinstance(group, FeatureGroup)
    assert len(group) == 2
    assert group[1].expression == card.count(over="1h")[0].expression
    assert not isinstance(card.count(over="7d"), FeatureGroup)


def test_a_group_of_one_takes_part_in_arithmetic(payments: Stream) -> None:
    ratio = payments.column("amount_cents") / payments.by("customer_id").count(over=["1d"])

    assert str(ratio) == "amount_cents / count of events per customer_id over 1d"
