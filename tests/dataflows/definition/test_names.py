"""A feature's name and its description are derived from what it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from noskew.dataflows import Pipeline
from noskew.dataflows.definition.expression import describe
from noskew.dataflows.definition.feature import FeatureGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows import Stream
    from noskew.dataflows.definition.feature import Operand

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
    (
        lambda s: s.by("customer_id").count(),
        ["customer_id_count_all"],
        "count of events per customer_id over all of history",
    ),
    (
        lambda s: s.by("customer_id").var("amount_cents", over="1d"),
        ["customer_id_amount_cents_var_1d"],
        "var of amount_cents per customer_id over 1d",
    ),
    (
        lambda s: s.by("customer_id").std("amount_cents", over="1d", ddof=0),
        ["customer_id_amount_cents_std_1d"],
        "std of amount_cents per customer_id over 1d, ddof 0",
    ),
    (
        lambda s: s.by("customer_id").first("entry_mode", over="1d"),
        ["customer_id_entry_mode_first_1d"],
        "first of entry_mode per customer_id over 1d",
    ),
    (
        lambda s: s.by("customer_id").last("maybe_at", over=None, delay="1h"),
        ["customer_id_maybe_at_last_all_delay_1h"],
        "last of maybe_at per customer_id over all of history, delayed 1h",
    ),
    (
        lambda s: s.by("customer_id").distinct("country", over=["1d", None]),
        ["customer_id_country_distinct_1d", "customer_id_country_distinct_all"],
        "distinct of country per customer_id over 1d",
    ),
    (
        lambda s: s.by("terminal_id").rate(over="1h"),
        ["terminal_id_rate_1h"],
        "rate of events per terminal_id over 1h",
    ),
    (
        lambda s: s.by("customer_id").decayed_sum("ratio", half_life="1d"),
        ["customer_id_ratio_decayed_sum_1d"],
        "decayed_sum of ratio per customer_id with half-life 1d",
    ),
    (
        lambda s: s.by("customer_id").decayed_count(half_life=["1h", "24h"]),
        ["customer_id_decayed_count_1h", "customer_id_decayed_count_1d"],
        "decayed_count of events per customer_id with half-life 1h",
    ),
    (
        lambda s: s.by("customer_id").ewma("tip_cents", half_life="90s"),
        ["customer_id_tip_cents_ewma_90s"],
        "ewma of tip_cents per customer_id with half-life 90s",
    ),
    (
        lambda s: s.by("customer_id").count(
            over="30d",
            closed="left",
            include_self=False,
            resolution="1h",
            empty=math.nan,
            where=s.column("amount_cents") > 5,
        ),
        ["customer_id_count_30d"],
        (
            "count of events per customer_id over 30d, old end in steps of 1h, closed left, "
            "without itself, where amount_cents > 5, empty NaN"
        ),
    ),
    (
        lambda s: s.by("customer_id").mean("tip_cents", over="1d", empty=-1),
        ["customer_id_tip_cents_mean_1d"],
        "mean of tip_cents per customer_id over 1d, empty -1.0",
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


def test_what_semantics_make_of_a_window_is_in_its_description(payments: Stream) -> None:
    count = payments.by("customer_id").count(over="13d")

    pipeline = Pipeline(name="p", score=payments, features=[count], semantics="chronon")

    assert describe(pipeline.features[0].expression) == (
        "count of events per customer_id over 13d, old end in steps of 1d, closed left, without "
        "itself"
    )
