"""The engine equals ``naive`` bit for bit: vectors and flags, compiled and not, however chunked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from meaning import Event, Field, Meaning, SinceLast, Windowed
from naive import CAPPED, Naive, bits
from plans import plan_of
from strategies import (
    AMOUNT,
    AMOUNTS,
    CUSTOMER,
    DAY,
    HOUR,
    MAX_ABS,
    ONLINE,
    START_US,
    TERMINAL,
    Case,
    batch_of,
    cases,
)

from noskew.dataflows.core.engine import Engine

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


def feed(engine: Engine, case: Case, chunks: list[list[Event]]) -> Iterator[tuple[object, ...]]:
    """Yield what the engine says of each record, as ``Answer.bits`` says it."""
    seq = 0
    for chunk in chunks:
        yield from said(engine, case, chunk, seq)
        seq += len(chunk)


def said(engine: Engine, case: Case, chunk: list[Event], seq: int) -> list[tuple[object, ...]]:
    found = engine.process(batch_of(case, chunk, seq))
    vectors = found.vectors.T.tolist()
    judged = zip(found.dead.tolist(), found.flags.tolist(), strict=True)
    return [
        (dead, flags, *map(bits, vector))
        for (dead, flags), vector in zip(judged, vectors, strict=True)
    ]


def meant(case: Case, cap: int = 2**22) -> list[tuple[object, ...]]:
    naive = Naive(case.meaning, case.partitions, cap)
    return [naive.process(event).bits for event in case.events]


@given(cases())
@thorough
def test_every_vector_and_flag_equals_naive(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)

    found = list(feed(engine, case, case.chunks()))

    assert found == meant(case)


@given(cases(size=30))
@thorough
def test_one_by_one_equals_one_batch(case: Case) -> None:
    plan = plan_of(case.meaning, case.strings)

    whole = list(feed(Engine(plan, case.partitions), case, [case.events]))
    singly = list(feed(Engine(plan, case.partitions), case, [[event] for event in case.events]))

    assert singly == whole


@given(cases())
@thorough
def test_sweeping_and_draining_between_batches_change_no_vector(case: Case) -> None:
    plan = plan_of(case.meaning, case.strings)
    engine = Engine(plan, case.partitions)

    found: list[tuple[object, ...]] = []
    for chunk in case.chunks():
        found += said(engine, case, chunk, len(found))
        engine.sweep()
        for table in engine.tables:
            table.drain()

    assert found == meant(case)


@given(cases())
@thorough
def test_clocks_equal_naive(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)
    naive = Naive(case.meaning, case.partitions)

    list(feed(engine, case, case.chunks()))
    for event in case.events:
        naive.process(event)

    started = [clock for clock in naive.clocks if isinstance(clock, int)]
    assert [clock for clock in engine.clocks.event_clock.tolist() if clock > 0] == started
    if started:
        assert engine.clocks.horizon_us == naive.horizon_us()
        assert engine.clocks.origin_us == naive.origin_us


@given(cases())
@thorough
def test_split_keys_equal_naive(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)
    naive = Naive(case.meaning, case.partitions)

    list(feed(engine, case, case.chunks()))
    for event in case.events:
        naive.process(event)

    splits = [(s.key, s.first_partition, s.partition, s.seq) for s in engine.splits()]
    assert splits == (naive.splits if CUSTOMER in case.meaning.entities() else [])


def test_full_key_is_scored_flagged_and_not_aggregated() -> None:
    meaning = Meaning({"n": Windowed(CUSTOMER, "count", DAY)}, CUSTOMER, HOUR, DAY)
    events = [payment(i) for i in range(5)]
    case = Case(meaning, 1, frozenset(), events, [2])
    engine = Engine(plan_of(meaning, frozenset()), 1, key_cap=3)

    found = list(feed(engine, case, case.chunks()))

    assert found == meant(case, cap=3)
    assert [bool(flags & CAPPED) for _, flags, *_ in found] == [False] * 3 + [True] * 2  # type: ignore[operator]  # the second of a record's bits is its flags
    assert [(capped.key, capped.seq) for capped in engine.caps()] == [(1, 3)]


def test_sums_beyond_2_to_the_53_and_their_means_are_rounded_once() -> None:
    count = 300 if UNCOMPILED else 20_000
    amounts = [MAX_ABS - (i * i) % 1_000 for i in range(count)]
    stats = ("sum", "mean")
    meaning = Meaning(
        {stat: Windowed(CUSTOMER, stat, DAY, AMOUNT) for stat in stats}, CUSTOMER, HOUR, DAY
    )
    events = [payment(i, amount) for i, amount in enumerate(amounts)]
    case = Case(meaning, 1, frozenset(), events, [])

    found = list(feed(Engine(plan_of(meaning, frozenset()), 1), case, [events]))

    total = 0
    for i, (amount, (_, _, *values)) in enumerate(zip(amounts, found, strict=True), 1):
        total += amount
        assert values == [bits(float(total)), bits(total / i)]


def test_a_thousand_payments_with_ties_and_lateness_equal_naive() -> None:
    rng = np.random.default_rng(11)
    count = 150 if UNCOMPILED else 1_000
    windows = (HOUR, DAY)
    features = {
        f"{entity}_{stat}_{window}_{delay}": Windowed(
            entity, stat, window, "" if stat == "count" else AMOUNT, delay
        )
        for entity, delay in ((CUSTOMER, 0), (TERMINAL, HOUR))
        for stat in ("count", "sum", "mean", "min", "max")
        for window in windows
    }
    meaning = Meaning(
        {**features, "amount": Field(AMOUNT), "gap": SinceLast(CUSTOMER)}, CUSTOMER, HOUR, DAY
    )
    ahead = np.sort(rng.integers(0, 3 * DAY // 60_000_000, count)) * 60_000_000
    behind = np.where(rng.random(count) < 0.2, rng.integers(0, 2 * HOUR, count), 0)
    events = [
        payment(int(t), int(a), int(c), int(k), int(c) % 3)
        for t, a, c, k in zip(
            ahead - behind,
            rng.choice(AMOUNTS, count),
            rng.integers(0, 7, count),
            rng.integers(0, 3, count),
            strict=True,
        )
    ]
    case = Case(meaning, 3, frozenset(), events, sorted(rng.integers(0, count, 20).tolist()))

    found = list(feed(Engine(plan_of(meaning, frozenset()), 3), case, case.chunks()))

    assert found == meant(case)


def payment(
    after_us: int, amount: int = 1, customer: int = 1, terminal: int = 1, partition: int = 0
) -> Event:
    values: dict[str, Value] = {CUSTOMER: customer, TERMINAL: terminal, AMOUNT: amount, ONLINE: 1}
    return Event(partition, after_us, START_US + after_us, values)


@pytest.mark.skipif(UNCOMPILED, reason="this is the uncompiled run")
@pytest.mark.parametrize(
    ("variable", "examples"), [("NUMBA_DISABLE_JIT", 25), ("NUMBA_BOUNDSCHECK", 100)]
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
