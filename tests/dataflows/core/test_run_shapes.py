"""The same records run in many shapes: equal to the bit where it is promised, and said where not.

DESIGN section 3.10: a vector is a function of the definition, the records, the order in which they
were processed, and journaled decisions. Whatever keeps these four keeps every bit of every vector,
flag, fate and row. Where the order is another, local features are equal all the same.
"""

from __future__ import annotations

import random
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from run_reads import (
    caught_up,
    chunks,
    everything,
    held,
    interleaved,
    last_first,
    one_after_another,
    one_behind,
    one_by_one,
    own_pauses,
    silent,
)
from run_shapes import Life, Run, differing, replayed
from run_worlds import HOUR, World, definition, of_customer, payment, produced

from noskew.dataflows.core import order, steps
from noskew.kernels.layout import FATE_DUPLICATE, FATE_LATE, FLAG_LATE, FLAG_WARMING
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from run_shapes import Shape

WORLDS: Final = ((1,), (4,), (1, 1), (2, 1), (8, 3))
"""Partitions of payments and, of two streams, of labels."""

PINNED: Final = {(4,): "218164ba023cd538", (8, 3): "7be0efba4256cd9b"}
"""Compiled or not, on any machine. They change only together with what features mean."""

LOCAL: Final = (
    "amount_cents", "hour", "customer_id_count_1h", "customer_id_count_6h", "abroad",
    "customer_id_amount_cents_mean_6h", "customer_id_amount_cents_max_1h_delay_30m",
    "customer_id_amount_cents_sum_all", "customer_id_terminal_id_distinct_6h",
    "customer_id_since_last", "amount_vs_mean",
)  # fmt: skip


@cache
def world(partitions: tuple[int, ...], seed: int = 5, skew: str = "12h", *, calm: bool) -> World:
    streams = len(partitions)
    records = produced(seed, streams=streams, calm=calm)
    return World(records, partitions, definition(streams, skew))


@cache
def base(partitions: tuple[int, ...], skew: str = "12h", *, calm: bool = False) -> Run:
    """Return the run that others are compared with: one batch of everything."""
    return Run(world(partitions, skew=skew, calm=calm), 0).through(everything)


def assert_same(run: Run, wanted: Run) -> None:
    """Fail unless order, fates, flags, vectors, rows and dead letters are equal to the bit."""
    unequal = np.flatnonzero(run.rows != wanted.rows)
    at = int(unequal[0]) if len(unequal) else 0
    assert run.digest == wanted.digest, (run.rows[at], wanted.rows[at], differing(run, wanted))
    assert run.stored == wanted.stored
    assert run.letters == wanted.letters


def assert_only_ordered(run: Run, wanted: Run) -> None:
    """Fail unless the runs differ, in order and in features that the plan says are ordered.

    Of what is not flagged incomplete, that is.
    """
    plan = run.world.plan
    said = {name for name, is_ordered in zip(plan.names, plan.ordered, strict=True) if is_ordered}
    flagged = run.incomplete | wanted.incomplete
    found = {name for name, at in differing(run, wanted).items() if at - flagged}
    assert run.order != wanted.order
    assert run.digest != wanted.digest
    assert found
    assert found <= said
    assert run.local(flagged) == wanted.local(flagged)


@pytest.mark.parametrize("partitions", WORLDS, ids=str)
def test_a_backlog_in_one_batch_is_in_canonical_order(partitions: tuple[int, ...]) -> None:
    run = base(partitions)
    fates = run.rows["fate"][run.rows["input"] >= run.world.first[1]].tolist()

    assert run.order == run.world.canonical()
    assert run.digest == PINNED.get(partitions, run.digest)
    assert run.letters == sorted(run.world.place(number) for number in run.world.dead)
    # What the shapes are about takes part: late, twice sent, dead ones, labels corrected too late.
    assert {0, 1, FATE_LATE, FATE_DUPLICATE} <= set(run.scored["fate"].tolist())
    assert len(partitions) == 1 or {0, 1, FATE_LATE} <= set(fates)


