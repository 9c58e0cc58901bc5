"""Boundary cases as nine systems answer them, and that the presets stand where the page says."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from conformance import MARKS, answer, cases, document, length_us
from conformance_page import PAGE, page, shown, summary

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.definition.semantics import PRESETS
from noskew.dataflows.testing import vectors

if TYPE_CHECKING:
    from pathlib import Path

    from conformance import Case

SYSTEMS: dict[str, Any] = document()["systems"]
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
FIELDS: dict[str, Any] = {"id": "long", "card": "long", "at": MICROS, "amount": ["null", "long"]}

ANSWERS = [(case, system) for case in cases() for system in case.answers]
every_answer = pytest.mark.parametrize(
    ("case", "system"), ANSWERS, ids=[f"{case.name}-{system}" for case, system in ANSWERS]
)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fields = [{"name": name, "type": type_} for name, type_ in FIELDS.items()]
    path = tmp_path_factory.mktemp("conformance") / "row.avsc"
    path.write_text(json.dumps({"type": "record", "name": "Row", "fields": fields}))
    return path


def pipeline_of(case: Case, preset: str, schema: Path) -> Pipeline:
    def stream(name: str) -> Stream:
        return Stream(
            name, topic=name, schema=schema, id="id", key="card", time="at", available="at",
            allowed_lateness=case.allowed_lateness,
        )  # fmt: skip

    asked = stream("payments")
    rows = stream("rows") if case.rows else asked
    column = [] if case.stat == "count" else ["amount"]
    settings = dict(case.settings)
    if "empty" in settings:
        settings["empty"] = float(settings["empty"])
    statistic = getattr(rows.by("card"), case.stat.removesuffix("_values"))
    feature = statistic(*column, over=case.over, **settings).named("asked")
    return Pipeline(name="conformance", score=asked, features=[feature], semantics=preset)


def given(case: Case, preset: str, schema: Path) -> float | None:
    """Return what we give: null is NaN."""
    events = [
        (
            "rows" if case.rows and not event.asked else "payments",
            {
                "id": event.order,
                "card": 2 if event.other_card else 1,
                "at": event.time_us,
                "amount": event.amount,
            },
        )
        for event in case.events
    ]
    scored = [event.asked for event in case.events if event.asked or not case.rows]
    found = vectors(pipeline_of(case, preset, schema), events)
    value = found[scored.index(True)]["asked"]
    return None if math.isnan(value) else value


@every_answer
def test_an_answer_follows_from_the_interval_of_its_system(case: Case, system: str) -> None:
    value = case.answers[system].value
    if isinstance(value, str):
        assert case.answers[system].status == "no", "only what is not reproduced may be in words"
    else:
        assert answer(system, case) == value


@every_answer
def test_a_preset_stands_to_its_system_as_the_table_says(
    case: Case, system: str, schema: Path
) -> None:
    about, found = SYSTEMS[system], case.answers[system]
    ours = given(case, about["preset"] or about["nearest"], schema)

    if found.status == "no":
        assert ours == found.ours, "we give something else than the table says"
        assert ours != found.value, "we do give it: the table must say so"
    else:
        assert ours == found.value


@every_answer
def test_what_only_a_replay_can_do_is_marked(case: Case, system: str) -> None:
    preset = PRESETS.get(SYSTEMS[system]["preset"])

    assert case.answers[system].status in MARKS
    assert bool(case.answers[system].why) == (case.answers[system].status == "no")
    if preset is None:
        assert case.answers[system].status == "no"
    elif case.answers[system].status != "no":
        assert case.answers[system].status == ("replay" if preset.peers else "exact")
        assert bool(preset.refusal) == preset.peers


# SQL knows no watermark, so it drops nothing.
SQL = [
    case
    for case in cases()
    if "flink" in case.answers and not (case.about == "late" and case.answers["flink"].why)
]


@pytest.mark.parametrize("case", SQL, ids=[case.name for case in SQL])
def test_what_flink_gives_is_what_a_range_frame_is_in_sql(case: Case) -> None:
    rows = ", ".join(
        f"({event.time_us}, {'NULL' if event.amount is None else event.amount}, "
        f"{event.asked}, {event.other_card})"
        for event in case.events
    )
    call = {
        "count": "count(*)", "count_values": "count(x)", "mean": "avg(x)",
    }.get(case.stat, f"{case.stat}(x)")  # fmt: skip
    width = "UNBOUNDED" if case.over is None else length_us(case.over)
    found = duckdb.execute(
        f"SELECT v FROM (SELECT asked, {call} OVER (PARTITION BY card ORDER BY t RANGE BETWEEN "
        f"{width} PRECEDING AND CURRENT ROW) AS v FROM (VALUES {rows}) AS events(t, x, asked, "
        "card)) WHERE asked"
    ).fetchall()

    assert found == [(case.answers["flink"].value,)]


def test_the_table_covers_what_it_promises() -> None:
    names = [case.name for case in cases()]

    assert len(names) >= 40
    assert len(set(names)) == len(names), "two cases have one name"
    assert len(SYSTEMS) >= 6
    assert {about["preset"] for about in SYSTEMS.values()} - {""} == PRESETS.keys() - {"quix"}
    for system, about in SYSTEMS.items():
        asked = {case.about for case in cases() if system in case.answers}
        assert asked == about["claims"].keys(), f"{system}: an answer has no claim behind it"
        for claim in about["claims"].values():
            assert claim.keys() == {"claim", "address", "how"}
            assert all(claim.values())
    for case in cases():
        assert datetime.fromisoformat(case.as_of).tzinfo, "T has a zone"
        assert sum(event.asked for event in case.events) == 1
        assert set(case.answers) <= SYSTEMS.keys()


def test_the_page_has_every_case_every_answer_and_every_source() -> None:
    text = page()

    for case in cases():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {case.name} |"))
        for found in case.answers.values():
            assert found.why in text
            assert shown(found) in row
    for about in SYSTEMS.values():
        assert about["title"] in text
        for claim in about["claims"].values():
            assert claim["claim"].replace("|", "\\|") in text
            assert claim["address"] in text


def test_the_page_is_what_would_be_generated() -> None:
    assert PAGE.read_text() == page(), "run: make readme"


def test_the_summary_counts_what_the_page_shows() -> None:
    text = page()
    statuses = [found.status for case in cases() for found in case.answers.values()]

    for status, mark in MARKS.items():
        counted = statuses.count(status)
        assert f" {counted} " in summary().splitlines()[-1]
        if mark:
            assert text.count(f"{mark} |") == counted
    assert summary() in text
