"""The names of everything the store keeps in Redis (DESIGN section 5).

The braces around app and shard are literal: they make a cluster hash tag, so that one shard's
rows, watermark and generation pointer live on one node and one Lua call may touch them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from noskew.dataflows.errors import UsageError
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from noskew.schemas.columns import Column

Key: TypeAlias = "int | bytes"
"""A key value as the mirror holds it: an int, or a string's UTF-8 bytes."""


@dataclass(frozen=True, slots=True)
class Names:
    """The key names of one shard of one pipeline.

    namespace  the setting ``redis.namespace``
    app        the pipeline's name
    shard      from 0
    """

    namespace: str
    app: str
    shard: int

    def __post_init__(self) -> None:
        for what, value in (("redis.namespace", self.namespace), ("pipeline name", self.app)):
            if not value or "{" in value or "}" in value:
                message = (
                    f"{what} is {value!r}: it must not be empty or contain braces, because "
                    "braces mark the hash tag in the names of Redis keys; write another name."
                )
                raise UsageError(message)
        if self.shard < 0:
            message = f"shard is {self.shard}: write 0 or more."
            raise UsageError(message)

    @property
    def prefix(self) -> bytes:
        """Return what every key of this shard begins with."""
        return f"{self.namespace}:{{{self.app}.{self.shard}}}:".encode()

    @property
    def watermark(self) -> bytes:
        """Return the key of the watermark: a hash of ``generation`` and ``seq``."""
        return self.prefix + b"watermark"

    @property
    def pointer(self) -> bytes:
        """Return the key of the generation pointer, which readers follow."""
        return self.prefix + b"gen"

    def entity(self, generation: int, entity: str) -> bytes:
        """Return what the keys of one entity's rows begin with; the id follows."""
        return self.prefix + b"%d:%s:" % (generation, entity.encode())

    def row(self, generation: int, entity: str, key: Key) -> bytes:
        """Return the key of one entity's row."""
        return self.entity(generation, entity) + encoded(key)

    def pattern(self, generation: int) -> bytes:
        """Return the glob that matches the rows of a generation and nothing else."""
        literal = self.prefix + b"%d:" % generation
        return re.sub(rb"([*?\[\]\\^])", rb"\\\1", literal) + b"*"


def encoded(key: Key) -> bytes:
    """Return a key value as it stands in a row's name: decimal, or UTF-8 with ``%`` and ``:``."""
    if isinstance(key, int):
        return b"%d" % key
    if b"%" in key or b":" in key:
        return key.replace(b"%", b"%25").replace(b":", b"%3A")
    return key


def decoded(name: bytes, key_type: str) -> Key:
    """Return the key value that ``encoded`` wrote as ``name``.

    Raises:
        ValueError: ``name`` is not a decimal number although ``key_type`` is "int".
    """
    if key_type == "int":
        return int(name)
    return name.replace(b"%3A", b":").replace(b"%25", b"%")


def values(column: Column) -> list[Key]:
    """Return a key column as Python values: ints, or the UTF-8 bytes of strings."""
    if not isinstance(column, Strings):
        return list(column.tolist())
    heap = column.heap.tobytes()
    ends = (column.start + column.length).tolist()
    return [heap[at:end] for at, end in zip(column.start.tolist(), ends, strict=True)]
