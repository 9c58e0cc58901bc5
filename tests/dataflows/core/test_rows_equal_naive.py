"""Entity rows and keys gone equal ``naive``, whenever they are drained and swept."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from meaning import Event, Meaning, Source, Statistic, bits
from naive import NEVER, Naive, Row
from strategies import (
    AMOUNT,
    COUNTRY,
    CUSTOMER,
    DAY,
    HOUR,
    KIND,
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
from noskew.dataflows.definition.plan import Stat
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from meaning import Key, Value
    from naive import Instance

    from noskew.schemas.columns import Column

UNCOMPILED = os.environ.get("NUMBA_DISABLE_JIT") == "1"

thorough = settings(
    max_examples=int(os.environ.get("NOSKEW_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

PAYMENTS = Source(PAYMENT, CUSTOMER, HOUR, DAY, quantum={PRICE: 2})
LABELS = replace(PAYMENTS, allowed_lateness_us=DAY, revise=True)


class Mirror:
    """What a store holds after each drain, as it would: rows set, gone keys deleted."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: dict[Instance, Row] = {}
        self.deleted: list[Instance] = []
        self.written: dict[Instance, Row] = {}

    def flush(self) -> None:
        """Sweep, drain, apply."""
        self.engine.sweep()
        self.written = {}
        for drained in self.engine.rows():
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
            self.written |= written
            for instance in gone:
                self.rows.pop(instance, None)
            self.deleted += gone
        self.rows |= self.written


def listed(keys: Column) -> list[Key]:
    if not isinstance(keys, Strings):
        return [int(key) for key in keys.tolist()]
    return [key for key in keys.to_list() if key is not None]


def mirror_of(case: Case) -> Mirror:
    return Mirror(Engine(case.plan, case.partitions))


@given(cases())
@thorough
def test_rows_equal_naive_after_every_turn(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("seed", range(6 if UNCOMPILED else 16))
def test_rows_of_keys_with_many_entries_equal_naive(seed: int) -> None:
    check(deep_case(seed, 80 if UNCOMPILED else 160))


def check(case: Case) -> None:
    naive, mirror = Naive(case.meaning, case.partitions), mirror_of(case)
    seq = 0
    for chunk in case.chunks():
        mirror.engine.process(turn_of(case, chunk, seq))
        seq += len(chunk)
        for event in chunk:
            naive.process(event)
        mirror.flush()

        assert mirror.written == naive.flush(), "each row once, and only when it was rewritten"
        assert mirror.rows == naive.live_rows()


@given(cases())
@thorough
def test_rows_drained_once_at_the_end_equal_naive(case: Case) -> None:
    naive, mirror = Naive(case.meaning, case.partitions), mirror_of(case)
    seq = 0
    for chunk in case.chunks():
        mirror.engine.process(turn_of(case, chunk, seq))
        seq += len(chunk)
    for event in case.events:
        naive.process(event)
    mirror.flush()

    assert mirror.rows == naive.flush() == naive.live_rows()


def test_row_words_are_a_float_each_and_an_anchor_with_its_value() -> None:
    features = {
        "gap": Statistic(Stat.SINCE_LAST, CUSTOMER),
        "sum": Statistic(Stat.SUM, CUSTOMER, HOUR, AMOUNT),
        "risk": Statistic(Stat.COUNT, TERMINAL, DAY, delay_us=DAY),
        "fading": Statistic(Stat.DECAYED_SUM, CUSTOMER, column=AMOUNT, half_life_us=HOUR),
    }
    events = [payment(0, 5), payment(-HOUR // 2, 8)]
    case = Case(Meaning(dict(features), (PAYMENTS,)), (1,), frozenset({TERMINAL}), events, [])
    mirror = mirror_of(case)

    mirror.engine.process(turn_of(case, events, 70))
    mirror.flush()

    faded = 5 + 8 * math.sqrt(0.5)
    assert mirror.rows == {
        (CUSTOMER, 1): Row(
            START_US,
            START_US + HOUR // 2,
            71,
            (START_US, 0, bits(13.0), START_US, bits(faded)),
        ),
        (TERMINAL, "t%"): Row(START_US, START_US + DAY - HOUR // 2, 71, (bits(0.0),)),
    }


def test_label_rewrites_the_row_of_its_entity_as_of_its_newest_payment() -> None:
    features = {
        "frauds": Statistic(Stat.SUM, CUSTOMER, DAY, AMOUNT, stream=1),
        "n": Statistic(Stat.COUNT, CUSTOMER, DAY),
    }
    events = [
        payment(0, 5),
        payment(HOUR, 6),
        replace(payment(0, 1), stream=1),
        replace(payment(2 * HOUR, 1, number=9), stream=1),
        replace(payment(0, 1, customer=3, number=8), stream=1),
    ]
    meaning = Meaning(dict(features), (PAYMENTS, LABELS))
    case = Case(meaning, (1, 1), frozenset({TERMINAL}), events, [])
    mirror = mirror_of(case)

    mirror.engine.process(turn_of(case, events[:3], 0))
    mirror.flush()
    assert mirror.rows == {
        (CUSTOMER, 1): Row(START_US + HOUR, START_US + DAY, 2, (bits(1.0), bits(2.0)))
    }
    mirror.engine.process(turn_of(case, events[3:], 3))
    mirror.flush()

    # The label of a payment at 2 h is not seen yet at 1 h; nobody has seen customer 3 pay.
    assert mirror.rows == {
        (CUSTOMER, 1): Row(START_US + HOUR, START_US + 2 * HOUR, 3, (bits(1.0), bits(2.0)))
    }


def test_key_that_is_gone_is_deleted_once_and_may_come_back() -> None:
    strict = replace(PAYMENTS, allowed_lateness_us=0)
    meaning = Meaning({"n": Statistic(Stat.COUNT, CUSTOMER, HOUR)}, (strict,))
    case = Case(meaning, (1,), frozenset({TERMINAL}), [], [])
    mirror = mirror_of(case)

    mirror.engine.process(turn_of(case, [payment(0), payment(HOUR, customer=2)], 0))
    mirror.flush()
    assert mirror.deleted == [(CUSTOMER, 1)]
    mirror.engine.process(turn_of(case, [payment(HOUR)], 2))
    mirror.flush()

    assert mirror.rows == {
        (CUSTOMER, 1): Row(START_US + HOUR, START_US + 2 * HOUR, 2, (bits(1.0),)),
        (CUSTOMER, 2): Row(START_US + HOUR, START_US + 2 * HOUR, 1, (bits(1.0),)),
    }


def test_row_of_all_history_holds_for_ever() -> None:
    meaning = Meaning({"n": Statistic(Stat.COUNT, CUSTOMER)}, (PAYMENTS,))
    case = Case(meaning, (1,), frozenset({TERMINAL}), [], [])
    mirror = mirror_of(case)

    mirror.engine.process(turn_of(case, [payment(0), payment(400 * DAY, customer=2)], 0))
    mirror.flush()

    assert mirror.rows[CUSTOMER, 1] == Row(START_US, NEVER, 0, (bits(1.0),))


def payment(after_us: int, amount: int = 1, customer: int = 1, number: int = 0) -> Event:
    values: dict[str, Value] = {
        CUSTOMER: customer, TERMINAL: "t%" if after_us <= 0 else None, PAYMENT: number,
        AMOUNT: amount, ONLINE: 0, PRICE: 0.5, KIND: 0, COUNTRY: "se",
    }  # fmt: skip
    return Event(0, after_us % DAY, START_US + after_us, values)
