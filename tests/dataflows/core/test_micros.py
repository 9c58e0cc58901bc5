"""A column of milliseconds on the wire is microseconds in files and tests, and so is its limit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from payment_schema import schema

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.core import history
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.errors import UsageError
from noskew.dataflows.testing import vectors
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from pathlib import Path

NOON_US = 1_714_564_800_000_000
KNOWN = datetime(2024, 4, 30, 23, 59, 59, 999_000, tzinfo=UTC)
KNOWN_US = 1_714_521_599_999_000


def pipeline(folder: Path, **settings: Any) -> Pipeline:
    path = folder / "payment.avsc"
    path.write_text(json.dumps(schema()))
    payments = Stream(
        "payments", topic="payments", schema=path, id="payment_id", key="customer_id",
        time="event_time", **settings,
    )  # fmt: skip
    by, known = payments.by("customer_id"), payments.column("known_at")
    features = [known, by.min("known_at", over="1h"), by.last("known_at", over=None)]
    return Pipeline(name="p", score=payments, features=features)


def event(known: Any) -> dict[str, Any]:
    return {"event_time": NOON_US, "customer_id": 1, "known_at": known}


def test_a_column_of_milliseconds_is_taken_by_tests(tmp_path: Path) -> None:
    found = vectors(pipeline(tmp_path), [event(KNOWN), event(KNOWN_US + 1000)])

    assert list(found[0].values()) == [KNOWN_US] * 3
    assert list(found[1].values()) == [KNOWN_US + 1000, KNOWN_US, KNOWN_US + 1000]


def test_a_column_of_milliseconds_is_taken_from_files(tmp_path: Path) -> None:
    plan = compile_plan(pipeline(tmp_path))
    file = tmp_path / "in.parquet"
    columns = {
        "payment_id": ["a", "b"],
        "customer_id": [1, 1],
        "event_time": pa.array([NOON_US, NOON_US], pa.timestamp("us")),
        "known_at": pa.array([KNOWN_US // 1000, 2**53 // 1000 + 1], pa.timestamp("ms")),
    }
    pq.write_table(pa.table(columns), file)

    (turn,) = history.read([("", file)], plan).turns()

    assert turn.scored.reason.tolist() == [Reason.OK, Reason.RANGE]
    known = turn.scored.columns["known_at"]
    assert isinstance(known, np.ndarray)
    assert known[0] == KNOWN_US


def test_a_limit_is_in_the_unit_of_the_wire(tmp_path: Path) -> None:
    limited = pipeline(tmp_path, max_abs={"known_at": 5})

    assert vectors(limited, [event(5_000)])[0]["known_at"] == 5_000.0
    with pytest.raises(UsageError, match=r"dead letter .range.: field 'known_at' is 6000, beyond"):
        vectors(limited, [event(6_000)])
