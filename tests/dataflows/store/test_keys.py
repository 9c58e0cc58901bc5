"""The names of Redis keys, letter by letter."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noskew.dataflows.errors import UsageError
from noskew.dataflows.store.keys import Names, decoded, encoded

NAMES = Names("noskew", "card_fraud", 0)


def test_names_are_those_of_the_contract() -> None:
    assert NAMES.watermark == b"noskew:{card_fraud.0}:watermark"
    assert NAMES.pointer == b"noskew:{card_fraud.0}:gen"
    assert NAMES.row(1, "customer_id", 17) == b"noskew:{card_fraud.0}:1:customer_id:17"
    assert NAMES.row(12, "customer_id", -3) == b"noskew:{card_fraud.0}:12:customer_id:-3"
    assert Names("eu", "a", 3).row(1, "t", b"x") == b"eu:{a.3}:1:t:x"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("T-1", b"T-1"),
        ("a:b", b"a%3Ab"),
        ("50%", b"50%25"),
        ("%3A", b"%253A"),
        (":%:", b"%3A%25%3A"),
        ("", b""),
        ("Zürich 字", "Zürich 字".encode()),
    ],
)
def test_string_ids_are_percent_encoded(text: str, written: bytes) -> None:
    assert encoded(text.encode()) == written


@given(st.text(alphabet=st.sampled_from("%:3A25ab字")), st.text(alphabet="%:3A25"))
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert decoded(encoded(one.encode()), "string") == one.encode()
    assert (encoded(one.encode()) == encoded(other.encode())) == (one == other)
    assert b":" not in encoded(one.encode())


@given(st.integers(-(2**63), 2**63 - 1))
def test_int_ids_are_decimal(value: int) -> None:
    assert encoded(value) == str(value).encode()
    assert decoded(encoded(value), "int") == value


def test_the_pattern_takes_wild_cards_in_names_literally() -> None:
    assert Names("n*", "a?[b]", 0).pattern(2) == rb"n\*:{a\?\[b\].0}:2:*"


@pytest.mark.parametrize(("namespace", "app"), [("a{b", "x"), ("n", "x}"), ("", "x")])
def test_braces_in_a_name_are_refused(namespace: str, app: str) -> None:
    with pytest.raises(UsageError, match=re.escape("braces")):
        Names(namespace, app, 0)
