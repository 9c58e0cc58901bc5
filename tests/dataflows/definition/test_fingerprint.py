"""The fingerprint changes with what changes a value, and with nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payment_schema import FIELDS, MICROS, MILLIS, schema

from noskew.dataflows import Model, Pipeline, Stream
from noskew.dataflows.definition import fingerprint
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE: dict[str, Any] = {
    "name": "payments", "topic": "payments", "id": "payment_id", "key": "customer_id",
    "time": "event_time", "available": "event_time", "allowed_lateness": "1h", "max_skew": "1d",
    "max_abs": 2**40, "schema": schema(), "pipeline": "p", "model": None, "entity": "customer_id",
    "stat": "mean", "column": "amount_cents", "over": "1d", "delay": "1h", "read": "amount_cents",
    "clock": "hour", "utc_offset": "+00:00", "operator": "+", "number": 2.0, "names": ("a", "b"),
    "order": 1,
}  # fmt: skip
"""Everything that a definition of this version can set."""


@pytest.fixture
def hash_of(tmp_path: Path) -> Callable[..., str]:
    """Compile a definition that differs from BASE in some settings; return its fingerprint."""

    def make(**changes: Any) -> str:
        given = BASE | changes
        path = tmp_path / "payment.avsc"
        path.write_text(json.dumps(given["schema"], indent=given.get("indent")))
        stream = Stream(
            given["name"],
            schema=path,
            **{name: given[name] for name in ("topic", "id", "key", "time", "available",
                                              "allowed_lateness", "max_skew", "max_abs")},
        )  # fmt: skip
        entity = stream.by(given["entity"])
        column = (given["column"],) if given["column"] else ()
        statistic = getattr(entity, given["stat"])(
            *column, over=given["over"], delay=given["delay"]
        )
        clock = getattr(stream, given["clock"])(utc_offset=given["utc_offset"])
        raw = stream.column(given["read"])
        joined = {
            "+": raw + given["number"],
            "-": raw - given["number"],
            "reversed": given["number"] - raw,
            "*": raw * given["number"],
            "/": raw / given["number"],
        }[given["operator"]]
        features = [statistic.named(given["names"][0]), clock, joined.named(given["names"][1])]
        pipeline = Pipeline(
            name=given["pipeline"],
            score=stream,
            features=features[:: given["order"]],
            model=given["model"],
        )
        return compile_plan(pipeline).fingerprint.hex()

    return make


def with_field(name: str, type_: Any) -> dict[str, Any]:
    return schema(FIELDS | {name: type_})


def with_default(value: int) -> dict[str, Any]:
    changed = schema()
    changed["fields"][8]["default"] = value
    return changed


@pytest.mark.parametrize(
    "change",
    [
        {"id": "country"},
        {"time": "known_at"},
        {"available": "known_at"},
        {"allowed_lateness": "2h"},
        {"allowed_lateness": "0s"},
        {"max_skew": "2d"},
        {"max_abs": 2**39},
        {"max_abs": {"amount_cents": 7}},
        {"entity": "terminal_id"},
        {"stat": "sum"},
        {"stat": "count"},
        {"stat": "count", "column": None},
        {"column": "tip_cents"},
        {"over": "2d"},
        {"delay": "2h"},
        {"delay": "0s"},
        {"read": "ratio"},
        {"clock": "weekday"},
        {"utc_offset": "+01:00"},
        {"operator": "-"},
        {"operator": "reversed"},
        {"operator": "*"},
        {"operator": "/"},
        {"number": 2.5},
        {"order": -1},
        {"schema": with_field("amount_cents", "int")},
        {"schema": with_field("amount_cents", ["null", "long"])},
        {"schema": with_field("event_time", MILLIS)},
        {"schema": with_field("ratio", "float")},
        {"schema": with_field("more", "long")},
        {"schema": with_default(0)},
        {"schema": schema() | {"name": "Other"}},
    ],
)
def test_what_changes_a_value_changes_the_fingerprint(
    hash_of: Callable[..., str], change: dict[str, Any]
) -> None:
    assert hash_of(**change) != hash_of()


def test_no_two_changes_have_one_fingerprint(hash_of: Callable[..., str]) -> None:
    changes: list[dict[str, Any]] = [
        {"over": "2d"}, {"delay": "2d"}, {"max_skew": "2d"}, {"allowed_lateness": "2d"},
        {"over": "1h", "delay": "1d"}, {"stat": "min"}, {"stat": "max"}, {"max_abs": 2},
    ]  # fmt: skip

    assert len({hash_of(**change) for change in changes}) == len(changes)


def documented() -> dict[str, Any]:
    changed: dict[str, Any] = schema() | {"doc": "A payment.", "owner": "team"}
    changed["fields"] = [field | {"doc": "A field."} for field in changed["fields"]]
    changed["fields"][3]["type"] = {**MICROS, "doc": "a time", "comment": "µs"}
    changed["fields"][8]["type"] = {"type": "long"}
    return changed


@pytest.mark.parametrize(
    "change",
    [
        {"name": "transactions"},
        {"topic": "other"},
        {"pipeline": "q"},
        {"model": Model("m")},
        {"names": ("c", "d")},
        {"max_abs": {}},
        {"max_abs": {"amount_cents": 2**40}},
        {"over": "24h"},
        {"over": "1440m", "delay": "3600s"},
        {"number": 2},
        {"schema": documented()},
        {"indent": 4},
    ],
)
def test_what_changes_no_value_does_not_change_the_fingerprint(
    hash_of: Callable[..., str], change: dict[str, Any]
) -> None:
    assert hash_of(**change) == hash_of()


identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
topics = st.from_regex(r"[a-z][A-Za-z0-9._-]{0,20}", fullmatch=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=identifiers,
    topic=topics,
    pipeline=topics,
    names=st.lists(identifiers.map("f_{}".format), min_size=2, max_size=2, unique=True),
)
def test_names_never_enter_the_fingerprint(
    hash_of: Callable[..., str], name: str, topic: str, pipeline: str, names: list[str]
) -> None:
    renamed = hash_of(name=name, topic=f"in-{topic}", pipeline=pipeline, names=names)

    assert renamed == hash_of()


def test_a_new_version_of_the_kernels_changes_every_fingerprint(
    hash_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_of()
    monkeypatch.setattr(fingerprint, "SEMANTICS", fingerprint.SEMANTICS + 1)

    assert hash_of() != before


def test_another_cap_of_a_key_s_entries_changes_every_fingerprint(
    hash_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_of()
    monkeypatch.setattr(fingerprint, "KEY_CAP", 2**21)

    assert hash_of() != before


def test_what_is_hashed_is_canonical_json(stream: Callable[..., Stream]) -> None:
    one = stream()
    pipeline = Pipeline(name="p", score=one, features=[one.hour()])

    text = fingerprint.canonical(
        compile_plan(pipeline).scored, [feature.expression for feature in pipeline.features]
    )

    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["vector"] == [{"row": 1, "column": "", "utc_offset_s": 0}]
