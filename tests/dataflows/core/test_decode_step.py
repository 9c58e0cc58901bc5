"""What cannot be decoded yet holds its partition; what cannot be decoded at all holds nothing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from waiting import until
from wire import T0, Dictionary, Wants, body, framed, listed, payment, record

from noskew.dataflows.core import resolver as resolver_module
from noskew.dataflows.core.batch import Raw
from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.resolver import Resolver
from noskew.schemas import files
from noskew.schemas.decode import Decoder
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.core.batch import Batch
    from noskew.schemas.writer import WriterSchema

PAYMENT = files.load("transaction")
FIELDS = {"transaction_id": "int", "event_time": "int", "amount_cents": "int"}
PARTITIONS = 3


class Gate(Dictionary):
    """A registry that answers an id only once it is let through."""

    def __init__(self, schemas: dict[int, Any]) -> None:
        super().__init__(schemas)
        self.shut: set[int] = set()
        self.told = threading.Condition()

    def schema(self, schema_id: int) -> WriterSchema:
        with self.told:
            assert self.told.wait_for(lambda: schema_id not in self.shut, 10)
        return super().schema(schema_id)

    def let_through(self, schema_id: int) -> None:
        with self.told:
            self.shut.discard(schema_id)
            self.told.notify_all()


class Held:
    """What was held and released, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def hold(self, source: int, offset: int) -> None:
        self.calls.append(("hold", source, offset))

    def release(self, source: int) -> None:
        self.calls.append(("release", source))


class Step:
    """The step with its neighbours: what is read goes in as (partition, offset, value)."""

    def __init__(self, resolver: Resolver, first: int = 0) -> None:
        self.held = Held()
        self.resolver = resolver
        decoder = Decoder(Wants(PAYMENT, FIELDS), resolver)
        self.decode = Decode(decoder, self.held, resolver, first)

    def __call__(self, *rows: tuple[int, int, bytes | None]) -> Batch:
        values = [value or b"" for _, _, value in rows]
        n = len(rows)
        raw = Raw(
            stream=0,
            payload=np.frombuffer(b"".join(values), np.uint8),
            start=np.cumsum([0, *map(len, values)], dtype=np.int64),
            absent=np.array([value is None for _, _, value in rows], np.bool_),
            partition=np.array([row[0] for row in rows], np.int32),
            offset=np.array([row[1] for row in rows], np.int64),
            record_time_us=np.full(n, T0, np.int64),
            keys=[f"key {offset}".encode() for _, offset, _ in rows],
            headers={n - 1: [("h", None)]} if n else {},
        )
        return self.decode(raw)

    def answered(self, schema_id: int) -> None:
        """Wait until the registry has answered."""
        until(lambda: self.resolver.answered(schema_id))


@contextmanager
def stepping(registry: Dictionary, first: int = 0) -> Iterator[Step]:
    resolver = Resolver(registry)
    for schema_id in registry.schemas:
        if schema_id not in registry.away and schema_id not in getattr(registry, "shut", ()):
            resolver.learn(registry.schema(schema_id))
    try:
        yield Step(resolver, first)
    finally:
        registry.away.clear()
        if isinstance(registry, Gate):
            for schema_id in list(registry.shut):
                registry.let_through(schema_id)
        resolver.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "RETRY_S", 0.001)


def sent(schema_id: int, number: int) -> bytes:
    return framed(schema_id, body(PAYMENT, payment(transaction_id=number)))


def places(batch: Batch) -> list[tuple[int, int]]:
    return list(zip(batch.partition.tolist(), batch.offset.tolist(), strict=True))


def test_a_partition_is_held_at_its_first_waiting_record_and_the_others_go_on() -> None:
    registry = Gate({1: PAYMENT, 2: PAYMENT})
    registry.shut.add(2)
    with stepping(registry) as step:
        first = step(
            (0, 10, sent(1, 10)),
            (1, 70, sent(1, 70)),
            (0, 11, sent(2, 11)),
            (0, 12, sent(1, 12)),
            (1, 71, sent(1, 71)),
            (0, 13, sent(2, 13)),
        )
        again = step((2, 40, sent(1, 40)))

        assert places(first) == [(0, 10), (1, 70), (1, 71)]
        assert listed(first.columns["transaction_id"]) == [10, 70, 71]
        assert first.reason.tolist() == [0, 0, 0]
        assert first.letters == {}
        assert step.held.calls == [("hold", 0, 11)]
        assert places(again) == [(2, 40)]
        assert step.decode.waiting == {0: 2}


