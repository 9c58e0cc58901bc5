"""The engine equals ``naive`` bit for bit: fates, flags and vectors, compiled or not, any turns."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from meaning import Event, Field, Meaning, Source, Statistic, bits
from naive import CAPPED, Naive
from strategies import (
    AMOUNT,
    AMOUNTS,
    COUNTRY,
    CUSTOMER,
    DAY,
    HOUR,
    KIND,
    MAX_ABS,
    ONLINE,
    PAYMENT,
    PRICE,
    START_US,
    TERMINAL,
    Case,
    cases,
    deep_case,
    turn_of,
)

from noskew.dataflows.core.engine import Engine
from noskew.dataflows.definition.plan import WINDOWLESS, Stat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meaning import Value

EXAMPLES = int(os.environ.get("NOSKEW_EXAMPLES", "150"))
SUITE = [__file__, str(Path(__file__).with_name("test_rows_equal_naive.py"))]
UNCOMPILED = os.environ.get("NUMBA_DISABLE_JIT") == "1"

thorough = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

PAYMENTS = Source(PAYMENT, CUSTOMER, HOUR, DAY, quantum={PRICE: 2})
LABELS = replace(PAYMENTS, allowed_lateness_us=DAY, revise=True)


def feed(engine: Engine, case: Case, chunks: list[list[Event]]) -> Iterator[tuple[object, ...]]:
    """Yield what the engine says of each record, as ``Answer.bits`` says it."""
    seq = 0
    for chunk in chunks:
        yield from said(engine, case, chunk, seq)
        seq += len(chunk)


def said(engine: Engine, case: Case, chunk: list[Event], seq: int) -> list[tuple[object, ...]]:
    found = engine.process(turn_of(case, chunk, seq))
    fates = [iter(fate.tolist()) for fate in found.fates]
    scored = zip(found.flags.tolist(), found.vectors.T.tolist(), strict=True)
    answers: list[tuple[object, ...]] = []
    for event in chunk:
        fate = next(fates[event.stream])
        flags, vector = next(scored) if event.stream == 0 else (0, [])
        answers.append((fate, flags, *map(bits, vector)))
    return answers


def meant(case: Case, cap: int = 2**22) -> list[tuple[object, ...]]:
    naive = Naive(case.meaning, case.partitions, cap)
    return [naive.process(event).bits for event in case.events]


def engine_of(case: Case, cap: int = 2**22) -> Engine:
    return Engine(case.plan, case.partitions, key_cap=cap)


@given(cases())
@thorough
def test_every_fate_flag_and_vector_equals_naive(case: Case) -> None:
    assert list(feed(engine_of(case), case, case.chunks())) == meant(case)


@pytest.mark.parametrize("seed", range(8 if UNCOMPILED else 24))
def test_keys_with_many_entries_equal_naive(seed: int) -> None:
    case = deep_case(seed, 90 if UNCOMPILED else 200)

    assert list(feed(engine_of(case), case, case.chunks())) == meant(case)


@given(cases(size=30))
@thorough
def test_one_by_one_equals_one_turn(case: Case) -> None:
    whole = list(feed(engine_of(case), case, [case.events]))
    singly = list(feed(engine_of(case), case, [[event] for event in case.events]))

    assert singly == whole


@given(cases(size=40))
@thorough
def test_sweeping_and_draining_between_turns_change_no_vector(case: Case) -> None:
    engine = engine_of(case)

    found: list[tuple[object, ...]] = []
    for chunk in case.chunks():
        found += said(engine, case, chunk, len(found))
        engine.sweep()
        engine.rows()

    assert found == meant(case)


@given(cases(size=40))
@thorough
def test_clocks_lines_split_and_full_keys_equal_naive(case: Case) -> None:
    engine, naive = engine_of(case, cap=4), Naive(case.meaning, case.partitions, cap=4)

    found = list(feed(engine, case, case.chunks()))
    assert found == [naive.process(event).bits for event in case.events]

    started = [clock for clocks in naive.clocks for clock in clocks if isinstance(clock, int)]
    assert [clock for clock in engine.clocks.event_clock.tolist() if clock > 0] == started
    if naive.origin_us is not None:
        assert engine.clocks.origin_us == naive.origin_us
        assert engine.clocks.horizon_us == naive.horizon_us()
    splits = [(s.key, s.first_partition, s.partition, s.seq) for s in engine.splits()]
    assert splits == naive.splits
    caps = [(capped.entity, capped.key, capped.seq) for capped in engine.caps()]
    assert sorted(caps, key=str) == sorted(naive.caps, key=str)


def test_full_key_is_scored_flagged_and_not_aggregated() -> None:
    count = Statistic(Stat.COUNT, CUSTOMER, over_us=DAY)
    case = one_stream({"n": count}, [payment(i) for i in range(5)], cuts=[2])
    engine = engine_of(case, cap=3)

    found = list(feed(engine, case, case.chunks()))

    assert found == meant(case, cap=3)
    assert [flags & CAPPED for _, flags, _ in found] == [0] * 3 + [CAPPED] * 2  # type: ignore[operator]  # the second of a record's bits is its flags
    assert [(capped.key, capped.seq) for capped in engine.caps()] == [(1, 3)]


def test_dead_letter_and_duplicate_split_no_key() -> None:
    dedupe = replace(PAYMENTS, dedupe_us=HOUR)
    count = Statistic(Stat.COUNT, CUSTOMER, over_us=DAY)
    events = [
        payment(0, number=1),
        payment(0, partition=1, customer=2, number=2),
        replace(payment(1, partition=1), reason=3),
        payment(1, partition=1, number=2),
    ]
    case = Case(Meaning({"n": count}, (dedupe,)), (2,), frozenset(), events, [])
    engine = engine_of(case)

    assert list(feed(engine, case, case.chunks())) == meant(case)
    assert engine.splits() == []


def test_table_without_a_column_keeps_its_times_when_one_comes_in_between() -> None:
    count = Statistic(Stat.COUNT, CUSTOMER, over_us=HOUR)
    events = [payment(after) for after in (0, 10, 20, 30, 5, 15, 25, HOUR + 10)]
    case = one_stream({"n": count}, events)

    found = [answer[2] for answer in feed(engine_of(case), case, case.chunks())]

    assert found == [bits(float(n)) for n in (1, 2, 3, 4, 2, 4, 6, 5)]


def test_key_that_is_gone_again_and_again_between_two_drains() -> None:
    count = Statistic(Stat.COUNT, CUSTOMER, over_us=1_000_000)
    strict = replace(PAYMENTS, allowed_lateness_us=0)
    events = [payment(n * HOUR) for n in range(2500)]
    case = Case(Meaning({"n": count}, (strict,)), (1,), frozenset(), events, [])
    engine = engine_of(case)

    found = [answer[2] for answer in feed(engine, case, case.chunks())]

    assert found == [bits(1.0)] * len(events)
    assert [len(rows) for rows in engine.rows()] == [1]


def test_sums_beyond_2_to_the_53_and_their_quotients_are_rounded_once() -> None:
    count = 100 if UNCOMPILED else 20_000
    amounts = [MAX_ABS - (i * i) % 1_000 for i in range(count)]
    stats = (Stat.SUM, Stat.MEAN)
    both = {
        f"{stat.name}{over_us}": Statistic(stat, CUSTOMER, over_us, AMOUNT)
        for stat in stats
        for over_us in (DAY, None)
    }
    case = one_stream(both, [payment(i, amount) for i, amount in enumerate(amounts)])

    found = list(feed(engine_of(case), case, case.chunks()))

    total = 0
    for i, (amount, (_, _, *values)) in enumerate(zip(amounts, found, strict=True), 1):
        total += amount
        assert values == [bits(float(total))] * 2 + [bits(total / i)] * 2


@pytest.mark.parametrize("stat", Stat)
def test_every_statistic_over_payments_and_their_labels_equals_naive(stat: Stat) -> None:
    case = labelled(stat, 50 if UNCOMPILED else 120)

    assert list(feed(engine_of(case), case, case.chunks())) == meant(case)


def labelled(stat: Stat, count: int) -> Case:
    """Return payments with ties and lateness, and their labels days later, some of them revised."""
    rng = np.random.default_rng(int(stat))
    column = "" if stat in {Stat.COUNT, Stat.RATE, Stat.SINCE_LAST, Stat.DECAYED_COUNT} else AMOUNT
    over = (0,) if stat in WINDOWLESS else (HOUR, DAY) if stat is Stat.RATE else (HOUR, DAY, None)
    features = {
        f"{entity}_{over_us}_{stream}": Statistic(
            stat,
            entity,
            over_us=None if over_us == 0 else over_us,
            column=column,
            delay_us=0 if stat in WINDOWLESS else delay_us,
            half_life_us=HOUR if stat in WINDOWLESS else 0,
            stream=stream,
        )
        for entity, delay_us, stream in ((CUSTOMER, 0, 0), (TERMINAL, HOUR, 0), (TERMINAL, HOUR, 1))
        for over_us in over
    }
    meaning = Meaning({**features, "amount": Field(AMOUNT)}, (PAYMENTS, LABELS))
    ahead = np.sort(rng.integers(0, 3 * DAY // 60_000_000, count)) * 60_000_000
    behind = np.where(rng.random(count) < 0.2, rng.integers(0, 2 * HOUR, count), 0)
    payments = [
        payment(
            int(ahead[i] - behind[i]),
            int(rng.choice(AMOUNTS[3:])),
            int(rng.integers(0, 4)),
            int(rng.integers(0, 3)),
            int(rng.integers(0, 2)),
            i,
        )
        for i in range(count)
    ]
    events = []
    for i, one in enumerate(payments):
        events.append(one)
        for _ in range(int(rng.integers(0, 3))):
            like = payments[int(rng.integers(max(0, i - 40), i + 1))]
            fraud = int(rng.integers(0, 2))
            events.append(replace(like, stream=1, values=like.values | {AMOUNT: fraud}))
    return Case(meaning, (2, 2), frozenset(), events, sorted(rng.integers(0, count, 8).tolist()))


def one_stream(
    features: dict[str, Statistic], events: list[Event], cuts: list[int] | None = None
) -> Case:
    return Case(Meaning(dict(features), (PAYMENTS,)), (1,), frozenset(), events, cuts or [])


def payment(
    after_us: int,
    amount: int = 1,
    customer: int = 1,
    terminal: int = 1,
    partition: int = 0,
    number: int = 0,
) -> Event:
    values: dict[str, Value] = {
        CUSTOMER: customer, TERMINAL: terminal, PAYMENT: number, AMOUNT: amount, ONLINE: 1,
        PRICE: 0.5, KIND: 0, COUNTRY: "se",
    }  # fmt: skip
    return Event(partition, after_us, START_US + after_us, values)


@pytest.mark.skipif(UNCOMPILED, reason="this is the uncompiled run")
@pytest.mark.parametrize(
    ("variable", "examples"),
    [
        ("NUMBA_DISABLE_JIT", 15),
        # Kernels are compiled once more for it, which takes about a minute.
        pytest.param("NUMBA_BOUNDSCHECK", 60, marks=pytest.mark.full),
    ],
)
def test_uncompiled_and_bounds_checked_kernels_pass_the_same_tests(
    variable: str, examples: int
) -> None:
    if os.environ.get("NUMBA_BOUNDSCHECK") == "1":
        pytest.skip("this is the bounds-checked run")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE]
    environment = os.environ | {variable: "1", "NOSKEW_EXAMPLES": str(examples)}
    root = Path(__file__).parents[3]

    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout[-5000:]
