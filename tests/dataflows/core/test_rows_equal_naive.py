"""Entity rows and keys gone equal ``naive``, whenever they are drained and swept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from meaning import Event, Meaning, SinceLast, Windowed
from naive import Naive, Row, bits
from plans import plan_of
from strategies import (
    AMOUNT,
    CUSTOMER,
    DAY,
    HOUR,
    START_US,
    TERMINAL,
    Case,
    batch_of,
    cases,
    deep_case,
)

from noskew.dataflows.core.engine import Engine
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from meaning import Key

    from noskew.schemas.columns import Column

Place = tuple[str, "Key"]

thorough = settings(
    max_examples=int(os.environ.get("NOSKEW_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Mirror:
    """What a store holds after each drain, as it would: rows set, gone keys deleted."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: dict[Place, Row] = {}
        self.deleted: list[Place] = []
        self.written: list[Place] = []

    def flush(self) -> None:
        """Sweep, drain, apply."""
        self.engine.sweep()
        for table in self.engine.tables:
            drained = table.drain()
            keys = listed(drained.key)
            columns = zip(
                keys,
                drained.time_us.tolist(),
                drained.until_us.tolist(),
                drained.seq.tolist(),
                drained.words.tolist(),
                strict=True,
            )
            written = {
                (drained.entity, key): Row(time_us, until_us, seq, tuple(words))
                for key, time_us, until_us, seq, words in columns
            }
            gone = [(drained.entity, key) for key in listed(drained.gone)]
            assert len(written) == len(keys)
            assert not written.keys() & set(gone)
            self.rows |= written
            self.written += written
            for place in gone:
                self.rows.pop(place, None)
            self.deleted += gone


def listed(keys: Column) -> list[Key]:
    if not isinstance(keys, Strings):
        return [int(key) for key in keys.tolist()]
    return [key for key in keys.to_list() if key is not None]


@given(cases())
@thorough
def test_rows_equal_naive_after_every_batch(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("seed", range(12))
def test_rows_and_vectors_of_keys_with_many_entries_equal_naive(seed: int) -> None:
    check(deep_case(seed, 250))


def check(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)
    naive = Naive(case.meaning, case.partitions)
    mirror = Mirror(engine)
    seq = 0

    for chunk in case.chunks():
        found = engine.process(batch_of(case, chunk, seq))
        seq += len(chunk)
        expected = [naive.process(event) for event in chunk]
        mirror.flush()

        for vector, answer in zip(found.vectors.T.tolist(), expected, strict=True):
            assert [bits(value) for value in vector] == [bits(value) for value in answer.vector]
        assert mirror.rows == naive.live_rows()


@given(cases())
@thorough
def test_rows_drained_once_at_the_end_equal_naive(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)
    naive = Naive(case.meaning, case.partitions)
    mirror = Mirror(engine)
    seq = 0

    for chunk in case.chunks():
        engine.process(batch_of(case, chunk, seq))
        seq += len(chunk)
    for event in case.events:
        naive.process(event)
    mirror.flush()

    assert mirror.rows == naive.live_rows()
    assert set(mirror.deleted) == naive.gone()


@given(cases())
@thorough
def test_row_is_drained_once_and_only_when_it_was_rewritten(case: Case) -> None:
    engine = Engine(plan_of(case.meaning, case.strings), case.partitions)
    naive = Naive(case.meaning, case.partitions)
    mirror = Mirror(engine)
    seq = 0

    for chunk in case.chunks():
        engine.process(batch_of(case, chunk, seq))
        seq += len(chunk)
        rewritten = {place for event in chunk for place in naive.process(event).rows}
        mirror.written.clear()
        mirror.flush()

        assert set(mirror.written) == rewritten - naive.gone()


def test_row_words_are_a_float_each_and_an_anchor_with_its_value() -> None:
    meaning = Meaning(
        {
            "gap": SinceLast(CUSTOMER),
            "sum": Windowed(CUSTOMER, "sum", HOUR, AMOUNT),
            "risk": Windowed(TERMINAL, "count", DAY, delay_us=DAY),
        },
        CUSTOMER,
        allowed_lateness_us=HOUR,
        max_skew_us=DAY,
    )
    events = [payment(0, 5), payment(-HOUR // 2, 6)]
    case = Case(meaning, 1, frozenset({TERMINAL}), events, [])
    mirror = Mirror(Engine(plan_of(meaning, case.strings), 1))

    mirror.engine.process(batch_of(case, events, 70))
    mirror.flush()

    assert mirror.rows == {
        (CUSTOMER, 1): Row(START_US, START_US + HOUR // 2, 71, (START_US, 0, bits(11.0))),
        (TERMINAL, "t%"): Row(START_US, START_US + DAY - HOUR // 2, 71, (bits(0.0),)),
    }


def test_key_that_is_gone_is_deleted_once_and_may_come_back() -> None:
    meaning = Meaning({"n": Windowed(CUSTOMER, "count", HOUR)}, CUSTOMER, 0, DAY)
    case = Case(meaning, 1, frozenset({TERMINAL}), [], [])
    mirror = Mirror(Engine(plan_of(meaning, case.strings), 1))

    mirror.engine.process(batch_of(case, [payment(0), payment(HOUR, customer=2)], 0))
    mirror.flush()
    assert mirror.deleted == [(CUSTOMER, 1)]
    mirror.engine.process(batch_of(case, [payment(HOUR)], 2))
    mirror.flush()

    assert mirror.rows == {
        (CUSTOMER, 1): Row(START_US + HOUR, START_US + 2 * HOUR, 2, (bits(1.0),)),
        (CUSTOMER, 2): Row(START_US + HOUR, START_US + 2 * HOUR, 1, (bits(1.0),)),
    }


def payment(after_us: int, amount: int = 1, customer: int = 1) -> Event:
    values: dict[str, int | float | str | None] = {
        CUSTOMER: customer,
        TERMINAL: "t%" if after_us <= 0 else None,
        AMOUNT: amount,
        "is_online": 0,
    }
    return Event(0, after_us % DAY, START_US + after_us, values)
