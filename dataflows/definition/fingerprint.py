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

from noskew.dataflows.definition.expression import Arithmetic, Number, RowFunction, Statistic
from noskew.dataflows.definition.fields import meaning
from noskew.kernels.layout import KEY_CAP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.definition.expression import Expression
    from noskew.dataflows.definition.plan import StreamPlan

SEMANTICS: Final = 1
"""Version of what kernels compute: raise it when one plan over one input gives other bits."""


def fingerprint(scored: StreamPlan, vector: Sequence[Expression]) -> bytes:
    """Return the 32 bytes that name the meaning of a vector."""
    return hashlib.sha256(canonical(scored, vector).encode()).digest()


def canonical(scored: StreamPlan, vector: Sequence[Expression]) -> str:
    """Return what is hashed: JSON with sorted keys, without spaces, ASCII only."""
    content = {
        "semantics": SEMANTICS,
        "key_cap": KEY_CAP,
        "streams": [_stream(scored)],
        "vector": [_expression(one) for one in vector],
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


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
    }


def _expression(one: Expression) -> dict[str, Any]:
    match one:
        case Statistic():
            return {
                "stream": 0,
                "entity": one.entity,
                "stat": int(one.stat),
                "column": one.column,
                "over_us": one.over_us,
                "delay_us": one.delay_us,
            }
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
                "left": _expression(one.left),
                "right": _expression(one.right),
            }
