"""What `noskew check` predicts of the journal, beside entries as they are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from noskew.dataflows import card_fraud
from noskew.dataflows.core import sizes
from noskew.dataflows.core.journal import Entry, Topic
from noskew.dataflows.core.sizes import Load
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.kernels.runs import encode_runs

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import Plan

BOTH = compile_plan(load(Path(str(card_fraud.__file__))))
"""Payments and labels."""
PAYMENTS = replace(BOTH, streams=BOTH.streams[:1], tables=BOTH.tables[:2])
KEYS = {"customer_id": 1_000, "terminal_id": 1_000}
NOW_US = 1_700_000_000_000_000


@pytest.mark.parametrize("plan", [PAYMENTS, BOTH], ids=["payments", "both"])
def test_the_journal_is_told_as_its_entries_are_written(plan: Plan) -> None:
    streams = plan.streams
    inputs = sizes.PARTITIONS * len(streams)
    now = np.full(inputs, NOW_US)
    entry = Entry(
        origin="progress",
        shard=0,
        owner="a-host-of-some-name-12345-0123abcd",
        generation=1,
        fingerprint=bytes(32),
        seq=10**9,
        count=0,
        runs=b"",
        streams=tuple(stream.name for stream in streams),
        topics=tuple(Topic(stream.topic, bytes(16), sizes.PARTITIONS) for stream in streams),
        next_offset=np.full(inputs, 10**8),
        position_us=now,
        event_us=now,
        horizon_us=NOW_US,
        model=("card_fraud", bytes(32)),
    )
    rates = (10_000.0,) * len(streams)

    told = sizes.predict(plan, Load(rates, KEYS)).journal

    # Four bytes a record in an order where no two of a partition follow one another, and 50
    # entries a second.
    runs = 4 * sum(rates)
    expected = 86_400 * (runs + 50 * len(entry.encode(7)))
    assert told == pytest.approx(expected, rel=0.1)


def test_a_quiet_pipeline_journals_no_more_entries_than_records() -> None:
    slow, fast = (sizes.predict(PAYMENTS, Load((rate,), KEYS)).journal for rate in (1.0, 5.0))

    assert fast == pytest.approx(5 * slow, abs=5)


def test_a_run_of_one_record_takes_four_bytes() -> None:
    inputs = np.arange(64, dtype=np.int32) % 8
    offset = np.arange(64) // 8
    out = np.empty(40 * 64, np.uint8)

    size = encode_runs(inputs, offset, np.zeros(8, np.int64), out)

    assert size == 64 * 4
