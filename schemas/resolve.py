"""How records of one writer's schema become the columns one reader wants: decided once per schema.

The record is read with the writer's schema alone, every field of it, because fastavro does not
notice a record cut short inside a field it skips (measured, 1.13.1). Numeric promotions then happen
column-wise in NumPy. Only where the types leave a choice (text as bytes, a union with a branch that
is not wanted) does fastavro resolve, record by record. Rules: Avro 1.12, "Schema Resolution".
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import fastavro
import fastavro.schema
import numpy as np

from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

PROMOTED: Final = {
    "null": {"null"},
    "boolean": {"boolean"},
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "double": {"double"},
    "string": {"string", "bytes"},
    "bytes": {"bytes", "string"},
}
"""Writer's type -> the reader's types it can be read as."""

_MILLIS: Final = {"timestamp-millis", "local-timestamp-millis"}
_KINDS: Final = {
    "int": "int",
    "long": "int",
    "boolean": "int",
    "enum": "int",
    "float": "float",
    "double": "float",
    "string": "string",
}

_GUARDS: Final = 8
"""Refused branches behind each union: Python reads index -1 as the last one (fastavro does not
check). A longer guard costs time on each union read, and only moves which indexes slip through."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A field of the reader's schema that is kept.

    type      "int", "long", "boolean", "enum", "float", "double" or "string"; null is apart
    kind      the column it becomes: "int", "float" or "string"
    default   the value where the writer has no such field; absent if ``has_default`` is false
    millis    the reader's logical type counts milliseconds: the column is in microseconds
    """

    name: str
    aliases: tuple[str, ...]
    type: str
    kind: str
    nullable: bool
    has_default: bool
    default: Any
    millis: bool
    symbols: tuple[str, ...] = ()
    enum_names: frozenset[str] = frozenset()
    enum_default: int = -1


@dataclass(frozen=True, slots=True)
class Lane:
    """Where one wanted field comes from in this writer's records.

    key        field of the writer's record; None: ``wanted.default`` in every record
    narrow     the writer says int: a value beyond 32 bits is malformed
    translate  int64[symbols]: the writer's enum index -> the reader's, -1 for none
    """

    wanted: Wanted
    key: str | None
    writer_type: str
    narrow: bool = False
    translate: NDArray[np.int64] | None = None


@dataclass(slots=True)
class Route:
    """What to do with records of one writer's schema.

    writer   parsed, with enums as ints and unions guarded;  plain: the same without guards
    reader   parsed, where fastavro has to resolve; else None
    lanes    one per wanted field
    judged   fields that are enums but not wanted -> number of symbols
    problem  why no record of this schema can be used: (reason, detail)
    """

    writer: Any
    plain: Any
    reader: Any
    lanes: list[Lane]
    judged: dict[str, int]
    problem: tuple[Reason, str] | None = None
    keys: list[str] = field(default_factory=list)


def wanted_fields(schema: dict[str, Any], names: Iterable[str]) -> list[Wanted]:
    """Return the reader's fields to keep; ValueError names a field that cannot be a column."""
    plain, named = _canonical(schema)
    by_name = {
        original["name"]: (original, stripped["type"])
        for original, stripped in zip(schema["fields"], plain["fields"], strict=True)
    }
    return [_wanted(name, by_name, named) for name in names]


def route(writer: Any, reader: dict[str, Any], wanted: list[Wanted]) -> Route:
    """Decide how to read ``writer``'s records; ``writer`` has passed ``safety.screen``.

    Raises what fastavro raises for text that is no Avro schema.
    """
    plain, named = _canonical(writer)
    if not isinstance(plain, dict) or plain.get("type") != "record":
        kind = plain if isinstance(plain, str) else json.dumps(plain)[:80]
        detail = f"the writer's schema is {kind}, this pipeline reads record {reader['name']}"
        return _refused(plain, [], Reason.WRONG_TYPE, detail)
    lanes, problem, loose = _lanes(plain, named, wanted)
    if problem is None:
        problem = _name_problem(plain["name"], reader)
    judged = _judged(plain, named, lanes)
    flat = _enums_as_ints(plain, named)
    parsed = fastavro.parse_schema(copy.deepcopy(flat))
    guarded = copy.deepcopy(parsed)
    _guard(guarded, set())
    resolved = None
    if loose and problem is None:
        resolved = copy.deepcopy(flat)
        types = {lane.key: ["null", _read_as(lane.wanted)] for lane in lanes}
        for entry in resolved["fields"]:
            entry["type"] = types.get(entry["name"], entry["type"])
        resolved = fastavro.parse_schema(resolved)
    keys = [entry["name"] for entry in plain["fields"]]
    return Route(guarded, parsed, resolved, lanes, judged, problem, keys)