@pytest.mark.parametrize("partitions", WORLDS, ids=str)
@pytest.mark.parametrize(
    "shape",
    [one_by_one, chunks, one_after_another, last_first, one_behind, interleaved],
    ids=lambda shape: shape.__name__,
)
def test_a_backlog_gives_the_same_bits_however_it_is_read(
    shape: Shape, partitions: tuple[int, ...]
) -> None:
    run = Run(world(partitions, calm=False), 1).through(shape)

    assert_same(run, base(partitions))


@pytest.mark.parametrize("partitions", [(4,), (8, 3)], ids=str)
def test_our_own_pauses_are_nobodys_silence(partitions: tuple[int, ...]) -> None:
    run = Run(world(partitions, calm=False), 2, align_wait_s=1.0).through(own_pauses)

    assert run.ran_out == 0
    assert_same(run, base(partitions))


@pytest.mark.parametrize("partitions", [(4,), (2, 1)], ids=str)
@pytest.mark.parametrize("size", [1, 7])
def test_turns_of_any_size_give_the_same_bits(
    partitions: tuple[int, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = base(partitions)
    monkeypatch.setattr(order, "BATCH_MAX", size)
    monkeypatch.setattr(steps, "TURN_MAX", 3)

    run = Run(world(partitions, calm=False), 3).through(everything)

    assert_same(run, wanted)


@pytest.mark.parametrize("partitions", [(4,), (1, 1), (8, 3)], ids=str)
@pytest.mark.parametrize("deaths", [(9,), (4, 30), (14, 12, 20)], ids=len)
def test_a_run_that_is_killed_and_started_again_gives_the_same_bits(
    partitions: tuple[int, ...], deaths: tuple[int, ...]
) -> None:
    run = Run(world(partitions, calm=False), 40 + len(deaths), settle=0.25)

    run.through(one_behind, deaths)

    assert run.rebuilt > 0
    # What was put out and not journaled came again, and was the same.
    assert any(len(part) for part in run.lost)
    for part in run.lost:
        assert part.tobytes() == run.rows[part["seq"]].tobytes()
    assert_same(run, base(partitions))


@pytest.mark.parametrize("partitions", [(1,), (2, 1)], ids=str)
@pytest.mark.parametrize(
    "sinks",
    [
        {"settle": 0.0},
        {"settle": 1.0, "flush": 1.0},
        {"settle": 1.0, "flush": 0.0, "sweep": 1.0},
        {"settle": 0.3, "flush": 0.1, "sweep": 0.5},
    ],
    ids=["at_the_end", "always", "swept_only", "now_and_then"],
)
def test_when_rows_are_drained_and_keys_swept_changes_nothing(
    partitions: tuple[int, ...], sinks: dict[str, float]
) -> None:
    run = Run(world(partitions, calm=False), 6, **sinks).through(chunks)  # type: ignore[arg-type]  # only these floats

    # Where they are swept always, keys go and come again.
    assert run.gone > base(partitions).gone or sinks.get("flush") != 1.0
    assert base(partitions).gone > 0
    assert_same(run, base(partitions))


@pytest.mark.parametrize("partitions", [(4,), (1, 1), (8, 3)], ids=str)
def test_caught_up_only_ordered_features_differ_and_the_plan_names_them(
    partitions: tuple[int, ...],
) -> None:
    run = Run(world(partitions, calm=True), 7).through(caught_up, arrived=0)
    plan = run.world.plan

    assert_only_ordered(run, base(partitions, calm=True))
    assert [
        n for n, is_ordered in zip(plan.names, plan.ordered, strict=True) if not is_ordered
    ] == [*LOCAL]
    assert run.incomplete == set()


@pytest.mark.parametrize("partitions", [(4,), (8, 3)], ids=str)
@pytest.mark.parametrize("reading", [everything, one_by_one, chunks, last_first])
def test_an_order_of_arrival_is_replayed_by_its_journal_to_the_bit(
    partitions: tuple[int, ...], reading: Shape
) -> None:
    run = Run(world(partitions, calm=False), 8, settle=0.3)

    run.through(caught_up, deaths=(20, 45), arrived=10)

    assert run.rebuilt > 0
    assert run.order != run.world.canonical()
    assert replayed(run, run.world, reading, 9).tobytes() == run.rows.tobytes()


@pytest.mark.parametrize("one", [1, 2], ids=["payments", "labels"])
def test_an_input_given_up_changes_the_order_and_no_local_feature(one: int) -> None:
    alike = world((2, 1), skew="30d", calm=False)
    wanted = Run(alike, 0).through(everything)

    run = Run(alike, 10, align_wait_s=1.0).through(silent(one))
    patient = Run(alike, 10, align_wait_s=None).through(silent(one))

    assert (run.ran_out, patient.ran_out) == (1, 0)
    assert_same(patient, wanted)
    assert_only_ordered(run, wanted)
    assert replayed(run, alike, chunks, 11).tobytes() == run.rows.tobytes()


def test_beyond_the_skew_a_silent_partitions_records_are_flagged_incomplete() -> None:
    wanted = base((2, 1), skew="1h")

    run = Run(wanted.world, 12, align_wait_s=1.0).through(silent(1))
    flagged = run.incomplete | wanted.incomplete
    local = {name: at for name, at in differing(run, wanted).items() if name in LOCAL}

    assert run.local() != wanted.local()
    assert run.local(flagged) == wanted.local(flagged)
    assert {n for at in local.values() for n in at} <= flagged
    assert replayed(run, run.world, one_behind, 13).tobytes() == run.rows.tobytes()


def test_a_decay_keeps_in_its_last_bits_that_entries_came_below_the_horizon() -> None:
    """What is older than what was folded is added to it, not in its place among it.

    Rows of the key that come later, above the horizon, are not flagged: so decays are *ordered*.
    """
    records = [
        payment(number, customer, minute, amount)
        for number, (customer, minute, amount) in enumerate(
            [(1, 0, 4180), (1, 10, 1932), (1, 5, 8118), (0, 20 * 60, 1), (1, 21 * 60, 1)]
        )
    ]
    late = World(records, (2,), definition(1, "12h"))
    plan = late.plan

    wanted = Run(late, 0).through(everything)
    run = Run(late, 14, align_wait_s=1.0).through(silent(1))
    at = plan.names.index("customer_id_amount_cents_decayed_sum_2h")
    assert plan.ordered[at]
    values = run.vectors[4][at], wanted.vectors[4][at]

    assert (run.order, wanted.order) == ([3, 0, 1, 2, 4], [0, 1, 2, 3, 4])
    assert (run.incomplete, wanted.incomplete) == ({0, 1, 2}, set())
    assert [name for name, of in differing(run, wanted).items() if 4 in of] == [plan.names[at]]
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], rel=1e-15)


