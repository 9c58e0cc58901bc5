"""A pipeline's features together: settled to the pipeline's semantics, checked against each other.

To *settle* a statistic is to fill in what only the pipeline knows: the window that its semantics
make of it, and whether its stream is the one that is scored.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition import checks
from noskew.dataflows.definition.expression import (
    Arithmetic,
    RowFunction,
    Statistic,
    describe,
    leaves,
)
from noskew.dataflows.definition.feature import LONGEST_NAME, Feature
from noskew.dataflows.definition.plan import RECORD_TIMESTAMP, WINDOWLESS, Stat
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from noskew.dataflows.definition.expression import Expression
    from noskew.dataflows.definition.semantics import Preset
    from noskew.dataflows.definition.stream import Stream

MOST_FEATURES: Final = 4096

RESERVED: Final = (
    "stream", "stream_partition", "stream_offset", "record_timestamp", "margin", "score", "flags",
)  # fmt: skip
"""Columns of replayed files; no feature may have such a name (DESIGN sections 3.1 and 9)."""


def streams(features: tuple[Feature, ...], scored: Stream, where: str) -> tuple[Stream, ...]:
    """Return the streams of a pipeline, the scored one first, then as they occur.

    Raises DefinitionError for one that cannot be read beside the others.
    """
    if scored.revise:
        message = (
            f"{where}: stream {scored.name!r} is scored, and a scored record is never replaced; "
            "write revise=True only on streams that are not scored, such as labels"
        )
        raise DefinitionError(message)
    found = {scored.name: scored}
    for feature in features:
        for part in leaves(feature.expression):
            stream = part.stream
            if found.setdefault(stream.name, stream) is not stream:
                message = (
                    f"{where}: feature {str(feature)!r} is of another Stream object that is also "
                    f"named {stream.name!r}; make the stream once and use that"
                )
                raise DefinitionError(message)
            if stream is not scored:
                _beside(part, scored, f"{where}: feature {str(feature)!r}")
    topics: dict[str, Stream] = {}
    for stream in found.values():
        other = topics.setdefault(stream.topic, stream)
        if other is not stream:
            message = (
                f"{where}: streams {other.name!r} and {stream.name!r} both read topic "
                f"{stream.topic!r}; make one Stream of it"
            )
            raise DefinitionError(message)
    return tuple(found.values())


def _beside(part: Statistic | RowFunction, scored: Stream, what: str) -> None:
    """Check one part of a feature that is of a stream which is not scored."""
    stream = part.stream
    if isinstance(part, RowFunction):
        message = (
            f"{what} is a value of one record of stream {stream.name!r}, but {scored.name!r} is "
            f"scored; write a statistic of it, such as {stream.name}.by({scored.key!r})"
            ".count(over='1d')"
        )
        raise DefinitionError(message)
    if not stream.available_given:
        message = (
            f"{what} is of stream {stream.name!r}, which does not say when a record could first be "
            f"known; write Stream({stream.name!r}, ..., available=...) with the field that says "
            f"it, or available={RECORD_TIMESTAMP!r} for Kafka's own time"
        )
        raise DefinitionError(message)
    own = stream.record.fields[part.entity]
    field = scored.record.fields.get(part.entity)
    if field is None or not field.kind:
        message = (
            f"{what} is kept by {part.entity!r} of stream {stream.name!r}, which the scored stream "
            f"{scored.name!r} has no field for; add it to {scored.record.origin}, or use by() "
            "with a field of one name in both"
        )
        raise DefinitionError(message)
    if field.kind != own.kind:
        message = (
            f"{what} is kept by {part.entity!r}, which is {own.shown} in stream {stream.name!r} "
            f"and {field.shown} in the scored stream {scored.name!r}; give both schemas one type"
        )
        raise DefinitionError(message)


def settled(
    features: tuple[Feature, ...], scored: Stream, preset: Preset, where: str
) -> tuple[Feature, ...]:
    """Return features with windows and streams filled in."""
    found = []
    for feature in features:
        try:
            expression = _settle(feature.expression, scored, preset)
        except DefinitionError as error:
            message = f"{where}: feature {str(feature)!r}: {error}"
            raise DefinitionError(message) from None
        found.append(Feature(expression, feature.given))
    return tuple(found)


def _settle(one: Expression, scored: Stream, preset: Preset) -> Expression:
    match one:
        case Arithmetic(row=row, left=left, right=right, operations=count):
            sides = [_settle(side, scored, preset) for side in (left, right)]
            return Arithmetic(row, sides[0], sides[1], count)
        case Statistic():
            return _settle_statistic(one, scored, preset)
        case _:
            return one


def _settle_statistic(one: Statistic, scored: Stream, preset: Preset) -> Statistic:
    foreign = one.stream is not scored
    if one.stat in WINDOWLESS:
        if preset.peers and one.stat is Stat.SINCE_LAST:
            message = (
                f"semantics={preset.name!r} lets events of one time see each other, so there is no "
                "last one among them; leave since_last() out"
            )
            raise DefinitionError(message)
        return replace(one, include_self=True, foreign=foreign)
    if preset.peers and one.include_self is False:
        message = (
            f"semantics={preset.name!r} lets events of one time see each other and themselves; "
            "leave include_self=False out"
        )
        raise DefinitionError(message)
    given = {"closed": one.closed, "resolution": one.resolution}
    given = {name: value for name, value in given.items() if value is not None}
    own = preset.include_self if one.include_self is None else one.include_self
    # One taken from another pipeline's features has its window from there.
    window = one.window or preset.window(one.over_us, one.delay_us, given)
    return replace(
        one, closed=None, resolution=None, include_self=own, window=window, foreign=foreign
    )


def check(features: tuple[Feature, ...], scored: Stream, where: str) -> None:
    """Check settled features together: their number, their names; none twice."""
    if not 0 < len(features) <= MOST_FEATURES:
        message = f"{where}: {len(features)} features; write 1 to {MOST_FEATURES} of them"
        raise DefinitionError(message)
    by_name: dict[str, Feature] = {}
    by_meaning: dict[object, Feature] = {}
    for place, feature in enumerate(features):
        what = describe(feature.expression)
        if isinstance(feature.expression, RowFunction):
            checks.readable(feature.expression, f"{where}: features[{place}]")
        _named(feature, scored, f"{where}: features[{place}], {what},", where)
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


def _named(feature: Feature, scored: Stream, what: str, where: str) -> None:
    name, formula = feature.name, describe(feature.expression)
    if not name:
        message = f"{what} has no name; write ({formula}).named('...')"
        raise DefinitionError(message)
    if len(name) > LONGEST_NAME:
        message = (
            f"{what} would have a name of {len(name)} characters; write .named('...') with at most "
            f"{LONGEST_NAME}"
        )
        raise DefinitionError(message)
    if name in {*RESERVED, scored.id, scored.key, scored.time}:
        message = (
            f"{where}: feature {name!r} ({formula}) has the name of a column that "
            f"replayed files have anyway; write .named('{name}_value')"
        )
        raise DefinitionError(message)
