"""Ids of our schemas outlive the registry, and two registries or pipelines never mix theirs up."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from wire import Dictionary

from noskew.dataflows import card_fraud
from noskew.dataflows.core.resolver import Resolver
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka import subjects
from noskew.infra.mock_registry import MockRegistry
from noskew.schemas.registry import Registry
from noskew.schemas.writer import RegistryAwayError, RegistryRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from noskew.dataflows.definition.plan import Plan
    from noskew.schemas.writer import WriterSchema

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return compile_plan(load(str(card_fraud.__file__)))


@pytest.fixture
def url() -> Iterator[str]:
    with MockRegistry() as server:
        yield server.url


@contextmanager
def connected(url: str, kind: type[Registry] = Registry) -> Iterator[Registry]:
    registry = kind(url, None)
    try:
        yield registry
    finally:
        registry.close()


def register(plan: Plan, url: str, memory: Path, warnings: list[str] | None = None) -> Any:
    with connected(url) as registry:
        return subjects.register(plan, registry, memory, [] if warnings is None else warnings)


def test_ids_are_remembered_for_a_start_without_that_registry(plan: Plan, tmp_path: Path) -> None:
    memory = tmp_path / "state" / "subjects.json"
    with MockRegistry() as server:
        ids = register(plan, server.url, memory)
    warnings: list[str] = []

    assert register(plan, server.url, memory, warnings) == ids
    assert len(set(ids.values())) == len(subjects.OURS)
    assert ["does not answer" in one for one in warnings] == [True]
    assert [path.name for path in memory.parent.iterdir()] == ["subjects.json"]


def test_ids_of_one_registry_are_not_those_of_another(plan: Plan, url: str, tmp_path: Path) -> None:
    memory = tmp_path / "subjects.json"
    register(plan, url, memory)

    with pytest.raises(UsageError, match=f"{plan.name}.journal-value"):
        register(plan, NOWHERE, memory)


def test_two_pipelines_remember_their_ids_side_by_side(plan: Plan, tmp_path: Path) -> None:
    other = card_fraud.pipeline
    memory = tmp_path / "subjects.json"
    with MockRegistry() as server:
        first = register(plan, server.url, memory)
        second = register(_named(plan, f"{other.name}_2"), server.url, memory)

    assert register(plan, server.url, memory) == first
    assert register(_named(plan, f"{other.name}_2"), server.url, memory) == second


@pytest.mark.parametrize("damage", ["", "[1, 2]", "5", "[" * 100_000, "\\xff", '{"a": "b"}'])
def test_a_damaged_memory_is_written_anew(
    plan: Plan, url: str, tmp_path: Path, damage: str
) -> None:
    memory = tmp_path / "subjects.json"
    memory.write_text(damage)
    with pytest.raises(UsageError, match="are not known from an earlier start"):
        register(plan, NOWHERE, memory)

    ids = register(plan, url, memory)

    assert sorted(json.loads(memory.read_text()).values()) == sorted(ids.values())


def test_a_password_is_not_remembered(plan: Plan, url: str, tmp_path: Path) -> None:
    memory = tmp_path / "subjects.json"
    register(plan, url.replace("//", "//anna:secret@"), memory)

    assert "secret" not in memory.read_text()


def test_a_memory_that_cannot_be_written_is_named(plan: Plan, url: str, tmp_path: Path) -> None:
    memory = tmp_path / "subjects.json"
    memory.mkdir()
    with pytest.raises(UsageError, match=r"subjects\.json cannot be written.*--state-dir"):
        register(plan, url, memory)

    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        register(plan, url, tmp_path / "file" / "subjects.json")


def test_versions_are_learnt_and_the_first_one_declared_where_that_is_wanted(
    plan: Plan, url: str
) -> None:
    with connected(url) as registry, resolving() as resolver:
        subjects.learn(plan, registry, resolver, [], declare=False)
        topics = [stream.topic for stream in plan.streams]
        assert len(topics) > 1
        assert not any(registry.subjects_has(f"{topic}-value") for topic in topics)
        subjects.learn(plan, registry, resolver, [], declare=True)
        for topic in topics:
            (version,) = registry.versions(f"{topic}-value")
            assert resolver.schema(version.id) == version


def test_a_registry_that_leaves_before_the_versions_are_read_is_warned_of(
    plan: Plan, url: str
) -> None:
    warnings: list[str] = []
    with connected(url, Leaving) as registry, resolving() as resolver:
        subjects.learn(plan, registry, resolver, warnings, declare=True)

    for stream, said in zip(plan.streams, warnings, strict=True):
        subject = f"{stream.topic}-value"
        assert f"{subject!r} cannot be read ({subject} is gone)" in said
        assert "wait until they can" in said


def test_a_refused_declaration_is_a_message(plan: Plan, url: str) -> None:
    with (
        connected(url, Refusing) as registry,
        resolving() as resolver,
        pytest.raises(UsageError, match="transactions-value is refused: too long"),
    ):
        subjects.learn(plan, registry, resolver, [], declare=True)


# -- helpers -----------------------------------------------------------------------------------


class Leaving(Registry):
    """A registry that is there for the first question only."""

    def versions(self, subject: str) -> list[WriterSchema]:
        raise RegistryAwayError(f"{subject} is gone")


class Refusing(Registry):
    """A registry that takes no schema."""

    def register(self, subject: str, text: str) -> int:
        raise RegistryRefusedError(f"{subject} is refused: too {'long' if text else 'short'}")


@contextmanager
def resolving() -> Iterator[Resolver]:
    resolver = Resolver(Dictionary({}))
    try:
        yield resolver
    finally:
        resolver.close()


def _named(plan: Plan, name: str) -> Plan:
    return dataclasses.replace(plan, name=name)