@pytest.mark.parametrize("one", [0, 1, 2], ids=["payments", "payments", "labels"])
def test_an_input_held_for_the_registry_changes_the_order_and_the_journal_keeps_it(
    one: int,
) -> None:
    alike = world((2, 1), skew="30d", calm=False)
    wanted = Run(alike, 0).through(everything)

    run = Run(alike, 15).through(held(one))

    assert_only_ordered(run, wanted)
    assert replayed(run, alike, chunks, 16).tobytes() == run.rows.tobytes()


@pytest.mark.parametrize("partitions", [(2,), (4,), (8,), (2, 1), (4, 2), (8, 8)], ids=str)
def test_local_features_do_not_depend_on_the_number_of_partitions(
    partitions: tuple[int, ...],
) -> None:
    wanted = base((1,) * len(partitions), calm=True)

    run = Run(world(partitions, calm=True), 17).through(chunks)
    plan = run.world.plan

    assert run.local() == wanted.local()
    assert run.incomplete == wanted.incomplete == set()
    assert FATE_LATE not in run.scored["fate"]
    assert set(differing(run, wanted)).isdisjoint(LOCAL)
    assert plan.fingerprint == wanted.world.plan.fingerprint


def test_lateness_is_counted_by_partition_and_so_depends_on_their_number() -> None:
    one, many = base((1,)), Run(world((8,), calm=False), 18).through(chunks)
    late = [set(run.rows["number"][(run.rows["flags"] & FLAG_LATE) != 0]) for run in (one, many)]

    assert late[1] < late[0]


