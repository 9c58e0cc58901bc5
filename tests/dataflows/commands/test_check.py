"""What `noskew check` tells of a definition, as JSON and as text."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from noskew.dataflows import card_fraud
from noskew.dataflows.commands.check import check, render
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from noskew.dataflows.commands.check import CheckReport


@pytest.fixture(scope="module")
def report() -> CheckReport:
    assert card_fraud.__file__ is not None
    return check(Path(card_fraud.__file__))


def rendered(report: CheckReport) -> str:
    file = StringIO()
    render(report, Console(file=file, width=60))
    return file.getvalue()


def test_every_feature_is_told_with_its_meaning_and_order(report: CheckReport) -> None:
    mean = next(f for f in report.features if f.name.endswith("mean_30d_delay_7d"))

    assert len(report.features) == 22
    assert mean.what == "mean of amount_cents per terminal_id over 30d, delayed 7d"
    assert mean.entities == ("terminal_id",)
    assert mean.ordered


def test_arithmetic_is_told_as_a_formula_of_its_entities(report: CheckReport) -> None:
    (ratio,) = (f for f in report.features if f.name == "amount_vs_mean_30d")

    assert ratio.what == "amount_cents / mean of amount_cents per customer_id over 30d"
    assert ratio.entities == ("customer_id",)
    assert not ratio.ordered


def test_each_entity_is_told_with_its_memory(report: CheckReport) -> None:
    customer, terminal = report.entities

    assert (customer.entity, customer.primary, customer.held_for) == ("customer_id", True, "30d")
    assert (terminal.entity, terminal.primary, terminal.held_for) == ("terminal_id", False, "37d")
    assert customer.bytes_per_entry == terminal.bytes_per_entry == 16
    assert terminal.bytes_per_key > customer.bytes_per_key > 8 * 14
    # 2 + 32 + 3 x 8 bytes, a word for each of 10 statistics, two for since_last; 7 of terminals.
    assert customer.row_bytes == 58 + 8 * 12
    assert terminal.row_bytes == 58 + 8 * 7


def test_each_field_is_told_with_its_use_and_what_a_null_does(report: CheckReport) -> None:
    fields = {field.name: field for field in report.stream.fields}

    assert list(fields) == [
        "transaction_id", "event_time", "customer_id", "terminal_id", "amount_cents",
    ]  # fmt: skip
    assert fields["event_time"].roles == ("time",)
    assert fields["event_time"].type == "long (timestamp-micros)"
    assert fields["customer_id"].roles == ("key", "entity")
    assert fields["terminal_id"].null == "empty history"
    assert fields["amount_cents"].roles == ("aggregated", "column")
    assert fields["amount_cents"].null == "dead letter"
    assert fields["amount_cents"].max_abs == 2**40


def test_the_report_is_json_as_it_is(report: CheckReport) -> None:
    value = json.loads(json.dumps(report.to_json()))

    assert value["pipeline"] == value["model"] == "card_fraud"
    assert value["features"][15]["name"] == "terminal_id_count_1d_delay_7d"
    assert len(value["fingerprint"]) == 64
    assert value["stream"]["allowed_lateness"] == "1h"


def test_the_text_has_every_name_whole_also_where_lines_are_short(report: CheckReport) -> None:
    text = rendered(report)

    for feature in report.features:
        assert f" {feature.name} " in text
        assert f" {feature.what} " in text
    assert report.fingerprint in text
    assert "noskew.schemas/transaction.avsc" in text


def test_the_text_of_features_without_a_model_says_so(tmp_path: Path) -> None:
    path = tmp_path / "features.py"
    path.write_text(
        "from noskew.dataflows import Pipeline, Stream\n"
        "s = Stream('s', topic='s', schema='transaction.avsc', id='transaction_id',\n"
        "           key='customer_id', time='event_time')\n"
        "pipeline = Pipeline(name='p', score=s, features=[s.column('terminal_id')])\n"
    )

    report = check(path)

    assert report.entities == ()
    assert "none (features only)" in rendered(report)
    (terminal,) = (field for field in report.stream.fields if field.name == "terminal_id")
    assert (terminal.roles, terminal.null, terminal.max_abs) == (("column",), "NaN", 2**53)


def test_a_wrong_definition_raises_its_message(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is not there"):
        check(tmp_path / "nothing.py")
