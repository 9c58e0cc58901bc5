"""A journal followed entry by entry: what does not follow is told, and what does still counts."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from audited import INTERVALS, TIMES, World, audited, journal
from journals import again, changed, owner, turn

from noskew.dataflows.core import audit_journal
from noskew.dataflows.core import journal as core
from noskew.dataflows.core.audit_findings import Findings
from noskew.dataflows.core.audit_journal import Follow
from noskew.dataflows.core.journal import Gap, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows.core.journal import Entry

OTHER: Final = "host:2:def"


def takes_over(entries: list[Entry], at: int, name: str = OTHER) -> list[Entry]:
    """Let another instance go on from the entry at ``at``."""
    before, after = entries[:at], entries[at:]
    last = before[-1]
    new = changed(owner(last.next_offset.tolist(), last.end), owner=name)
    return [*before, new, *(changed(one, owner=name) for one in after)]


def test_a_takeover_between_intervals_is_whole() -> None:
    found = audited(World(takes_over(journal(), 2)))

    assert found.findings.listed == []
    assert (found.follow.owners, found.follow.entries) == (2, 5)


def test_an_instance_that_found_another_at_work_leaves_only_its_owner_entry() -> None:
    entries = journal()
    there = entries[1]
    left = changed(owner(there.next_offset.tolist(), there.end), owner=OTHER)

    assert audited(World([*entries[:3], left, *entries[3:]])).findings.listed == []


def lost_entry(entries: list[Entry]) -> list[Entry]:
    return [entries[0], entries[1], entries[3]]


def repeated(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], entries[2], entries[3]]


def swapped(entries: list[Entry]) -> list[Entry]:
    return [entries[0], entries[2], entries[1], entries[3]]


def other_features(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], fingerprint=bytes(32))]


def other_topic(entries: list[Entry]) -> list[Entry]:
    topics = (entries[3].topics[0], dataclasses.replace(entries[3].topics[1], id=bytes(16)))
    return [*entries[:3], changed(entries[3], topics=topics)]


def takeover_ahead(entries: list[Entry]) -> list[Entry]:
    return [*entries, changed(owner((11, 15, 24), 17), owner=OTHER)]


def takeover_elsewhere(entries: list[Entry]) -> list[Entry]:
    return [*entries, changed(owner((12, 15, 24), 16), owner=OTHER)]


def no_owner_entry(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], owner=OTHER)]


def came_back(entries: list[Entry]) -> list[Entry]:
    zombie, by_other = entries[3], takes_over(entries[:3], 2)
    return [*by_other, zombie]


def not_fenced(entries: list[Entry]) -> list[Entry]:
    new = changed(owner((3, 11, 21), 5), owner=OTHER)
    return [*entries[:2], new, *entries[2:]]


def generation_back(entries: list[Entry]) -> list[Entry]:
    return [*(changed(one, generation=2) for one in entries[:3]), entries[3]]


def cut_runs(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], runs=entries[3].runs[:-4])]


def no_runs(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], runs=b"\xff\xff")]


def other_count(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], count=5)]


def other_progress(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], changed(entries[3], next_offset=np.array([12, 15, 24]))]


def bare_entry_elsewhere(entries: list[Entry]) -> list[Entry]:
    bare = changed(entries[3], count=0, runs=b"", gaps=(), seq=99)
    return [*entries[:3], bare, entries[3]]


def no_beginning(entries: list[Entry]) -> list[Entry]:
    return entries[1:]


WRONG: Final[dict[Callable[[list[Entry]], list[Entry]], list[tuple[str, int]]]] = {
    lost_entry: [("journal", 2)],
    repeated: [("journal", 3)],
    swapped: [("journal", 1), ("journal", 2)],
    other_features: [("journal", 3)],
    other_topic: [("journal", 3)],
    takeover_ahead: [("journal", 4)],
    takeover_elsewhere: [("journal", 4)],
    no_owner_entry: [("owner", 3)],
    came_back: [("owner", 4)],
    not_fenced: [("owner", 3), ("owner", 4)],
    generation_back: [("owner", 3)],
    cut_runs: [("parts", 3)],
    no_runs: [("parts", 3)],
    other_count: [("parts", 3)],
    other_progress: [("parts", 3)],
    bare_entry_elsewhere: [("journal", 3), ("journal", 4)],
    no_beginning: [("journal", 0)],
}


@pytest.mark.parametrize("broken", WRONG, ids=lambda one: one.__name__)
def test_each_fault_of_a_journal_is_told_with_its_offset(
    broken: Callable[[list[Entry]], list[Entry]],
) -> None:
    found = audited(World(broken(journal())))

    assert found.of_journal == WRONG[broken]
    first = found.findings.listed[0]
    assert first.expected != first.found
    assert "app.journal" in str(first)


def test_a_journal_in_any_disorder_is_told_and_ends_the_audit_in_no_other_way() -> None:
    draw = random.Random(4)
    entries = journal()
    for _ in range(300):
        others = draw.choices(entries[1:], k=draw.randrange(6))
        found = audited(World([entries[0], *others]), windows=draw.randrange(1, 4))

        assert (found.findings.listed == []) == (others == entries[1:])


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an entry hold a few ranges only."""
    monkeypatch.setattr(core, "ENTRY_MAX", 1024)


