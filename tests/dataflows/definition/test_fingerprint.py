"""The fingerprint changes with what changes a value, and with nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payment_schema import FIELDS, MICROS, MILLIS, schema

from noskew.dataflows import Model, Pipeline, Stream
from noskew.dataflows.bench import payments
from noskew.dataflows.definition import fingerprint
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from noskew.dataflows.definition.condition import Condition

BASE: dict[str, Any] = {
    "name": "payments", "topic": "payments", "id": "payment_id", "key": "customer_id",
    "time": "event_time", "available": "event_time", "allowed_lateness": "1h", "max_skew": "1d",
    "max_abs": 2**40, "schema": schema(), "pipeline": "p", "model": None, "entity": "customer_id",
    "stat": "mean", "column": "amount_cents", "over": "1d", "delay": "1h", "read": "amount_cents",
    "clock": "hour", "utc_offset": "+00:00", "operator": "+", "number": 2.0, "names": ("a", "b"),
    "order": 1, "settings": {}, "where": None, "stream": {"quantum": {"ratio": "1e-2"}},
    "semantics": "noskew", "other": None,
}  # fmt: skip
"""What a definition can set.

settings  further ones of the statistic;  where  makes its condition of the stream
stream    further settings of the stream
other     settings of a second stream, whose customers are counted; None: there is none
"""


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
            **given["stream"],
        )  # fmt: skip
        entity = stream.by(given["entity"])
        column = (given["column"],) if given["column"] else ()
        windowed = {"over": given["over"], "delay": given["delay"]}
        windowed = {} if "half_life" in given["settings"] else windowed
        condition = {"where": given["where"](stream)} if given["where"] else {}
        statistic = getattr(entity, given["stat"])(
            *column, **windowed, **condition, **given["settings"]
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
        if given["other"]:
            roles = {"id": "payment_id", "key": "customer_id", "time": "event_time"}
            labels = {"name": "labels", "topic": "labels", "available": "known_at", "schema": path}
            second = Stream(**(labels | roles | given["other"]))
            features.append(second.by("customer_id").count(over="1h"))
        pipeline = Pipeline(
            name=given["pipeline"],
            score=stream,
            features=features[:: given["order"]],
            model=given["model"],
            semantics=given["semantics"],
        )
        return compile_plan(pipeline).fingerprint.hex()

    return make


def more_than(number: float) -> Callable[[Stream], Condition]:
    return lambda stream: stream.column("amount_cents") > number


def joined(stream: Stream) -> Condition:
    return (stream.column("amount_cents") > 5) & (stream.column("country") == "SE")


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
        *({"stat": stat} for stat in ("var", "std", "first", "last", "distinct", "min", "max")),
        {"stat": "rate", "column": None},
        {"over": None},
        {"over": "365d"},
        *({"settings": {"closed": closed}} for closed in ("left", "both", "neither")),
        {"settings": {"include_self": False}},
        {"settings": {"empty": 0}},
        {"settings": {"resolution": "1h"}},
        {"stat": "var", "settings": {"ddof": 0}},
        {"stat": "decayed_sum", "settings": {"half_life": "1h"}},
        {"stat": "ewma", "settings": {"half_life": "1h"}},
        {"where": more_than(5)},
        {"where": joined},
        {"where": lambda stream: ~joined(stream)},
        {"where": lambda stream: stream.column("tip_cents").is_null()},
        {"stream": {"dedupe": "1h"}},
        {"available": "record_timestamp"},
        {"semantics": "openmldb"},
        {"semantics": "chronon", "over": "1d"},
        {"semantics": "tecton"},
        {"other": {"allowed_lateness": "1h"}},
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
        *({"stat": stat} for stat in ("var", "std", "first", "last", "distinct", "sum", "count")),
        {"stat": "var", "settings": {"ddof": 0}}, {"stat": "std", "settings": {"ddof": 0}},
        *({"settings": {"closed": closed}} for closed in ("left", "both", "neither")),
        *({"settings": {"empty": empty}} for empty in (0, -1, 0.5)),
        {"settings": {"resolution": "1h"}}, {"settings": {"resolution": "2h"}},
        {"settings": {"include_self": False}}, {"over": None}, {"over": None, "delay": "2h"},
        *({"where": more_than(number)} for number in (5, 6)),
        {"where": joined}, {"where": lambda stream: ~joined(stream)},
        {"where": lambda stream: (stream.column("amount_cents") > 5)
                                 | (stream.column("country") == "SE")},
        {"where": lambda stream: stream.column("amount_cents").isin([5])},
        {"where": lambda stream: stream.column("amount_cents").isin([5, 6])},
        {"stream": {"dedupe": "1h"}}, {"stream": {"dedupe": "2h"}},
        *({"stat": stat, "settings": {"half_life": half_life}}
          for stat in ("ewma", "decayed_sum") for half_life in ("1h", "2h")),
        *({"column": "ratio", "stream": {"quantum": {"ratio": quantum}}}
          for quantum in ("1e-2", "1e-3")),
        *({"semantics": name} for name in ("tecton", "flink")),
        *({"other": other} for other in ({"revise": True}, {"dedupe": "1h"}, {"max_skew": "2h"},
                                         {"available": "record_timestamp"})),
    ]  # fmt: skip

    found: dict[str, dict[str, Any]] = {}
    for change in changes:
        same = found.setdefault(hash_of(**change), change)
        assert same is change


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
        {"settings": {"closed": "right"}},
        {"settings": {"include_self": True}},
        {"settings": {"resolution": "0s"}},
        {"settings": {"empty": float("nan")}},
        {"semantics": "pandas"},
        {"stream": {}},
        {"stream": {"quantum": {"ratio": "1e-3"}}},
        {"schema": documented()},
        {"indent": 4},
    ],
)
def test_what_changes_no_value_does_not_change_the_fingerprint(
    hash_of: Callable[..., str], change: dict[str, Any]
) -> None:
    assert hash_of(**change) == hash_of()


def test_a_window_has_one_fingerprint_however_it_was_asked_for(hash_of: Callable[..., str]) -> None:
    assert hash_of(semantics="openmldb") == hash_of(settings={"closed": "both"})
    assert hash_of(over=None, settings={"closed": "left"}) == hash_of(
        over=None, settings={"closed": "neither"}
    )


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
        compile_plan(pipeline).streams, [feature.expression for feature in pipeline.features]
    )

    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert json.loads(text)["vector"] == [{"row": 1, "column": "", "utc_offset_s": 0}]


def test_definitions_without_new_settings_keep_the_fingerprint_they_had() -> None:
    # Before there were several streams, conditions and further statistics.
    known = "facae5ae9bf3a5e4e8941583db257272ad3de7140e3bb47d4f77d8a00a8bc17f"

    assert compile_plan(payments.pipeline).fingerprint.hex() == known
