"""What is too much for one journal entry is spread over parts of it, and comes back whole."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import INPUTS, TOPICS, again, changed, followed, owner, turn

from noskew.dataflows.core import journal
from noskew.dataflows.core.journal import ENTRY_MAX, Decision, Gap, Ledger, runs
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.core.steps import TURN_MAX
from noskew.dataflows.errors import UnsafeResumeError
from noskew.kernels.layout import NO_TIME
from noskew.schemas.rules import TEXT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journals import Place

    from noskew.dataflows.core.journal import Entry

KAFKA_MAX: Final = 1_000_000
"""Bytes of a record that a broker takes by default, about."""
NAME: Final = "é" * 30
"""A stream's name of 60 bytes."""


def close(ledger: Ledger) -> list[Entry]:
    times = np.full(len(ledger.last.next_offset), 2**62)
    return ledger.close(times, times, 2**62)


def sizes(entries: Sequence[Entry]) -> list[int]:
    return [len(entry.encode(9)) for entry in entries]


def assert_one_after_another(entries: Sequence[Entry], before: Entry) -> None:
    """Parts stand where the entry before them stands, so that a restart may begin at any."""
    for part in entries[:-1]:
        assert (part.origin, part.seq, part.count) == ("progress", before.end, 0)
        assert part.horizon_us == before.horizon_us
        for name in ("next_offset", "position_us", "event_us"):
            assert getattr(part, name).tolist() == getattr(before, name).tolist()
    assert entries[-1].seq == before.end


def test_long_split_keys_fill_an_entry_and_go_into_parts() -> None:
    ledger = Ledger(owner((0, 0, 0)))
    ledger.take(turn([(0, i) for i in range(BATCH_MAX)]), [])
    was_full = ledger.full
    for i in range(2_000):
        key = f"k{i:06d}".ljust(TEXT_MAX, "x")
        ledger.decide("split_key", f"customer_id={key}", "partition 0 so far, now also 1", i)

    assert (was_full, ledger.full) == (False, True)
    entries = close(ledger)

    assert len(entries) == 16
    assert max(sizes(entries)) <= ENTRY_MAX < KAFKA_MAX / 1.9
    assert [one.seq for entry in entries for one in entry.decisions] == list(range(2_000))
    assert_one_after_another(entries, owner((0, 0, 0)))
    assert followed([owner((0, 0, 0)), *map(again, entries)]) == [(0, 0, BATCH_MAX, BATCH_MAX)]
    assert (ledger.seq, ledger.pending, ledger.full) == (BATCH_MAX, False, False)


