"""What a definition is written with: ``Stream``, ``Pipeline``, ``Model`` (DESIGN section 4).

Everything is checked where it is written, so that an error has the line; a definition does nothing
but say what is wanted, and reads nothing but the schemas it names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition import checks, later
from noskew.dataflows.definition.checks import MOST_ABS
from noskew.dataflows.definition.durations import duration_us, utc_offset_s
from noskew.dataflows.definition.expression import (
    NAMES,
    Feature,
    FeatureGroup,
    Operand,
    RowFunction,
    Statistic,
    feature_name,
)
from noskew.dataflows.definition.fields import TIMES, find, nearest
from noskew.dataflows.definition.plan import Row, Stat
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from typing import Never

    from noskew.dataflows.definition.fields import Field, Record

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, init=False, eq=False)
class Stream:
    """A topic with a schema, and what its fields are for.

    topic     Kafka topic
    schema    the reader schema's file, relative to the file the stream is written in; failing that
              the name of a schema shipped in ``noskew.schemas``
    id        field that identifies a record (int, long or string)
    key       field whose values each live in one partition: the *primary* entity
    time      event time: timestamp-micros or timestamp-millis
    available when the record could first be known; ``time`` unless given
    allowed_lateness  how far below its partition's event clock a record still is aggregated
    max_skew  how far the slowest partition holds the horizon back
    max_abs   largest absolute value of aggregated columns, or column -> value; 2^40 unless given

    Raises DefinitionError, saying what to write instead.
    """

    name: str
    topic: str
    id: str
    key: str
    time: str
    available: str
    allowed_lateness_us: int
    max_skew_us: int
    max_abs: int | Mapping[str, int]
    record: Record

    def __init__(
        self,
        name: str,
        *,
        topic: str,
        schema: str | Path,
        id: str,  # noqa: A002 -- the contract's word for it (DESIGN section 4)
        key: str,
        time: str,
        available: str | None = None,
        allowed_lateness: str = "1h",
        max_skew: str = "1d",
        max_abs: int | Mapping[str, int] = MOST_ABS,
        **unknown: Never,
    ) -> None:
        later.refuse("Stream", unknown, _SETTINGS)
        where = f"stream {feature_name(name, 'Stream')!r}"
        values = {
            "name": name,
            "topic": checks.topic(topic, where),
            "id": id,
            "key": key,
            "time": time,
            "available": time if available is None else available,
            "allowed_lateness_us": duration_us(
                allowed_lateness, f"{where}: allowed_lateness", zero=True
            ),
            "max_skew_us": duration_us(max_skew, f"{where}: max_skew", zero=True),
            "max_abs": dict(max_abs) if isinstance(max_abs, Mapping) else max_abs,
            "record": find(checks.schema(schema, where), _definition_folder(), name),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._check_roles()
        checks.max_abs(max_abs, where, self.field)

    def by(self, column: str) -> Entity:
        """Return the entity that ``column`` identifies, to keep statistics by."""
        field = self.field(column, "by()")
        checks.identifies(field, f"stream {self.name!r}: by({column!r})")
        return Entity(self, column)

    def column(self, name: str) -> Feature:
        """Return a column's value: int64 and float64 as they are, booleans 0/1, enums as index."""
        field = self.field(name, "column()")
        checks.numeric(field, f"stream {self.name!r}: column({name!r})")
        return Feature(RowFunction(self, Row.COLUMN, name, 0))

    def hour(self, *, utc_offset: str = "+00:00", **unknown: Never) -> Feature:
        """Return the hour of the event's time, 0 to 23, in UTC or at a fixed offset from it."""
        later.refuse("hour", unknown, ("utc_offset",))
        return Feature(RowFunction(self, Row.HOUR, "", utc_offset_s(utc_offset)))

    def weekday(self, *, utc_offset: str = "+00:00", **unknown: Never) -> Feature:
        """Return the day of the week of the event's time, Monday 0, as ``hour`` does."""
        later.refuse("weekday", unknown, ("utc_offset",))
        return Feature(RowFunction(self, Row.WEEKDAY, "", utc_offset_s(utc_offset)))

    def field(self, name: object, use: str) -> Field:
        """Return a field of the schema; ``use`` says in the message what named it."""
        if isinstance(name, str) and name in self.record.fields:
            return self.record.fields[name]
        message = (
            f"stream {self.name!r}: {use} names {name!r}, which is no field of "
            f"{self.record.origin}; {nearest(str(name), self.record.fields)}"
        )
        raise DefinitionError(message)

    def _check_roles(self) -> None:
        where = f"stream {self.name!r}"
        for role in ("id", "key"):
            name = getattr(self, role)
            checks.identifies(self.field(name, f"{role}="), f"{where}: {role}={name!r}")
        if self.available == "record_timestamp" and "record_timestamp" not in self.record.fields:
            message = (
                f"{where}: available='record_timestamp' comes with streams that are not scored; "
                "leave it out: a scored record is available at its own time"
            )
            raise DefinitionError(message)
        for role in ("time", "available"):
            name = getattr(self, role)
            field = self.field(name, f"{role}=")
            if field.logical not in TIMES or field.avro != "long":
                message = (
                    f"{where}: {role}={name!r} is {field.shown} in {self.record.origin}, which "
                    'does not say its unit and zone; give the field the type {"type": "long", '
                    '"logicalType": "timestamp-micros"} (or timestamp-millis) in the schema'
                )
                raise DefinitionError(message)


