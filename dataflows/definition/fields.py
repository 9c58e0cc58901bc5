"""What a stream's schema says of each field: the part of Avro that a definition is checked against.

Reading records with it is the business of ``noskew.schemas``; here it only has to be known which
columns there are, of which kind, and which may be null.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from noskew.dataflows.errors import DefinitionError
from noskew.schemas import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KINDS: Final = {
    "int": "int",
    "long": "int",
    "boolean": "int",
    "enum": "int",
    "float": "float",
    "double": "float",
    "string": "string",
}
"""Avro type -> kind of column: int64, float64 or text. Other types cannot be read."""

TIMES: Final = ("timestamp-micros", "timestamp-millis")

_MEANING: Final = (
    "name", "namespace", "type", "fields", "symbols", "items", "values", "size", "default",
    "aliases", "logicalType", "precision", "scale",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record schema.

    avro      its type without null: "long", "enum", ...; "union" where there is no single one
    kind      "int", "float", "string", or "" for a type that cannot be a column
    logical   Avro's logical type, empty where there is none
    symbols   of an enum
    """

    name: str
    avro: str
    kind: str
    logical: str
    nullable: bool
    symbols: tuple[str, ...] = ()

    @property
    def timestamp(self) -> bool:
        """Return whether it is a moment: its column is in microseconds."""
        return self.logical.removeprefix("local-") in TIMES

    @property
    def shown(self) -> str:
        """Return the type for people."""
        type_ = f"{self.avro} ({self.logical})" if self.logical else self.avro
        return f"{type_}, nullable" if self.nullable else type_


@dataclass(frozen=True, slots=True)
class Record:
    """A schema as found: where, its text, the parsed JSON, and its fields by name."""

    origin: str
    text: str
    schema: dict[str, Any]
    fields: Mapping[str, Field]


def find(reference: str | Path, base: Path, stream: str) -> Record:
    """Read the schema named in a definition.

    A relative path is looked for beside ``base``, the definition's file or folder, then among the
    schemas shipped in ``noskew.schemas``. Raises DefinitionError.
    """
    path = base / reference
    if path.is_file():
        origin = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            message = f"stream {stream!r}: the schema {origin} cannot be read: {error}"
            raise DefinitionError(message) from None
    elif Path(reference).name == str(reference) and Path(reference).stem in files.NAMES:
        origin, text = f"noskew.schemas/{reference}", files.text(Path(reference).stem)
    else:
        shipped = ", ".join(f"{name}.avsc" for name in files.NAMES)
        message = (
            f"stream {stream!r}: there is no schema {path}; write schema= relative to the "
            f"definition's file, or the name of one shipped with noskew: {shipped}"
        )
        raise DefinitionError(message)
    return _record(origin, text, stream)


def meaning(schema: Any) -> Any:
    """Return a schema without what changes no value: documentation, order of keys, extra keys."""
    if isinstance(schema, list):
        return [meaning(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {key: schema[key] for key in _MEANING if key in schema}
    if "fields" in kept:
        kept["fields"] = [meaning(field) for field in kept["fields"]]
    for part in ("type", "items", "values"):
        if part in kept:
            kept[part] = meaning(kept[part])
    return kept["type"] if set(kept) == {"type"} else kept


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for a misspelt name, else what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(names)}"


def _record(origin: str, text: str, stream: str) -> Record:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"stream {stream!r}: the schema {origin} is not JSON: {error}"
        raise DefinitionError(message) from None
    if not isinstance(schema, dict) or schema.get("type") != "record":
        message = (
            f"stream {stream!r}: the schema {origin} is not an Avro record; its outermost type "
            'must be {"type": "record", "name": ..., "fields": [...]}'
        )
        raise DefinitionError(message)
    named: dict[str, Any] = {}
    try:
        _collect(schema, schema.get("namespace", ""), named)
        fields = {entry["name"]: _field(entry, named) for entry in schema["fields"]}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        message = (
            f"stream {stream!r}: the schema {origin} is not an Avro record: every field needs a "
            f"name and a type ({type(error).__name__}: {error})"
        )
        raise DefinitionError(message) from None
    return Record(origin, text, schema, fields)


def _collect(schema: Any, namespace: str, named: dict[str, Any]) -> None:
    """Note every named type under its short and its full name."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, namespace, named)
    elif isinstance(schema, dict):
        inner = schema.get("namespace", namespace)
        if isinstance(schema.get("name"), str):
            named[schema["name"]] = named[f"{inner}.{schema['name']}"] = schema
        for entry in schema.get("fields") or ():
            _collect(entry.get("type") if isinstance(entry, dict) else None, inner, named)
        for part in ("type", "items", "values"):
            _collect(schema.get(part), inner, named)


def _field(entry: dict[str, Any], named: dict[str, Any]) -> Field:
    branches = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    plain = [branch for branch in branches if branch not in ("null", {"type": "null"})]
    nullable = len(plain) < len(branches)
    if len(plain) != 1:
        return Field(entry["name"], "union" if plain else "null", "", "", nullable=nullable)
    avro, logical, symbols = _type(plain[0], named)
    kind = KINDS.get(avro, "")
    return Field(entry["name"], avro, kind, logical, nullable=nullable, symbols=symbols)


def _type(schema: Any, named: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    """Return the Avro type of what is not a union, its logical type and its symbols."""
    if isinstance(schema, str) and schema in named and schema not in KINDS:
        schema = named[schema]
    if isinstance(schema, str):
        return schema, "", ()
    inner = schema["type"]
    if isinstance(inner, dict):
        return _type(inner, named)
    symbols = tuple(map(str, schema.get("symbols") or ()))
    return str(inner), str(schema.get("logicalType", "")), symbols
