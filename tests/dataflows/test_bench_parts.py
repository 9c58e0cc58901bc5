"""What the benchmark measures, and what stands beside it: right material, and no wrong result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from noskew.dataflows.bench import kernel, labels, memory, plain, reference, start
from noskew.dataflows.bench.figures import WrongResultError
from noskew.dataflows.commands.bench import bench
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import NoskewError

if TYPE_CHECKING:
    from pathlib import Path

PAYMENTS = 4_000
"""Enough simulated payments for frauds in the labels' windows, and a few corrections."""


def test_plain_labels_take_their_place_in_any_order_and_are_corrected() -> None:
    random = np.random.default_rng(5)
    labels = plain.Labels()
    truth: dict[int, tuple[int, int]] = {}
    for payment in range(600):
        now = int(random.integers(0, 60)) * plain.DAY  # ties, and times at every edge
        truth[payment] = now, int(random.integers(0, 2))
        labels.add(now, payment, truth[payment][1])
        if payment % 5 == 0:
            corrected = int(random.integers(0, payment + 1))
            when, fraud = truth[corrected]
            truth[corrected] = when, 1 - fraud
            labels.add(when, corrected, 1 - fraud)

    for day in range(60):
        ends = day * plain.DAY - plain.WEEK
        assert labels.read(day * plain.DAY) == tuple(
            sum(fraud for when, fraud in truth.values() if ends - width < when <= ends)
            for width in (plain.DAY, plain.WEEK, plain.MONTH)
        )


def test_sorted_lists_equal_the_deques_where_events_are_in_order() -> None:
    random = np.random.default_rng(6)
    widths = (100, 1_000)
    one, other = plain.Windows(widths), plain.Unordered(widths)
    for now in np.cumsum(random.integers(0, 50, 500)).tolist():
        value = int(random.integers(0, 1_000))

        assert one.add(now, value) == other.add(now, value)


def test_events_out_of_order_lie_below_their_keys_newest_and_none_is_late() -> None:
    plan = kernel.four_windows(kernel.DISORDER_LATENESS)
    # A minute apart: the time of a key moves on before its events would be late.
    batch, share = kernel.unordered(plan, 86_400, 10)
    newest: dict[int, int] = {}
    clock = below = 0
    customers: Any = batch.columns["customer_id"]
    for now, customer in zip(batch.time_us.tolist(), customers.tolist(), strict=True):
        behind = newest.get(customer, now) - now
        assert behind <= kernel.DISORDER_US
        assert clock - now < plan.scored.allowed_lateness_us
        below += behind > 0
        newest[customer] = max(newest.get(customer, now), now)
        clock = max(clock, now)

    assert share == pytest.approx(below / len(batch))
    assert 0.85 < share < 0.95


def test_the_reference_sees_frauds_and_their_corrections(tmp_path: Path) -> None:
    plan = compile_plan(load(reference.DEFINITION))
    history = reference.simulated(tmp_path, plan, PAYMENTS)
    taken = reference.taken_of(list(history.turns()), history.rows)
    _, vectors = reference.plain(taken)
    labelled = taken.payment[taken.stream == 1]

    assert list(plan.names[-3:]) == [
        f"labels_terminal_id_is_fraud_sum_{over}_delay_7d" for over in ("1d", "7d", "30d")
    ]
    assert vectors[-1].any()
    assert len(labelled) > len(np.unique(labelled))
    assert (np.diff(taken.time_us[taken.stream == 0]) > 0).all()


def test_a_wrong_label_of_the_reference_is_a_wrong_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain.CardFraud, "label", lambda *_: None)

    with pytest.raises(WrongResultError, match="labels_terminal_id_is_fraud_sum"):
        list(reference.measure(tmp_path, PAYMENTS, 2 * PAYMENTS))


def test_a_wrong_window_beside_the_reference_is_a_wrong_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "WEEK", plain.WEEK - plain.DAY)

    with pytest.raises(WrongResultError, match="DuckDB, as a batch"):
        list(reference.measure(tmp_path, PAYMENTS, 2 * PAYMENTS))


def test_a_label_that_is_not_counted_is_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half of the month's labels are asked for.
    monkeypatch.setattr(labels, "OVER", "15d")

    with pytest.raises(WrongResultError, match="labels counted"):
        list(labels.measure(200, 100))


def test_memory_is_of_keys_and_events_that_are_all_held() -> None:
    found = memory.fill(300, 5_000)

    assert found["entries"] == 5_000
    assert found["keys"] == found["drawn"] == 300
    assert found["found"] == found["wanted"]
    assert found["bytes"] >= 5_000 * 3 * 8


def test_held_events_that_are_missing_are_a_wrong_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that says it holds one less.
    code = (
        "import json\n"
        "found = {'entries': 99, 'keys': 10, 'drawn': 10, 'bytes': 1, 'found': 0, 'wanted': 0}\n"
        "print(json.dumps(found))\n"
    )
    liar = tmp_path / "liar.py"
    liar.write_text(code)
    monkeypatch.setattr(memory, "COMMAND", (sys.executable, str(liar)))

    with pytest.raises(WrongResultError, match="held events: 99 beside 100"):
        list(memory.measure(10, 100))


def test_a_start_that_does_not_say_it_is_ready_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(start, "COMMAND", (sys.executable, "-c", "raise SystemExit('no disk')"))

    with pytest.raises(NoskewError, match=r"warming the kernels failed \(exit 1\): no disk"):
        list(start.measure())


def test_a_start_is_measured_in_an_empty_cache_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, pathlib\n"
        "cache = pathlib.Path(os.environ['NOSKEW_CACHE_DIR'])\n"
        "is_cold = not any(cache.iterdir())\n"
        "(cache / 'kernel').touch()\n"
        "print(f'kernels ready in {9.5 if is_cold else 0.5} s: {cache}')\n"
    )
    monkeypatch.setattr(start, "COMMAND", (sys.executable, "-c", code))

    assert [figure.ours for figure in start.measure()] == [9.5, 0.5]


@pytest.mark.full
@pytest.mark.parametrize(("part", "figures"), [("live", 8), ("replay", 2), ("simulate", 1)])
def test_a_part_that_runs_commands_gives_its_figures(part: str, figures: int) -> None:
    found = bench(events=PAYMENTS, only=part)["figures"]

    assert len(found) == figures
    assert all(one["ours"] > 0 and one["n"] == PAYMENTS for one in found)