def test_ranges_of_a_stream_with_a_long_name_go_into_parts() -> None:
    first = changed(owner((0, 0, 0)), streams=("payments", NAME))
    ledger = Ledger(first)
    at = 0
    while not ledger.full:
        ledger.take(turn([(i % 2, at + i // 2) for i in range(BATCH_MAX)]), [])
        at += BATCH_MAX // 2
    dead = []
    # The sinks may settle no sooner than after so many turns.
    for number in range(TURN_MAX):
        offsets = range(number * BATCH_MAX, (number + 1) * BATCH_MAX)
        gaps = [Gap("dead" if i % 2 else "late", NAME, 0, i, i + 1) for i in offsets]
        ledger.take(turn([(2, i) for i in offsets]), gaps)
        dead += [(2, gap.first, gap.next) for gap in gaps if gap.reason == "dead"]

    entries = close(ledger)
    (found,) = runs([first, *map(again, entries)])

    assert len(entries) > 5
    assert max(sizes(entries)) <= ENTRY_MAX
    assert found.dead == tuple(dead)
    assert sum(found.columns[3].tolist()) == entries[-1].end == 2 * at + TURN_MAX * BATCH_MAX


def test_one_turn_whose_order_alone_is_too_large_goes_into_parts() -> None:
    places = [(i % 2, i // 2) for i in range(300_000)]
    ledger = Ledger(owner((0, 0, 0)))
    ledger.take(turn(places), [])

    entries = close(ledger)

    assert [entry.count for entry in entries] == [0, 0, 300_000]
    assert max(sizes(entries)) <= ENTRY_MAX
    found = followed([owner((0, 0, 0)), *map(again, entries)])
    assert found == [(source, at, at + 1, 1) for source, at in places]


def test_many_writers_schemas_go_into_parts() -> None:
    seen = [(i, bytes(32), "s" * 255) for i in range(1, 3_001)]
    ledger = Ledger(owner())
    for one in seen:
        ledger.saw(*one)

    entries = close(ledger)

    assert len(entries) == 2
    assert max(sizes(entries)) <= ENTRY_MAX
    assert [one for entry in map(again, entries) for one in entry.schemas] == seen


def wide(inputs: int) -> Entry:
    none = np.full(inputs, NO_TIME)
    return changed(
        owner(),
        streams=("payments",),
        topics=(dataclasses.replace(TOPICS[0], name="t" * 50, partitions=inputs),),
        next_offset=np.zeros(inputs, np.int64),
        position_us=none,
        event_us=none,
    )


def full_of(decisions: int, ledger: Ledger) -> list[Entry]:
    for _ in range(decisions):
        ledger.decide("split_key", "x" * 1_000, "")
    return close(ledger)


def test_an_entry_has_room_for_clocks_that_the_one_before_has_not() -> None:
    fitting = len(full_of(1_000, Ledger(wide(1_000)))[0].decisions)

    (entry,) = full_of(fitting, Ledger(wide(1_000)))

    assert 0.9 * ENTRY_MAX < len(entry.encode(9)) <= ENTRY_MAX


def test_entries_that_their_inputs_fill_still_take_an_eighth_of_the_bound_each() -> None:
    ledger = Ledger(wide(7_000))
    ledger.take(turn([(i, 0) for i in range(7_000)]), [])

    entries = full_of(100, ledger)

    assert len(entries[0].encode(9)) > ENTRY_MAX
    assert len(entries) == 3
    assert max(sizes(entries)) < KAFKA_MAX


def settled() -> tuple[Entry, list[Entry]]:
    """Return an owner entry, and two parts and their entry that follow on it: a range in each."""
    first = owner((0, 0, 0))
    ledger = Ledger(first)
    for i in range(3):
        ledger.decide("split_key", "x" * (ENTRY_MAX * 2 // 3), "")
        ledger.take(turn([(0, i)]), [Gap("dead", "payments", 0, i, i + 1)])
    return first, close(ledger)


def test_the_ranges_of_parts_hold_for_the_records_of_their_entry() -> None:
    first, entries = settled()

    (found,) = runs([first, *map(again, entries)])

    assert [len(entry.gaps) for entry in entries] == [1, 1, 1]
    assert found.dead == ((0, 0, 1), (0, 1, 2), (0, 2, 3))


def test_parts_of_an_instance_that_ended_before_their_entry_count_for_nothing() -> None:
    first, entries = settled()
    ledger = Ledger(changed(again(entries[1]), origin="owner", owner="host:2:def"))
    ledger.take(turn([(1, 0), (0, 0)]), [])

    (found,) = runs([first, *entries[:2], ledger.last, *close(ledger)])

    assert [column.tolist() for column in found.columns] == [[1, 0], [0, 0], [1, 1], [1, 1]]
    assert found.dead == ()


def test_parts_at_the_end_of_a_journal_cover_nothing() -> None:
    first, entries = settled()

    assert followed([first, *entries[:2]]) == []


def test_an_owner_entry_left_among_parts_by_another_instance_changes_nothing() -> None:
    first, entries = settled()
    stray = changed(first, owner="host:2:def")

    (found,) = runs([first, entries[0], stray, *entries[1:]])

    assert found.dead == ((0, 0, 1), (0, 1, 2), (0, 2, 3))


@pytest.mark.parametrize("wrong", ["a part left out", "a part twice", "a part elsewhere"])
def test_parts_that_contradict_their_entry_are_refused(wrong: str) -> None:
    first = owner((0, 0, 0))
    ledger = Ledger(first)
    ledger.take(turn([(i % 2, i // 2) for i in range(300_000)]), [])
    a, b, last = close(ledger)
    damaged = {
        "a part left out": [a, last],
        "a part twice": [a, a, b, last],
        "a part elsewhere": [changed(a, seq=1), b, last],
    }
    assert len(followed([first, a, b, last])) == 300_000

    with pytest.raises(UnsafeResumeError, match=r"is damaged.*start anew under another pipeline"):
        followed([first, *damaged[wrong]])


SMALL: Final = 4_000
"""A bound at which a few records make parts."""


@given(st.data())
def test_any_journal_is_followed_whatever_parts_it_is_cut_into(data: st.DataObject) -> None:
    before = owner((0, 0, 0))
    entries = [before]
    taken: list[Place] = []
    dead: list[tuple[int, int, int]] = []
    said: list[Decision] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "ENTRY_MAX", SMALL)
        ledger = Ledger(before)
        following = [0] * INPUTS
        for number in range(data.draw(st.integers(1, 4), label="entries")):
            places, gaps, decisions = _noted(data, ledger, following)
            written = close(ledger)
            assert max(sizes(written)) <= SMALL
            assert_one_after_another(written, before)
            kept = len(written)
            if data.draw(st.booleans(), label="ends"):
                kept = data.draw(st.integers(0, len(written)), label="written")
            entries += written[:kept]
            if kept == len(written):
                before = written[-1]
                taken, dead, said = taken + places, dead + gaps, said + decisions
            else:
                following = before.next_offset.tolist()
                before = changed(before, origin="owner", owner=f"host:{number}", count=0)
                before = changed(before, seq=written[0].seq)
                entries.append(before)
                ledger = Ledger(before)

    found = list(runs(map(again, entries)))

    order = [
        (int(source), offset)
        for one in found
        for source, first, after, count in zip(*one.columns, strict=True)
        for offset in range(first, after)
        if count == after - first
    ]
    assert order == taken
    assert [one for each in found for one in each.dead] == dead
    journaled = [one for entry in entries for one in entry.decisions]
    assert [one for one in said if one not in journaled] == []


def _noted(
    data: st.DataObject, ledger: Ledger, following: list[int]
) -> tuple[list[Place], list[tuple[int, int, int]], list[Decision]]:
    """Have turns, ranges, schemas and decisions noted; return those, but for the schemas."""
    noted: list[Place] = []
    dead: list[tuple[int, int, int]] = []
    decisions: list[Decision] = []
    for _ in range(data.draw(st.integers(1, 4), label="turns")):
        draw = random.Random(data.draw(st.integers(0, 2**32), label="seed"))
        places: list[Place] = []
        gaps = []
        unused = draw.choice([0.0, 0.1, 0.9])
        for _ in range(draw.choice([1, 30, 400])):
            source = draw.randrange(INPUTS)
            places.append((source, following[source]))
            following[source] += 1
            if draw.random() < unused:
                name, partition = ("labels", 0) if source == INPUTS - 1 else ("payments", source)
                reason = draw.choice(["dead", "duplicate"])
                gaps.append(Gap(reason, name, partition, places[-1][1], following[source]))
                dead += [(source, places[-1][1], following[source])] if reason == "dead" else []
        noted += places
        ledger.take(turn(places), gaps)
        for _ in range(draw.choice([0, 1, 30])):
            key = draw.choice(["k", "é"]) * draw.randrange(200)
            decisions.append(Decision("split_key", ledger.seq, key, "also 1"))
            ledger.decide("split_key", key, "also 1")
        for _ in range(draw.choice([0, 1, 10])):
            ledger.saw(draw.randrange(1, 2**31), bytes(32), "s" * draw.randrange(200))
    return noted, dead, decisions
