"""Durations and offsets from UTC are read exactly, shown shortly, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noskew.dataflows.definition.durations import duration_us, show, show_offset, utc_offset_s
from noskew.dataflows.errors import DefinitionError


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1s", 1_000_000),
        ("90m", 5_400_000_000),
        ("1h", 3_600_000_000),
        ("1d", 86_400_000_000),
        ("030d", 2_592_000_000_000),
    ],
)
def test_a_duration_is_exact_seconds(text: str, us: int) -> None:
    assert duration_us(text, "over") == us


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0s"),
        (1_000_000, "1s"),
        (61_000_000, "61s"),
        (5_400_000_000, "90m"),
        (3_600_000_000, "1h"),
        (86_400_000_000, "1d"),
        (90_000_000_000, "25h"),
        (604_800_000_000, "7d"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_that_divides_it(us: int, text: str) -> None:
    assert show(us) == text


@given(st.integers(0, 36_500 * 86_400))
def test_a_shown_duration_is_read_back(seconds: int) -> None:
    us = seconds * 1_000_000

    assert duration_us(show(us), "over", zero=True) == us


@pytest.mark.parametrize(
    ("value", "fragments"),
    [
        ("90", ["over: '90' is not a duration", "a whole number and s, m, h or d"]),
        ("-1h", ["'-1h' is not a duration"]),
        ("1.5h", ["'1.5h'", "'90m'"]),
        ("1 h", ["'1 h'", "'1h'"]),
        ("1H", ["'1H'", "'1h'"]),
        ("2 weeks", ["'2 weeks'", "'14d'"]),
        ("1w", ["'1w'", "'7d'"]),
        ("10min", ["'10min'", "'10m'"]),
        ("", ["'' is not a duration", "'30d'"]),
        ("1h\n", ["is not a duration", "'1h'"]),
        ("١h", ["is not a duration"]),
        ("0s", ["'0s' is empty", "'1s'"]),
        ("36501d", ["'36501d' is more than 36500d"]),
        ("999999999999d", ["more than 36500d"]),
        (3600, ["over is 3600", "in quotes", "'1h'"]),
        (1.5, ["over is 1.5", "in quotes"]),
        (float("nan"), ["over is nan", "in quotes"]),
        (True, ["over is True", "in quotes"]),
        (["1h"], ["over is ['1h']", "in quotes"]),
    ],
)
def test_what_is_no_duration_says_what_to_write(value: object, fragments: list[str]) -> None:
    with pytest.raises(DefinitionError) as caught:
        duration_us(value, "over")

    assert [one for one in fragments if one not in str(caught.value)] == []


def test_zero_is_a_duration_where_it_is_allowed() -> None:
    assert duration_us("0s", "delay", zero=True) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+00:00", 0), ("-00:00", 0), ("+05:30", 19_800), ("-03:00", -10_800), ("+14:00", 50_400)],
)
def test_an_offset_from_utc_is_seconds(text: str, seconds: int) -> None:
    assert utc_offset_s(text) == seconds
    assert utc_offset_s(show_offset(seconds)) == seconds


@pytest.mark.parametrize("value", ["+14:01", "+05:60", "5:30", "Europe/Paris", "Z", 2, None])
def test_what_is_no_offset_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(DefinitionError, match=r"utc_offset .*(\+02:00|\+14:00)"):
        utc_offset_s(value)
