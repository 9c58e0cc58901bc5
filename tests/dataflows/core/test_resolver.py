"""Schemas are looked up beside the pipeline: nothing waits, and every answer is kept."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from waiting import until
from wire import Dictionary

from noskew.dataflows.core import resolver as module
from noskew.dataflows.core.resolver import Resolver
from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import RegistryAwayError, UnknownSchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from noskew.schemas.writer import WriterSchema


class Slow(Dictionary):
    """A registry that answers only once ``open`` is set, and counts how often it is asked."""

    def __init__(self, schemas: dict[int, Any], unsafe: frozenset[int] = frozenset()) -> None:
        super().__init__(schemas)
        self.failure: Exception | None = None
        self.open = threading.Event()
        self.asked: list[int] = []
        self.unsafe = unsafe

    def schema(self, schema_id: int) -> WriterSchema:
        self.asked.append(schema_id)
        assert self.open.wait(10)
        if self.failure is not None:
            raise self.failure
        if schema_id in self.unsafe:
            raise UnsafeSchemaError(f"schema {schema_id} is unsafe")
        return super().schema(schema_id)


@contextmanager
def resolving(registry: Dictionary, clock: Callable[[], float] = lambda: 0.0) -> Iterator[Resolver]:
    resolver = Resolver(registry, clock)
    try:
        yield resolver
    finally:
        resolver.close()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)


def test_asking_never_waits_and_an_id_is_asked_for_once() -> None:
    registry = Slow({7: "int"})
    with resolving(registry) as resolver:
        for _ in range(3):
            with pytest.raises(RegistryAwayError, match="schema 7 is being looked up"):
                resolver.schema(7)
            assert not resolver.answered(7)
        registry.open.set()
        until(lambda: resolver.answered(7))

        assert resolver.schema(7).parsed == "int"
        assert registry.asked == [7]
        assert resolver.away is None


@pytest.mark.parametrize(
    ("schema_id", "kind", "said"),
    [(8, UnknownSchemaError, "schema 8 is unknown"), (9, UnsafeSchemaError, "schema 9 is unsafe")],
)
def test_a_refusal_is_an_answer_and_is_kept(
    schema_id: int, kind: type[Exception], said: str
) -> None:
    registry = Slow({}, unsafe=frozenset({9}))
    registry.open.set()
    with resolving(registry) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(schema_id)
        until(lambda: resolver.answered(schema_id))
        for _ in range(3):
            with pytest.raises(kind, match=said):
                resolver.schema(schema_id)

        assert registry.asked == [schema_id]


@pytest.mark.parametrize("schema_id", [8, 9])
def test_a_refusal_is_forgotten_after_a_minute_and_the_id_is_asked_for_again(
    schema_id: int,
) -> None:
    registry = Slow({}, unsafe=frozenset({9}))
    registry.open.set()
    now = [1000.0]
    with resolving(registry, lambda: now[0]) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(schema_id)
        until(lambda: resolver.answered(schema_id))
        now[0] += 59.9
        with pytest.raises((UnknownSchemaError, UnsafeSchemaError)):
            resolver.schema(schema_id)
        now[0] += 0.1
        registry.schemas[schema_id] = "int"
        registry.unsafe = frozenset()
        with pytest.raises(RegistryAwayError):
            resolver.schema(schema_id)
        until(lambda: resolver.answered(schema_id))

        assert resolver.schema(schema_id).parsed == "int"
        assert registry.asked == [schema_id, schema_id]


def test_a_failure_nobody_foresaw_counts_as_away_and_ends_no_thread() -> None:
    registry = Slow({7: "int"})
    registry.failure = ZeroDivisionError("odd")
    registry.open.set()
    with resolving(registry) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(7)
        until(lambda: len(registry.asked) > 2)
        assert resolver.away == "ZeroDivisionError: odd"
        assert not resolver.answered(7)
        registry.failure = None
        until(lambda: resolver.answered(7))

        assert resolver.schema(7).parsed == "int"
        assert resolver.away is None


def test_a_refusal_keeps_nothing_of_those_who_met_it() -> None:
    registry = Slow({})
    registry.open.set()
    with resolving(registry) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(8)
        until(lambda: resolver.answered(8))
        lengths = []
        for _ in range(3):
            with pytest.raises(UnknownSchemaError) as met:
                resolver.schema(8)
            lengths.append(len(met.traceback))

        assert len(set(lengths)) == 1


def test_a_registry_that_is_away_is_asked_until_it_is_back_and_says_so_meanwhile() -> None:
    registry = Slow({7: "int"})
    registry.away.add(7)
    registry.open.set()
    with resolving(registry) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(7)
        until(lambda: resolver.away == "away" and len(registry.asked) > 3)
        assert not resolver.answered(7)
        with pytest.raises(RegistryAwayError):
            resolver.schema(7)
        registry.away.clear()
        until(lambda: resolver.answered(7))

        assert resolver.schema(7).id == 7
        assert resolver.away is None


def test_one_id_without_an_answer_keeps_no_other_from_its_own() -> None:
    registry = Slow({7: "int", 8: "long"})
    registry.away.add(7)
    registry.open.set()
    with resolving(registry) as resolver:
        for schema_id in (7, 8):
            with pytest.raises(RegistryAwayError):
                resolver.schema(schema_id)
        until(lambda: resolver.answered(8))

        assert resolver.schema(8).parsed == "long"
        assert not resolver.answered(7)


def test_what_was_learnt_is_not_asked_for() -> None:
    registry = Slow({7: "int"})
    with resolving(registry) as resolver:
        resolver.learn(Dictionary({7: "int"}).schema(7))

        assert resolver.schema(7).parsed == "int"
        assert resolver.answered(7)
        registry.open.set()
    assert registry.asked == []


def test_refusals_are_bounded_and_a_forgotten_one_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REFUSED_MAX", 2)
    registry = Slow({})
    registry.open.set()
    with resolving(registry) as resolver:
        for schema_id in (1, 2, 3):
            with pytest.raises(RegistryAwayError):
                resolver.schema(schema_id)
        until(lambda: resolver.answered(3))
        assert resolver.answered(1), "who waits for it must go on and ask again"
        with pytest.raises(RegistryAwayError):
            resolver.schema(1)
        until(lambda: resolver.answered(1))
        with pytest.raises(UnknownSchemaError):
            resolver.schema(1)

        assert registry.asked == [1, 2, 3, 1]


def test_closing_ends_the_thread_also_while_the_registry_is_away() -> None:
    registry = Slow({})
    registry.away.add(7)
    registry.open.set()
    with resolving(registry) as resolver:
        with pytest.raises(RegistryAwayError):
            resolver.schema(7)
        until(lambda: resolver.away is not None)

    assert "noskew-registry" not in {thread.name for thread in threading.enumerate()}
