"""Filters of ``where=``: every comparison over every kind of column, nulls, and their bits."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from turns import column_of

from noskew.dataflows.core.filters import passes
from noskew.dataflows.definition.plan import Both, Comparison, Either, Is, Negated
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from noskew.dataflows.definition.plan import Filter

    Values: TypeAlias = tuple[str, Sequence[int | float | str | None]]
    """A kind of column, and its values."""

SIGNS: dict[Is, Callable[[Any, Any], bool]] = {
    Is.EQUAL: operator.eq,
    Is.NOT_EQUAL: operator.ne,
    Is.LESS: operator.lt,
    Is.LESS_EQUAL: operator.le,
    Is.GREATER: operator.gt,
    Is.GREATER_EQUAL: operator.ge,
}
INTS = (-(2**62), -3, 0, 1, 2, 2**53 + 1, 2**62, None)
FLOATS = (-math.pi, -0.0, 0.0, 0.1, 1.5, 1e300, None)
TEXTS = ("", "a", "ab", "b", "Z", "é", "\uffff", "\U0001f600", None)


def held(one: Filter, **columns: Values) -> list[bool]:
    made = {name: column_of(kind, values) for name, (kind, values) in columns.items()}
    count = len(next(iter(made.values())))
    return [bits == 1 for bits in passes((one,), made, count).tolist()]


@pytest.mark.parametrize("op", SIGNS)
@pytest.mark.parametrize(
    ("kind", "values", "literals"),
    [
        ("int", INTS, (0, 1, -3, 2**53, 2**53 + 1, 2**62, 1.5, -3.0, -2.5, 1e300, 2**70)),
        ("float", FLOATS, (0, 0.1, 1.5, -math.pi, 2, 1e300)),
        ("string", TEXTS, ("", "a", "ab", "é", "zz", "\uffff")),
    ],
)
def test_a_comparison_is_that_of_python_and_a_null_compares_false(
    op: Is, kind: str, values: tuple[Any, ...], literals: tuple[Any, ...]
) -> None:
    for literal in literals:
        expected = [value is not None and SIGNS[op](value, literal) for value in values]

        assert held(Comparison("c", op, (literal,)), c=(kind, values)) == expected, literal


@pytest.mark.parametrize(
    ("kind", "values", "literals"),
    [
        ("int", INTS, (1, 2**62, 7)),
        ("int", INTS, (1.5, 2.0, 2**53)),
        ("int", INTS, ()),
        ("float", FLOATS, (0.1, 0, 1e300)),
        ("string", TEXTS, ("", "ab", "abc", "é")),
    ],
)
def test_isin_is_membership(kind: str, values: tuple[Any, ...], literals: tuple[Any, ...]) -> None:
    expected = [value is not None and value in literals for value in values]

    assert held(Comparison("c", Is.IN, literals), c=(kind, values)) == expected


@pytest.mark.parametrize(("kind", "values"), [("int", INTS), ("float", FLOATS), ("string", TEXTS)])
def test_only_is_null_finds_nulls(kind: str, values: tuple[Any, ...]) -> None:
    found = held(Comparison("c", Is.NULL), c=(kind, values))

    assert found == [False] * (len(values) - 1) + [True]


def test_a_boolean_is_0_or_1_and_an_enum_its_index() -> None:
    columns = {"flag": ("int", (0, 1, None)), "country": ("int", (2, 0, 5))}

    assert held(Comparison("flag", Is.EQUAL, (1,)), **columns) == [False, True, False]
    assert held(Comparison("country", Is.IN, (2, 5)), **columns) == [True, False, True]


def test_a_negation_is_true_of_a_compared_null() -> None:
    above = Comparison("c", Is.GREATER, (1,))

    assert held(Negated(above), c=("int", (2, 1, None))) == [False, True, True]
    assert held(Negated(Negated(above)), c=("int", (2, 1, None))) == [True, False, False]
    assert held(Comparison("c", Is.NOT_EQUAL, (1,)), c=("int", (2, 1, None))) == [
        True, False, False,
    ]  # fmt: skip


def test_filters_join_over_columns_of_different_kinds() -> None:
    columns: dict[str, Values] = {
        "a": ("int", (1, 2, 3, None)),
        "t": ("string", ("x", None, "y", "x")),
    }
    small, x = Comparison("a", Is.LESS, (3,)), Comparison("t", Is.EQUAL, ("x",))

    assert held(Both(small, x), **columns) == [True, False, False, False]
    assert held(Either(small, x), **columns) == [True, True, False, True]
    assert held(Both(Negated(small), Either(x, Comparison("t", Is.NULL))), **columns) == [
        False, False, False, True,
    ]  # fmt: skip


def test_each_of_62_filters_has_its_bit() -> None:
    filters = tuple(Comparison("c", Is.EQUAL, (i % 31,)) for i in range(62))

    bits = passes(filters, {"c": np.arange(31)}, 31)

    assert bits.tolist() == [(1 << i) | (1 << (i + 31)) for i in range(31)]


def test_no_records_and_no_filters_are_no_bits() -> None:
    assert passes((), {}, 3).tolist() == [0, 0, 0]
    for kind in ("int", "float", "string"):
        one = Comparison("c", Is.LESS, ("a",) if kind == "string" else (1,))
        assert held(one, c=(kind, ())) == []


def test_bytes_of_a_dead_letter_that_are_no_text_do_no_harm() -> None:
    heap = np.frombuffer(b"ab\xff\xfe", np.uint8)
    column = Strings(heap, np.array([0, 2]), np.array([2, 2]))

    for op, compare in SIGNS.items():
        bits = passes((Comparison("c", op, ("ab",)),), {"c": column}, 2)
        assert bool(bits[0]) is compare("ab", "ab")


def test_texts_anywhere_in_a_shared_heap_are_compared_whole() -> None:
    column = column_of("string", ["abc", "ab", "cab", None, "ab"])
    assert isinstance(column, Strings)
    taken = column.take(np.array([4, 3, 2, 1, 0]))

    bits = passes((Comparison("c", Is.EQUAL, ("ab",)),), {"c": taken}, 5)

    assert bits.tolist() == [1, 0, 0, 1, 0]


@given(
    st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=8),
    st.integers(-(2**63), 2**63) | st.floats(-1e19, 1e19),
    st.sampled_from(sorted(SIGNS)),
)
def test_integers_are_compared_exactly_with_any_number(
    values: list[int | None], literal: float, op: Is
) -> None:
    expected = [value is not None and SIGNS[op](value, literal) for value in values]

    assert held(Comparison("c", op, (literal,)), c=("int", values)) == expected


@given(
    st.lists(st.none() | st.text(max_size=3), max_size=6),
    st.text(max_size=3),
    st.sampled_from(sorted(SIGNS)),
)
def test_texts_are_compared_by_code_point(values: list[str | None], literal: str, op: Is) -> None:
    expected = [value is not None and SIGNS[op](value, literal) for value in values]

    assert held(Comparison("c", op, (literal,)), c=("string", values)) == expected
