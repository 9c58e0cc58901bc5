"""What a producer could send to hang, exhaust or mislead a decoder, and how it is refused.

fastavro trusts its input (measured, 1.13.1): a recursive schema overflows the C stack, an array of
nulls allocates without reading a byte, varints may be of any length. So a writer's schema is
screened once, and a body with a suspicious run of bytes is walked strictly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Schema: TypeAlias = "dict[str, Any] | list[Any] | str"
"""An Avro schema as parsed JSON."""

MAX_DEPTH: Final = 16
MAX_FIELDS: Final = 500
"""Fields counted with every named type expanded at each use, so that nesting cannot multiply."""

PRIMITIVE_SIZE: Final = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
"""Smallest encoding of each primitive type, bytes."""

_MAX_VISITS: Final = 20_000
_FIELDS_PER_BYTE: Final = 16
_LONGEST_VARINT: Final = 10
_MORE: Final = 0x80


class UnsafeSchemaError(ValueError):
    """A writer's schema we do not decode with; the message says which part and why."""


def screen(schema: Schema) -> str | None:
    """Return why a writer's schema must not be decoded with, None if it is safe.

    Refused: recursion, arrays and maps of items that take no bytes (or have more than 16 fields
    per byte), more than 16 levels, more than 500 fields, unknown or malformed types.
    """
    try:
        _Screen().visit(schema, "", 0)
    except UnsafeSchemaError as error:
        return str(error)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        return f"it is no Avro schema ({type(error).__name__}: {error})"
    return None


