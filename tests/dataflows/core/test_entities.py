"""Rows of an entity over the tables of several streams: when, as of what, until when, gone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from mirrors import STREAMS, Mirror, mark, pay, table, windowed
from turns import DAY, HOUR, MINUTE, Record, plan_of, turn_of

from noskew.dataflows.core.rows import fields_of
from noskew.dataflows.definition.plan import Op, Stat, Window
from noskew.kernels.decay import half_power
from noskew.schemas.columns import Strings


def test_fields_of_all_tables_stand_in_vector_order() -> None:
    found = fields_of(windowed().tables)

    assert [(f.at, f.name, f.op.stat, f.words) for f in found] == [
        (0, "f0", Stat.COUNT, 1), (1, "f1", Stat.SUM, 1), (2, "f2", Stat.MEAN, 1),
    ]  # fmt: skip


def test_a_row_is_as_of_the_newest_scored_event_over_all_tables() -> None:
    mirror = Mirror(windowed())
    mirror.take(
        mark(0, 1, "a", 3), mark(MINUTE, 2, "a", 4), mark(2 * HOUR, 3, "a", 100),
        pay(HOUR, "a", 7), pay(HOUR + MINUTE, "a", 8),
    )  # fmt: skip

    # Both labels are seen an hour later; the first of them leaves an hour after that.
    assert mirror.flush() == {"a": (HOUR + MINUTE, 2 * HOUR, 4, (2.0, 15.0, 3.5))}


def test_valid_until_is_the_least_of_all_tables() -> None:
    mirror = Mirror(windowed())
    mirror.take(mark(5 * MINUTE, 1, "a"), pay(30 * MINUTE, "a", 7))
    assert mirror.flush()["a"] == (30 * MINUTE, HOUR + 5 * MINUTE, 1, (0.0, 7.0, -1.0))

    mirror.take(mark(50 * MINUTE, 1, "a"))
    assert mirror.flush()["a"] == (30 * MINUTE, HOUR + 30 * MINUTE, 2, (0.0, 7.0, -1.0))


def test_a_record_of_any_stream_rewrites_the_row_and_others_do_not() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(HOUR, "a"), pay(HOUR, "b"))
    mirror.flush()
    mirror.take(mark(0, 1, "b", 5))
    assert mirror.flush()["b"] == (HOUR, 2 * HOUR, 2, (1.0, 1.0, 5.0))
    assert mirror.written == ["b"]

    mirror.take(Record(0, HOUR, {"card": "a"}, reason=1), mark(0, 2, None))
    mirror.flush()
    assert mirror.written == []


def test_the_event_of_the_row_counts_where_it_was_no_member_of_itself() -> None:
    plan = windowed()
    ops = (replace(plan.tables[0].ops[0], include_self=False),)
    mirror = Mirror(replace(plan, tables=(replace(plan.tables[0], ops=ops), plan.tables[1])))
    mirror.take(pay(0, "a", 5))

    assert mirror.flush()["a"] == (0, HOUR, 0, (0.0, 5.0, -1.0))


def test_an_event_below_the_newest_rewrites_but_the_time_stays() -> None:
    mirror = Mirror(windowed((replace(STREAMS[0], allowed_lateness_us=HOUR), STREAMS[1])))
    mirror.take(pay(HOUR, "a", 1), pay(30 * MINUTE, "a", 2))

    assert mirror.flush()["a"] == (HOUR, HOUR + 30 * MINUTE, 1, (0.0, 3.0, -1.0))


def test_an_entity_never_scored_has_no_row_until_it_is() -> None:
    mirror = Mirror(windowed())
    mirror.take(mark(0, 1, "a", 4), pay(0, None))
    assert mirror.flush() == {}
    assert mirror.deleted == []

    mirror.take(pay(HOUR, "a", 1))
    assert mirror.flush() == {"a": (HOUR, 2 * HOUR, 2, (1.0, 1.0, 4.0))}


def test_labels_of_an_entity_never_scored_are_freed_all_the_same() -> None:
    mirror = Mirror(windowed((STREAMS[0], replace(STREAMS[1], revise=False))))
    mirror.take(mark(0, 1, "a"), pay(20 * DAY, None))

    assert mirror.flush() == {}
    assert (mirror.deleted, mirror.engine.tables[1].keys) == ([], 0)


def test_a_late_event_makes_no_row() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(HOUR, "b"), pay(0, "a"), mark(0, 1, "a"))

    assert list(mirror.flush()) == ["b"]


def test_a_revision_rewrites_the_rows_of_the_old_and_of_the_new_key() -> None:
    mirror = Mirror(windowed())
    mirror.take(mark(0, 1, "a", 4), pay(HOUR, "a"), pay(HOUR, "b"))
    mirror.flush()
    mirror.take(mark(0, 1, "b", 6))

    assert mirror.flush() == {
        "a": (HOUR, 2 * HOUR, 3, (0.0, 1.0, -1.0)),
        "b": (HOUR, 2 * HOUR, 3, (1.0, 1.0, 6.0)),
    }


def test_the_horizon_of_the_record_that_rewrites_closes_windows() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a", 5), mark(0, 1, "a"), pay(90 * MINUTE, "b"))
    mirror.take(mark(MINUTE, 2, "a"))

    # An hour and a half later the payment is no member; the labels enter in a reader's time.
    assert mirror.flush()["a"] == (0, HOUR, 3, (0.0, 0.0, -1.0))


def test_moving_statistics_of_all_streams_are_stored_by_anchor() -> None:
    half = HOUR
    payments = table(0, (), (
        Op(Stat.SINCE_LAST, 0, empty=math.nan),
        Op(Stat.DECAYED_SUM, 1, column=0, half_life_us=half),
        Op(Stat.EWMA, 2, column=0, half_life_us=half, empty=math.nan),
    ), 0, 2, 4)  # fmt: skip
    labels = table(1, (), (
        Op(Stat.SINCE_LAST, 3, empty=math.nan),
        Op(Stat.DECAYED_COUNT, 4, half_life_us=half),
    ), 1, 3)  # fmt: skip
    mirror = Mirror(plan_of(STREAMS, (payments, labels)))
    mirror.take(
        mark(0, 1, "a"), pay(HOUR, "a", 8), pay(2 * HOUR, "a", 4), pay(2 * HOUR, "b"),
        mark(3 * HOUR, 2, "a"),
    )  # fmt: skip
    mirror.flush()

    assert mirror.stored["a"][:3] == (2 * HOUR, 3 * HOUR, 4)
    assert mirror.values("a", 2 * HOUR) == {
        "f0": 0.0, "f1": 7200.0, "f2": 8.0, "f3": 0.25, "f4": 8 / 1.5,
    }  # fmt: skip
    assert mirror.values("a", 3 * HOUR - 1) == {
        "f0": 3600 - 1e-6,
        "f1": 3 * 3600 - 1e-6,
        "f2": 8.0 * half_power(HOUR - 1, half),
        "f3": half_power(3 * HOUR - 1, half),
        "f4": 8 / 1.5,
    }
    other = mirror.values("b", 3 * HOUR)
    assert math.isnan(other.pop("f1"))
    assert other == {"f0": 3600.0, "f2": 0.5, "f3": 0.0, "f4": 1.0}


@pytest.mark.parametrize("after_us", [0, 1, MINUTE, 59 * MINUTE, 7 * HOUR + 1])
def test_a_reader_is_told_the_very_bits_the_engine_gives_an_event_then(after_us: int) -> None:
    """Of statistics of another stream, which that event is no member of."""
    labels = table(1, (Window(DAY),), (
        Op(Stat.DECAYED_SUM, 0, column=0, half_life_us=977_777_777),
        Op(Stat.SINCE_LAST, 1, empty=math.nan),
        Op(Stat.MEAN, 2, 0, column=0, empty=math.nan),
        Op(Stat.EWMA, 3, column=0, half_life_us=977_777_777, empty=math.nan),
    ), 0, 1, 2, 3)  # fmt: skip
    mirror = Mirror(plan_of(STREAMS, (table(0, (), ()), labels)))
    mirror.take(*(mark(i * 1_234_567, i, "a", 7 * i + 1) for i in range(40)), pay(MINUTE, "a"))
    mirror.flush()
    read = mirror.values("a", MINUTE + after_us)

    event = turn_of(STREAMS, (1, 1), [pay(MINUTE + after_us, "a")], mirror.seq)
    vector = mirror.engine.process(event).vectors[:, 0]

    assert vector.tolist() == list(read.values())


def test_gone_is_when_the_horizon_passed_the_last_scored_event_by_the_longest_reach() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a"), mark(0, 1, "a"))
    mirror.flush()
    mirror.take(pay(2 * HOUR - 1, "b"))
    assert set(mirror.flush()) == {"a", "b"}

    mirror.take(pay(2 * HOUR, "b"))
    assert set(mirror.flush()) == {"b"}
    assert mirror.deleted == ["a"]
    mirror.flush()
    assert mirror.deleted == []


@pytest.mark.parametrize("swept", [False, True])
def test_no_label_brings_a_gone_entity_back_whenever_it_was_swept(*, swept: bool) -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a"))
    mirror.flush()
    mirror.take(pay(2 * HOUR, "b"))
    if swept:
        mirror.flush()
    mirror.take(mark(2 * HOUR, 1, "a", 9))
    assert set(mirror.flush()) == {"b"}

    mirror.take(pay(3 * HOUR, "a", 2))
    assert mirror.flush()["a"] == (3 * HOUR, 4 * HOUR, 3, (1.0, 2.0, 9.0))


def test_a_key_gone_and_back_between_two_flushes_is_written_not_deleted() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a"))
    mirror.flush()
    mirror.take(pay(3 * HOUR, "b"))
    mirror.engine.sweep()
    mirror.take(pay(3 * HOUR, "a", 6))
    mirror.flush()

    assert mirror.deleted == []
    assert mirror.stored["a"] == (3 * HOUR, 4 * HOUR, 2, (0.0, 6.0, -1.0))


def test_a_key_gone_twice_between_two_flushes_is_deleted_once() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a"))
    mirror.flush()
    for after_us in (3 * HOUR, 6 * HOUR):
        mirror.take(pay(after_us, "b"))
        mirror.engine.sweep()
        mirror.take(pay(after_us, "a"))
    mirror.take(pay(9 * HOUR, "b"))
    mirror.flush()

    assert mirror.deleted == ["a"]
    assert set(mirror.stored) == {"b"}


ENDLESS = {
    "since_last": (Op(Stat.SINCE_LAST, 0, empty=math.nan), ()),
    "decays": (Op(Stat.DECAYED_COUNT, 0, half_life_us=HOUR), ()),
    "ewma": (Op(Stat.EWMA, 0, column=0, half_life_us=HOUR, empty=math.nan), ()),
    "all of history": (Op(Stat.COUNT, 0, 0), (Window(None),)),
}


@pytest.mark.parametrize("of", [0, 1])
@pytest.mark.parametrize("name", ENDLESS)
def test_an_entity_with_something_endless_in_any_table_is_never_gone(name: str, of: int) -> None:
    op, windows = ENDLESS[name]
    count = table(1 - of, (Window(HOUR),), (Op(Stat.COUNT, 1, 0),), 1)
    tables = sorted((table(of, windows, (op,), 0), count), key=lambda one: one.stream)
    mirror = Mirror(plan_of(STREAMS, tuple(tables)))
    mirror.take(pay(0, "a"), mark(0, 1, "a"))
    mirror.flush()
    mirror.take(pay(300 * DAY, "b"))

    assert set(mirror.flush()) == {"a", "b"}
    mirror.take(mark(300 * DAY, 2, "a"))
    assert mirror.flush()["a"][::2] == (0, mirror.stored["a"][2])
    assert mirror.written == ["a"]


def test_keys_of_labels_are_freed_when_their_entries_can_be_seen_and_revised_no_more() -> None:
    mirror = Mirror(windowed())
    labels = mirror.engine.tables[1]
    mirror.take(mark(0, 1, "a"), mark(0, 2, "b"), pay(3 * HOUR, "b"))
    mirror.flush()
    assert labels.keys == 2  # labels may be ten days late, so these can still be revised

    mirror.take(pay(11 * DAY, "c"), mark(11 * DAY, 3, "c"))
    mirror.flush()
    assert labels.keys == 1
    assert labels.entries == 1
    assert set(mirror.stored) == {"c"}


def test_what_a_row_still_to_be_drained_sees_is_kept_until_then() -> None:
    mirror = Mirror(windowed((STREAMS[0], replace(STREAMS[1], revise=False))))
    mirror.take(mark(0, 1, "a", 4), pay(HOUR + MINUTE, "a"), pay(2 * HOUR + 2 * MINUTE, "b"))

    assert mirror.flush()["a"] == (HOUR + MINUTE, 2 * HOUR, 1, (1.0, 1.0, 4.0))
    mirror.flush()
    assert mirror.engine.tables[1].keys == 0


def test_a_key_that_a_revision_emptied_is_rewritten_and_then_freed() -> None:
    mirror = Mirror(windowed((STREAMS[0], replace(STREAMS[1], allowed_lateness_us=0))))
    mirror.take(mark(-3 * HOUR, 2, "old"), mark(0, 1, "a", 4), pay(HOUR, "a"), mark(0, 1, "z", 6))

    assert mirror.flush() == {"a": (HOUR, 2 * HOUR, 3, (0.0, 1.0, -1.0))}
    mirror.flush()
    assert mirror.engine.tables[1].slots_of(Strings.from_list(["a"])).tolist() == [-1]


def test_changes_that_nobody_reads_are_dropped() -> None:
    mirror = Mirror(windowed())
    mirror.take(pay(0, "a"), pay(5 * HOUR, "b"))
    mirror.engine.sweep()
    mirror.engine.forget_changes()

    assert mirror.flush() == {}
    assert (mirror.written, mirror.deleted) == ([], [])
