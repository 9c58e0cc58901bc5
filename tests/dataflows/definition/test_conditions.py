"""Conditions of ``where=``: what each comparison becomes, how they join, what is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from noskew.dataflows.definition.condition import Condition
from noskew.dataflows.definition.feature import Feature
from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Negated
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows import Stream

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NOON_US = 1_714_564_800_000_000
NAN = math.nan

WRITTEN: list[tuple[Callable[[Stream], Condition], Comparison, str]] = [
    (lambda s: s.column("amount_cents") == 5, Comparison("amount_cents", Is.EQUAL, (5,)),
     "amount_cents == 5"),
    (lambda s: s.column("amount_cents") != 5.0, Comparison("amount_cents", Is.NOT_EQUAL, (5,)),
     "amount_cents != 5"),
    (lambda s: s.column("amount_cents") < -1, Comparison("amount_cents", Is.LESS, (-1,)),
     "amount_cents < -1"),
    (lambda s: s.column("amount_cents") <= 2**63 - 1,
     Comparison("amount_cents", Is.LESS_EQUAL, (2**63 - 1,)),
     "amount_cents <= 9223372036854775807"),
    (lambda s: s.column("tip_cents") > 0, Comparison("tip_cents", Is.GREATER, (0,)),
     "tip_cents > 0"),
    (lambda s: 5 >= s.column("tip_cents"), Comparison("tip_cents", Is.LESS_EQUAL, (5,)),  # noqa: SIM300 -- reflected on purpose
     "tip_cents <= 5"),
    (lambda s: s.column("tip_cents").isin([3, 1, 3]), Comparison("tip_cents", Is.IN, (1, 3)),
     "tip_cents in [1, 3]"),
    (lambda s: s.column("tip_cents").is_null(), Comparison("tip_cents", Is.NULL),
     "tip_cents is null"),
    (lambda s: s.column("ratio") >= 1, Comparison("ratio", Is.GREATER_EQUAL, (1.0,)),
     "ratio >= 1.0"),
    (lambda s: s.column("is_online") == True, Comparison("is_online", Is.EQUAL, (1,)),  # noqa: E712 -- what users write
     "is_online == True"),
    (lambda s: s.column("is_online") != 0, Comparison("is_online", Is.NOT_EQUAL, (0,)),
     "is_online != False"),
    (lambda s: s.column("entry_mode") == "MANUAL", Comparison("entry_mode", Is.EQUAL, (1,)),
     "entry_mode == 'MANUAL'"),
    (lambda s: s.column("other_mode").isin({"MANUAL", "CHIP"}),
     Comparison("other_mode", Is.IN, (0, 1)), "other_mode in ['CHIP', 'MANUAL']"),
    (lambda s: s.column("country") == "SE", Comparison("country", Is.EQUAL, ("SE",)),
     "country == 'SE'"),
    (lambda s: s.column("country") < "T", Comparison("country", Is.LESS, ("T",)), "country < 'T'"),
    (lambda s: s.column("country").isin(("b", "a")), Comparison("country", Is.IN, ("a", "b")),
     "country in ['a', 'b']"),
    (lambda s: s.column("terminal_id").is_null(), Comparison("terminal_id", Is.NULL),
     "terminal_id is null"),
    # A time is compared in microseconds, whatever unit it has on the wire.
    (lambda s: s.column("maybe_at") > NOON, Comparison("maybe_at", Is.GREATER, (NOON_US,)),
     "maybe_at > 2024-05-01 12:00:00"),
    (lambda s: s.column("known_at") > NOON.replace(tzinfo=None),
     Comparison("known_at", Is.GREATER, (NOON_US,)), "known_at > 2024-05-01 12:00:00"),
    (lambda s: s.column("known_at") > NOON.astimezone(timezone(timedelta(hours=-3, minutes=-30))),
     Comparison("known_at", Is.GREATER, (NOON_US,)), "known_at > 2024-05-01 12:00:00"),
    (lambda s: s.column("known_at") == NOON_US, Comparison("known_at", Is.EQUAL, (NOON_US,)),
     "known_at == 2024-05-01 12:00:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("write", "expected", "shown"), WRITTEN, ids=[shown for *_, shown in WRITTEN]
)
def test_a_comparison_is_checked_against_the_column_and_written_as_it_holds_it(
    payments: Stream, write: Callable[[Stream], Condition], expected: Comparison, shown: str
) -> None:
    found = write(payments)

    assert isinstance(found, Condition)
    assert found.filter == expected
    assert [type(value) for value in found.filter.values] == [
        type(value) for value in expected.values
    ]
    assert str(found) == shown


def test_zero_has_one_sign(payments: Stream) -> None:
    assert str(payments.column("ratio") == -0.0) == "ratio == 0.0"


def test_conditions_join_and_keep_their_brackets(payments: Stream) -> None:
    amount, online = payments.column("amount_cents"), payments.column("is_online")
    one, two, three = amount > 1, online == 1, amount.isin([7])

    found = (one & ~two) | three

    assert found.filter == Either(Both(one.filter, Negated(two.filter)), three.filter)
    assert str(found) == "((amount_cents > 1) & ~(is_online == True)) | (amount_cents in [7])"
    assert str(~found) == f"~({found})"


def test_equal_conditions_are_equal_filters_and_can_be_keys(payments: Stream) -> None:
    amount = payments.column("amount_cents")

    assert (amount > 1).filter == (amount > 1.0).filter
    assert len({(amount.isin([2, 1])).filter, amount.isin([1, 2]).filter}) == 1


def test_features_are_themselves_in_sets_and_dictionaries(payments: Stream) -> None:
    amount = payments.column("amount_cents")
    again = payments.column("amount_cents")

    assert len({amount, again, amount}) == 2
    assert {amount: 1}[amount] == 1
    assert amount.expression == again.expression
    assert isinstance(amount, Feature)


REFUSED: list[tuple[Callable[[Stream], Any], list[str]]] = [
    (lambda s: s.column("amount_cents") > 2.5, ["amount_cents > 2.5", "is long", "whole number"]),
    (lambda s: s.column("amount_cents") > 2**63, ["fits into 64 bits"]),
    (lambda s: s.column("amount_cents") > float("inf"), ["amount_cents > inf", "whole number"]),
    (lambda s: s.column("amount_cents") > NAN, ["whole number"]),
    (lambda s: s.column("amount_cents") > "5", ["amount_cents > '5'", "whole number"]),
    (lambda s: s.column("amount_cents") == True, ["== True", "is long", "whole number"]),  # noqa: E712 -- the mistake
    (lambda s: s.column("amount_cents") == None, ["None is ever true", ".is_null()"]),  # noqa: E711 -- the mistake
    (lambda s: s.column("amount_cents") > s.column("tip_cents"),
     ["amount_cents is compared with tip_cents", "literal"]),
    (lambda s: s.column("ratio") > NAN, ["finite"]),
    (lambda s: s.column("ratio") > 2**53 + 1, ["2^53"]),
    (lambda s: s.column("ratio") == "x", ["finite number"]),
    (lambda s: s.column("is_online") == "yes", ["boolean", "True or False"]),
    (lambda s: s.column("is_online") == 2, ["True or False"]),
    (lambda s: s.column("is_online") > False, ["no order", "isin"]),
    (lambda s: s.column("entry_mode") == "MANUEL", ["none of its symbols", "'MANUAL'?"]),
    (lambda s: s.column("entry_mode") == 1, ["1 is none of its symbols"]),
    (lambda s: s.column("entry_mode") >= "CHIP", ["enum, which has no order"]),
    (lambda s: s.column("country") == 5, ["string", "write text: '5'"]),
    (lambda s: s.column("maybe_at") > "2024-05-01", ["write a datetime"]),
    (lambda s: s.column("maybe_at") > 2**62, ["years 1 to 9999"]),
    (lambda s: s.column("country").isin("SE"), ["isin('SE')", "isin(['SE'])"]),
    (lambda s: s.column("tip_cents").isin(5), ["5 is no list", "isin([5])"]),
    (lambda s: s.column("tip_cents").isin([]), ["empty list"]),
    (lambda s: s.column("tip_cents").isin([1, 2.5]), ["isin([1, 2.5])", "whole number"]),
    (lambda s: s.hour() > 5, ["hour is compared", "only a column can be"]),
    (lambda s: (s.column("amount_cents") / 2) == 5, ["amount_cents / 2 is compared"]),
    (lambda s: s.by("customer_id").count(over="1d") > 5, ["customer_id_count_1d is compared"]),
    (lambda s: s.by("customer_id").count(over=["1d", "2d"]) > 5, ["is compared"]),
    (lambda s: s.by("customer_id").count(over="1d").isin([5]), ["is compared"]),
    (lambda s: 1 < s.column("tip_cents") < 5, ["tip_cents > 1 has no truth value", "& | ~"]),
    (lambda s: (s.column("tip_cents") > 1) and True, ["has no truth value", "brackets"]),
    (lambda s: not (s.column("tip_cents") > 1), ["has no truth value"]),
    (lambda s: s.column("tip_cents") in [1, 2], ["tip_cents == 1 has no truth value"]),
    (lambda s: s.column("tip_cents") > 1 & s.column("amount_cents"),
     ["amount_cents is no condition", "in brackets"]),
    (lambda s: ~s.column("is_online"), ["is_online is no condition", "column == True"]),
    (lambda s: s.column("is_online") | (s.column("tip_cents") > 1), ["is_online is no condition"]),
    (lambda s: (s.column("tip_cents") > 1) & s.column("is_online"),
     ["(tip_cents > 1) & is_online: is_online is no condition"]),
    (lambda s: True & (s.column("tip_cents") > 1), ["True is no condition"]),
    (lambda s: 0 | (s.column("tip_cents") > 1), ["0 is no condition"]),
]  # fmt: skip


@pytest.mark.parametrize(("write", "fragments"), REFUSED)
def test_a_wrong_comparison_says_what_to_write(
    payments: Stream, write: Callable[[Stream], Any], fragments: list[str]
) -> None:
    with pytest.raises(DefinitionError) as caught:
        write(payments)

    message = str(caught.value)
    assert [one for one in fragments if one not in message] == [], message


def test_a_condition_has_an_end(payments: Stream) -> None:
    amount = payments.column("amount_cents")
    found = amount == 0
    for number in range(1, 256):
        found = found | (amount == number)

    assert str(found).count("==") == 256
    with pytest.raises(DefinitionError, match="257 comparisons; write at most 256, and isin"):
        found | (amount == 256)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("amount_cents", "where=amount_cents is no condition; it is a column, compare it"),
        (lambda row: row, "is no condition; write a comparison"),
        ("amount > 5", "is no condition"),
        (True, "where=True is no condition"),
    ],
)
def test_where_takes_a_condition_only(payments: Stream, where: Any, told: str) -> None:
    given: Any = payments.column(where) if where == "amount_cents" else where

    with pytest.raises(DefinitionError) as caught:
        payments.by("customer_id").count(over="1d", where=given)

    assert told in str(caught.value)
