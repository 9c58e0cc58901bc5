"""`noskew check --at`: rates, keys and sizes as written; what fits, and what is said where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from noskew.dataflows import Pipeline, Stream, card_fraud
from noskew.dataflows.commands.capacity import (
    KEYS,
    DoesNotFitError,
    amount,
    capacity,
    machine_bytes,
    rate_text,
    span,
)
from noskew.dataflows.commands.check import check
from noskew.dataflows.core import sizes
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from noskew.dataflows.commands.capacity import CapacityReport
    from noskew.dataflows.definition.plan import Plan

DEFINITION = Path(str(card_fraud.__file__))
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(load(DEFINITION))


def told(plan: Plan, *at: str, keys: tuple[str, ...] = (), memory: str = "1TB") -> CapacityReport:
    return capacity(plan, at, keys, memory)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("12000/s", 12_000.0),
        ("12000", 12_000.0),
        ("12_000", 12_000.0),
        ("12,000/s", 12_000.0),
        ("0.5", 0.5),
        ("90/m", 1.5),
        ("7200/h", 2.0),
        ("86400/d", 1.0),
        ("payments=3/s", 3.0),
    ],
)
def test_a_rate_is_read_as_it_is_written(plan: Plan, text: str, rate: float) -> None:
    assert told(plan, text).rates["payments"] == rate


def test_a_stream_without_a_rate_of_its_own_has_the_scored_ones(plan: Plan) -> None:
    assumed = told(plan, "5/s")
    given = told(plan, "5/s", "labels=40/h", keys=("customer_id=1_000", "terminal_id=20"))

    assert assumed.rates == {"payments": 5.0, "labels": 5.0}
    assert assumed.keys == {"customer_id": KEYS, "terminal_id": KEYS}
    assert assumed.assumed == ("labels", "customer_id", "terminal_id")
    assert given.rates == {"payments": 5.0, "labels": 40 / 3_600}
    assert given.keys == {"customer_id": 1_000, "terminal_id": 20}
    assert given.assumed == ()


def test_each_table_holds_its_rate_for_its_longest_window_and_lateness(plan: Plan) -> None:
    found = told(plan, "10/s", "labels=2/s", keys=("customer_id=500", "terminal_id=100"))

    held = {(one.stream, one.entity): (one.held_us, one.held) for one in found.tables}
    hour_us = DAY_US // 24
    assert held == {
        ("payments", "customer_id"): (30 * DAY_US + hour_us, 10 * (30 * 86_400 + 3_600)),
        ("payments", "terminal_id"): (37 * DAY_US + hour_us, 10 * (37 * 86_400 + 3_600)),
        ("labels", "terminal_id"): (60 * DAY_US, 2 * 60 * 86_400),
    }
    assert [(one.stream, one.held) for one in found.ids] == [("labels", 2 * 60 * 86_400)]
    assert found.held == sum(count for _, count in held.values())


def test_the_memory_is_the_sum_of_its_parts(plan: Plan) -> None:
    found = told(plan, "10/s")

    tables = sum(one.reserved for one in found.tables)
    ids = sum(one.reserved for one in found.ids)
    assert found.memory == tables + ids + found.rows_bytes + found.process_bytes
    assert found.advice is None


def ring(tmp_path: Path) -> Path:
    path = tmp_path / "ring.py"
    path.write_text(
        "from noskew.dataflows import Pipeline, Stream\n"
        "payments = Stream('payments', topic='transactions', schema='transaction.avsc',\n"
        "    id='transaction_id', key='customer_id', time='event_time')\n"
        "card = payments.by('customer_id')\n"
        "pipeline = Pipeline(name='ring', score=payments, features=[\n"
        "    card.sum('amount_cents', over='60d'), card.sum('merchant_category', over='60d')])\n"
    )
    return path


def test_a_million_keys_and_fifty_million_events_of_two_columns_fit_in_4_gb(
    tmp_path: Path,
) -> None:
    rate = 50_000_000 / (60 * 86_400 + 3_600)
    at, keys = [f"{rate:.6f}/s"], ["customer_id=1000000"]

    report = check(ring(tmp_path), at=at, keys=keys, memory="4GB")
    larger = check(ring(tmp_path), at=["20/s"], keys=keys, memory="4GB")

    assert report.capacity is not None
    assert abs(report.capacity.held - 50_000_000) < 10
    assert report.capacity.tables[0].keys == 1_000_000
    report.require_fit()
    with pytest.raises(DoesNotFitError):
        larger.require_fit()


def test_what_does_not_fit_is_refused_with_the_figure_the_limit_and_what_to_do(
    tmp_path: Path,
) -> None:
    report = check(ring(tmp_path), at=["12000/s"], memory="16GB")

    with pytest.raises(DoesNotFitError) as refused:
        report.require_fit()

    assert refused.value.exit_code == 1
    text = str(refused.value)
    assert report.capacity is not None
    assert f"ring takes {amount(report.capacity.memory)} of memory at 12,000/s of payments" in text
    assert "--memory is 16 GB" in text
    assert "62,251,200,000 events of payments held for 60d 1h by customer_id" in text
    assert (
        "Shorten over= and delay= of the longest windows, customer_id_amount_cents_sum_60d" in text
    )
    assert "give more memory" in text
    assert "more processes" in text


def test_the_rate_and_the_processes_that_are_named_do_fit(tmp_path: Path) -> None:
    plan = compile_plan(load(ring(tmp_path)))
    keys = ("customer_id=100000",)
    limit = 2_000_000_000
    advice = told(plan, "40/s", keys=keys, memory="2GB").advice
    assert advice is not None

    rate = float(advice.split("one takes ")[1].split("/s")[0])
    processes = int(advice.split("it needs ")[1].split(",")[0])

    assert told(plan, f"{0.99 * rate}", keys=keys).memory <= limit
    assert told(plan, f"{1.05 * rate}", keys=keys).memory > limit
    share = (f"customer_id={-(-100_000 // processes)}",)
    assert told(plan, f"{40 / processes}", keys=share).memory <= limit
    fewer = (f"customer_id={-(-100_000 // (processes - 1))}",)
    assert told(plan, f"{40 / (processes - 1)}", keys=fewer).memory > limit


def test_windows_that_are_left_out_are_named_with_what_that_saves() -> None:
    payments = Stream(
        "payments", topic="t", schema="transaction.avsc", id="transaction_id", key="customer_id",
        time="event_time",
    )  # fmt: skip
    card = payments.by("customer_id")
    features = [card.count(over=["1h", "90d"]), card.mean("amount_cents", over="90d", delay="1d")]
    plan = compile_plan(Pipeline(name="p", score=payments, features=features))

    found = told(plan, "1000", memory="1GB")

    assert found.advice is not None
    assert "longest windows, customer_id_amount_cents_mean_90d_delay_1d (without" in found.advice
    (left,) = (sizes.predict(sizes.without(plan, [2]), sizes.Load((1000.0,), found.keys)).memory,)
    assert f"it takes {amount(left)})" in found.advice


def test_ids_and_late_streams_are_told_to_shorten_their_lateness(plan: Plan) -> None:
    many = told(plan, "1/s", "labels=5000/s", memory="2GB").advice
    assert many is not None
    assert "ids of labels, remembered for 60d" in many
    assert "Shorten allowed_lateness= of labels" in many

    payments, labels = plan.streams
    once = replace(plan, streams=(payments, replace(labels, revise=False)))
    entries = told(once, "1/s", "labels=5000/s", memory="2GB").advice
    assert entries is not None
    assert "events of labels held for 37d 1h by terminal_id" in entries
    assert "Shorten over= and delay=" in entries

    deduped = replace(once, streams=(replace(payments, dedupe_us=90 * DAY_US), once.streams[1]))
    ids = told(deduped, "5000/s", "labels=1/s", memory="2GB").advice
    assert ids is not None
    assert "ids of payments, remembered for 90d 1h" in ids
    assert "Shorten dedupe= of payments" in ids


def test_all_of_history_of_a_late_stream_is_told_to_shorten_its_lateness() -> None:
    payments = Stream(
        "payments", topic="t", schema="transaction.avsc", id="transaction_id", key="customer_id",
        time="event_time",
    )  # fmt: skip
    labels = Stream(
        "labels", topic="l", schema="label.avsc", id="transaction_id", key="customer_id",
        time="event_time", available="labelled_at", allowed_lateness="600d",
    )  # fmt: skip
    features = [labels.by("customer_id").sum("is_fraud", over=None)]
    plan = compile_plan(Pipeline(name="p", score=payments, features=features))

    advice = told(plan, "1/s", "labels=5000/s", keys=("customer_id=10",), memory="2GB").advice

    assert advice is not None
    assert "events of labels held for 600d by customer_id" in advice
    assert "Shorten allowed_lateness= of labels" in advice


def test_less_than_a_process_needs_is_refused_with_that_figure(plan: Plan) -> None:
    advice = told(plan, "1/s", memory="64MB").advice

    assert advice is not None
    assert f"a process takes {amount(sizes.PROCESS)} before it holds any event" in advice


@pytest.mark.parametrize(
    ("at", "keys", "memory", "said"),
    [
        (["fast"], [], None, "--at fast: write a rate such as 12000/s"),
        (["12/y"], [], None, "write a rate"),
        (["-5"], [], None, "write a rate"),
        (["0/s"], [], None, "more than 0"),
        (["99999999999"], [], None, "at most 1e"),
        (
            ["logins=3/s"],
            [],
            None,
            "'logins' is no stream of this pipeline; it has payments, labels",
        ),
        (["1/s", "payments=2/s"], [], None, "the rate of stream payments twice"),
        (["labels=2/s"], [], None, "the rate of payments, the scored stream, is missing"),
        (["1/s"], ["customer_id"], None, "--keys customer_id: write an entity and a number"),
        (["1/s"], ["customer_id=5"] * 2, None, "the number of customer_id twice; give it once"),
        (["1/s"], ["card=5"], None, "'card' is no entity of this pipeline; it has customer_id"),
        (["1/s"], [], "lots", "--memory lots: write a size such as 16GB"),
        (["1/s"], [], "0", "write a size"),
        ([], ["customer_id=5"], None, "are for --at"),
        ([], [], "4GB", "are for --at"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_write(
    at: list[str], keys: list[str], memory: str | None, said: str
) -> None:
    with pytest.raises(UsageError) as refused:
        check(DEFINITION, at=at, keys=keys, memory=memory)

    assert said in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("4 G", 4 * 10**9), ("512MiB", 2**29), ("1.5kB", 1_500), ("700", 700)],
)
def test_a_size_is_read_as_it_is_written(plan: Plan, text: str, size: int) -> None:
    assert told(plan, "1/s", memory=text).limit == size


def test_sizes_spans_and_rates_are_shown_for_people() -> None:
    assert [amount(x) for x in (0, 999, 1_000, 12_345, 4e9, 4.7e9, 336e6, 3e15)] == [
        "0 bytes", "999 bytes", "1 kB", "12 kB", "4 GB", "4.7 GB", "336 MB", "3,000 TB",
    ]  # fmt: skip
    hour_us = DAY_US // 24
    assert [span(x) for x in (0, hour_us, DAY_US, 30 * DAY_US + hour_us, DAY_US + 999)] == [
        "0s", "1h", "1d", "30d 1h", "1d",
    ]  # fmt: skip
    assert [rate_text(x) for x in (12_000.0, 3.0, 0.0111)] == ["12,000/s", "3/s", "0.0111/s"]


def test_the_limit_is_this_machines_memory_or_that_of_its_group(tmp_path: Path) -> None:
    whole = machine_bytes(tmp_path)
    assert 2**28 < whole <= machine_bytes(tmp_path)

    own = tmp_path / "proc/self/cgroup"
    own.parent.mkdir(parents=True)
    own.write_text("0::/pods/one\n")
    group = tmp_path / "sys/fs/cgroup/pods"
    (group / "one").mkdir(parents=True)
    (group / "one/memory.max").write_text("max\n")
    assert machine_bytes(tmp_path) == whole
    (group / "memory.max").write_text("200000000\n")
    assert machine_bytes(tmp_path) == 200_000_000
    older = tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    older.parent.mkdir()
    older.write_text("100000000\n")
    assert machine_bytes(tmp_path) == 100_000_000


def test_without_a_size_the_limit_is_the_machines(plan: Plan) -> None:
    found = capacity(plan, ["1/s"], [], None)

    assert (found.limit, found.limit_of) == (machine_bytes(), "this machine has")
