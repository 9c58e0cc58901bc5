"""Scores are written as fastavro writes them, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.scores import ScoreEncoder
from noskew.schemas import records
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import Plan

SHA = bytes(range(32))
TOPIC = bytes(range(16))
EDGES = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8193, 2**31, 2**62, 2**63 - 1, -(2**63) + 1]
ints = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63) + 1, 2**63 - 1))
texts = st.one_of(st.text(max_size=5), st.just("x" * 63), st.just("x" * 64), st.just("é" * 5000))


def plan(entities: tuple[str, ...]) -> Plan:
    """Only what the encoder reads of a plan."""
    tables = tuple(SimpleNamespace(stream=0, entity=one) for one in entities)
    scored = SimpleNamespace(place=0, id="event")
    found = SimpleNamespace(fingerprint=SHA, scored=scored, tables=tables)
    return cast("Plan", found)


@dataclass
class Case:
    batch: Batch
    entities: tuple[str, ...]
    keep: np.ndarray
    vectors: np.ndarray
    margin: np.ndarray | None
    score: np.ndarray | None
    digest: np.ndarray
    flags: np.ndarray
    generation: int
    include_vector: bool

    def encode(self) -> list[bytes]:
        encoder = ScoreEncoder(
            plan(self.entities),
            77,
            TOPIC,
            self.generation,
            None if self.margin is None else SHA,
            include_vector=self.include_vector,
        )
        buffer, start = encoder.encode(
            self.batch, self.keep, self.vectors, self.margin, self.score, self.digest, self.flags
        )
        data = buffer.tobytes()
        assert start[0] == 0
        assert start[-1] == len(data)
        return [data[a:b] for a, b in pairwise(start.tolist())]

    def expected(self) -> list[dict[str, Any]]:
        batch = self.batch
        values = {
            name: column.to_list()
            if isinstance(column, Strings)
            else [None if one == NULL else one for one in column.tolist()]
            for name, column in batch.columns.items()
        }
        return [
            {
                "event_id": values["event"][i],
                "entity_keys": {name: values[name][i] for name in dict.fromkeys(self.entities)},
                "event_time": int(batch.time_us[i]),
                "margin": None if self.margin is None else float(self.margin[i]),
                "score": None if self.score is None else float(self.score[i]),
                "model": None if self.margin is None else SHA,
                "fingerprint": SHA,
                "digest": int(self.digest[i]).to_bytes(8),
                "vector": self.vectors[:, i].astype("<f8").tobytes()
                if self.include_vector
                else None,
                "source": {
                    "topic_id": TOPIC,
                    "partition": int(batch.partition[i]),
                    "offset": int(batch.offset[i]),
                },
                "seq": int(batch.seq[i]),
                "generation": self.generation,
                "flags": int(self.flags[i]),
            }
            for i in self.keep
        ]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(0, 4))

    def many(one: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(one, min_size=n, max_size=n))

    def column(one: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> Any:
        if draw(st.booleans()):
            return np.array(many(one), np.int64)
        return Strings.from_list(many(other))

    nulls = st.one_of(ints, st.just(NULL)), st.one_of(texts, st.none())
    features = draw(st.integers(1, 3))
    model = draw(st.booleans())
    doubles = st.floats(allow_nan=True, allow_infinity=True)
    first = draw(st.sampled_from([0, 60, 8190, 2**40]))
    return Case(
        batch=Batch(
            stream=0,
            partition=np.array(many(st.integers(0, 2**31 - 1)), np.int32),
            offset=np.array(many(st.integers(0, 2**62)), np.int64),
            record_time_us=np.zeros(n, np.int64),
            time_us=np.array(many(ints), np.int64),
            available_us=np.zeros(n, np.int64),
            reason=np.zeros(n, np.uint8),
            columns={"event": column(ints, texts), "a": column(*nulls), "b_é": column(*nulls)},
            seq=np.arange(first, first + n),
        ),
        entities=draw(st.sampled_from([("a",), ("a", "b_é", "a"), ("b_é", "a"), ()])),
        keep=np.array(sorted(draw(st.sets(st.integers(0, n - 1)))) if n else [], np.int64),
        vectors=np.array([many(doubles) for _ in range(features)]).reshape(features, n),
        margin=np.array(many(doubles), np.float64) if model else None,
        score=np.array(many(doubles), np.float64) if model else None,
        digest=np.array(many(st.integers(0, 2**64 - 1)), np.uint64),
        flags=np.array(many(st.integers(0, 127)), np.int32),
        generation=draw(st.sampled_from([1, 63, 64, 2**31 - 1])),
        include_vector=draw(st.booleans()),
    )


@settings(deadline=None)
@given(cases())
def test_the_bytes_are_fastavros(case: Case) -> None:
    assert case.encode() == [records.encode("score", one, 77) for one in case.expected()]


def one_case(**more: Any) -> Case:
    batch = Batch(
        stream=0,
        partition=np.array([3, 4], np.int32),
        offset=np.array([12, 13], np.int64),
        record_time_us=np.zeros(2, np.int64),
        time_us=np.array([1_700_000_000_000_000, 5], np.int64),
        available_us=np.zeros(2, np.int64),
        reason=np.zeros(2, np.uint8),
        columns={"event": np.array([5, 6]), "a": Strings.from_list(["k", None]), "f": np.zeros(2)},
        seq=np.array([100, 101], np.int64),
    )
    values = {
        "batch": batch,
        "entities": ("a",),
        "keep": np.array([1], np.int64),
        "vectors": np.array([[1.5, 2.5], [-0.0, 0.0]]),
        "margin": np.array([0.5, 0.25]),
        "score": np.array([0.6, 0.7]),
        "digest": np.array([1, 2**63], np.uint64),
        "flags": np.array([0, 35], np.int32),
        "generation": 1,
        "include_vector": True,
    }
    return Case(**{**values, **more})


def test_only_kept_records_are_written_and_their_values_come_back() -> None:
    case = one_case()
    (value,) = case.encode()
    found = records.decode("score", value)
    assert found == case.expected()[0]
    assert found["seq"] == 101
    assert found["entity_keys"] == {"a": None}
    assert found["digest"].hex() == "8000000000000000"
    assert records.vector(found["vector"]) == [2.5, 0.0]


def test_a_margin_without_a_model_is_refused() -> None:
    case = one_case(margin=None)
    encoder = ScoreEncoder(plan(("a",)), 1, TOPIC, 1, SHA, include_vector=True)
    with pytest.raises(ValueError, match="together"):
        encoder.encode(case.batch, case.keep, case.vectors, None, None, case.digest, case.flags)


def test_a_key_of_fractions_is_refused() -> None:
    with pytest.raises(TypeError, match="'f'"):
        one_case(entities=("f",)).encode()


def test_hashes_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="topic id has 3 bytes, not 16"):
        ScoreEncoder(plan(()), 1, b"abc", 1, None, include_vector=True)