@pytest.mark.parametrize("partitions", [(1,), (4,), (8, 3)], ids=str)
def test_dead_letters_and_duplicates_leave_no_trace_in_what_others_see(
    partitions: tuple[int, ...],
) -> None:
    full = base(partitions, calm=True)
    double = full.rows["number"][full.rows["fate"] == FATE_DUPLICATE].tolist()
    out = {*full.world.dead, *double}
    less = World(full.world.records, partitions, full.world.plan, leave_out=out)

    run = Run(less, 19).through(chunks)
    kept = full.rows[~np.isin(full.rows["number"], list(out))]

    assert len(run.rows) < len(full.rows)
    assert run.letters == []
    for name in ("number", "input", "offset", "fate", "flags", "digest", "local"):
        assert run.rows[name].tolist() == kept[name].tolist(), name


@pytest.mark.parametrize("partitions", [(1,), (8, 3)], ids=str)
def test_what_was_dead_when_the_journal_was_written_stays_dead(
    partitions: tuple[int, ...],
) -> None:
    run = Run(world(partitions, calm=False), 20).through(chunks)
    alive = {one.stream: one for one in run.world.records if one.reason is Reason.OK}
    mended = [
        of_customer(alive[one.stream], one.customer) if one.reason is Reason.UNKNOWN_SCHEMA else one
        for one in run.world.records
    ]
    answered = World(mended, partitions, run.world.plan)

    assert len(answered.dead) < len(run.world.dead)
    assert replayed(run, answered, chunks, 21).tobytes() == run.rows.tobytes()
    # Without the journal they would count.
    assert Run(answered, 22).through(chunks).digest != run.digest


@pytest.mark.parametrize("partitions", [(4,), (2, 1)], ids=str)
def test_a_restart_that_can_decode_more_goes_on_where_the_journal_stands(
    partitions: tuple[int, ...],
) -> None:
    wanted = base(partitions)
    run = Run(wanted.world, 23, settle=0.5)
    rng = random.Random(23)
    life = Life(run, len(run.world), rng)
    for read in islice(one_behind(life.source, rng), 25):
        life.step(read)
    # The latest record of all would move a clock far ahead, and with it the order to come.
    latest = {one.stream: one for one in sorted(run.world.records, key=lambda x: x.available_us)}
    taken = set(run.order) & set(run.world.dead)
    mended = [
        of_customer(latest[one.stream], one.customer) if number in taken else one
        for number, one in enumerate(run.world.records)
    ]

    run.world = World(mended, partitions, run.world.plan)
    run.through(chunks)

    assert taken
    assert run.rebuilt > 0
    assert_same(run, wanted)


def test_where_an_origin_begins_is_flagged_warming() -> None:
    run = base((8, 3))
    scored = run.scored[(run.scored["fate"] == 0) | (run.scored["fate"] == FATE_LATE)]
    times = np.array([run.world.records[n].time_us for n in scored["number"].tolist()])
    first = next(row for row in run.rows if row["fate"] == 0 and row["input"] < 8)
    origin_us = run.world.records[first["number"]].time_us

    warming = times - run.world.plan.reach_us < origin_us

    assert ((scored["flags"] & FLAG_WARMING) != 0).tolist() == warming.tolist()
    assert 0 < int(warming.sum()) < len(warming)
    assert run.world.plan.reach_us == 6 * HOUR
