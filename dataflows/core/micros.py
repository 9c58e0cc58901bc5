"""Records whose times are microseconds already, whatever the wire has: those of files and tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from noskew.schemas.resolve import wanted_fields

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.schemas.resolve import Wanted


def in_microseconds(stream: StreamPlan) -> tuple[list[Wanted], StreamPlan]:
    """Return what is read of a stream, and its rules, with times and their limits in us."""
    wanted = wanted_fields(stream.schema, stream.fields)
    millis = {one.name for one in wanted if one.millis}
    limits = {
        name: limit * 1_000 if name in millis else limit for name, limit in stream.max_abs.items()
    }
    return [replace(one, millis=False) for one in wanted], replace(stream, max_abs=limits)