_SETTINGS: Final = (
    "topic", "schema", "id", "key", "time", "available", "allowed_lateness", "max_skew", "max_abs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Entity:
    """A column of a stream that state is kept by; ``Stream.by`` makes it.

    ``over`` is one duration or several (then the call gives a group of features), ``delay`` moves
    the window's end back: an event at time T sees those with T - delay - over < t <= T - delay.
    Columns are int or long, or boolean counted as 0 and 1; their nulls are skipped.
    """

    stream: Stream
    column: str

    def count(
        self,
        column: str | None = None,
        *,
        over: str | Sequence[str] | None = None,
        delay: str = "0s",
        **unknown: Never,
    ) -> Feature | FeatureGroup:
        """Count the events in the window, or those whose ``column`` is not null."""
        stat = Stat.COUNT if column is None else Stat.COUNT_VALUES
        return self._windowed(stat, column, over, delay, unknown)

    def sum(
        self,
        column: str,
        *,
        over: str | Sequence[str] | None = None,
        delay: str = "0s",
        **unknown: Never,
    ) -> Feature | FeatureGroup:
        """Add up a column exactly; 0 for an empty window."""
        return self._windowed(Stat.SUM, column, over, delay, unknown)

    def mean(
        self,
        column: str,
        *,
        over: str | Sequence[str] | None = None,
        delay: str = "0s",
        **unknown: Never,
    ) -> Feature | FeatureGroup:
        """Average a column's values that are not null, rounded once; NaN if there is none."""
        return self._windowed(Stat.MEAN, column, over, delay, unknown)

    def min(
        self,
        column: str,
        *,
        over: str | Sequence[str] | None = None,
        delay: str = "0s",
        **unknown: Never,
    ) -> Feature | FeatureGroup:
        """Return a column's smallest value; NaN if there is none."""
        return self._windowed(Stat.MIN, column, over, delay, unknown)

    def max(
        self,
        column: str,
        *,
        over: str | Sequence[str] | None = None,
        delay: str = "0s",
        **unknown: Never,
    ) -> Feature | FeatureGroup:
        """Return a column's largest value; NaN if there is none."""
        return self._windowed(Stat.MAX, column, over, delay, unknown)

    def since_last(self, **unknown: Never) -> Feature:
        """Return the seconds since the newest other event at or before this one; NaN if none."""
        later.refuse("since_last", unknown, ())
        return Feature(Statistic(self.stream, self.column, Stat.SINCE_LAST, "", 0, 0))

    if not TYPE_CHECKING:  # a type checker shall not take any name for a statistic

        def __getattr__(self, name: str) -> object:
            later.refuse_statistic(name)
            known = ", ".join(dict.fromkeys(NAMES.values()))
            message = f"there is no statistic {name!r}; there are {known}"
            raise AttributeError(message, name=name, obj=self)

    def _windowed(
        self, stat: Stat, column: object, over: object, delay: object, unknown: Mapping[str, object]
    ) -> Feature | FeatureGroup:
        call = f"{self.stream.name}.by({self.column!r}).{NAMES[stat]}()"
        later.refuse(NAMES[stat], unknown, ("column", "over", "delay"))
        if over is None:
            later.refuse_history(call)
        name = ""
        if stat is not Stat.COUNT:
            field = self.stream.field(column, call)
            checks.aggregated(field, stat, call)
            checks.exact(self.stream.max_abs, field, call)
            name = field.name
        several = isinstance(over, Sequence) and not isinstance(over, str)
        windows = list(over) if isinstance(over, Sequence) and several else [over]
        if not windows:
            message = f'{call}: over=[] has no window; write over="1h" or over=["1h", "7d"]'
            raise DefinitionError(message)
        delay_us = duration_us(delay, f"{call}: delay", zero=True)
        features = tuple(
            Feature(Statistic(self.stream, self.column, stat, name, width_us, delay_us))
            for width_us in (duration_us(one, f"{call}: over") for one in windows)
        )
        checks.reach(features, call)
        return FeatureGroup(features) if several else features[0]


@dataclass(frozen=True, slots=True)
class Model:
    """The model that scores; its bundle's name. Where the bundle lies is a setting."""

    name: str

    def __post_init__(self) -> None:
        checks.pipeline_name(self.name, "Model")


@dataclass(frozen=True, init=False, eq=False)
class Pipeline:
    """What is scored, by which features in which order, with which model (None: features only).

    ``features`` takes features and groups of them; here they stand one by one.
    """

    name: str
    score: Stream
    features: tuple[Feature, ...]
    model: Model | None

    def __init__(
        self,
        *,
        name: str,
        score: Stream,
        features: Sequence[Operand],
        model: Model | None = None,
        **unknown: Never,
    ) -> None:
        later.refuse("Pipeline", unknown, ("name", "score", "features", "model"))
        where = f"pipeline {checks.pipeline_name(name, 'Pipeline')!r}"
        _check_types(score, model, where)
        checks.apart(name, score.topic, where)
        flat = _flat(features, where)
        for field, value in (
            ("name", name), ("score", score), ("features", flat), ("model", model),
        ):  # fmt: skip
            object.__setattr__(self, field, value)
        checks.vector(flat, score, where)


def _check_types(score: object, model: object, where: str) -> None:
    if not isinstance(score, Stream):
        message = f"{where}: score={score!r} is no stream; write score=Stream(...)"
        raise DefinitionError(message)
    if model is not None and not isinstance(model, Model):
        message = f"{where}: model={model!r} is no model; write model=Model({str(model)!r})"
        raise DefinitionError(message)


def _flat(features: object, where: str) -> tuple[Feature, ...]:
    if isinstance(features, Operand) or not isinstance(features, Sequence):
        message = f"{where}: features={features} is no list; write features=[...]"
        raise DefinitionError(message)
    flat: list[Feature] = []
    for place, item in enumerate(features):
        if not isinstance(item, Operand):
            hint = (
                f"{item!r} is an entity; write a statistic of it, such as .count(over='1d')"
                if isinstance(item, Entity)
                else f"{item!r} is no feature; a column is written stream.column('name')"
            )
            message = f"{where}: features[{place}]: {hint}"
            raise DefinitionError(message)
        flat.extend(item.features)
    return tuple(flat)


def _definition_folder() -> Path:
    """Return the folder of the file whose code called into this module, else the current one."""
    frame = inspect.currentframe()
    while frame is not None:
        path = frame.f_globals.get("__file__")
        if path is None or Path(path).parent != _HERE:
            return Path(path).parent if path else Path.cwd()
        frame = frame.f_back
    return Path.cwd()
