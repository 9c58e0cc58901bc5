"""Registers the schemas of our own topics and learns those of the topics we read.

Ids are remembered in the state directory, so that a start with the registry away is possible.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from noskew.dataflows.errors import UsageError
from noskew.schemas import files
from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import RegistryAwayError, RegistryRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.core.resolver import Resolver
    from noskew.dataflows.definition.plan import Plan
    from noskew.schemas.registry import Registry

OURS = {
    "scores": "score",
    "dead": "dead_letter",
    "alerts": "alert",
    "journal": "journal",
    "control": "control",
}
"""Topic (behind the pipeline's name) -> our schema of its records."""


def register(plan: Plan, registry: Registry, memory: Path, warnings: list[str]) -> dict[str, int]:
    """Return the id of each of our schemas, registered if absent.

    memory   the file in which ids are remembered for a start without the registry
    warnings gets a line where the registry is away

    Raises UsageError where an id is neither to be had nor remembered.
    """
    wanted = {
        topic: (f"{plan.name}.{topic}-value", files.text(schema)) for topic, schema in OURS.items()
    }
    try:
        ids = {topic: registry.register(*one) for topic, one in wanted.items()}
    except RegistryRefusedError as error:
        raise UsageError(str(error)) from error
    except RegistryAwayError as error:
        known = _remembered(memory)
        keys = {topic: _key(*one) for topic, one in wanted.items()}
        missing = [wanted[topic][0] for topic, key in keys.items() if key not in known]
        if missing:
            raise UsageError(
                f"the schema registry does not answer ({error}), and the ids of "
                f"{', '.join(missing)} are not known from an earlier start: start the registry "
                "('noskew stack up'), or give --registry or NOSKEW_REGISTRY"
            ) from error
        warnings.append(f"the schema registry does not answer ({error}): known schemas go on")
        return {topic: known[key] for topic, key in keys.items()}
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({_key(*wanted[topic]): number for topic, number in ids.items()}))
    return ids


def learn(plan: Plan, registry: Registry, resolver: Resolver, warnings: list[str]) -> None:
    """Read the versions of the scored topic's subject, so that their first records do not wait.

    Where the subject does not exist, our reader schema is registered as its first version.
    """
    subject = f"{plan.scored.topic}-value"
    try:
        if not registry.subjects_has(subject):
            registry.register(subject, plan.scored.schema_text)
        for schema in registry.versions(subject):
            resolver.learn(schema)
    except RegistryRefusedError as error:
        raise UsageError(str(error)) from error
    except UnsafeSchemaError as error:
        warnings.append(f"subject {subject}: {error}; its records will be dead letters")
    except RegistryAwayError:
        # Told once, by ``register``; records of ids that are not on disk will wait.
        return


def _key(subject: str, text: str) -> str:
    return f"{subject} {hashlib.sha256(text.encode()).hexdigest()}"


def _remembered(memory: Path) -> dict[str, int]:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return {key: number for key, number in found.items() if isinstance(number, int)}
