"""Rules of a definition, one function each: it returns what it was given or raises DefinitionError.

``where`` opens each message: the stream, pipeline or call in question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition.durations import LONGEST_US, duration_us, is_duration, show
from noskew.dataflows.definition.expression import NAMES
from noskew.dataflows.definition.fields import nearest
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from noskew.dataflows.definition.expression import RowFunction
    from noskew.dataflows.definition.fields import Field
    from noskew.dataflows.definition.stream import Stream

MOST_ABS: Final = 2**40
"""Largest absolute value of an aggregated column: 2^22 of them add up within int64."""
EXACT: Final = 2**53
"""Largest absolute value up to which float64 holds every integer."""
OUTPUTS: Final = ("scores", "dead", "alerts", "journal", "control", "retry")
"""Topics of our own: ``<pipeline>.<one of these>``."""

MOST_DDOF: Final = 2**22
"""More members than a window can have: no variance would ever have a value."""
FINEST: Final = 9
"""Decimal places of the finest quantum: variances divide by its square, 10^18, within int64."""

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_PIPELINE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_QUANTUM: Final = re.compile(r"1e(-?[0-9]{1,3})", re.ASCII)

_ADDED: Final = frozenset({Stat.SUM, Stat.MEAN, Stat.VAR, Stat.STD, Stat.DECAYED_SUM, Stat.EWMA})
_TOLD_APART: Final = frozenset({Stat.COUNT_VALUES, Stat.DISTINCT})
_CHOSEN: Final = frozenset({Stat.FIRST, Stat.LAST})


def unknown(call: str, given: Sequence[str], known: Sequence[str], hint: str = "") -> None:
    """Raise DefinitionError for the first of ``given`` arguments that ``call`` does not take."""
    for name in given:
        if name not in known:
            told = hint or (nearest(name, known) if known else "it takes none")
            message = f"{call}: there is no argument {name!r}; {told}"
            raise DefinitionError(message)


def schema(reference: object, where: str) -> str | Path:
    """Return what can be the path of a schema."""
    if isinstance(reference, (str, Path)) and str(reference):
        return reference
    message = f"{where}: schema is {reference!r}; write the name of its .avsc file"
    raise DefinitionError(message)


def topic(name: object, where: str) -> str:
    """Return a name that Kafka takes for a topic."""
    if isinstance(name, str) and _TOPIC.fullmatch(name) and name not in (".", ".."):
        return name
    message = (
        f"{where}: topic={name!r} is no topic name; write letters, digits, '.', '_' and '-', at "
        "most 249 characters"
    )
    raise DefinitionError(message)


def pipeline_name(name: object, what: str) -> str:
    """Return a name that can begin a topic's: ``<name>.scores``."""
    if isinstance(name, str) and _PIPELINE.fullmatch(name):
        return name
    usable = re.sub(r"[^A-Za-z0-9._-]", "_", str(name)).lstrip("._-")[:200] or "fraud"
    message = (
        f"{what}: name {name!r} cannot be part of a topic's name; write letters, digits, '.', '_', "
        f"'-', a letter or digit first, at most 200, for example {usable!r}"
    )
    raise DefinitionError(message)


def apart(name: str, input_topic: str, where: str) -> None:
    """Refuse a pipeline that would read what it writes."""
    written = [f"{name}.{output}" for output in OUTPUTS]
    if input_topic in written:
        message = (
            f"{where}: it reads topic {input_topic!r}, which it also writes; give the pipeline "
            f"another name (it writes {', '.join(written)})"
        )
        raise DefinitionError(message)


def max_abs(
    value: object, quantum: Mapping[str, int], where: str, field: Callable[[object, str], Field]
) -> None:
    """Check the setting ``max_abs``: a number, or numbers by column."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            found = field(name, "max_abs=")
            if found.avro not in ("int", "long") and found.name not in quantum:
                message = (
                    f"{where}: max_abs of {name!r}, which is {found.shown}; only int and long "
                    "columns have one, and others with a quantum (in units of it): leave it out"
                )
                raise DefinitionError(message)
            most = MOST_ABS if found.name in quantum else EXACT
            _limit(one, f"{where}: max_abs of {name!r}", most)
    else:
        _limit(value, f"{where}: max_abs", MOST_ABS)


def quantum(given: object, where: str, field: Callable[[object, str], Field]) -> dict[str, int]:
    """Return the setting ``quantum`` as decimal places by column."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        message = f"{where}: quantum is {given!r}; write it by column: quantum={{'amount': '1e-2'}}"
        raise DefinitionError(message)
    powers = {}
    for name, one in given.items():
        found = field(name, "quantum=")
        what = f"{where}: quantum of {name!r}"
        if found.kind != "float":
            message = f"{what}, which is {found.shown}; only float and double columns have one"
            raise DefinitionError(message)
        match = _QUANTUM.fullmatch(one) if isinstance(one, str) else None
        if match is None:
            message = (
                f"{what} is {one!r}; write '1e-k', the step its values come in: '1e-2' for cents"
            )
            raise DefinitionError(message)
        places = -int(match[1])
        if not 0 <= places <= FINEST:
            wrong = "coarser than whole numbers" if places < 0 else "finer than variances hold"
            message = f"{what} is {one!r}, {wrong}; write '1e-0' to '1e-{FINEST}'"
            raise DefinitionError(message)
        powers[found.name] = places
    return powers


