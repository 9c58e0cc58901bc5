"""The simulated payments and labels: determinism, and that what was promised occurs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.columns import LabelColumns, PaymentColumns, Words
from noskew.dataflows.simulation.fraud import (
    CARD_DAYS,
    CARDS_PER_DAY,
    TERMINAL_DAYS,
    TERMINALS_PER_DAY,
    THIEF_SHARE,
    Compromises,
    Scenario,
)
from noskew.dataflows.simulation.labels import LabelQueue, labels_of
from noskew.dataflows.simulation.payments import BLOCK, LATE_MOST_US, Simulation
from noskew.dataflows.simulation.population import Population, partition_of
from noskew.dataflows.simulation.timeline import DAY_US, HOUR_US, Timeline
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from numpy.typing import NDArray

Drawn: TypeAlias = "dict[str, NDArray[Any]]"

START_US = 20_000 * DAY_US
COUNT = 2 * BLOCK + 1_000
TIMELINE = Timeline(START_US, START_US + 30 * DAY_US, COUNT)


def joined(parts: list[Any], kind: type[Any]) -> Drawn:
    def column(name: str) -> NDArray[Any]:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Words):
            return np.concatenate([np.array(v.vocabulary)[v.code] for v in values])
        return np.concatenate(values)

    return {each.name: column(each.name) for each in fields(kind)}


def payments(simulation: Simulation, timeline: Timeline = TIMELINE, **options: Any) -> Drawn:
    return joined(list(simulation.payments(timeline, **options)), PaymentColumns)


def same(left: Drawn, right: Drawn) -> bool:
    return all(np.array_equal(left[name], right[name]) for name in left)


@pytest.fixture(scope="module")
def month() -> Drawn:
    return payments(Simulation(seed=3))


def test_the_seed_decides_everything(month: Drawn) -> None:
    assert same(payments(Simulation(seed=3)), month)
    other = payments(Simulation(seed=4))
    for name in ("customer_id", "terminal_id", "amount_cents", "event_time", "channel"):
        assert not np.array_equal(other[name], month[name]), name


def test_no_block_repeats_another(month: Drawn) -> None:
    for name in ("customer_id", "terminal_id", "amount_cents", "channel"):
        assert not np.array_equal(month[name][:BLOCK], month[name][BLOCK : 2 * BLOCK]), name


@pytest.mark.parametrize("chunk", [997, BLOCK - 1, BLOCK, 10**9])
def test_chunks_change_nothing(month: Drawn, chunk: int) -> None:
    parts = list(Simulation(seed=3).payments(TIMELINE, chunk=chunk))
    assert max(len(part) for part in parts) <= chunk
    assert same(joined(parts, PaymentColumns), month)


def test_partitions_change_nothing_but_the_partition(month: Drawn) -> None:
    other = payments(Simulation(seed=3, partitions=3))
    for name in month:
        assert np.array_equal(other[name], month[name]) == (name != "partition"), name


def test_a_stream_cut_short_begins_the_same(month: Drawn) -> None:
    end_us = START_US + 15 * DAY_US
    half = payments(Simulation(seed=3), Timeline(START_US, end_us, COUNT // 2))
    assert all(np.array_equal(half[name], month[name][: COUNT // 2]) for name in half)


def test_ids_count_from_the_first(month: Drawn) -> None:
    assert np.array_equal(month["transaction_id"], np.arange(COUNT))
    moved = payments(Simulation(seed=3), first_id=10**15)
    assert np.array_equal(moved["transaction_id"], np.arange(COUNT) + 10**15)
    assert np.array_equal(moved["amount_cents"], month["amount_cents"])


def test_arrivals_rise_inside_the_span_and_end_at_its_end(month: Drawn) -> None:
    arrival = month["record_time_us"]
    assert (np.diff(arrival) >= 0).all()
    assert START_US <= arrival[0] <= START_US + HOUR_US
    assert TIMELINE.end_us - HOUR_US <= arrival[-1] <= TIMELINE.end_us


def test_no_event_lies_after_its_arrival_and_late_ones_up_to_two_hours_before(month: Drawn) -> None:
    behind = month["record_time_us"] - month["event_time"]
    assert behind.min() >= 0
    assert behind.max() < LATE_MOST_US + 60_000_000
    late = (behind > HOUR_US // 6).mean()  # nine in ten of the late ones, and no tie
    assert 0.003 < late < 0.006
    assert (behind > HOUR_US).any()


def test_the_share_of_late_events_is_as_given() -> None:
    assert (np.diff(payments(Simulation(seed=3, late=0.0, ties=0.0))["event_time"]) >= 0).all()
    many = payments(Simulation(seed=3, late=0.4))
    behind = many["record_time_us"] - many["event_time"]
    assert 0.37 < (behind > 2_000_000).mean() < 0.43


def test_there_are_ties_within_and_across_customers(month: Drawn) -> None:
    assert (month["event_time"] % 1_000_000 == 0).all()
    equal = np.diff(month["event_time"]) == 0
    same_customer = equal & (np.diff(month["customer_id"]) == 0)
    assert 0.001 < same_customer.mean() < 0.004
    assert (equal & ~same_customer).any()


def test_days_have_a_rhythm_unless_it_is_switched_off(month: Drawn) -> None:
    def hours(timeline: Timeline) -> NDArray[np.float64]:
        drawn = payments(Simulation(seed=3, late=0.0), timeline)
        return np.bincount(drawn["event_time"] % DAY_US // HOUR_US, minlength=24) / COUNT

    rhythm = hours(TIMELINE)
    assert rhythm[2] * 8 < rhythm[12]
    even = hours(Timeline(START_US, START_US + 30 * DAY_US, COUNT, rhythm=False))
    assert np.allclose(even, 1 / 24, rtol=0.02)


def test_customers_pay_at_few_terminals_near_home(month: Drawn) -> None:
    busiest = np.bincount(month["customer_id"]).argmax()
    at = month["terminal_id"][(month["customer_id"] == busiest) & (month["terminal_id"] != NULL)]
    assert len(np.unique(at)) < 200
    assert len(np.unique(month["terminal_id"])) > 9_000


@pytest.mark.parametrize(("customers", "terminals"), [(1, 1), (3, 2), (50, 37), (7, 5_000)])
def test_any_population_works_and_every_id_is_in_range(customers: int, terminals: int) -> None:
    drawn = payments(Simulation(5, customers, terminals))
    assert drawn["customer_id"].min() >= 0
    assert drawn["customer_id"].max() == customers - 1
    known = drawn["terminal_id"][drawn["terminal_id"] != NULL]
    assert known.min() >= 0
    assert known.max() <= terminals - 1


def test_online_payments_have_neither_card_nor_terminal(month: Drawn) -> None:
    online = month["terminal_id"] == NULL
    assert 0.08 < online.mean() < 0.12
    assert np.array_equal(online, month["card_present"] == 0)
    assert np.array_equal(online, np.isin(month["channel"], ["web", "app"]))
    assert np.array_equal(online, month["country"] == "")


def test_each_kind_of_fraud_occurs_in_about_its_share(month: Drawn) -> None:
    share = np.bincount(month["scenario"], minlength=4) / COUNT
    assert 0.0003 < share[Scenario.AMOUNT] < 0.0010
    expected = 0.9 * TERMINALS_PER_DAY * TERMINAL_DAYS
    assert 0.5 * expected < share[Scenario.TERMINAL] < 1.5 * expected
    expected = CARDS_PER_DAY * CARD_DAYS * THIEF_SHARE
    assert 0.5 * expected < share[Scenario.CARD] < 1.5 * expected


def test_frauds_look_like_their_kind(month: Drawn) -> None:
    scenario, cents = month["scenario"], month["amount_cents"]
    assert cents.min() >= 1
    assert cents[scenario == Scenario.AMOUNT].min() >= 25_000
    usual = np.median(cents[scenario == Scenario.NONE])
    assert np.median(cents[scenario == Scenario.CARD]) > 3 * usual
    assert (month["terminal_id"][scenario == Scenario.CARD] == NULL).all()
    assert (month["card_present"][scenario == Scenario.CARD] == 0).all()


def test_every_payment_at_a_compromised_terminal_is_a_fraud_for_four_weeks() -> None:
    population = Population.draw(3, 10, 1_000)
    found = Compromises(3, population)
    days = np.arange(20_000, 20_200)
    state = np.array(
        [found.terminals(np.arange(1_000), np.full(1_000, day * DAY_US)) for day in days]
    )
    changes = np.diff(state.astype(int), axis=0)
    begun, ended = np.nonzero(changes == 1), np.nonzero(changes == -1)
    pairs = [
        (day, min(end for end, t in zip(*ended, strict=True) if t == terminal and end > day))
        for day, terminal in zip(*begun, strict=True)
        if day < 100
    ]
    assert pairs
    lengths = [end - day for day, end in pairs]
    assert min(lengths) == TERMINAL_DAYS
    together = found.terminals(
        np.tile(np.arange(1_000), len(days)), np.repeat(days * DAY_US, 1_000)
    )
    assert np.array_equal(together.reshape(state.shape), state)


def test_a_customers_partition_is_the_stated_function() -> None:
    def slow(number: int, partitions: int) -> int:
        z = number
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return (z ^ (z >> 31)) % partitions

    ids = np.array([0, 1, 2, 4_999, 2**40, 2**63 - 1])
    assert partition_of(ids, 8).tolist() == [slow(int(i), 8) for i in ids]


def test_each_payment_has_a_label_and_a_few_are_corrected(month: Drawn) -> None:
    simulation = Simulation(seed=3)
    parts = [labels_of(part, 3) for part in simulation.payments(TIMELINE)]
    labels = joined(parts, LabelColumns)
    arrival = month["record_time_us"][labels["transaction_id"]]
    assert (labels["labelled_at"] - arrival >= DAY_US - 1_000_000).all()
    assert (labels["labelled_at"] - arrival <= 21 * DAY_US + 1_000_000).all()
    times = np.bincount(labels["transaction_id"], minlength=COUNT)
    assert times.min() == 1
    assert times.max() == 2
    assert 0.003 < (times == 2).mean() < 0.007
    order = np.lexsort((labels["labelled_at"], labels["transaction_id"]))
    last = order[np.append(np.diff(labels["transaction_id"][order]) != 0, True)]
    truth = month["scenario"][labels["transaction_id"]]
    assert np.array_equal(labels["is_fraud"][last], truth[last] > 0)
    assert np.array_equal(labels["scenario"][last], truth[last])
    first = np.setdiff1d(order, last)
    assert np.array_equal(labels["is_fraud"][first], truth[first] == 0)
    assert (labels["scenario"][first] == 0).all()
    for name in ("customer_id", "terminal_id", "event_time", "partition"):
        assert np.array_equal(labels[name], month[name][labels["transaction_id"]]), name


@pytest.mark.parametrize("chunk", [777, BLOCK])
def test_labels_come_out_in_one_order_whatever_the_chunks(chunk: int) -> None:
    queue, taken = LabelQueue(), []
    for part in Simulation(seed=3).payments(TIMELINE, chunk=chunk):
        queue.push(labels_of(part, 3))
        now_us = int(part.record_time_us[-1])
        known = queue.pop(now_us)
        assert (known.labelled_at <= now_us).all()
        taken.append(known)
    assert sum(map(len, taken)) > COUNT // 3
    taken.append(queue.pop())
    labels = joined(taken, LabelColumns)
    order = np.lexsort((labels["transaction_id"], labels["labelled_at"]))
    assert np.array_equal(order, np.arange(len(order)))
    whole = joined([labels_of(p, 3) for p in Simulation(seed=3).payments(TIMELINE)], LabelColumns)
    order = np.lexsort((whole["transaction_id"], whole["labelled_at"]))
    assert same({name: column[order] for name, column in whole.items()}, labels)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": -1}, "seed"),
        ({"customers": 0}, "customers"),
        ({"terminals": 0}, "terminals"),
        ({"partitions": 0}, "partitions"),
        ({"late": 0.6}, "late"),
        ({"ties": -0.1}, "ties"),
    ],
)
def test_a_wrong_argument_is_named_with_its_value(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"{named}|{options[named]} {named}"):
        Simulation(**options)


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(UsageError, match="later"):
        Timeline(5, 5, 1)
    with pytest.raises(UsageError, match="at least one"):
        Timeline(5, 6, 0)
