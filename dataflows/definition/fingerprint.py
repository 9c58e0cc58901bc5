"""The fingerprint: a hash that names the meaning of a vector (DESIGN section 3.9).

SHA-256 over canonical JSON of everything that can change a value, and of nothing else: names of
pipeline, streams, topics, features and models, comments and deployment do not enter.

A setting that is added to definitions later enters only where it is not at its default, so that
the definitions of today keep their fingerprints.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from noskew.dataflows.definition.expression import (
    EMPTY,
    Arithmetic,
    Number,
    RowFunction,
    Statistic,
)
from noskew.dataflows.definition.fields import meaning
from noskew.dataflows.definition.plan import Both, Comparison, Either, Negated, Window
from noskew.kernels.layout import KEY_CAP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from noskew.dataflows.definition.expression import Expression
    from noskew.dataflows.definition.plan import Filter, StreamPlan

SEMANTICS: Final = 1
"""Version of what kernels compute: raise it when one plan over one input gives other bits."""


def fingerprint(
    streams: Sequence[StreamPlan], vector: Sequence[Expression], *, peers: bool = False
) -> bytes:
    """Return the 32 bytes that name the meaning of a vector.

    streams  in the plan's order;  vector  settled expressions
    """
    return hashlib.sha256(canonical(streams, vector, peers=peers).encode()).digest()


def canonical(
    streams: Sequence[StreamPlan], vector: Sequence[Expression], *, peers: bool = False
) -> str:
    """Return what is hashed: JSON with sorted keys, without spaces, ASCII only."""
    places = {stream.name: stream.place for stream in streams}
    content = {
        "semantics": SEMANTICS,
        "key_cap": KEY_CAP,
        "streams": [_stream(stream) for stream in streams],
        "vector": [_expression(one, places) for one in vector],
    } | _changed(peers=(peers, False))
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _changed(**settings: tuple[Any, Any]) -> dict[str, Any]:
    """Return the settings whose value (the first of each pair) is not the default (the second)."""
    return {name: value for name, (value, usual) in settings.items() if value != usual}


def _stream(stream: StreamPlan) -> dict[str, Any]:
    return {
        "schema": meaning(stream.schema),
        "fields": stream.fields,
        "nullable": sorted(stream.nullable),
        "id": stream.id,
        "time": stream.time,
        "available": stream.available,
        "allowed_lateness_us": stream.allowed_lateness_us,
        "max_skew_us": stream.max_skew_us,
        "max_abs": stream.max_abs,
    } | _changed(
        quantum=(stream.quantum, {}),
        dedupe_us=(stream.dedupe_us, 0),
        revise=(stream.revise, False),
    )


def _expression(one: Expression, places: Mapping[str, int]) -> dict[str, Any]:
    match one:
        case Statistic():
            return _statistic(one, places[one.stream.name])
        case RowFunction():
            return {
                "row": int(one.row),
                "column": one.column,
                "utc_offset_s": one.utc_offset_s,
            }
        case Number():
            return {"number": one.value.hex()}
        case Arithmetic():
            return {
                "row": int(one.row),
                "left": _expression(one.left, places),
                "right": _expression(one.right, places),
            }


def _statistic(one: Statistic, place: int) -> dict[str, Any]:
    ends = one.window or Window(0)
    return {
        "stream": place,
        "entity": one.entity,
        "stat": int(one.stat),
        "column": one.column,
        "over_us": one.over_us,
        "delay_us": one.delay_us,
    } | _changed(
        low_closed=(ends.low_closed, False),
        high_open=(ends.high_open, False),
        resolution_us=(ends.resolution_us, 0),
        include_self=(one.include_self, True),
        where=(None if one.where is None else _filter(one.where), None),
        empty=(_number(one.empty), _number(EMPTY.get(one.stat))),
        ddof=(one.ddof, 1),
        half_life_us=(one.half_life_us, 0),
    )


def _number(value: float | None) -> str:
    return "nan" if value is None else value.hex()


def _filter(one: Filter) -> dict[str, Any]:
    match one:
        case Comparison(field, op, values):
            literals = [value.hex() if isinstance(value, float) else value for value in values]
            return {"field": field, "is": int(op), "values": literals}
        case Both(left, right):
            return {"both": [_filter(left), _filter(right)]}
        case Either(left, right):
            return {"either": [_filter(left), _filter(right)]}
        case Negated(inner):
            return {"not": _filter(inner)}
