"""The accounting identity: it holds for what is whole, and each fault is told by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from audited import LABELS, LETTERS, PAYMENTS, SCORES, World, audited, journal
from journals import changed, owner

from noskew.dataflows.core.audit import Rows
from noskew.dataflows.core.audit_findings import LISTED, REMEDIES
from noskew.dataflows.core.journal import Gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from audited import Audited
    from journals import Place

Told = list[tuple[str, int, int, int]]


def numbers(found: Audited) -> list[tuple[int | str, int | str]]:
    return [(one.expected, one.found) for one in found.findings.listed]


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_what_is_whole_has_no_finding_and_every_term_is_counted(windows: int) -> None:
    found = audited(World(), windows=windows)

    assert found.findings.listed == []
    assert [one.adds_up for one in found.inputs] == [True] * 3
    terms = [one.account.terms(scored=one.scored) for one in found.inputs]
    assert [one.account.delivered for one in found.inputs] == [8, 5, 3]
    assert terms == [
        {"scored": 7, "dead": 1, "duplicate": 0, "unscored": 0, "held": 0},
        {"scored": 2, "dead": 0, "duplicate": 2, "unscored": 1, "held": 0},
        {"applied": 1, "late": 1, "dead": 1, "duplicate": 0, "held": 0},
    ]
    assert (found.follow.entries, found.follow.records, found.follow.owners) == (4, 16, 1)


@pytest.mark.parametrize("windows", [1, 3])
def test_offsets_that_delivered_nothing_are_listed_not_counted(windows: int) -> None:
    first, _, third = (one.account for one in audited(World(), windows=windows).inputs)

    assert (first.nothing, first.ranges) == (3, 2)
    # Inside a run of the scored stream they follow from the outcomes, of another they do not.
    assert first.listed == [(3, 5, 0), (9, 10, 0)]
    assert (third.nothing, third.ranges) == (1, 1)
    assert third.listed == [(21, 24, 2)]


def lost(world: World) -> None:
    world.scores[0].remove((6, 6))


def lost_beside_a_hole(world: World) -> None:
    world.scores[0].remove((8, 13))


def twice(world: World) -> None:
    world.scores[0].insert(3, (5, 5))


def replayed(world: World) -> None:
    world.scores[0] += world.scores[0][-3:]


def out_of_order(world: World) -> None:
    world.scores[0][3:5] = reversed(world.scores[0][3:5])


def beyond(world: World) -> None:
    world.scores[1] += [(15, 16), (16, 17)]


def before_the_origin(world: World) -> None:
    world.scores[1].insert(0, (9, 0))


def never_taken(world: World) -> None:
    world.scores[0].insert(2, (4, 4))


def one_too_many_in_a_hole(world: World) -> None:
    world.scores[0].insert(6, (9, 14))


def wrong_seq(world: World) -> None:
    world.scores[1][1] = (13, 12)


def wrong_seq_behind_a_hole(world: World) -> None:
    world.scores[0][-1] = (10, 15)


def scored_and_dead(world: World) -> None:
    world.scores[0].insert(1, (1, 2))


def letter_lost(world: World) -> None:
    world.letters[2].clear()


def letter_twice(world: World) -> None:
    world.letters[0] *= 2


def letter_of_a_scored_one(world: World) -> None:
    world.letters[0].append((2, 3))


def letter_beyond(world: World) -> None:
    world.letters[2].append((24, 16))


def letter_with_wrong_seq(world: World) -> None:
    world.letters[0] = [(1, 3)]


WRONG: Final[dict[Callable[[World], None], tuple[Told, tuple[int | str, int | str]]]] = {
    lost: ([("lost", 0, 6, 7)], (1, 0)),
    lost_beside_a_hole: ([("lost", 0, 7, 11)], (3, 2)),
    twice: ([("twice", 0, 5, 6)], (1, 2)),
    replayed: ([("twice", 0, 7, 9), ("twice", 0, 10, 11)], (3, 6)),
    out_of_order: ([("order", 0, 6, 7)], ("above 7", 6)),
    beyond: ([("beyond", 1, 15, 17)], ("offsets below 15", 15)),
    before_the_origin: ([("uncovered", 1, 9, 10)], ("none", 1)),
    never_taken: ([("uncovered", 0, 4, 5)], ("none", 1)),
    one_too_many_in_a_hole: ([("uncovered", 0, 7, 11)], (3, 4)),
    wrong_seq: ([("seq", 1, 13, 14)], ("11", 12)),
    wrong_seq_behind_a_hole: ([("seq", 0, 10, 11)], ("14", 15)),
    scored_and_dead: ([("both", 0, 1, 2)], ("dead", "score")),
    letter_lost: ([("letter_lost", 0, 23, 24)], (1, 0)),
    letter_twice: ([("letter_twice", 0, 1, 2)], (1, 2)),
    letter_of_a_scored_one: ([("both", 0, 2, 3)], ("not dead", "dead letter")),
    letter_beyond: ([("beyond", 0, 24, 25)], ("offsets below 24", 24)),
    letter_with_wrong_seq: ([("seq", 0, 1, 2)], ("2", 3)),
}


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("broken", WRONG, ids=lambda one: one.__name__)
def test_each_fault_is_told_with_its_place_and_both_numbers(
    broken: Callable[[World], None], windows: int
) -> None:
    world = World()
    broken(world)
    told, number = WRONG[broken]

    found = audited(world, windows=windows)

    if (broken, windows) == (replayed, 3):
        # All three stand in the last window, whose first offset they reach back to.
        assert [one[0] for one in found.told] == ["twice", "twice"]
        return
    assert found.told == told
    assert number in numbers(found)
    text = str(found.findings.listed[0])
    assert text.startswith(f"{told[0][0]}: topic ")
    assert f"partition {told[0][1]} offset" in text
    assert text.endswith(REMEDIES[told[0][0]])
    in_order = broken in {out_of_order, wrong_seq, wrong_seq_behind_a_hole, letter_with_wrong_seq}
    assert all(one.adds_up for one in found.inputs) == in_order


def test_a_score_of_a_window_before_is_told_as_out_of_order_or_as_twice() -> None:
    late, again = World(), World()
    late.scores[0].remove((2, 3))
    late.scores[0].append((2, 3))
    again.scores[0].append((2, 3))

    assert audited(late).told == [("order", 0, 2, 3)]
    assert audited(again).told == [("twice", 0, 2, 3)]


REASONS: Final[dict[str, tuple[list[Gap], Told]]] = {
    "another stream's reason": ([Gap("late", PAYMENTS, 0, 1, 2)], [("outcome", 0, 1, 2)]),
    "unknown": ([Gap("eaten", PAYMENTS, 0, 1, 2)], [("outcome", 0, 1, 2)]),
    "not delivered": ([Gap("unscored", PAYMENTS, 0, 3, 5)], [("outcome", 0, 3, 5)]),
    "of later": ([Gap("unscored", PAYMENTS, 0, 5, 60)], [("outcome", 0, 5, 60)]),
    "empty": ([Gap("unscored", PAYMENTS, 0, 5, 5)], [("outcome", 0, 5, 5)]),
    "twice": ([Gap("dead", PAYMENTS, 0, 1, 2)], [("outcome", 0, 1, 2)]),
    "two": ([Gap("duplicate", PAYMENTS, 0, 1, 2)], [("outcome", 0, 1, 2)]),
    "of labels": ([Gap("unscored", LABELS, 0, 22, 23)], [("outcome", 0, 22, 23)]),
}


@pytest.mark.parametrize(("more", "told"), REASONS.values(), ids=REASONS.keys())
def test_a_reason_that_contradicts_the_journal_is_told(more: list[Gap], told: Told) -> None:
    world = World()
    world.entries[1] = changed(world.entries[1], gaps=(*world.entries[1].gaps, *more))

    found = audited(world)

    assert [one for one in found.told if one[0] == "outcome"] == told


def test_what_retention_deleted_is_told_apart_from_what_is_lost() -> None:
    world = World(floors={0: 6}, letter_floor=3)
    world.scores[0] = [one for one in SCORES[0] if one[0] >= 6 and one[0] != 7]
    world.letters = {0: [], 2: LETTERS[2]}

    found = audited(world)

    assert found.told == [
        ("gone", 0, 0, 1),
        ("gone", 0, 2, 3),
        ("gone", 0, 5, 6),
        ("lost", 0, 7, 11),
        ("gone", 0, 1, 2),
    ]
    assert found.inputs[0].account.gone == 4
    assert audited(world, retained=True).told == [("lost", 0, 7, 11)]


def test_a_stretch_that_is_half_gone_and_half_lost_is_told_as_both() -> None:
    world = World(floors={0: 6})
    world.scores[0] = [one for one in SCORES[0] if one[0] not in {5, 6}]

    assert audited(world).told == [("gone", 0, 5, 6), ("lost", 0, 6, 7)]


def test_many_findings_are_counted_and_the_first_are_listed() -> None:
    places = [(0, one) for one in range(100)]
    world = World(journal([(places, [])], owner((0, 10, 20))), {0: [], 1: []}, {})
    world.scores[0] = [(one, one) for one in range(0, 100, 2)]

    found = audited(world).findings

    assert len(found) == 50
    assert len(found.listed) == LISTED
    assert found.unlisted() == {"lost": 40}


def test_a_sum_that_does_not_add_up_is_a_finding_of_its_own() -> None:
    found = audited(World())
    one, findings = found.inputs[0], found.findings
    one.account.delivered += 1
    assert not one.adds_up

    one.finish(Rows.none(), Rows.none())

    assert [(f.kind, f.expected, f.found) for f in findings.listed] == [("identity", 9, 8)]


def test_random_damage_never_passes_unseen() -> None:
    draw = np.random.default_rng(5)
    taken, whole = drawn(draw)

    for windows in (1, 2, 5):
        assert audited(whole(), windows=windows).findings.listed == []
    for _ in range(150):
        world = whole()
        of_scores = draw.random() < 0.7
        into = world.scores if of_scores else world.letters
        source = int(draw.integers(0, len(into)))
        damage(draw, into[source], source, taken, sure=of_scores or source < 2)

        assert len(audited(world, windows=int(draw.integers(1, 6))).findings) > 0


def damage(
    draw: np.random.Generator, rows: list[Place], source: int, taken: set[Place], *, sure: bool
) -> None:
    """Change one row, or the order of two; ``sure``: the journal implies the seq of each."""
    at = int(draw.integers(0, len(rows)))
    offset, seq = rows[at]
    step = int(draw.choice([-1, 1]))
    kind = draw.integers(0, 4)
    if kind == 0:
        rows[at], rows[at - 1] = rows[at - 1], rows[at]
    elif kind == 1:
        rows.insert(int(draw.integers(0, len(rows) + 1)), rows[at])
    elif kind == 2 and sure:
        rows[at] = (offset, seq + step)
    elif kind == 3 and (source, offset + step) in taken:
        rows[at] = (offset + step, seq)
    else:
        del rows[at]


def drawn(draw: np.random.Generator) -> tuple[set[Place], Callable[[], World]]:
    """Draw 400 records with holes between them, and what became of each."""
    nexts = [0, 10, 20]
    taken: list[Place] = []
    gaps: dict[Place, Gap] = {}
    scores: dict[int, list[Place]] = {0: [], 1: []}
    letters: dict[int, list[Place]] = {0: [], 1: [], 2: []}
    for seq, source in enumerate(draw.integers(0, 3, 400).tolist()):
        offset = nexts[source] + int(draw.random() < 0.1)
        nexts[source] = offset + 1
        taken.append((source, offset))
        fate = str(draw.choice(["used", "duplicate", "dead"], p=[0.8, 0.1, 0.1]))
        if fate != "used":
            stream = LABELS if source == 2 else PAYMENTS
            gaps[source, offset] = Gap(fate, stream, source % 2, offset, offset + 1)
        elif source < 2:
            scores[source].append((offset, seq))
        if fate == "dead":
            letters[source].append((offset, seq))
    cuts = [taken[:90], taken[90:91], taken[91:200], taken[200:333], taken[333:]]
    entries = journal([(cut, [gaps[one] for one in cut if one in gaps]) for cut in cuts])

    def whole() -> World:
        return World(entries, copied(scores), copied(letters))

    return set(taken), whole


def copied(rows: dict[int, list[Place]]) -> dict[int, list[Place]]:
    return {source: list(own) for source, own in rows.items()}
