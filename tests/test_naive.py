"""The reference says what DESIGN section 3 says: examples written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from meaning import Arithmetic, Calendar, Event, Field, Literal, Meaning, SinceLast, Windowed
from naive import INCOMPLETE, LATE, NEVER, NOT_YET, WARMING, Naive, Row, bits, canonical
from strategies import AMOUNT, CUSTOMER, DAY, HOUR, START_US

if TYPE_CHECKING:
    from meaning import Expression, Value

MINUTE = HOUR // 60


def meaning(*features: Expression, lateness_us: int = HOUR, skew_us: int = DAY) -> Meaning:
    return Meaning(
        {f"f{i}": feature for i, feature in enumerate(features)}, CUSTOMER, lateness_us, skew_us
    )


def event(after_us: int, amount: Value = 100, customer: Value = 1, partition: int = 0) -> Event:
    return Event(partition, after_us, START_US + after_us, {CUSTOMER: customer, AMOUNT: amount})


def vectors(what: Meaning, events: list[Event], partitions: int = 1) -> list[list[float]]:
    naive = Naive(what, partitions)
    return [naive.process(one).vector for one in events]


def test_window_leaves_out_its_old_end_and_takes_in_its_new_end() -> None:
    count = meaning(Windowed(CUSTOMER, "count", HOUR))

    assert vectors(count, [event(0), event(HOUR)]) == [[1], [1]]
    assert vectors(count, [event(0), event(HOUR - 1)]) == [[1], [2]]


def test_delayed_window_leaves_out_the_event_itself_and_everything_newer() -> None:
    count = meaning(Windowed(CUSTOMER, "count", HOUR, delay_us=HOUR))

    assert vectors(count, [event(0), event(HOUR - 1)])[1] == [0]
    assert vectors(count, [event(0), event(HOUR)])[1] == [1]
    assert vectors(count, [event(0), event(2 * HOUR)])[1] == [0]


def test_of_equal_times_the_one_processed_earlier_is_visible() -> None:
    total = meaning(Windowed(CUSTOMER, "sum", HOUR, AMOUNT))

    assert vectors(total, [event(0, 1), event(0, 10), event(0, 100)]) == [[1], [11], [111]]


def test_event_processed_earlier_but_timed_later_is_no_member() -> None:
    count = meaning(Windowed(CUSTOMER, "count", HOUR), SinceLast(CUSTOMER))

    assert vectors(count, [event(0), event(-1)])[1] == pytest.approx([1, math.nan], nan_ok=True)


def test_null_values_are_members_without_a_value() -> None:
    what = meaning(
        *(Windowed(CUSTOMER, stat, HOUR, AMOUNT) for stat in ("count_values", "sum", "mean")),
        Windowed(CUSTOMER, "count", HOUR),
        Windowed(CUSTOMER, "min", HOUR, AMOUNT),
    )

    first, second = vectors(what, [event(0, None), event(1, -3)])

    assert first == pytest.approx([0, 0, math.nan, 1, math.nan], nan_ok=True)
    assert second == [1, -3, -3, 2, -3]


def test_null_key_has_an_empty_history_and_leaves_no_trace() -> None:
    what = meaning(Windowed(CUSTOMER, "count", HOUR), SinceLast(CUSTOMER))
    naive = Naive(what, 1)

    answers = [naive.process(event(i, customer=None)) for i in range(2)]

    assert answers[1].vector == pytest.approx([0, math.nan], nan_ok=True)
    assert not naive.rows


def test_mean_is_rounded_once_from_the_exact_quotient() -> None:
    what = meaning(Windowed(CUSTOMER, "mean", HOUR, AMOUNT))

    assert vectors(what, [event(0, 1), event(1, 0), event(2, 0)])[2] == [1 / 3]


def test_late_event_is_scored_as_of_its_time_flagged_and_not_aggregated() -> None:
    naive = Naive(meaning(Windowed(CUSTOMER, "count", DAY)), 1)

    naive.process(event(2 * HOUR))
    on_time = naive.process(event(HOUR))
    late = naive.process(event(HOUR - 1))
    later = naive.process(event(2 * HOUR))

    assert on_time.flags & LATE == 0
    assert (late.flags & LATE, late.vector, late.rows) == (LATE, [1.0], {})
    assert later.vector == [3]


def test_horizon_follows_the_slowest_partition_until_the_skew_is_used_up() -> None:
    naive = Naive(meaning(Windowed(CUSTOMER, "count", DAY), lateness_us=0, skew_us=HOUR), 2)

    assert naive.horizon_us() == NOT_YET
    naive.process(event(0, partition=0))
    assert naive.horizon_us() == START_US - HOUR
    naive.process(event(-MINUTE, partition=1))
    assert naive.horizon_us() == START_US - MINUTE
    naive.process(event(3 * HOUR, partition=0))
    assert naive.horizon_us() == START_US + 2 * HOUR


def test_entry_that_the_horizon_closed_is_no_member_although_the_window_reaches_it() -> None:
    count = meaning(Windowed(CUSTOMER, "count", HOUR), lateness_us=0, skew_us=0)
    events = [event(0), event(HOUR + MINUTE, customer=2), event(MINUTE, partition=1)]

    naive = Naive(count, 2)
    last = [naive.process(one) for one in events][-1]

    assert last.flags & INCOMPLETE
    assert last.vector == [0], "its own time is at the horizon's closed end too"


def test_dead_letter_takes_its_seq_and_nothing_else() -> None:
    naive = Naive(meaning(Windowed(CUSTOMER, "count", HOUR)), 1)

    dead = naive.process(replace(event(DAY), reason=3))
    alive = naive.process(event(0))

    assert dead.dead
    assert math.isnan(dead.vector[0])
    assert alive.rows[CUSTOMER, 1].seq == 1
    assert alive.flags == WARMING


def test_warming_ends_when_the_longest_window_lies_after_the_origin() -> None:
    naive = Naive(meaning(Windowed(CUSTOMER, "count", HOUR, delay_us=HOUR)), 1)

    flags = [naive.process(event(after_us)).flags for after_us in (0, 2 * HOUR - 1, 2 * HOUR)]

    assert flags == [WARMING, WARMING, 0]


def test_since_last_below_the_horizon_is_unknown_when_something_newer_is_closed() -> None:
    naive = Naive(meaning(SinceLast(CUSTOMER), lateness_us=0, skew_us=0), 2)

    for one in (event(0), event(MINUTE), event(HOUR, customer=2)):
        naive.process(one)
    between = naive.process(event(MINUTE - 1, partition=1))
    after = naive.process(event(MINUTE + 1, partition=1))

    assert math.isnan(between.vector[0])
    assert after.vector == [0.000001]


def test_row_functions_and_arithmetic_are_plain_float64() -> None:
    amount = Field(AMOUNT)
    what = meaning(
        amount,
        Calendar("hour"),
        Calendar("weekday", offset_s=-1),
        Arithmetic("/", amount, Literal(0.0)),
        Arithmetic("-", Arithmetic("*", amount, Literal(0.1)), Literal(0.1)),
    )

    (vector,) = vectors(what, [event(0, 3)])

    assert vector == pytest.approx([3, 0, 5, math.nan, 3 * 0.1 - 0.1], rel=0, nan_ok=True)


def test_row_stands_at_the_greatest_time_and_says_until_when_it_holds() -> None:
    what = meaning(
        Windowed(CUSTOMER, "sum", HOUR, AMOUNT),
        SinceLast(CUSTOMER),
        Windowed(CUSTOMER, "count", DAY, delay_us=2 * HOUR),
    )
    naive = Naive(what, 1)

    naive.process(event(MINUTE, 1))
    row = naive.process(event(0, 2)).rows[CUSTOMER, 1]

    assert row == Row(
        time_us=START_US + MINUTE,
        until_us=START_US + HOUR,
        seq=1,
        words=(bits(3.0), START_US + MINUTE, 0, bits(0.0)),
    )


def test_entity_is_gone_when_the_horizon_has_passed_its_last_window() -> None:
    naive = Naive(meaning(Windowed(CUSTOMER, "count", HOUR), lateness_us=0), 1)

    naive.process(event(0, customer=1))
    naive.process(event(HOUR - 1, customer=2))
    assert not naive.gone()
    naive.process(event(HOUR, customer=2))

    assert naive.gone() == {(CUSTOMER, 1)}
    assert naive.live_rows()[CUSTOMER, 2].until_us == START_US + 2 * HOUR - 1


def test_anchored_entity_is_never_gone_and_its_row_holds_for_ever() -> None:
    naive = Naive(meaning(SinceLast(CUSTOMER)), 1)

    naive.process(event(0, customer=1))
    naive.process(event(400 * DAY, customer=2))

    assert naive.live_rows()[CUSTOMER, 1].until_us == NEVER


def test_canonical_order_is_by_position_clock_then_partition_then_offset() -> None:
    left = [Event(0, 0, 10), Event(0, 1, 5), Event(0, 2, 30)]
    right = [Event(1, 0, 0, reason=2), Event(1, 1, 10), Event(1, 2, 20, available_us=40)]

    order = [(event.partition, event.offset) for event in canonical([left, right])]

    assert order == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