def short(name: str) -> str:
    """Return an unqualified name."""
    return name.rpartition(".")[2]


def show(type_: Any) -> str:
    """Return a type as a person would write it: for messages."""
    if isinstance(type_, list):
        return "[" + ", ".join(show(branch) for branch in type_) + "]"
    if isinstance(type_, dict):
        return f"{type_['type']} {short(type_['name'])}" if "name" in type_ else str(type_["type"])
    return str(type_)


def _canonical(schema: Any) -> tuple[Any, dict[str, Any]]:
    """Return the parsing canonical form (no logical types, full names) and its named types."""
    plain = json.loads(fastavro.schema.to_parsing_canonical_form(copy.deepcopy(schema)))
    named: dict[str, Any] = {}
    _collect(plain, named)
    return plain, named


def _collect(schema: Any, named: dict[str, Any]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, named)
    elif isinstance(schema, dict):
        if "name" in schema:
            named[schema["name"]] = schema
        for entry in schema.get("fields", ()):
            _collect(entry["type"], named)
        for part in ("items", "values"):
            if part in schema:
                _collect(schema[part], named)


def _branches(type_: Any, named: dict[str, Any]) -> list[Any]:
    """Return the branches of a union, or the one type, with references looked up."""
    types = type_ if isinstance(type_, list) else [type_]
    return [named.get(one, one) if isinstance(one, str) else one for one in types]


def _kind_of(branch: Any) -> str:
    return str(branch["type"]) if isinstance(branch, dict) else str(branch)


def _wanted(
    name: str, by_name: dict[str, tuple[dict[str, Any], Any]], named: dict[str, Any]
) -> Wanted:
    if name not in by_name:
        message = f"the reader's schema has no field {name!r}; it has {', '.join(sorted(by_name))}"
        raise ValueError(message)
    original, stripped = by_name[name]
    branches = _branches(stripped, named)
    values = [branch for branch in branches if branch != "null"]
    if len(values) != 1 or _kind_of(values[0]) not in _KINDS:
        message = f"field {name!r} is {show(stripped)}, which cannot be a column"
        raise ValueError(message)
    kind = _kind_of(values[0])
    symbols: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    fallback = -1
    if kind == "enum":
        source = _find_enum(original["type"])
        symbols = tuple(values[0]["symbols"])
        names = frozenset({short(values[0]["name"]), *map(short, source.get("aliases", ()))})
        fallback = symbols.index(source["default"]) if "default" in source else -1
    default = original.get("default")
    if kind == "enum" and isinstance(default, str):
        default = symbols.index(default)
    return Wanted(
        name=name,
        aliases=tuple(original.get("aliases", ())),
        type=kind,
        kind=_KINDS[kind],
        nullable="null" in branches,
        has_default="default" in original,
        default=default,
        millis=_logical(original["type"]) in _MILLIS,
        symbols=symbols,
        enum_names=names,
        enum_default=fallback,
    )


def _find_enum(type_: Any) -> dict[str, Any]:
    """Return the definition of an enum as the reader wrote it; empty for a bare reference."""
    for one in type_ if isinstance(type_, list) else [type_]:
        if isinstance(one, dict):
            return one
    return {}


def _logical(type_: Any) -> str | None:
    for one in type_ if isinstance(type_, list) else [type_]:
        if isinstance(one, dict) and "logicalType" in one:
            return str(one["logicalType"])
    return None


def _name_problem(name: str, reader: dict[str, Any]) -> tuple[Reason, str] | None:
    known = {short(reader["name"]), *map(short, reader.get("aliases", ()))}
    if short(name) in known:
        return None
    detail = (
        f"the writer's record is {name}, this pipeline reads {reader['name']}; if they mean the "
        f"same, add {name!r} to the aliases of the reader's schema"
    )
    return Reason.WRONG_TYPE, detail


