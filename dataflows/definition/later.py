"""What DESIGN promises and this version does not have yet: each refusal says what works today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from noskew.dataflows.definition.fields import nearest
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SETTINGS: Final = {
    "closed": "leave it out: a window is T - delay - over < t <= T - delay",
    "include_self": "leave it out: an event counts itself (without delay)",
    "where": "leave it out: statistics take all events",
    "resolution": "leave it out: windows are exact",
    "empty": "leave it out: an empty window has count 0, sum 0, mean, min and max NaN",
    "quantum": "put the number into the schema as a long in minor units, such as cents",
    "dedupe": "leave it out: every record counts",
    "revise": "leave it out: a record is never replaced",
    "ddof": "leave it out",
    "half_life": "write a window instead: mean(column, over='7d')",
    "preset": "write over= and delay= themselves",
    "format": "write the records as Avro",
}
"""Setting that comes later -> what to write today."""

STATISTICS: Final = {
    "var": "mean(column, over=...)",
    "std": "mean(column, over=...)",
    "first": "min(column, over=...)",
    "last": "max(column, over=...)",
    "distinct": "count(over=...)",
    "rate": "count(over=...) / seconds, named",
    "decayed_sum": "sum(column, over=...)",
    "decayed_count": "count(over=...)",
    "ewma": "mean(column, over=...)",
}
"""Statistic that comes later -> the nearest that there is."""


def refuse(call: str, unknown: Mapping[str, object], known: Sequence[str]) -> None:
    """Raise DefinitionError for the first argument that ``call`` does not take, if there is one."""
    for name in unknown:
        if name in SETTINGS:
            message = f"{call}: {name}= comes in a later version; {SETTINGS[name]}"
        elif call == "since_last" and name in ("over", "delay"):
            message = f"since_last: {name}= has no meaning, it has no window; write since_last()"
        else:
            takes = nearest(name, known) if known else "it takes none"
            message = f"{call}: there is no argument {name!r}; {takes}"
        raise DefinitionError(message)


def refuse_history(call: str) -> NoReturn:
    """Raise DefinitionError for a statistic without a window."""
    message = (
        f"{call}: no over= (or over=None) means all of history, which comes in a later version; "
        'write a window: over="30d", or several: over=["1d", "30d"]'
    )
    raise DefinitionError(message)


def refuse_statistic(name: str) -> None:
    """Raise DefinitionError if ``name`` is a statistic that comes later."""
    if name in STATISTICS:
        message = f"{name}() comes in a later version; the nearest today is {STATISTICS[name]}"
        raise DefinitionError(message)


def refuse_streams(feature: str, other: str, scored: str, where: str) -> NoReturn:
    """Raise DefinitionError for a feature of a stream that is not scored."""
    message = (
        f"{where}: feature {feature!r} is of stream {other!r}, but {scored!r} is scored; features "
        f"of other streams come in a later version: write it with {scored!r}, or leave it out"
    )
    raise DefinitionError(message)
