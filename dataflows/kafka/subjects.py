"""Registers the schemas of our own topics and learns those of the topics we read.

Ids are remembered in the state directory, so that a start with the registry away is possible.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from noskew.dataflows.errors import UsageError
from noskew.schemas import files
from noskew.schemas.registry import Registry
from noskew.schemas.writer import RegistryAwayError, RegistryRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.core.resolver import Resolver
    from noskew.dataflows.definition.plan import Plan

OURS = {
    "scores": "score",
    "dead": "dead_letter",
    "alerts": "alert",
    "journal": "journal",
    "control": "control",
}
"""Topic (behind the pipeline's name) -> our schema of its records."""


def connect(url: str, cache_dir: Path | None, timeout_s: float = 1.0) -> Registry:
    """Return the registry at an address, which is not asked for anything yet.

    timeout_s  of each phase of a request, as ``Registry`` has it

    Raises UsageError where the address is none.
    """
    try:
        return Registry(url, cache_dir, timeout_s)
    except ValueError as error:
        raise UsageError(f"setting registry: {error} (--registry or NOSKEW_REGISTRY)") from error


def register(plan: Plan, registry: Registry, memory: Path, warnings: list[str]) -> dict[str, int]:
    """Return the id of each of our schemas, registered if absent.

    memory   the file in which ids are remembered for a start without the registry
    warnings gets a line where the registry is away

    Raises UsageError where an id is neither to be had nor remembered, or cannot be remembered.
    """
    wanted = {
        topic: (f"{plan.name}.{topic}-value", files.text(schema)) for topic, schema in OURS.items()
    }
    keys = {topic: _key(registry, *one) for topic, one in wanted.items()}
    known = _remembered(memory)
    try:
        ids = {topic: registry.register(*one) for topic, one in wanted.items()}
    except RegistryRefusedError as error:
        raise UsageError(str(error)) from error
    except RegistryAwayError as error:
        missing = [wanted[topic][0] for topic, key in keys.items() if key not in known]
        if missing:
            raise UsageError(
                f"the schema registry does not answer ({error}), and the ids of "
                f"{', '.join(missing)} are not known from an earlier start: start the registry "
                "('noskew stack up'), or give --registry or NOSKEW_REGISTRY"
            ) from error
        warnings.append(f"the schema registry does not answer ({error}): known schemas go on")
        return {topic: known[key] for topic, key in keys.items()}
    # Another pipeline of this state directory, or another registry, has its ids there too.
    _remember(memory, known | {keys[topic]: number for topic, number in ids.items()})
    return ids


def learn(
    plan: Plan, registry: Registry, resolver: Resolver, warnings: list[str], *, declare: bool
) -> None:
    """Read the versions of every stream's subject, so that their first records do not wait.

    warnings gets a line where the registry is away
    declare  register a stream's reader schema as the first version of a subject that is not there

    Raises UsageError where the registry refuses that.
    """
    for stream in plan.streams:
        subject = f"{stream.topic}-value"
        try:
            if declare and not registry.subjects_has(subject):
                registry.register(subject, stream.schema_text)
            for schema in registry.versions(subject):
                resolver.learn(schema)
        except RegistryRefusedError as error:
            raise UsageError(str(error)) from error
        except RegistryAwayError as error:
            warnings.append(
                f"the versions of subject {subject!r} cannot be read ({error}): records of schemas "
                "that are not in the disk cache wait until they can"
            )


def _key(registry: Registry, subject: str, text: str) -> str:
    """Return what an id is remembered by: another registry gives other ids."""
    return f"{registry.shown} {subject} {hashlib.sha256(text.encode()).hexdigest()}"


def _remembered(memory: Path) -> dict[str, int]:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return {}  # absent or damaged: written anew at the next start with the registry
    return {key: number for key, number in found.items() if isinstance(number, int)}


def _remember(memory: Path, ids: dict[str, int]) -> None:
    """Write the file of ids whole or not at all."""
    part = memory.with_name(f".{memory.name}.part")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(ids, indent=1))
        part.replace(memory)
    except OSError as error:
        raise UsageError(
            f"{memory} cannot be written ({error.strerror}): make it writable, or give --state-dir"
        ) from error
