"""Journal entries: what goes in comes out, and what does not follow is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import INPUTS, TOPICS, again, changed, followed, owner, turn

from noskew.dataflows.core.journal import (
    ENTRY_DUE,
    LAYOUT,
    Decision,
    Entry,
    Gap,
    Ledger,
    Topic,
    runs,
)
from noskew.dataflows.errors import UnsafeResumeError
from noskew.kernels.layout import NO_TIME
from noskew.schemas import records


def close(ledger: Ledger) -> Entry:
    times = np.array([5, NO_TIME, -(2**50)], np.int64)
    (entry,) = ledger.close(times, times, 7)
    return entry


def assert_same(left: Entry, right: Entry) -> None:
    for field in dataclasses.fields(Entry):
        wanted, found = getattr(left, field.name), getattr(right, field.name)
        if isinstance(wanted, np.ndarray):
            assert wanted.tolist() == found.tolist(), field.name
            assert wanted.dtype == found.dtype == np.int64, field.name
        else:
            assert wanted == found, field.name


def test_an_entry_with_everything_comes_back_as_it_was() -> None:
    ledger = Ledger(owner())
    ledger.take(turn([(2, 20), (0, 0), (0, 1)]), [Gap("dead", "labels", 0, 20, 21)])
    ledger.decide("split_key", "customer_id=7", "partition 0 so far", 1)
    ledger.decide("model", "fraud", "ab")
    ledger.saw(4, bytes(32), "transactions-value")

    entry = dataclasses.replace(close(ledger), model=("fraud", bytes(range(32))))

    assert entry.decisions[1] == Decision("model", 3, "fraud", "ab")
    assert_same(entry, again(entry))


def test_an_owner_entry_without_clocks_and_topic_id_comes_back_as_it_was() -> None:
    without = tuple(dataclasses.replace(topic, id=None) for topic in TOPICS)
    entry = dataclasses.replace(owner(), topics=without)

    assert_same(entry, again(entry))


def test_an_entry_of_one_stream_comes_back_as_it_was() -> None:
    one = {"streams": ("payments",), "topics": (Topic("transactions", None, INPUTS),)}
    entry = changed(owner(), **one)

    assert_same(entry, again(entry))
    assert (entry.first_inputs, owner().first_inputs) == ((0,), (0, 2))


@pytest.mark.parametrize("reason", ["dead", "duplicate", "unscored", "late"])
def test_every_reason_for_which_a_record_is_not_used_can_be_journaled(reason: str) -> None:
    ledger = Ledger(owner())
    ledger.take(turn([(2, 20)]), [Gap(reason, "labels", 0, 20, 21)])

    assert again(close(ledger)).gaps == (Gap(reason, "labels", 0, 20, 21),)


def test_the_records_that_were_dead_are_named_by_their_input() -> None:
    ledger = Ledger(owner())
    gaps = [
        Gap("dead", "labels", 0, 20, 22),
        Gap("late", "labels", 0, 22, 23),
        Gap("dead", "payments", 1, 10, 11),
    ]
    ledger.take(turn([(2, 20), (2, 21), (2, 22), (1, 10)]), gaps)

    (found,) = runs([owner(), again(close(ledger))])

    assert found.dead == ((2, 20, 22), (1, 10, 11))


def test_an_entry_of_another_layout_is_refused_with_both_numbers() -> None:
    value = {**owner()._to_avro(), "layout": LAYOUT + 1}

    with pytest.raises(
        UnsafeResumeError, match=f"layout {LAYOUT + 1}, this version reads {LAYOUT}"
    ):
        Entry.decode(records.encode("journal", value, 9))


@given(st.data())
def test_the_runs_of_any_entries_are_the_records_taken_in_their_order(data: st.DataObject) -> None:
    last = owner()
    ledger, following = Ledger(last), last.next_offset.tolist()
    entries, taken = [last], []
    for _ in range(data.draw(st.integers(0, 4), label="entries")):
        for _ in range(data.draw(st.integers(0, 3), label="turns")):
            places = []
            for source, gap in data.draw(
                st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 0, 1, 2**40])))
            ):
                places.append((source, following[source] + gap))
                following[source] += gap + 1
            ledger.take(turn(places), [])
            taken += places
        assert ledger.seq == len(taken)
        entries.append(close(ledger))
        assert entries[-1].next_offset.tolist() == following
        assert entries[-1].end == ledger.seq == len(taken)
        if data.draw(st.booleans(), label="restart"):
            entries.append(dataclasses.replace(owner(following, len(taken))))
            ledger = Ledger(entries[-1])

    found = followed([again(entry) for entry in entries])

    # Runs tell which ranges, and how many of each: the places fit in, in this order.
    left = iter(taken)
    for source, first, after, count in found:
        for _ in range(count):
            at, offset = next(left)
            assert at == source
            assert first <= offset < after
    assert next(left, None) is None


def test_a_ledger_begins_anew_after_each_entry_and_says_when_it_must_write() -> None:
    ledger = Ledger(owner())
    pending = [ledger.pending]
    ledger.decide("split_key", "customer_id=7", "x")
    pending.append(ledger.pending)
    ledger.take(turn([(0, 0)]), [])
    first = close(ledger)

    pending.append(ledger.pending)
    assert (first.seq, first.count) == (0, 1)
    ledger.saw(4, bytes(32), "transactions-value")
    pending.append(ledger.pending)
    assert pending == [False, True, False, True]
    second = close(ledger)
    assert (second.seq, second.count, second.runs, second.decisions) == (1, 0, b"", ())
    assert followed([owner(), first, second]) == [(0, 0, 1, 1)]


def test_a_ledger_is_full_long_before_a_broker_refuses_its_entry() -> None:
    ledger = Ledger(owner((0, 0, 0)))
    at = 0
    while not ledger.full:
        places = [(i % 2, at + i // 2) for i in range(4096)]
        ledger.take(turn(places), [])
        at += 2048

    assert ENTRY_DUE <= len(close(ledger).encode(9)) < 1_000_000


def test_ranges_that_were_not_used_fill_an_entry_too() -> None:
    ledger = Ledger(owner((0, 0, 0)))
    at = 0
    while not ledger.full:
        places = [(0, at + i) for i in range(4096)]
        gaps = [Gap("dead", "payments", 0, at + i, at + i + 1) for i in range(0, 4096, 2)]
        ledger.take(turn(places), gaps)
        at += 4096

    assert len(close(ledger).encode(9)) < 1_000_000


def test_an_owner_entry_left_by_an_instance_that_withdrew_changes_nothing() -> None:
    ledger = Ledger(owner())
    ledger.take(turn([(0, 0)]), [])
    first = close(ledger)
    ledger.take(turn([(0, 1)]), [])
    second = close(ledger)
    stray = changed(owner(), owner="another:1:x")

    assert followed([owner(), first, stray, second]) == [(0, 0, 1, 1), (0, 1, 2, 1)]


def damaged(a: Entry, b: Entry) -> dict[str, list[Entry]]:
    """Return journals in which one thing is wrong; ``a`` and ``b`` follow on the owner's entry."""
    return {
        "an entry left out": [owner(), b],
        "an entry twice": [owner(), a, a, b],
        "two entries exchanged": [owner(), b, a],
        "runs cut": [owner(), changed(a, runs=b"\x00")],
        "runs twice": [owner(), changed(a, runs=a.runs * 2)],
        "another count": [owner(), changed(a, count=a.count + 1)],
        "another offset": [owner(), changed(a, next_offset=a.next_offset + 1)],
        "another seq": [owner(), changed(a, seq=a.seq + 1)],
        "another beginning": [owner((1, 10, 20)), a],
    }


@pytest.mark.parametrize("damage", damaged(owner(), owner()))
def test_entries_that_contradict_each_other_are_refused(damage: str) -> None:
    ledger = Ledger(owner())
    ledger.take(turn([(0, 0), (1, 10), (0, 1)]), [])
    a = close(ledger)
    ledger.take(turn([(2, 20), (0, 2)]), [])
    b = close(ledger)
    assert followed([owner(), a, b])

    with pytest.raises(UnsafeResumeError, match=r"is damaged.*start anew under another pipeline"):
        followed(damaged(a, b)[damage])
