"""Rules of a definition, one function each: it returns what it was given or raises DefinitionError.

``where`` opens each message: the stream, pipeline or call in question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition import later
from noskew.dataflows.definition.durations import LONGEST_US, show
from noskew.dataflows.definition.expression import NAMES, Statistic, describe, leaves
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows.definition.expression import Feature
    from noskew.dataflows.definition.fields import Field
    from noskew.dataflows.definition.stream import Stream

MOST_ABS: Final = 2**40
"""Largest absolute value of an aggregated column: 2^22 of them add up within int64."""
EXACT: Final = 2**53
"""Largest absolute value up to which float64 holds every integer."""
MOST_FEATURES: Final = 2**16

OUTPUTS: Final = ("scores", "dead", "alerts", "journal", "control", "retry")
"""Topics of our own: ``<pipeline>.<one of these>``."""

RESERVED: Final = (
    "stream", "stream_partition", "stream_offset", "record_timestamp", "margin", "score", "flags",
)  # fmt: skip
"""Columns of replayed files; no feature may have such a name (DESIGN sections 3.1 and 9)."""

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}", re.ASCII)
_PIPELINE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_FRACTIONS: Final = ("float", "double")


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
            f"{where}: it scores topic {input_topic!r}, which it also writes; give the pipeline "
            f"another name (it writes {', '.join(written)})"
        )
        raise DefinitionError(message)


def max_abs(value: object, where: str, field: Callable[[object, str], Field]) -> None:
    """Check the setting ``max_abs``: a number, or numbers by column."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            found = field(name, "max_abs=")
            if found.avro not in ("int", "long"):
                message = (
                    f"{where}: max_abs of {name!r}, which is {found.shown}; only int and long "
                    "columns have one: leave it out"
                )
                raise DefinitionError(message)
            _limit(one, f"{where}: max_abs of {name!r}", EXACT)
    else:
        _limit(value, f"{where}: max_abs", MOST_ABS)


def identifies(field: Field, where: str) -> None:
    """Check that a field can identify something: whole numbers or text."""
    if field.avro not in ("int", "long", "string"):
        message = f"{where} is {field.shown}; an id, key or entity is int, long or string"
        raise DefinitionError(message)


def numeric(field: Field, where: str) -> None:
    """Check that a field's value can be a feature."""
    if field.kind in ("int", "float"):
        return
    if field.kind == "string":
        hint = (
            "text is no number; write it as an enum in the schema (column() gives the symbol's "
            "index), or keep statistics by it: by()"
        )
    else:
        hint = "only int, long, float, double, boolean and enum can be read; add such a field"
    message = f"{where} is {field.shown}; {hint}"
    raise DefinitionError(message)


def aggregated(field: Field, stat: Stat, call: str) -> None:
    """Check that a field's values can be aggregated exactly."""
    if field.avro == "boolean" or (field.avro in ("int", "long") and "time" not in field.logical):
        return
    if field.avro == "enum" and stat is Stat.COUNT_VALUES:
        return
    if field.avro in _FRACTIONS:
        hint = (
            "its sums would depend on their order; put it into the schema as a long in minor units "
            "(cents); quantum=, which rounds to such units, comes in a later version"
        )
    elif field.kind == "string":
        hint = (
            "text cannot be aggregated; count the events with count(), or keep statistics by it: "
            f"by({field.name!r})"
        )
    elif field.avro == "enum":
        hint = f"the {NAMES[stat]} of an enum's index says nothing; write column({field.name!r})"
    elif "time" in field.logical:
        hint = (
            "times are beyond what can be aggregated (2^40); write since_last() for the time since "
            f"the last event, or column({field.name!r})"
        )
    else:
        hint = "only int, long and boolean columns can be aggregated; add such a field"
    message = f"{call}: column {field.name!r} is {field.shown}; {hint}"
    raise DefinitionError(message)


def exact(limits: int | Mapping[str, int], field: Field, call: str) -> None:
    """Check that an aggregated column's own limit lets its sums fit."""
    limit = limits.get(field.name, MOST_ABS) if isinstance(limits, Mapping) else limits
    if limit > MOST_ABS:
        message = (
            f"{call}: max_abs of {field.name!r} is {limit}, but an aggregated column's is at most "
            f"2^40 = {MOST_ABS}, so that sums are exact; write that, or only column({field.name!r})"
        )
        raise DefinitionError(message)


def reach(features: tuple[Feature, ...], call: str) -> None:
    """Refuse a window and delay that together reach back further than a duration may."""
    for feature in features:
        one = feature.expression
        if isinstance(one, Statistic) and one.over_us + one.delay_us > LONGEST_US:
            message = (
                f"{call}: over {show(one.over_us)} and delay {show(one.delay_us)} together reach "
                f"back more than {show(LONGEST_US)}; write shorter ones"
            )
            raise DefinitionError(message)


def vector(features: tuple[Feature, ...], scored: Stream, where: str) -> None:
    """Check a pipeline's features together: their number, names, streams; none twice."""
    if not 0 < len(features) <= MOST_FEATURES:
        message = f"{where}: {len(features)} features; write 1 to {MOST_FEATURES} of them"
        raise DefinitionError(message)
    reserved = {*RESERVED, scored.id, scored.key, scored.time}
    by_name: dict[str, Feature] = {}
    by_meaning: dict[object, Feature] = {}
    for place, feature in enumerate(features):
        what = describe(feature.expression)
        _of_stream(feature, scored, where)
        if not feature.name:
            message = (
                f"{where}: features[{place}], {what}, has no name; write ({what}).named('...')"
            )
            raise DefinitionError(message)
        if feature.name in reserved:
            message = (
                f"{where}: feature {feature.name!r} ({what}) has the name of a column that "
                f"replayed files have anyway; write .named('{feature.name}_value')"
            )
            raise DefinitionError(message)
        same = by_meaning.setdefault(feature.expression, feature)
        if same is not feature or by_name.get(feature.name) is feature:
            names = f"{same.name!r} and {feature.name!r} are"
            names = f"{feature.name!r} is" if same.name == feature.name else names
            message = f"{where}: {names} given twice ({what}); leave one out"
            raise DefinitionError(message)
        other = by_name.setdefault(feature.name, feature)
        if other is not feature:
            message = (
                f"{where}: two features have the name {feature.name!r}: "
                f"{describe(other.expression)}; and {what}; write .named('...') on one of them"
            )
            raise DefinitionError(message)


def _of_stream(feature: Feature, scored: Stream, where: str) -> None:
    for part in leaves(feature.expression):
        if part.stream.name != scored.name:
            later.refuse_streams(str(feature), part.stream.name, scored.name, where)
        if part.stream is not scored:
            message = (
                f"{where}: feature {str(feature)!r} is of another Stream object that is also named "
                f"{scored.name!r}; make the stream once and use that"
            )
            raise DefinitionError(message)


def _limit(value: object, what: str, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        power = most.bit_length() - 1
        message = f"{what} is {value!r}; write a whole number from 1 to 2^{power} = {most}"
        raise DefinitionError(message)