def suspicious(
    payload: NDArray[np.uint8], body: NDArray[np.int64], stop: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return which bodies may hold a varint of more than 64 bits: int64[k], ascending.

    Such a varint has at least nine bytes with the high bit set in a row. Text and doubles may have
    them too, so the answer is only where a strict walk is worth its time.
    """
    low = np.flatnonzero(payload < _MORE)
    ends = np.concatenate(([-1], low, [len(payload)]))
    runs = np.flatnonzero(np.diff(ends) >= _LONGEST_VARINT)
    if not len(runs):
        return np.zeros(0, np.int64)
    # A run overlaps the bodies that start at or before its end and stop after its first byte.
    first = np.searchsorted(stop, ends[runs] + 1, side="right")
    last = np.searchsorted(body, ends[runs + 1], side="right")
    touched = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
    return np.unique(np.concatenate(touched)).astype(np.int64)


def walk(schema: Schema, data: bytes) -> str | None:
    """Walk a body strictly; return what is wrong with it, None if it is well formed.

    ``schema`` was accepted by ``screen``. Slow path: pure Python, for suspicious bodies only.
    """
    walker = _Walk(data)
    try:
        walker.value(schema, "")
    except _BadBodyError as error:
        return str(error)
    return None


class _Screen:
    """One pass over a schema with every reference expanded."""

    def __init__(self) -> None:
        self.named: dict[str, dict[str, Any]] = {}
        self.open: set[str] = set()
        self.fields = 0
        self.visits = 0

    def visit(self, schema: Schema, namespace: str, depth: int) -> int:
        """Return the smallest encoding of ``schema`` in bytes; raises UnsafeSchemaError."""
        self.visits += 1
        if self.visits > _MAX_VISITS:
            _refuse(f"it has more than {_MAX_VISITS} parts with every reference expanded")
        if depth > MAX_DEPTH:
            _refuse(f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(schema, list):
            if any(isinstance(branch, list) for branch in schema):
                _refuse("it has a union directly inside a union")
            return 1 + min((self.visit(branch, namespace, depth) for branch in schema), default=0)
        if isinstance(schema, str):
            if schema in PRIMITIVE_SIZE:
                return PRIMITIVE_SIZE[schema]
            known = self.named.get(full_name(schema, namespace)) or self.named.get(schema)
            if known is None:
                _refuse(f"it uses type {schema!r}, which it does not define")
            return self.visit(known, namespace, depth)
        kind = schema["type"]
        if kind in ("array", "map"):
            return self._container(
                schema["items" if kind == "array" else "values"], namespace, depth
            )
        if kind in ("record", "error", "enum", "fixed"):
            return self._named(schema, kind, namespace, depth)
        # Wrappers ({"type": {"type": "long"}}) nest too, or they would recurse without end.
        return self.visit(kind, namespace, depth + 1)

    def _container(self, items: Schema, namespace: str, depth: int) -> int:
        before = self.fields
        size = self.visit(items, namespace, depth + 1)
        if size == 0:
            _refuse(
                "it has an array or map of items that take no bytes: a few bytes could "
                "stand for billions of them"
            )
        if self.fields - before > _FIELDS_PER_BYTE * size:
            _refuse(
                f"it has an array or map whose items have {self.fields - before} fields "
                f"but may take only {size} bytes"
            )
        return 1

    def _named(self, schema: dict[str, Any], kind: str, namespace: str, depth: int) -> int:
        name = full_name(schema["name"], schema.get("namespace", namespace))
        # An expanded reference arrives here again, with the namespace already in its name.
        self.named.setdefault(name, {**schema, "name": name})
        if kind == "enum":
            return 1
        if kind == "fixed":
            return int(schema["size"])
        if name in self.open:
            _refuse(f"record {name} contains itself: a short payload could exhaust the stack")
        self.open.add(name)
        size = 0
        for field in schema["fields"]:
            self.fields += 1
            if self.fields > MAX_FIELDS:
                _refuse(f"it has more than {MAX_FIELDS} fields with every reference expanded")
            size += self.visit(field["type"], name.rpartition(".")[0], depth + 1)
        self.open.discard(name)
        return size


def full_name(name: str, namespace: str) -> str:
    """Return an Avro full name: ``name`` in ``namespace`` unless it has its own."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _refuse(text: str) -> NoReturn:
    raise UnsafeSchemaError(text)


class _BadBodyError(ValueError):
    """A body that does not follow its schema."""


class _Walk:
    """A strict reader that keeps nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.named: dict[str, Schema] = {}

    def value(self, schema: Schema, namespace: str) -> None:
        """Step over one value; raises _BadBodyError."""
        if isinstance(schema, list):
            index = self._varint("union index")
            if not 0 <= index < len(schema):
                self._bad(f"union index {index} of {len(schema)} branches")
            self.value(schema[index], namespace)
        elif isinstance(schema, dict):
            self._complex(schema, namespace)
        elif schema in ("int", "long"):
            self._varint(schema)
        elif schema in ("bytes", "string"):
            self._skip(self._varint("length"))
        elif schema in PRIMITIVE_SIZE:
            self._skip(PRIMITIVE_SIZE[schema])
        else:
            name = full_name(schema, namespace)
            self.value(self.named[name if name in self.named else schema], namespace)

    def _complex(self, schema: dict[str, Any], namespace: str) -> None:
        kind = schema["type"]
        if "name" in schema:
            name = full_name(schema["name"], schema.get("namespace", namespace))
            self.named[name] = {**schema, "name": name}
            namespace = name.rpartition(".")[0]
        if kind in ("record", "error"):
            for field in schema["fields"]:
                self.value(field["type"], namespace)
        elif kind == "enum":
            index = self._varint("enum index")
            if not 0 <= index < len(schema["symbols"]):
                self._bad(f"enum index {index} of {len(schema['symbols'])} symbols")
        elif kind == "fixed":
            self._skip(schema["size"])
        elif kind in ("array", "map"):
            self._blocks(schema, namespace)
        else:
            self.value(kind, namespace)

    def _blocks(self, schema: dict[str, Any], namespace: str) -> None:
        while count := self._varint("block count"):
            if count < 0:
                self._varint("block size")
            for _ in range(abs(count)):
                if schema["type"] == "map":
                    self._skip(self._varint("length"))
                self.value(schema["items" if schema["type"] == "array" else "values"], namespace)

    def _varint(self, what: str) -> int:
        value = place = 0
        byte = _MORE
        while byte >= _MORE:
            if self.at >= len(self.data):
                self._bad(f"{what} is cut short")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << place
            place += 7
            if value >> 64 or place > 7 * _LONGEST_VARINT:
                self._bad(f"{what} is a varint of more than 64 bits")
        return (value >> 1) ^ -(value & 1)

    def _skip(self, size: int) -> None:
        if not 0 <= size <= len(self.data) - self.at:
            self._bad(f"{size} bytes announced, {len(self.data) - self.at} left")
        self.at += size

    def _bad(self, text: str) -> NoReturn:
        message = f"{text}, at byte {self.at} of the body"
        raise _BadBodyError(message)