def test_the_answer_releases_the_partition_and_its_records_are_read_again() -> None:
    registry = Gate({1: PAYMENT, 2: PAYMENT})
    registry.shut.add(2)
    with stepping(registry) as step:
        step((0, 11, sent(2, 11)), (0, 12, sent(1, 12)))
        registry.let_through(2)
        step.answered(2)
        empty = step()
        after = step((0, 11, sent(2, 11)), (0, 12, sent(1, 12)))

        assert step.held.calls == [("hold", 0, 11), ("release", 0)]
        assert step.decode.waiting == {}
        assert places(empty) == []
        assert places(after) == [(0, 11), (0, 12)]
        assert after.reason.tolist() == [0, 0]
        assert step.decode.waiting == {}


def test_two_partitions_wait_for_their_own_ids() -> None:
    registry = Gate({2: PAYMENT, 3: PAYMENT})
    registry.shut.update({2, 3})
    with stepping(registry) as step:
        step((0, 5, sent(2, 5)), (1, 6, sent(3, 6)))
        assert step.decode.waiting == {0: 2, 1: 3}
        registry.let_through(2)
        step.answered(2)
        step()

        assert step.held.calls == [("hold", 0, 5), ("hold", 1, 6), ("release", 0)]
        assert step.decode.waiting == {1: 3}


def test_a_partition_is_held_by_its_input() -> None:
    registry = Gate({1: PAYMENT, 2: PAYMENT})
    registry.shut.add(2)
    with stepping(registry, first=4) as step:
        out = step((0, 1, sent(1, 1)), (1, 7, sent(2, 7)), (1, 8, sent(1, 8)))
        assert places(out) == [(0, 1)]
        assert step.decode.waiting == {5: 2}
        registry.let_through(2)
        step.answered(2)
        step()

        assert step.held.calls == [("hold", 5, 7), ("release", 5)]


def test_a_registry_that_is_away_is_told_of_while_something_waits_for_it() -> None:
    registry = Dictionary({1: PAYMENT, 2: PAYMENT}, away={2})
    with stepping(registry) as step:
        step((0, 1, sent(2, 1)))
        until(lambda: step.resolver.away is not None)
        held = step((1, 1, sent(1, 1)))
        meanwhile = step.decode.away
        assert places(held) == [(1, 1)]
        registry.away.clear()
        step.answered(2)
        step()

        assert (meanwhile, step.decode.away) == ("away", None)
        assert step.held.calls[-1] == ("release", 0)


@pytest.mark.parametrize(
    ("schema_id", "reason", "said"),
    [
        (404, Reason.UNKNOWN_SCHEMA, "schema 404 is unknown"),
        (666, Reason.UNSAFE_SCHEMA, "contains itself"),
    ],
)
def test_an_id_that_is_refused_waits_for_the_answer_and_is_then_dead_alone(
    schema_id: int, reason: Reason, said: str
) -> None:
    registry = Dictionary({1: PAYMENT, 666: record(("n", ["null", "T"]))})
    with stepping(registry) as step:
        rows = ((0, 1, sent(1, 1)), (0, 2, sent(schema_id, 2)), (0, 3, sent(1, 3)))
        out = step(*rows)
        if schema_id == 404:
            assert places(out) == [(0, 1)]
            step.answered(schema_id)
            out = step(*rows[1:])
            assert step.held.calls == [("hold", 0, 2), ("release", 0)]
        dead = out.partition[out.reason > 0].tolist()

        assert out.reason.tolist()[-2:] == [reason, 0]
        assert dead == [0]
        (letter,) = out.letters.values()
        assert said in letter.detail
        assert letter.schema_id == schema_id
        assert (letter.key, letter.value) == (b"key 2", sent(schema_id, 2))


def test_letters_keep_key_value_and_headers_as_they_were() -> None:
    with stepping(Dictionary({1: PAYMENT})) as step:
        out = step((0, 1, sent(1, 1)), (0, 2, None), (1, 3, b""), (0, 4, sent(1, 4)[:-1]))

        assert out.reason.tolist() == [
            0,
            Reason.NO_VALUE,
            Reason.NOT_FRAMED,
            Reason.UNDECODABLE,
        ]
        letters = out.letters
        assert list(letters) == [(0, 2), (1, 3), (0, 4)]
        assert [one.value for one in letters.values()] == [None, b"", sent(1, 4)[:-1]]
        assert [one.key for one in letters.values()] == [b"key 2", b"key 3", b"key 4"]
        assert [one.headers for one in letters.values()] == [[], [], [("h", None)]]
        assert [one.schema_id for one in letters.values()] == [None, None, 1]
