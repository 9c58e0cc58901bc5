"""Entities: the statistics kept by a column of a stream, as ``Stream.by`` gives them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from noskew.dataflows.definition import checks
from noskew.dataflows.definition.condition import Condition
from noskew.dataflows.definition.durations import duration_us
from noskew.dataflows.definition.expression import EMPTY, NAMES, Statistic
from noskew.dataflows.definition.feature import Feature, FeatureGroup, Operand
from noskew.dataflows.definition.fields import nearest
from noskew.dataflows.definition.literals import plain
from noskew.dataflows.definition.plan import Stat
from noskew.dataflows.definition.semantics import CLOSED
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Never

    from noskew.dataflows.definition.plan import Filter
    from noskew.dataflows.definition.stream import Stream


class Windowed(TypedDict, total=False):
    """Settings of a statistic that has a window.

    over          one duration, or several (the call then gives a group of features); None, or left
                  out: all of history
    delay         moves the window back: an event at T sees T - delay - over < t <= T - delay
    closed        which ends belong to the window: "right" (so above), "left", "both", "neither"
    include_self  False: the scored event is no member of its own windows
    where         only events that fulfil a condition count: where=stream.column("x") > 5
    resolution    the window's old end moves in steps of this: less memory for long windows
    empty         value of a window without members; a number or NaN
    """

    over: str | Sequence[str | None] | None
    delay: str
    closed: str
    include_self: bool
    where: Condition
    resolution: str
    empty: float


_WINDOWED: Final = tuple(Windowed.__annotations__)
_NO_WINDOW: Final = "it has no window and takes all events"


@dataclass(frozen=True, slots=True, eq=False)
class Entity:
    """A column of a stream that state is kept by; ``Stream.by`` makes it.

    Each statistic takes the settings of ``Windowed``, but those without a window. Columns are int
    or long, boolean counted as 0 and 1, float and double with a quantum; their nulls are skipped.
    Text and enums are counted and told apart only (enums also chosen by ``first`` and ``last``:
    the symbol's index). All calls raise DefinitionError, saying what to write instead.
    """

    stream: Stream
    column: str

    def __repr__(self) -> str:
        return f"{self.stream.name}.by({self.column!r})"

    def count(
        self, column: str | None = None, **settings: Unpack[Windowed]
    ) -> Feature | FeatureGroup:
        """Count the events in the window, or those whose ``column`` is not null."""
        stat = Stat.COUNT if column is None else Stat.COUNT_VALUES
        return self._windowed(stat, column, settings)

    def sum(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Add up a column exactly; 0 for an empty window."""
        return self._windowed(Stat.SUM, column, settings)

    def mean(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Average a column's values that are not null, rounded once; NaN if there is none."""
        return self._windowed(Stat.MEAN, column, settings)

    def min(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Return a column's smallest value; NaN if there is none."""
        return self._windowed(Stat.MIN, column, settings)

    def max(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Return a column's largest value; NaN if there is none."""
        return self._windowed(Stat.MAX, column, settings)

    def var(
        self, column: str, *, ddof: int = 1, **settings: Unpack[Windowed]
    ) -> Feature | FeatureGroup:
        """Return a column's variance, rounded once; NaN for ``ddof`` values or fewer."""
        return self._windowed(Stat.VAR, column, settings, ddof)

    def std(
        self, column: str, *, ddof: int = 1, **settings: Unpack[Windowed]
    ) -> Feature | FeatureGroup:
        """Return the square root of the variance; NaN for ``ddof`` values or fewer."""
        return self._windowed(Stat.STD, column, settings, ddof)

    def first(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Return a column's earliest value that is not null; NaN if there is none."""
        return self._windowed(Stat.FIRST, column, settings)

    def last(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Return a column's latest value that is not null; NaN if there is none."""
        return self._windowed(Stat.LAST, column, settings)

    def distinct(self, column: str, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Count a column's different values: numbers, booleans, enums or text."""
        return self._windowed(Stat.DISTINCT, column, settings)

    def rate(self, **settings: Unpack[Windowed]) -> Feature | FeatureGroup:
        """Return the events per second of the window: their count by its width."""
        return self._windowed(Stat.RATE, None, settings)

    def decayed_sum(
        self, column: str, *, half_life: str | Sequence[str], **unknown: Never
    ) -> Feature | FeatureGroup:
        """Add up a column, each value halved for every ``half_life`` that has passed since."""
        return self._decayed(Stat.DECAYED_SUM, column, half_life, unknown)

    def decayed_count(
        self, *, half_life: str | Sequence[str], **unknown: Never
    ) -> Feature | FeatureGroup:
        """Count events, each halved for every ``half_life`` that has passed since."""
        return self._decayed(Stat.DECAYED_COUNT, None, half_life, unknown)

    def ewma(
        self, column: str, *, half_life: str | Sequence[str], **unknown: Never
    ) -> Feature | FeatureGroup:
        """Average a column, weights halved for every ``half_life``; NaN if there is no value."""
        return self._decayed(Stat.EWMA, column, half_life, unknown)

    def since_last(self, **unknown: Never) -> Feature:
        """Return the seconds since the newest other event at or before this one; NaN if none."""
        hint = f"{_NO_WINDOW}: write since_last()" if unknown.keys() <= set(_WINDOWED) else ""
        checks.unknown(self._call(Stat.SINCE_LAST), tuple(unknown), (), hint)
        return Feature(Statistic(self.stream, self.column, Stat.SINCE_LAST))

    if not TYPE_CHECKING:  # a type checker shall not take any name for a statistic

        def __getattr__(self, name: str) -> object:
            known = list(dict.fromkeys(NAMES.values()))
            message = f"there is no statistic {name!r}; {nearest(name, known)}"
            raise AttributeError(message, name=name, obj=self)

    def _call(self, stat: Stat) -> str:
        return f"{self!r}.{NAMES[stat]}()"

    def _windowed(
        self, stat: Stat, column: object, settings: Mapping[str, Any], ddof: int = 1
    ) -> Feature | FeatureGroup:
        call = self._call(stat)
        extra = () if column is None else ("column",)
        checks.unknown(call, tuple(settings), (*extra, *_WINDOWED))
        several, spans = _several(settings.get("over"), "over", call)
        delay_us = duration_us(settings.get("delay", "0s"), f"{call}: delay", zero=True)
        common = Statistic(
            self.stream,
            self.column,
            stat,
            self._aggregated(column, stat, call),
            delay_us=delay_us,
            closed=_closed(settings.get("closed"), call),
            include_self=_own(settings.get("include_self"), call),
            resolution=settings.get("resolution"),
            where=self._where(settings.get("where"), call),
            empty=_empty(settings.get("empty"), stat, call),
            ddof=_ddof(ddof, call),
        )
        features = []
        for span in spans:
            over_us = None if span is None else duration_us(span, f"{call}: over")
            if over_us is None and stat is Stat.RATE:
                message = f"{call}: all of history has no width to divide by; write over='1d'"
                raise DefinitionError(message)
            checks.reach(over_us, delay_us, call)
            if common.resolution is not None:
                checks.steps(common.resolution, over_us, call)
            features.append(Feature(replace(common, over_us=over_us)))
        return FeatureGroup(tuple(features)) if several else features[0]

    def _decayed(
        self, stat: Stat, column: object, half_life: object, unknown: Mapping[str, object]
    ) -> Feature | FeatureGroup:
        call = self._call(stat)
        hint = f"{_NO_WINDOW}: write half_life=" if unknown.keys() <= set(_WINDOWED) else ""
        checks.unknown(call, tuple(unknown), ("half_life",), hint)
        name = self._aggregated(column, stat, call)
        several, spans = _several(half_life, "half_life", call)
        features = [
            Feature(
                Statistic(
                    self.stream,
                    self.column,
                    stat,
                    name,
                    empty=EMPTY.get(stat),
                    half_life_us=duration_us(span, f"{call}: half_life"),
                )
            )
            for span in spans
        ]
        return FeatureGroup(tuple(features)) if several else features[0]

    def _aggregated(self, column: object, stat: Stat, call: str) -> str:
        if column is None and stat in (Stat.COUNT, Stat.RATE, Stat.DECAYED_COUNT):
            return ""
        checks.no_duration(column, self.stream, call)
        field = self.stream.field(column, call)
        checks.aggregated(field, stat, self.stream.quantum, call)
        checks.exact(self.stream, field, call)
        return field.name

    def _where(self, where: object, call: str) -> Filter | None:
        if where is None:
            return None
        if not isinstance(where, Condition):
            hint = (
                f"it is a column, compare it: where={where} > 100, or == True for a boolean"
                if isinstance(where, Operand)
                else "write a comparison of a column: where=stream.column('name') > 100"
            )
            message = f"{call}: where={where} is no condition; {hint}"
            raise DefinitionError(message)
        if where.stream is not self.stream:
            message = (
                f"{call}: where={where} compares a column of stream {where.stream.name!r}; the "
                f"events counted are of {self.stream.name!r}: compare a column of that"
            )
            raise DefinitionError(message)
        return where.filter


def _several(given: object, what: str, call: str) -> tuple[bool, list[object]]:
    """Return whether several durations were given, and them."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        return False, [given]
    if not given:
        message = f'{call}: {what}=[] has no window; write {what}="1h" or {what}=["1h", "7d"]'
        raise DefinitionError(message)
    return True, list(given)


def _closed(given: object, call: str) -> str | None:
    if given is None or (isinstance(given, str) and given in CLOSED):
        return given
    message = f"{call}: closed={given!r} is none of the ends; {nearest(str(given), CLOSED)}"
    raise DefinitionError(message)


def _own(given: object, call: str) -> bool | None:
    return None if given is None else checks.flag(given, f"{call}: include_self")


def _empty(given: object, stat: Stat, call: str) -> float | None:
    """Return the value of a statistic of nothing, None for NaN."""
    if given is None:
        return EMPTY.get(stat)
    given = plain(given)
    exact = isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) <= 2**53
    if not exact and not (isinstance(given, float) and math.isnan(given)):
        message = f"{call}: empty is {given!r}; write a number, or float('nan')"
        raise DefinitionError(message)
    number = float(given)  # type: ignore[arg-type]  # a number, or it was refused
    return None if math.isnan(number) else number + 0.0


def _ddof(given: object, call: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= checks.MOST_DDOF:
        message = (
            f"{call}: ddof is {given!r}; write 1 for the variance of a sample, 0 of all there is"
        )
        raise DefinitionError(message)
    return given
