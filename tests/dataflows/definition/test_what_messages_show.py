"""Messages show what was written in few words, and numpy's values are as good as Python's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from noskew.dataflows import Pipeline
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows import Stream


def features(payments: Stream, *some: Any) -> Pipeline:
    return Pipeline(name="p", score=payments, features=[*some])


def where(payments: Stream, condition: Any) -> Any:
    return payments.by("customer_id").count(over="1h", where=condition)


WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda s: features(s, s), "features[0]: Stream('payments') is no feature"),
    (lambda s: features(s, s.by("customer_id")), "payments.by('customer_id') is an entity"),
    (
        lambda s: features(s, s.by("customer_id").count),
        "<bound method Entity.count of payments.by('customer_id')> is no feature",
    ),
    (
        lambda s: s.by("customer_id").mean(s.column("amount_cents"), over="1h"),
        "mean() names amount_cents, which is no field of",
    ),
    (
        lambda s: where(s, [s.column("amount_cents") > 1, s.column("country") == "DE"]),
        "where=[amount_cents > 1, country == 'DE'] is no condition",
    ),
    (
        lambda s: features(s, [s.by("customer_id").count(over=["1h", "1d"])]),
        "features[0]: [[customer_id_count_1h, customer_id_count_1d]] is no feature",
    ),
]


@pytest.mark.parametrize(("write", "told"), WRONG)
def test_a_message_names_what_was_written_without_its_schema(
    payments: Stream, write: Callable[[Any], Any], told: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        write(payments)

    assert told in str(caught.value)
    assert len(str(caught.value)) < 600


def test_of_a_long_list_the_first_values_are_shown(payments: Stream) -> None:
    amount = payments.column("amount_cents")

    assert str(amount.isin(range(8))) == "amount_cents in [0, 1, 2, 3, 4, 5, 6, 7]"
    assert str(amount.isin(range(5000))) == (
        "amount_cents in [0, 1, 2, 3, 4, 5, 6, 7, ... 4,992 more]"
    )


def test_numbers_and_texts_of_numpy_mean_what_python_s_do(payments: Stream) -> None:
    amount, ratio = payments.column("amount_cents"), payments.column("ratio")
    country, online = payments.column("country"), payments.column("is_online")
    card = payments.by("customer_id")

    def plan(five: Any, half: Any, text: Any, yes: Any) -> Any:
        conditions = [amount > five, ratio <= half, country == text, online == yes]
        counts = [
            card.count(over="1h", where=one).named(f"c{i}") for i, one in enumerate(conditions)
        ]
        mean = card.mean("amount_cents", over="1h", empty=five)
        pipeline = features(
            payments, *counts, mean, (amount * half + five).named("x"),
            card.count(over="1d", where=amount.isin([five])),
        )  # fmt: skip
        shown = [str(one) for one in conditions]
        return shown, compile_plan(pipeline).fingerprint

    python = plan(5, 0.5, "DE", True)

    assert plan(np.int64(5), np.float64(0.5), np.str_("DE"), np.bool_(True)) == python
    assert plan(np.uint8(5), np.float32(0.5), "DE", np.True_) == python
    assert python[0] == [
        "amount_cents > 5", "ratio <= 0.5", "country == 'DE'", "is_online == True",
    ]  # fmt: skip


def test_a_span_of_numpy_is_no_number(payments: Stream) -> None:
    with pytest.raises(DefinitionError, match="write a whole number"):
        where(payments, payments.column("amount_cents") > np.timedelta64(5, "s"))


def test_a_duration_in_place_of_a_column_is_told_as_one(payments: Stream) -> None:
    with pytest.raises(DefinitionError, match=r"count\(\): '1h' stands where.*; write over='1h'"):
        payments.by("customer_id").count("1h")


def test_bytes_are_no_list_of_durations(payments: Stream) -> None:
    over: Any = b"1h"

    with pytest.raises(DefinitionError, match="over is b'1h', not a duration in quotes"):
        payments.by("customer_id").count(over=over)


@pytest.mark.parametrize(
    ("stat", "why"),
    [("sum", "its sums would depend on their order"), ("distinct", "are kept of whole numbers")],
)
def test_why_a_double_needs_a_quantum_is_said_as_it_is(
    stream: Callable[..., Stream], stat: str, why: str
) -> None:
    card = stream(quantum=None).by("customer_id")

    with pytest.raises(DefinitionError, match=f"{why}; give it a quantum"):
        getattr(card, stat)("ratio", over="1h")
