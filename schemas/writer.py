"""A writer's schema as a registry gives it, and how asking for one can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """The schema behind an id: its text, parsed JSON, and the SHA-256 of the text, 32 bytes."""

    id: int
    text: str
    parsed: dict[str, Any] | list[Any] | str
    sha256: bytes


class UnknownSchemaError(LookupError):
    """The registry answered that it does not know the id: the record is a dead letter."""


class RegistryAwayError(ConnectionError):
    """The registry gave no usable answer: known ids go on, records of others wait."""


class RegistryRefusedError(ValueError):
    """The registry refused to register a schema; the message has its reason and the next step."""


class Schemas(Protocol):
    """Where a decoder gets writers' schemas: ``Registry``, or a dictionary in tests."""

    def schema(self, schema_id: int) -> WriterSchema:
        """Return the schema; raises UnknownSchemaError, RegistryAwayError, UnsafeSchemaError."""
        ...
