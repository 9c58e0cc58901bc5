"""Presets: which window each makes, what wins over it, and what is refused with which words."""

from __future__ import annotations

import dataclasses

import pytest

from noskew.dataflows import Pipeline, card_fraud
from noskew.dataflows.card_fraud import payments
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.plan import Window
from noskew.dataflows.definition.semantics import (
    CLOSED,
    NOT_OFFERED,
    PRESETS,
    preset,
    refuse_live,
)
from noskew.dataflows.errors import DefinitionError, UsageError

SECOND = 10**6
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

PEERS = ("tecton", "flink", "feast")
LIVE = tuple(name for name in PRESETS if name not in PEERS)


@pytest.mark.parametrize("name", ["noskew", "pandas"])
def test_the_default_is_open_below_and_closed_above(name: str) -> None:
    assert preset(name).window(HOUR, MINUTE, {}) == Window(HOUR, MINUTE)
    assert preset(name).include_self


@pytest.mark.parametrize("name", ["openmldb", "kafka_streams", "quix", "flink", "feast"])
def test_windows_that_are_closed_at_both_ends(name: str) -> None:
    assert preset(name).window(HOUR, 0, {}) == Window(HOUR, low_closed=True)
    assert preset(name).include_self


@pytest.mark.parametrize(
    ("over_us", "hop_us"),
    [
        (5 * MINUTE, 5 * MINUTE),
        (12 * HOUR - 5 * MINUTE, 5 * MINUTE),
        (12 * HOUR, HOUR),
        (12 * DAY - 5 * MINUTE, HOUR),
        (12 * DAY, DAY),
        (365 * DAY, DAY),
    ],
)
def test_chronon_rounds_the_old_end_by_the_width_of_the_window(over_us: int, hop_us: int) -> None:
    found = preset("chronon").window(over_us, 0, {})

    assert found == Window(over_us, 0, low_closed=True, high_open=True, resolution_us=hop_us)
    assert not preset("chronon").include_self


def test_a_width_between_chronon_s_hops_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'7m' is no whole number of its hops of '5m'"):
        preset("chronon").window(7 * MINUTE, 0, {})


def test_a_resolution_of_its_own_makes_any_width_possible() -> None:
    found = preset("chronon").window(7 * MINUTE, 0, {"resolution": "1m"})

    assert found.resolution_us == MINUTE


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("closed", "ends"), CLOSED.items())
def test_what_a_statistic_says_itself_wins(name: str, closed: str, ends: tuple[bool, bool]) -> None:
    found = preset(name).window(DAY, HOUR, {"closed": closed, "resolution": "10m"})

    assert found == Window(DAY, HOUR, *ends, resolution_us=10 * MINUTE)


def test_a_resolution_of_nothing_is_exact() -> None:
    assert preset("chronon").window(DAY, 0, {"resolution": "0s"}).resolution_us == 0


@pytest.mark.parametrize("name", PRESETS)
def test_all_of_history_has_a_new_end_only(name: str) -> None:
    found = preset(name).window(None, HOUR, {})

    assert found == Window(None, HOUR, high_open=name == "chronon")


def test_all_of_history_has_no_end_to_round() -> None:
    with pytest.raises(DefinitionError, match="over=None has none"):
        preset("noskew").window(None, 0, {"resolution": "1h"})


@pytest.mark.parametrize("closed", ["Right", "open", "", None, 3, ["left"]])
def test_ends_that_are_none_are_refused_with_the_ones_there_are(closed: object) -> None:
    with pytest.raises(DefinitionError, match=r"is none of the ends; (did you mean|there are)"):
        preset("noskew").window(HOUR, 0, {"closed": closed})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cronon", "did you mean 'chronon'"),
        ("Flink", "did you mean 'flink'"),
        ("spark", "there are noskew, pandas, chronon"),
        (None, "semantics=None is no preset"),
        (["flink"], "is no preset"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest(name: object, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        preset(name)


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_a_known_system_that_is_not_offered_says_why(name: str) -> None:
    with pytest.raises(DefinitionError, match="a window here always ends at the event"):
        preset(name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is_modelled_on(name: str) -> None:
    found = preset(name)

    assert found.name == name
    assert found.closed in CLOSED
    assert "T" in found.note, "the interval is told"


@pytest.mark.parametrize("name", PEERS)
def test_what_needs_later_arrivals_says_what_to_run_instead(name: str) -> None:
    found = preset(name)

    assert found.peers
    assert f'write closed="{found.closed}"' in found.refusal


@pytest.mark.parametrize("name", LIVE)
def test_what_can_run_is_not_refused(name: str) -> None:
    assert not preset(name).peers
    assert preset(name).refusal == ""


def test_a_running_pipeline_refuses_peers_and_nothing_else() -> None:
    plan = compile_plan(card_fraud.pipeline)

    refuse_live(plan)
    with pytest.raises(UsageError, match=r"'card_fraud' has semantics .*noskew replay.*closed="):
        refuse_live(dataclasses.replace(plan, peers=True))


def test_features_of_another_pipeline_keep_their_windows() -> None:
    card = payments.by("customer_id")
    whole = Pipeline(
        name="p", score=payments, features=[card.count(over="1h")], semantics="chronon"
    )
    more = [*whole.features, card.count(over="1h", closed="left", resolution="1m").named("mine")]

    again = Pipeline(name="q", score=payments, features=more)

    once, twice = Pipeline(name="q", score=payments, features=again.features), again
    assert compile_plan(once).fingerprint == compile_plan(twice).fingerprint
    (table,) = compile_plan(once).tables
    assert table.windows == (
        Window(HOUR, low_closed=True, high_open=True, resolution_us=5 * MINUTE),
        Window(HOUR, low_closed=True, high_open=True, resolution_us=MINUTE),
    )
    assert [op.include_self for op in table.ops] == [False, True]