def _lanes(
    plain: dict[str, Any], named: dict[str, Any], wanted: list[Wanted]
) -> tuple[list[Lane], tuple[Reason, str] | None, bool]:
    """Return a lane per wanted field, the first problem, and whether fastavro has to resolve."""
    types = {entry["name"]: entry["type"] for entry in plain["fields"]}
    lanes: list[Lane] = []
    problem: tuple[Reason, str] | None = None
    loose = False
    for want in wanted:
        key = next((name for name in (want.name, *want.aliases) if name in types), None)
        if key is None:
            lanes.append(Lane(want, None, "missing"))
            if not want.has_default and problem is None:
                detail = (
                    f"field {want.name!r} is missing in the writer's schema, and the reader's "
                    "has no default"
                )
                problem = Reason.WRONG_TYPE, detail
            continue
        branches = _branches(types[key], named)
        good = [branch for branch in branches if _readable(branch, want)]
        nulls = "null" in branches
        if not good:
            only_null = all(branch == "null" for branch in branches)
            reason = Reason.NULL_VALUE if only_null else Reason.WRONG_TYPE
            detail = (
                f"field {key!r} is {show(types[key])} in the writer's schema, this pipeline reads "
                f"{show_wanted(want)}"
            )
            problem = problem or (reason, detail)
        elif _ambiguous(branches, want):
            detail = (
                f"field {key!r} is {show(types[key])} in the writer's schema: its enum cannot be "
                f"told from its other branches when reading {show_wanted(want)}"
            )
            problem = problem or (Reason.WRONG_TYPE, detail)
        unwanted = len(good) + (nulls and not want.nullable) < len(branches)
        text = want.type == "string" and "bytes" in branches
        loose = loose or unwanted or text
        lanes.append(_lane(want, key, show(types[key]), good))
    return lanes, problem, loose


def show_wanted(want: Wanted) -> str:
    """Return a wanted field's type for messages."""
    return f"[null, {want.type}]" if want.nullable else want.type


def _lane(want: Wanted, key: str, shown: str, good: list[Any]) -> Lane:
    kinds = {_kind_of(branch) for branch in good} - {"null"}
    translate = None
    if kinds == {"enum"}:
        symbols = next(branch["symbols"] for branch in good if _kind_of(branch) == "enum")
        at = {symbol: place for place, symbol in enumerate(want.symbols)}
        translate = np.array([at.get(one, want.enum_default) for one in symbols], np.int64)
    return Lane(want, key, shown, narrow=kinds == {"int"}, translate=translate)


def _readable(branch: Any, want: Wanted) -> bool:
    if branch == "null":
        return want.nullable
    if isinstance(branch, dict):
        same = branch["type"] == "enum" and want.type == "enum"
        return same and short(branch["name"]) in want.enum_names
    return want.type in PROMOTED.get(branch, ())


def _ambiguous(branches: list[Any], want: Wanted) -> bool:
    """Return whether reading enums as ints would mix them with other values that are wanted."""
    kinds = [_kind_of(branch) for branch in branches]
    if "enum" not in kinds:
        return False
    if want.type == "enum":
        return kinds.count("enum") > 1 or "int" in kinds or "long" in kinds
    return want.type in {"int", "long", "float", "double"}


def _read_as(want: Wanted) -> str:
    return "int" if want.type == "enum" else want.type


def _judged(plain: dict[str, Any], named: dict[str, Any], lanes: list[Lane]) -> dict[str, int]:
    taken = {lane.key for lane in lanes}
    judged = {}
    for entry in plain["fields"]:
        values = [one for one in _branches(entry["type"], named) if one != "null"]
        if entry["name"] not in taken and len(values) == 1 and _kind_of(values[0]) == "enum":
            judged[entry["name"]] = len(values[0]["symbols"])
    return judged


def _enums_as_ints(schema: Any, named: dict[str, Any]) -> Any:
    """Return the schema with every enum as an int: the same bytes, and its index can be judged."""
    if isinstance(schema, list):
        return [_enums_as_ints(branch, named) for branch in schema]
    if isinstance(schema, str):
        return "int" if _kind_of(named.get(schema, schema)) == "enum" else schema
    if schema["type"] == "enum":
        return "int"
    out = dict(schema)
    for part in ("items", "values"):
        if part in out:
            out[part] = _enums_as_ints(out[part], named)
    if "fields" in out:
        out["fields"] = [
            {**entry, "type": _enums_as_ints(entry["type"], named)} for entry in out["fields"]
        ]
    return out


def _guard(schema: Any, seen: set[int]) -> None:
    """Lengthen every union in place by branches that cannot be read."""
    if id(schema) in seen or isinstance(schema, str):
        return
    seen.add(id(schema))
    if isinstance(schema, list):
        for branch in schema:
            _guard(branch, seen)
        schema.extend([_REFUSED] * _GUARDS)
    elif isinstance(schema, dict):
        for part in ("type", "items", "values"):
            if part in schema:
                _guard(schema[part], seen)
        for entry in schema.get("fields", ()):
            _guard(entry, seen)
        for one in schema.get("__named_schemas", {}).values():
            _guard(one, seen)


_REFUSED: Final = {"type": "enum", "name": "noskew.refused", "symbols": []}


def _refused(plain: Any, lanes: list[Lane], reason: Reason, detail: str) -> Route:
    parsed = fastavro.parse_schema(copy.deepcopy(plain))
    return Route(parsed, parsed, None, lanes, {}, (reason, detail))
