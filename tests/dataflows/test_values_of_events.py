"""Values of events that ``noskew.dataflows.testing`` takes as they come, and those it names."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from payment_schema import schema

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.definition.checks import FINEST
from noskew.dataflows.errors import UsageError
from noskew.dataflows.testing import vectors

if TYPE_CHECKING:
    from pathlib import Path

NOON_US = 1_714_564_800_000_000


def stream_of(folder: Path, quantum: str) -> Stream:
    path = folder / "payment.avsc"
    path.write_text(json.dumps(schema()))
    return Stream(
        "payments", topic="payments", schema=path, id="payment_id", key="customer_id",
        time="event_time", quantum={"ratio": quantum},
    )  # fmt: skip


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    payments = stream_of(tmp_path, "1e-2")
    by = payments.by("customer_id")
    return Pipeline(
        name="p",
        score=payments,
        features=[
            by.sum("amount_cents", over="1h"),
            by.sum("ratio", over="1h"),
            by.distinct("country", over="1h"),
            by.sum("is_online", over="1h"),
        ],
    )


def event(**fields: Any) -> dict[str, Any]:
    plain = {"amount_cents": 5, "ratio": 0.25, "country": "DE", "is_online": True}
    return {"event_time": NOON_US, "customer_id": 1, **plain, **fields}


def test_values_of_numpy_are_those_they_stand_for(pipeline: Pipeline) -> None:
    given = event(
        event_time=np.int64(NOON_US),
        customer_id=np.uint32(1),
        amount_cents=np.int16(5),
        ratio=np.float32(0.25),
        country=np.str_("DE"),
        is_online=np.True_,
    )

    assert vectors(pipeline, [given, event()]) == vectors(pipeline, [event(), event()])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"ratio": 10**400}, "field 'ratio' is 1000.*, and the schema says double"),
        ({"country": "\ud800"}, r"field 'country' is '\\ud800', and the schema says string"),
        ({"amount_cents": np.timedelta64(5, "s")}, "'amount_cents' is np.timedelta64.*says long"),
        ({"amount_cents": np.float64(5)}, "'amount_cents' is 5.0, and the schema says long"),
        ({"event_time": np.datetime64("2024-05-01")}, "datetime64.*a datetime, or int micros"),
    ],
)
def test_a_value_that_no_column_can_hold_is_named(
    pipeline: Pipeline, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=f"event 1: .*{told}"):
        vectors(pipeline, [event(), event(**fields)])


@pytest.mark.parametrize("places", [0, 5, FINEST])
def test_statistics_of_the_finest_quantum_are_exact(tmp_path: Path, places: int) -> None:
    payments = stream_of(tmp_path, f"1e-{places}")
    by, unit = payments.by("customer_id"), Fraction(1, 10**places)
    pipeline = Pipeline(
        name="p",
        score=payments,
        features=[by.var("ratio", over=over).named(f"var_{over}") for over in ("1h", None)]
        + [by.mean("ratio", over=over).named(f"mean_{over}") for over in ("1h", None)]
        + [by.sum("ratio", over="1h").named("sum")],
    )
    wholes = [3, 5, 11, 2**40, -(2**40)] * 20

    found = vectors(pipeline, [event(ratio=float(whole * unit)) for whole in wholes])[-1]

    n, total = len(wholes), sum(wholes)
    squares = n * sum(whole * whole for whole in wholes) - total * total
    variance = float(Fraction(squares, n * (n - 1)) * unit**2)
    assert found == {
        "var_1h": variance, "var_None": variance, "sum": float(total * unit),
        "mean_1h": float(total * unit / n), "mean_None": float(total * unit / n),
    }  # fmt: skip


def test_what_is_far_beyond_its_limit_is_told_in_few_digits(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"'ratio' is 1e\+300, 1\S*e\+302 of its quantum 1e-2"):
        vectors(pipeline, [event(ratio=1e300)])
