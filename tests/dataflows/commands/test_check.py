"""What `noskew check` tells of a definition, as JSON and as text."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from noskew.dataflows import card_fraud
from noskew.dataflows.commands.capacity import DoesNotFitError
from noskew.dataflows.commands.check import check
from noskew.dataflows.commands.check_text import render
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from noskew.dataflows.commands.check import CheckReport


DEFINITION = Path(str(card_fraud.__file__))


@pytest.fixture(scope="module")
def report() -> CheckReport:
    return check(DEFINITION)


def rendered(report: CheckReport) -> str:
    file = StringIO()
    render(report, Console(file=file, width=60))
    return file.getvalue()


def test_every_feature_is_told_with_its_meaning_and_order(report: CheckReport) -> None:
    mean = next(f for f in report.features if f.name.endswith("mean_30d_delay_7d"))

    assert len(report.features) == 25
    assert mean.what == "mean of amount_cents per terminal_id over 30d, delayed 7d"
    assert (mean.streams, mean.entities) == (("payments",), ("terminal_id",))
    assert mean.ordered


def test_features_of_labels_are_told_with_their_stream(report: CheckReport) -> None:
    frauds = [f for f in report.features if f.name.startswith("labels_")]

    assert [f.name for f in frauds] == [
        f"labels_terminal_id_is_fraud_sum_{over}_delay_7d" for over in ("1d", "7d", "30d")
    ]
    assert frauds[0].what == "sum of labels.is_fraud per terminal_id over 1d, delayed 7d"
    for one in frauds:
        assert (one.streams, one.entities) == (("labels",), ("terminal_id",))
        assert one.ordered


def test_arithmetic_is_told_as_a_formula_of_its_entities(report: CheckReport) -> None:
    (ratio,) = (f for f in report.features if f.name == "amount_vs_mean_30d")

    assert ratio.what == "amount_cents / mean of amount_cents per customer_id over 30d"
    assert ratio.entities == ("customer_id",)
    assert not ratio.ordered


def test_every_feature_is_told_with_the_state_it_takes(report: CheckReport) -> None:
    taken = {feature.name: feature.bytes_per_key for feature in report.features}

    assert taken["hour"] == taken["amount_cents"] == 0
    assert 0 < taken["customer_id_count_1h"] < taken["customer_id_amount_cents_mean_7d"]
    assert taken["amount_vs_mean_30d"] == taken["customer_id_amount_cents_mean_30d"]
    # Features share: a table takes more than any of them and less than all alone.
    customer = report.tables[0]
    alone = [f.bytes_per_key for f in report.features if f.entities == ("customer_id",)]
    assert max(alone) < customer.bytes_per_key


def test_each_table_is_told_with_its_memory(report: CheckReport) -> None:
    customer, terminal, labels = report.tables

    assert [(t.stream, t.entity, t.primary, t.held_for) for t in report.tables] == [
        ("payments", "customer_id", True, "30d 1h"),
        ("payments", "terminal_id", False, "37d 1h"),
        ("labels", "terminal_id", False, "60d"),  # open to revision for so long
    ]
    assert customer.bytes_per_entry == terminal.bytes_per_entry == 16
    assert labels.bytes_per_entry == 24  # also which record it was
    assert min(t.bytes_per_key for t in report.tables) > 8 * 14
    assert min(t.bytes_per_chunk for t in report.tables) > customer.entries_per_chunk * 16
    # 2 + 32 + 3 x 8 bytes, a word for each of 10 statistics, two for since_last; 7 + 3 by terminal.
    assert customer.row_bytes == 58 + 8 * 12
    assert terminal.row_bytes == labels.row_bytes == 58 + 8 * 10


def test_each_stream_is_told_with_its_settings(report: CheckReport) -> None:
    payments, labels = report.streams

    assert (payments.scored, labels.scored) == (True, False)
    assert (payments.topic, labels.topic) == ("transactions", "fraud_labels")
    assert (payments.available, labels.available) == ("event_time", "labelled_at")
    assert (payments.allowed_lateness, labels.allowed_lateness) == ("1h", "60d")
    assert (payments.revise, labels.revise) == (False, True)
    assert payments.dedupe is labels.dedupe is None


def test_each_field_is_told_with_its_use_and_what_a_null_does(report: CheckReport) -> None:
    payments, labels = ({f.name: f for f in stream.fields} for stream in report.streams)

    assert list(payments) == [
        "transaction_id", "event_time", "customer_id", "terminal_id", "amount_cents",
    ]  # fmt: skip
    assert payments["event_time"].roles == ("time",)
    assert payments["event_time"].type == "long (timestamp-micros)"
    assert payments["customer_id"].roles == ("key", "entity")
    assert payments["terminal_id"].null == "empty history"
    assert payments["amount_cents"].roles == ("aggregated", "column")
    assert payments["amount_cents"].null == "dead letter"
    assert payments["amount_cents"].max_abs == 2**40
    assert labels["labelled_at"].roles == ("available",)
    assert labels["customer_id"].roles == ("key",)
    assert labels["terminal_id"].roles == ("entity",)
    assert labels["is_fraud"].roles == ("aggregated",)


def test_the_report_is_json_as_it_is(report: CheckReport) -> None:
    value = json.loads(json.dumps(report.to_json()))

    assert value["pipeline"] == value["model"] == "card_fraud"
    assert value["semantics"] == "noskew"
    assert value["features"][15]["name"] == "terminal_id_count_1d_delay_7d"
    assert value["features"][15]["bytes_per_key"] > 0
    assert len(value["fingerprint"]) == 64
    assert value["streams"][0]["allowed_lateness"] == "1h"
    assert value["capacity"] is None


def test_the_text_has_every_name_whole_also_where_lines_are_short(report: CheckReport) -> None:
    text = rendered(report)

    for feature in report.features:
        assert f" {feature.name} " in text
        assert f" {feature.what} " in text
    assert report.fingerprint in text
    assert "noskew.schemas/transaction.avsc" in text
    assert "noskew.schemas/label.avsc" in text
    assert "labels by terminal_id" in text
    assert "a record with the transaction_id of an open one replaces it" in text
    assert "customer_id is the key of topic transactions" in text


def test_rates_are_told_with_what_they_take() -> None:
    at, keys = ["20/s", "labels=40/h"], ["customer_id=5000"]

    found = check(DEFINITION, at=at, keys=keys, memory="16GB")
    text = rendered(found)

    assert "At 20/s of payments, 0.0111/s of labels (assumed: 1,000,000 terminal_id" in text
    assert "GB fits: --memory is 16 GB" in text
    assert "ids of labels" in text
    assert f"{20 * (30 * 86_400 + 3_600):,}" in text
    assert "journal about" in text
    value = json.loads(json.dumps(found.to_json()))["capacity"]
    assert value["keys"] == {"customer_id": 5000, "terminal_id": 1_000_000}
    assert value["memory"] < value["limit"] == 16 * 10**9
    assert value["tables"][0]["held"] == 20 * (30 * 86_400 + 3_600)
    found.require_fit()


def test_what_does_not_fit_is_told_before_it_is_refused() -> None:
    found = check(DEFINITION, at=["12000/s"], memory="16GB")

    assert "does not fit: --memory is 16 GB" in rendered(found)
    with pytest.raises(DoesNotFitError, match="card_fraud takes"):
        found.require_fit()


def test_filters_quanta_duplicates_and_a_float_are_told(tmp_path: Path) -> None:
    (tmp_path / "paid.avsc").write_text(
        json.dumps(
            {
                "type": "record",
                "name": "Paid",
                "fields": [
                    {"name": "id", "type": "string"},
                    {"name": "card", "type": "string"},
                    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                    {"name": "amount", "type": "double"},
                    {"name": "tip", "type": ["null", "long"]},
                ],
            }
        )
    )
    path = tmp_path / "paid.py"
    path.write_text(
        "from noskew.dataflows import Pipeline, Stream\n"
        "s = Stream('s', topic='s', schema='paid.avsc', id='id', key='card', time='at',\n"
        "           dedupe='1h', quantum={'amount': '1e-2'})\n"
        "card = s.by('card')\n"
        "pipeline = Pipeline(name='p', score=s, features=[\n"
        "    card.sum('amount', over='1d'),\n"
        "    card.count(over='1d', where=s.column('tip') > 5)])\n"
    )

    report = check(path)
    text = rendered(report)

    (stream,) = report.streams
    fields = {field.name: field for field in stream.fields}
    assert stream.dedupe == "1h"
    assert (fields["amount"].quantum, fields["amount"].null) == ("1e-2", "skipped")
    assert (fields["tip"].roles, fields["tip"].null) == (("where",), "false")
    assert report.tables[0].key_type == "string"
    assert "dropped within 1h" in text
    assert "1e-2" in text


def test_the_text_of_features_without_a_model_says_so(tmp_path: Path) -> None:
    path = tmp_path / "features.py"
    path.write_text(
        "from noskew.dataflows import Pipeline, Stream\n"
        "s = Stream('s', topic='s', schema='transaction.avsc', id='transaction_id',\n"
        "           key='customer_id', time='event_time')\n"
        "pipeline = Pipeline(name='p', score=s, features=[s.column('terminal_id')])\n"
    )

    report = check(path)

    assert report.tables == ()
    assert "none (features only)" in rendered(report)
    (terminal,) = (field for field in report.streams[0].fields if field.name == "terminal_id")
    assert (terminal.roles, terminal.null, terminal.max_abs) == (("column",), "NaN", 2**53)


def test_a_wrong_definition_raises_its_message(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="is not there"):
        check(tmp_path / "nothing.py")
