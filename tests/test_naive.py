"""The reference says what DESIGN sections 3.2 to 3.4 say: examples written out."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from examples import MINUTE, count, event, meaning, of, same, vectors
from meaning import (
    And,
    Arithmetic,
    Calendar,
    Compare,
    Field,
    Literal,
    Not,
    Statistic,
)
from naive import CAPPED, INCOMPLETE, Naive
from naive_statistics import NAIVE, half_power
from strategies import AMOUNT, COUNTRY, CUSTOMER, DAY, HOUR, PRICE

from noskew.dataflows.definition.plan import Stat

# -- windows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "at_the_old_end", "at_the_new_end"),
    [("right", 0, 1), ("left", 1, 0), ("both", 1, 1), ("neither", 0, 0)],
)
def test_window_takes_in_the_ends_it_is_closed_at(
    closed: str, at_the_old_end: int, at_the_new_end: int
) -> None:
    what = meaning(count(closed=closed, include_self=False))

    assert vectors(what, [event(0), event(HOUR)])[1] == [at_the_old_end]
    assert vectors(what, [event(0), event(0)])[1] == [at_the_new_end]
    assert vectors(what, [event(0), event(HOUR - 1)])[1] == [1]
    assert vectors(what, [event(0), event(HOUR + 1)])[1] == [0]


def test_event_is_a_member_of_its_own_window_unless_it_is_left_out() -> None:
    what = meaning(count(), count(include_self=False), count(closed="left"), count(delay_us=1))

    assert vectors(what, [event(0)]) == [[1, 0, 0, 0]]


def test_delayed_window_leaves_out_the_event_itself_and_everything_newer() -> None:
    what = meaning(count(delay_us=HOUR))

    assert vectors(what, [event(0), event(HOUR - 1)])[1] == [0]
    assert vectors(what, [event(0), event(HOUR)])[1] == [1]
    assert vectors(what, [event(0), event(2 * HOUR)])[1] == [0]


def test_resolution_moves_the_old_end_to_the_tile_it_stands_in() -> None:
    what = meaning(count(DAY, resolution_us=HOUR))

    assert vectors(what, [event(HOUR), event(DAY + HOUR + MINUTE)])[1] == [1]
    assert vectors(what, [event(HOUR + 1), event(DAY + 2 * HOUR - 1)])[1] == [2]
    assert vectors(what, [event(HOUR + 1), event(DAY + 2 * HOUR)])[1] == [1]


def test_of_equal_times_the_one_processed_earlier_is_visible() -> None:
    total = meaning(of(Stat.SUM))

    assert vectors(total, [event(0, 1), event(0, 10), event(0, 100)]) == [[1], [11], [111]]


def test_event_processed_earlier_but_timed_later_is_no_member() -> None:
    what = meaning(count(), Statistic(Stat.SINCE_LAST, CUSTOMER))

    assert vectors(what, [event(0), event(-1)])[1] == same([1, math.nan])


def test_where_lets_through_what_holds_and_a_null_compares_false() -> None:
    big = Compare(AMOUNT, ">=", (100,))
    what = meaning(
        count(where=big),
        count(where=Not(big)),
        count(where=And(Not(Compare(AMOUNT, "is_null")), Compare(COUNTRY, "isin", ("se", "no")))),
    )
    events = [event(0, 99, country="se"), event(0, 100), event(0, None, country="no")]

    assert vectors(what, events)[-1] == [1, 2, 1]


# -- statistics --------------------------------------------------------------------------------


def test_every_statistic_has_its_sentence() -> None:
    assert set(NAIVE) == set(Stat)


@pytest.mark.parametrize(
    ("stat", "nothing", "one", "three"),
    [
        (Stat.COUNT_VALUES, 0, 1, 3),
        (Stat.SUM, 0, 4, 6),
        (Stat.MEAN, math.nan, 4, 2),
        (Stat.MIN, math.nan, 4, 1),
        (Stat.MAX, math.nan, 4, 4),
        (Stat.VAR, math.nan, math.nan, 3),
        (Stat.STD, math.nan, math.nan, math.sqrt(3)),
        (Stat.FIRST, math.nan, 4, 4),
        (Stat.LAST, math.nan, 4, 1),
        (Stat.DISTINCT, 0, 1, 2),
    ],
)
def test_statistics_of_a_column_skip_its_nulls(
    stat: Stat, nothing: float, one: float, three: float
) -> None:
    events = [event(0, None), event(1, 4), event(2, 1), event(3, 1)]

    values = vectors(meaning(of(stat)), events)

    assert [values[0], values[1], values[3]] == [same([nothing]), same([one]), same([three])]
    assert vectors(meaning(of(stat, empty=-1.0)), events)[0] == [-1]


def test_mean_and_variance_are_rounded_once_from_exact_quotients() -> None:
    what = meaning(of(Stat.MEAN), of(Stat.VAR, ddof=0))

    assert vectors(what, [event(0, 1), event(1, 0), event(2, 0)])[2] == [1 / 3, 2 / 9]


def test_quantum_makes_a_double_an_integer_ties_to_even() -> None:
    what = meaning(of(Stat.SUM, column=PRICE), of(Stat.DISTINCT, column=PRICE), Field(PRICE))
    events = [event(0, price=value) for value in (0.125, 0.1199, 0.1, math.nan)]

    assert vectors(what, events) == [
        [0.12, 1, 0.125],
        [0.24, 1, 0.1199],
        [0.34, 2, 0.1],
        same([0.34, 2, math.nan]),
    ]


def test_rate_is_members_a_second() -> None:
    assert vectors(meaning(of(Stat.RATE, column="")), [event(0), event(1)])[1] == [2 / 3600]


def test_distinct_tells_texts_apart() -> None:
    what = meaning(of(Stat.DISTINCT, column=COUNTRY))
    events = [event(0, country=country) for country in ("se", "", None, "se")]

    assert vectors(what, events) == [[1], [2], [2], [2]]


def test_decays_halve_once_a_half_life() -> None:
    half: dict[str, Any] = {"half_life_us": HOUR}
    what = meaning(
        of(Stat.DECAYED_SUM, None, **half),
        of(Stat.DECAYED_COUNT, None, "", **half),
        of(Stat.EWMA, None, **half),
    )
    events = [event(0, 8), event(HOUR, 1), event(3 * HOUR, None), event(3 * HOUR, 1, customer=2)]

    assert vectors(what, events) == [
        [8, 1, 8],
        [5, 1.5, 5 / 1.5],
        [1.25, 1.375, 5 / 1.5],
        [1, 1, 1],
    ]


def test_half_power_is_exact_for_whole_half_lives_and_near_two_to_the_minus_x_elsewhere() -> None:
    assert [half_power(n * HOUR, HOUR) for n in (0, 1, 1074, 1075, 1101)] == [
        1, 0.5, 2.0**-1074, 0, 0,
    ]  # fmt: skip
    for elapsed in range(1, 5000, 7):
        assert half_power(elapsed, 4999) == pytest.approx(2 ** (-elapsed / 4999), rel=5e-16)


def test_of_nothing_a_decayed_sum_is_0_and_an_average_is_none() -> None:
    half: dict[str, Any] = {"half_life_us": HOUR}
    what = meaning(of(Stat.DECAYED_SUM, None, **half), of(Stat.EWMA, None, **half))

    assert vectors(what, [event(0, None)]) == [same([0, math.nan])]


# -- all of history ----------------------------------------------------------------------------


def test_all_of_history_remembers_what_was_folded() -> None:
    what = meaning(count(None), of(Stat.FIRST, None), of(Stat.LAST, None), allowed_lateness_us=0)
    events = [event(0, 1), event(400 * DAY, 2), event(800 * DAY, 3)]

    assert vectors(what, events) == [[1, 1, 1], [2, 1, 2], [3, 1, 3]]


def test_reader_below_what_was_folded_gets_nothing_and_is_flagged() -> None:
    what = meaning(count(None), of(Stat.DECAYED_SUM, None, half_life_us=HOUR), max_skew_us=0)
    naive = Naive(what, [2])

    naive.process(event(0))
    naive.process(event(HOUR, customer=2))
    naive.process(event(HOUR, customer=1))  # folds the first
    below = naive.process(event(-1, partition=1))
    at = naive.process(event(0, partition=1))

    assert (below.vector, below.flags & INCOMPLETE) == (same([math.nan, math.nan]), INCOMPLETE)
    assert (at.vector, at.flags & INCOMPLETE) == ([3, 100 + 100 * half_power(1, HOUR) + 100], 0)


def test_entry_older_than_the_folded_ones_is_halved_up_to_them() -> None:
    what = meaning(
        of(Stat.DECAYED_SUM, None, half_life_us=HOUR), allowed_lateness_us=0, max_skew_us=0
    )
    naive = Naive(what, [2])
    for one in (event(2 * HOUR, 8), event(3 * HOUR, 0), event(HOUR, 4, partition=1)):
        naive.process(one)

    assert naive.process(event(3 * HOUR, 0)).vector == [(8 + 4 * 0.5) * 0.5]


# -- keys and values ---------------------------------------------------------------------------


def test_null_key_has_an_empty_history_and_leaves_no_trace() -> None:
    naive = Naive(meaning(count(), Statistic(Stat.SINCE_LAST, CUSTOMER)), [1])

    answers = [naive.process(event(i, customer=None)) for i in range(2)]

    assert answers[1].vector == same([0, math.nan])
    assert not naive.flush()


def test_full_key_is_scored_and_takes_in_no_more() -> None:
    naive = Naive(meaning(count(DAY)), [1], cap=2)

    answers = [naive.process(event(i)) for i in range(4)]

    assert [answer.vector for answer in answers] == [[1], [2], [3], [3]]
    assert [answer.flags & CAPPED for answer in answers] == [0, 0, CAPPED, CAPPED]
    assert naive.caps == [(CUSTOMER, 1, 2)]


def test_row_functions_and_arithmetic_are_plain_float64() -> None:
    amount = Field(AMOUNT)
    what = meaning(
        amount,
        Calendar("hour"),
        Calendar("weekday", offset_s=-1),
        Arithmetic("/", amount, Literal(0.0)),
        Arithmetic("-", Arithmetic("*", amount, Literal(0.1)), Literal(0.1)),
    )

    assert vectors(what, [event(0, 3)]) == [same([3, 0, 5, math.nan, 3 * 0.1 - 0.1])]


def test_exact_values_of_a_quantum_are_fractions() -> None:
    naive = Naive(meaning(of(Stat.SUM, column=PRICE)), [1])
    (stat,) = naive.meaning.stats()
    naive.process(event(0, price=2.675))
    (entry,) = naive.entries[0, CUSTOMER, 1]

    assert naive.value(stat, entry) == Fraction(round(2.675 * 100.0), 100)
