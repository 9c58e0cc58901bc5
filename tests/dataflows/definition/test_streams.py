"""Several streams in one pipeline: tables, rows, fields, semantics, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from payment_schema import FIELDS, schema

from noskew.dataflows import Pipeline, card_fraud
from noskew.dataflows.definition.compile import MOST_FILTERS, compile_plan
from noskew.dataflows.definition.expression import describe
from noskew.dataflows.definition.plan import Comparison, Is, Stat
from noskew.dataflows.definition.semantics import PRESETS
from noskew.dataflows.definition.vector import MOST_FEATURES
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from noskew.dataflows import Stream
    from noskew.dataflows.definition.feature import Operand
    from noskew.dataflows.definition.plan import Plan

HOUR = 3_600_000_000


@pytest.fixture
def labels(stream: Callable[..., Stream]) -> Stream:
    return stream(
        name="labels", topic="labels", available="known_at", allowed_lateness="60d", revise=True
    )


def plan_of(scored: Stream, *features: Operand, **settings: Any) -> Plan:
    return compile_plan(Pipeline(name="p", score=scored, features=list(features), **settings))


def test_the_scored_stream_comes_first_then_the_others_as_they_occur(
    payments: Stream, labels: Stream, stream: Callable[..., Stream]
) -> None:
    logins = stream(name="logins", topic="logins", available="record_timestamp", dedupe="1h")

    plan = plan_of(
        payments,
        logins.by("customer_id").count(over="1h"),
        labels.by("terminal_id").sum("is_online", over="1h"),
    )

    assert [(one.place, one.name, one.available) for one in plan.streams] == [
        (0, "payments", "event_time"),
        (1, "logins", "record_timestamp"),
        (2, "labels", "known_at"),
    ]
    assert [(one.dedupe_us, one.revise) for one in plan.streams] == [
        (0, False), (HOUR, False), (0, True),
    ]  # fmt: skip
    assert plan.streams[2].allowed_lateness_us == 60 * 24 * HOUR


def test_an_entity_s_scored_table_always_exists_and_stands_first(
    payments: Stream, labels: Stream
) -> None:
    plan = plan_of(
        payments,
        labels.by("terminal_id").count(over="1h"),
        payments.by("customer_id").count(over="1h"),
        labels.by("customer_id").since_last(),
    )

    assert [(t.entity, t.stream, t.primary, len(t.ops)) for t in plan.tables] == [
        ("terminal_id", 0, False, 0),
        ("terminal_id", 1, False, 1),
        ("customer_id", 0, True, 1),
        ("customer_id", 1, False, 1),
    ]
    assert plan.tables[1].key_type == "string"
    assert (plan.tables[0].reach_us, plan.tables[0].endless) == (0, False)
    assert plan.tables[3].endless


def test_each_stream_decodes_what_its_own_statistics_read(payments: Stream, labels: Stream) -> None:
    plan = plan_of(
        payments,
        payments.column("amount_cents"),
        labels.by("terminal_id").sum("tip_cents", over="1h", where=labels.column("ratio") > 1),
    )

    roles = {"payment_id", "customer_id", "event_time"}
    assert set(plan.streams[0].fields) == roles | {"amount_cents", "terminal_id"}
    assert set(plan.streams[1].fields) == roles | {"known_at", "terminal_id", "tip_cents", "ratio"}
    assert plan.streams[0].max_abs == {"amount_cents": 2**53}
    assert plan.streams[1].max_abs == {"tip_cents": 2**40}
    assert plan.tables[1].filters == (Comparison("ratio", Is.GREATER, (1.0,)),)
    # What a condition alone reads is not aggregated: it needs no quantum and has no limit.
    assert plan.streams[1].quantum == {}


def test_a_row_is_in_vector_order_over_the_tables_of_its_entity(
    payments: Stream, labels: Stream
) -> None:
    terminal, frauds = payments.by("terminal_id"), labels.by("terminal_id")
    both = frauds.count(over="1d")

    plan = plan_of(
        payments,
        frauds.sum("is_online", over="1d"),
        terminal.count(over="1d"),
        payments.by("customer_id").count(over="1d"),
        both,
        (terminal.sum("amount_cents", over="1d") / both).named("ratio"),
        terminal.since_last().named("idle"),
    )

    by_terminal = [table for table in plan.tables if table.entity == "terminal_id"]
    assert [(table.row, table.row_at, table.row_names) for table in by_terminal] == [
        ((0, 1), (1, 3), ("terminal_id_count_1d", "idle")),
        ((0, 1), (0, 2), ("labels_terminal_id_is_online_sum_1d", "labels_terminal_id_count_1d")),
    ]
    assert [[op.stat for op in table.ops] for table in by_terminal] == [
        [Stat.COUNT, Stat.SINCE_LAST, Stat.SUM],
        [Stat.SUM, Stat.COUNT],
    ]


def test_features_of_another_stream_are_ordered_and_say_whose_they_are(
    payments: Stream, labels: Stream
) -> None:
    of_card = labels.by("customer_id")
    features = [
        payments.by("customer_id").count(over="1d"),
        of_card.count(over="1d", delay="7d"),
        of_card.sum("is_online", over=None),
        of_card.since_last(),
        of_card.ewma("amount_cents", half_life="1h"),
        (payments.column("amount_cents") / of_card.count(over="1d")).named("x"),
    ]

    pipeline = Pipeline(name="p", score=payments, features=features)

    assert compile_plan(pipeline).ordered == (False, True, True, True, True, True)
    assert [(f.name, describe(f.expression)) for f in pipeline.features[1:]] == [
        ("labels_customer_id_count_1d_delay_7d",
         "count of labels per customer_id over 1d, delayed 7d"),
        ("labels_customer_id_is_online_sum_all",
         "sum of labels.is_online per customer_id over all of history"),
        ("labels_customer_id_since_last",
         "seconds since the last event of labels per customer_id"),
        ("labels_customer_id_amount_cents_ewma_1h",
         "ewma of labels.amount_cents per customer_id with half-life 1h"),
        ("x", "amount_cents / count of labels per customer_id over 1d"),
    ]  # fmt: skip


def test_the_reference_definition_has_its_labels() -> None:
    plan = compile_plan(card_fraud.pipeline)

    assert [(s.name, s.available, s.revise) for s in plan.streams] == [
        ("payments", "event_time", False),
        ("labels", "labelled_at", True),
    ]
    assert plan.names[-1] == "labels_terminal_id_is_fraud_sum_30d_delay_7d"
    assert [(t.entity, t.stream) for t in plan.tables] == [
        ("customer_id", 0), ("terminal_id", 0), ("terminal_id", 1),
    ]  # fmt: skip


# -- refused ------------------------------------------------------------------------------------


def refused(scored: Stream, *features: Operand, **settings: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        plan_of(scored, *features, **settings)
    return str(caught.value)


def test_another_stream_must_say_when_its_records_could_be_known(
    payments: Stream, stream: Callable[..., Stream]
) -> None:
    other = stream(name="labels", topic="labels")

    message = refused(payments, other.by("customer_id").count(over="1d"))

    assert "'customer_id_count_1d' is of stream 'labels', which does not say when" in message
    assert "available='record_timestamp'" in message


def test_only_statistics_of_another_stream_are_features(payments: Stream, labels: Stream) -> None:
    hint = "write a statistic of it, such as labels.by('customer_id').count(over='1d')"

    assert hint in refused(payments, labels.hour())
    assert hint in refused(payments, (labels.column("amount_cents") / 2).named("half"))


def test_an_entity_must_be_a_field_of_one_type_in_both_streams(
    payments: Stream, stream: Callable[..., Stream], tmp_path: Path
) -> None:
    fields = {name: type_ for name, type_ in FIELDS.items() if name != "country"}
    path = tmp_path / "label.avsc"
    path.write_text(json.dumps(schema(fields | {"terminal_id": "long", "region": "string"})))
    other = stream(name="labels", topic="labels", schema=path, available="event_time")

    missing = refused(payments, other.by("region").count(over="1d"))
    differs = refused(payments, other.by("terminal_id").count(over="1d"))

    assert (
        "kept by 'region' of stream 'labels', which the scored stream 'payments' has no field"
        in missing
    )
    assert "add it to" in missing
    assert "'terminal_id', which is long in stream 'labels' and string, nullable in" in differs
    assert "give both schemas one type" in differs


def test_int_and_long_are_one_type_of_key(
    payments: Stream, stream: Callable[..., Stream], tmp_path: Path
) -> None:
    path = tmp_path / "label.avsc"
    path.write_text(json.dumps(schema(FIELDS | {"customer_id": "int"})))
    other = stream(name="labels", topic="labels", schema=path, available="event_time")

    plan = plan_of(payments, other.by("customer_id").count(over="1d"))

    assert [table.key_type for table in plan.tables] == ["int", "int"]


def test_one_topic_is_one_stream(payments: Stream, stream: Callable[..., Stream]) -> None:
    other = stream(name="labels", available="event_time")

    message = refused(payments, other.by("customer_id").count(over="1d"))

    assert "streams 'payments' and 'labels' both read topic 'payments'" in message


def test_no_stream_reads_what_the_pipeline_writes(
    payments: Stream, stream: Callable[..., Stream]
) -> None:
    other = stream(name="labels", topic="p.dead", available="event_time")

    assert "it reads topic 'p.dead'" in refused(payments, other.by("customer_id").count(over="1d"))


def test_a_scored_record_is_never_replaced(labels: Stream) -> None:
    assert "revise=True only on streams that are not scored" in refused(labels, labels.hour())


def test_a_condition_is_of_the_statistic_s_own_stream(payments: Stream, labels: Stream) -> None:
    large = payments.column("amount_cents") > 5

    with pytest.raises(DefinitionError, match="compares a column of stream 'payments'; the events"):
        labels.by("customer_id").count(over="1d", where=large)
    with pytest.raises(DefinitionError, match=r"amount_cents > 5 is of stream 'payments' and"):
        large & (labels.column("amount_cents") > 5)


def test_an_entry_has_a_bit_for_so_many_conditions_only(payments: Stream) -> None:
    card, amount = payments.by("customer_id"), payments.column("amount_cents")

    def some(count: int) -> list[Operand]:
        return [card.count(over="1d", where=amount > i).named(f"over_{i}") for i in range(count)]

    assert len(plan_of(payments, *some(MOST_FILTERS)).tables[0].filters) == MOST_FILTERS
    assert "have 63 different where=; write at most 62" in refused(payments, *some(63))


def test_as_many_features_as_a_plan_holds_compile(payments: Stream) -> None:
    card = payments.by("customer_id")
    features = [card.count(over=f"{i}s") for i in range(1, MOST_FEATURES + 1)]

    assert len(plan_of(payments, *features).names) == MOST_FEATURES
    assert "4097 features; write 1 to 4096" in refused(payments, *features, payments.hour())


# -- semantics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_semantics_are_of_every_window_and_of_the_plan(
    payments: Stream, labels: Stream, name: str
) -> None:
    plan = plan_of(
        payments,
        payments.by("customer_id").count(over="1h"),
        payments.by("customer_id").sum("amount_cents", over="1h", closed="neither"),
        (labels.by("customer_id").count(over="1d") + 1).named("more"),
        semantics=name,
    )

    preset = PRESETS[name]
    assert plan.tables[0].windows == (
        preset.window(HOUR, 0, {}),
        preset.window(HOUR, 0, {"closed": "neither"}),
    )
    assert plan.tables[1].windows == (preset.window(24 * HOUR, 0, {}),)
    assert {op.include_self for table in plan.tables for op in table.ops} == {preset.include_self}
    assert plan.peers == preset.peers


def test_what_a_statistic_says_of_itself_wins_over_semantics(payments: Stream) -> None:
    card = payments.by("customer_id")

    plan = plan_of(payments, card.count(over="1h", include_self=True), semantics="chronon")

    assert plan.tables[0].ops[0].include_self


def test_what_means_the_same_under_semantics_is_given_twice(payments: Stream) -> None:
    card = payments.by("customer_id")
    same = [card.count(over="1h"), card.count(over="1h", closed="both").named("again")]

    assert len(plan_of(payments, *same).names) == 2
    assert "'customer_id_count_1h' and 'again' are given twice" in refused(
        payments, *same, semantics="openmldb"
    )


@pytest.mark.parametrize(
    ("write", "semantics", "told"),
    [
        (lambda s: s.count(over="7m"), "chronon", "'customer_id_count_7m': semantics='chronon': "),
        (lambda s: s.count(over="1h"), "flnk", "did you mean 'flink'?"),
        (lambda s: s.count(over="1h"), "tecton_interval", "is not offered"),
        (lambda s: s.count(over="1h", include_self=False), "flink", "leave include_self=False out"),
        (lambda s: s.since_last(), "tecton", "leave since_last() out"),
    ],
)
def test_what_semantics_cannot_do_is_refused(
    payments: Stream, write: Callable[[Any], Operand], semantics: str, told: str
) -> None:
    assert told in refused(payments, write(payments.by("customer_id")), semantics=semantics)