def flag(value: object, what: str) -> bool:
    """Return a setting that is on or off."""
    if not isinstance(value, bool):
        message = f"{what} is {value!r}; write True or False"
        raise DefinitionError(message)
    return value


def identifies(field: Field, where: str) -> None:
    """Check that a field can identify something: whole numbers or text."""
    if field.avro not in ("int", "long", "string"):
        message = f"{where} is {field.shown}; an id, key or entity is int, long or string"
        raise DefinitionError(message)


def column(field: Field, where: str) -> None:
    """Check that a field can be read at all."""
    if field.kind and "nanos" not in field.logical:
        return
    if field.kind:
        hint = "nanoseconds are beyond 2^53, where float64 has gaps; write microseconds"
    else:
        hint = "only int, long, float, double, boolean, enum and string can be read; add such a one"
    message = f"{where} is {field.shown}; {hint}"
    raise DefinitionError(message)


def readable(function: RowFunction, where: str) -> None:
    """Check that the column a feature gives is a number."""
    if not function.column:
        return
    field = function.stream.record.fields[function.column]
    if field.kind == "string":
        message = (
            f"{where}: column {field.name!r} of stream {function.stream.name!r} is {field.shown}; "
            "text is no number; write it as an enum in the schema (column() gives the symbol's "
            "index), keep statistics by it: by(), or compare it in where="
        )
        raise DefinitionError(message)


def no_duration(name: object, stream: Stream, call: str) -> None:
    """Refuse a duration in place of a column: ``count("1h")``."""
    if isinstance(name, str) and name not in stream.record.fields and is_duration(name):
        message = f"{call}: {name!r} stands where a column may; write over={name!r}"
        raise DefinitionError(message)


def aggregated(field: Field, stat: Stat, quanta: Mapping[str, int], call: str) -> None:
    """Check that a field's values can be aggregated exactly."""
    column(field, f"{call}: column {field.name!r}")
    name = NAMES[stat]
    if field.kind == "float":
        if field.name in quanta:
            return
        why = (
            "its sums would depend on their order"
            if stat in _ADDED
            else "statistics are kept of whole numbers"
        )
        hint = (
            f"{why}; give it a quantum, the step its values come in: "
            f"Stream(quantum={{{field.name!r}: '1e-2'}}), or put it into the schema as a long in "
            "minor units"
        )
    elif field.kind == "string":
        if stat in _TOLD_APART:
            return
        hint = (
            "text can only be counted and told apart: count(), distinct(); or keep statistics by "
            f"it: by({field.name!r})"
        )
    elif field.avro == "enum":
        if stat in _TOLD_APART | _CHOSEN:
            return
        hint = (
            f"the {name} of an enum's index says nothing; write column({field.name!r}), or count, "
            "distinct, first or last of it"
        )
    elif field.timestamp:
        if stat not in _ADDED:
            return
        hint = "times are beyond what can be added up (2^40); write min, max, first or last of it"
    else:
        return
    message = f"{call}: column {field.name!r} is {field.shown}; {hint}"
    raise DefinitionError(message)


def limit(stream: Stream, field: Field, *, aggregated: bool) -> int | None:
    """Return the largest absolute value a use of a column takes; None where there is no limit.

    In the unit it has on the wire; for a column with a quantum, in quanta.
    """
    given = stream.max_abs
    if field.kind == "float":
        if not aggregated:
            return None
    elif field.avro not in ("int", "long"):
        return None
    if isinstance(given, Mapping) and field.name in given:
        return given[field.name]
    if aggregated and not field.timestamp:
        return MOST_ABS if isinstance(given, Mapping) else given
    # What is read as microseconds must be exact as such.
    return EXACT // 1000 if field.logical.endswith("timestamp-millis") else EXACT


def exact(stream: Stream, field: Field, call: str) -> None:
    """Check that an aggregated column's own limit lets its sums fit."""
    found = limit(stream, field, aggregated=True)
    if found is not None and found > MOST_ABS and not field.timestamp:
        message = (
            f"{call}: max_abs of {field.name!r} is {found}, but an aggregated column's is at most "
            f"2^40 = {MOST_ABS}, so that sums are exact; write that, or only column({field.name!r})"
        )
        raise DefinitionError(message)


def reach(over_us: int | None, delay_us: int, call: str) -> None:
    """Refuse a window and delay that together reach back further than a duration may."""
    if over_us is not None and over_us + delay_us > LONGEST_US:
        message = (
            f"{call}: over {show(over_us)} and delay {show(delay_us)} together reach "
            f"back more than {show(LONGEST_US)}; write shorter ones"
        )
        raise DefinitionError(message)


def steps(resolution: str, over_us: int | None, call: str) -> None:
    """Check that a window is at least as long as the steps its old end moves in."""
    resolution_us = duration_us(resolution, f"{call}: resolution", zero=True)
    if over_us is None:
        message = f"{call}: resolution= is for a window's old end, and all of history has none"
        raise DefinitionError(f"{message}; leave it out, or write over=")
    if resolution_us > over_us:
        message = (
            f"{call}: resolution {resolution!r} is longer than over {show(over_us)}; write one "
            "that is shorter, such as a hundredth of it"
        )
        raise DefinitionError(message)


def _limit(value: object, what: str, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        power = most.bit_length() - 1
        message = f"{what} is {value!r}; write a whole number from 1 to 2^{power} = {most}"
        raise DefinitionError(message)