def in_parts() -> tuple[list[Entry], World]:
    """Return the entries of one interval in several parts, and the world it is whole in."""
    first = owner((0, 0, 0))
    ledger = Ledger(first)
    gaps = [Gap("duplicate", "payments", 0, at, at + 1) for at in range(0, 100, 2)]
    ledger.take(turn([(0, at) for at in range(100)]), gaps)
    entries = [again(one) for one in [first, *ledger.close(TIMES, TIMES, 5)]]
    scores = {0: [(at, at) for at in range(1, 100, 2)], 1: []}
    return entries, World(entries, scores, {})


@pytest.mark.usefixtures("small_parts")
def test_the_parts_of_an_entry_count_with_it() -> None:
    entries, world = in_parts()
    assert len(entries) >= 4

    found = audited(world)

    assert found.findings.listed == []
    assert found.inputs[0].account.duplicate == 50


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_is_missing_is_told_by_what_it_held() -> None:
    entries, world = in_parts()
    world.entries = [entries[0], *entries[2:]]

    found = audited(world)

    # The first has the runs; without them nothing says what was taken.
    assert found.of_journal == [("parts", len(world.entries) - 1)]


@pytest.mark.usefixtures("small_parts")
def test_parts_without_the_entry_that_covers_them_are_told() -> None:
    entries, world = in_parts()
    world.entries, world.scores = entries[:-1], {}

    assert audited(world).of_journal == [("parts", len(world.entries))]


@pytest.mark.usefixtures("small_parts")
def test_parts_that_another_instance_took_anew_are_void() -> None:
    entries, world = in_parts()
    new = changed(owner((0, 0, 0)), owner=OTHER)
    world.entries = [*entries[:-1], new, *(changed(one, owner=OTHER) for one in entries[1:])]

    found = audited(world)

    assert found.findings.listed == []
    assert found.follow.void == len(entries) - 2


def test_a_window_is_full_by_records_or_by_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("WINDOW_RECORDS", "WINDOW_RUNS"):
        with monkeypatch.context() as small:
            small.setattr(audit_journal, limit, 5)
            first, *others = journal(INTERVALS)
            follow = Follow("app.journal", first, Findings())
            full = [follow.full]
            for place, entry in enumerate(others[:2], 1):
                follow.take(place, entry)
                full.append(follow.full)
            assert full == [False, limit == "WINDOW_RECORDS", True]
            assert [one.end for one in follow.window()] == [7, 14, 24]
            follow.take(3, changed(others[2], count=0, runs=b"", gaps=()))
            assert [one.runs.shape for one in follow.window()] == [(4, 0)] * 3
