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

from noskew.dataflows.definition import checks, vector
from noskew.dataflows.definition.checks import MOST_ABS
from noskew.dataflows.definition.condition import Condition
from noskew.dataflows.definition.durations import duration_us, utc_offset_s
from noskew.dataflows.definition.entity import Entity
from noskew.dataflows.definition.expression import RowFunction
from noskew.dataflows.definition.feature import Feature, Operand, feature_name
from noskew.dataflows.definition.fields import TIMES, find, nearest
from noskew.dataflows.definition.plan import RECORD_TIMESTAMP, Row
from noskew.dataflows.definition.semantics import preset
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
    available field that says when the record could first be known, or "record_timestamp" for
              Kafka's own; ``time`` unless given, which a stream that is not scored must
    allowed_lateness  how far below its partition's event clock a record still is aggregated
    max_skew  how far the slowest partition holds the horizon back
    quantum   float or double column -> "1e-k": aggregated as the integer ``rint(x * 10**k)``
    max_abs   largest absolute value of aggregated columns, or column -> value (of a column with a
              quantum: in units of it); 2^40 unless given
    dedupe    drops a record whose id was accepted in its partition within that span of event time
    revise    a record with the id of an earlier one replaces it; not of the scored stream

    Raises DefinitionError, saying what to write instead.
    """

    name: str
    topic: str
    id: str
    key: str
    time: str
    available: str
    available_given: bool
    allowed_lateness_us: int
    max_skew_us: int
    quantum: Mapping[str, int]
    max_abs: int | Mapping[str, int]
    dedupe_us: int
    revise: bool
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
        quantum: Mapping[str, str] | None = None,
        max_abs: int | Mapping[str, int] = MOST_ABS,
        dedupe: str | None = None,
        revise: bool = False,
        **unknown: Never,
    ) -> None:
        checks.unknown("Stream", tuple(unknown), _SETTINGS)
        where = f"stream {feature_name(name, 'Stream')!r}"
        values = {
            "name": name,
            "topic": checks.topic(topic, where),
            "id": id,
            "key": key,
            "time": time,
            "available": time if available is None else available,
            "available_given": available is not None,
            "allowed_lateness_us": duration_us(
                allowed_lateness, f"{where}: allowed_lateness", zero=True
            ),
            "max_skew_us": duration_us(max_skew, f"{where}: max_skew", zero=True),
            "max_abs": dict(max_abs) if isinstance(max_abs, Mapping) else max_abs,
            "dedupe_us": 0 if dedupe is None else duration_us(dedupe, f"{where}: dedupe"),
            "revise": checks.flag(revise, f"{where}: revise"),
            "record": find(checks.schema(schema, where), _definition_folder(), name),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._check_roles()
        object.__setattr__(self, "quantum", checks.quantum(quantum, where, self.field))
        checks.max_abs(max_abs, self.quantum, where, self.field)
        if self.dedupe_us and self.revise:
            message = (
                f"{where}: dedupe drops a record of an id that was seen, and revise=True lets it "
                "replace the earlier one; write one of them"
            )
            raise DefinitionError(message)

    def __repr__(self) -> str:
        return f"Stream({self.name!r})"  # messages show it: not its whole schema

    def by(self, column: str) -> Entity:
        """Return the entity that ``column`` identifies, to keep statistics by."""
        field = self.field(column, "by()")
        checks.identifies(field, f"stream {self.name!r}: by({column!r})")
        return Entity(self, column)

    def column(self, name: str) -> Feature:
        """Return a column's value: int64 and float64 as they are, booleans 0/1, enums as index.

        Compared with a literal it is a condition for ``where=``; text can only be compared.
        """
        field = self.field(name, "column()")
        checks.column(field, f"stream {self.name!r}: column({name!r})")
        return Feature(RowFunction(self, Row.COLUMN, name, 0))

    def hour(self, *, utc_offset: str = "+00:00", **unknown: Never) -> Feature:
        """Return the hour of the event's time, 0 to 23, in UTC or at a fixed offset from it."""
        checks.unknown("hour", tuple(unknown), ("utc_offset",))
        return Feature(RowFunction(self, Row.HOUR, "", utc_offset_s(utc_offset)))

    def weekday(self, *, utc_offset: str = "+00:00", **unknown: Never) -> Feature:
        """Return the day of the week of the event's time, Monday 0, as ``hour`` does."""
        checks.unknown("weekday", tuple(unknown), ("utc_offset",))
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
        if self.available == RECORD_TIMESTAMP and RECORD_TIMESTAMP in self.record.fields:
            message = (
                f"{where}: available={RECORD_TIMESTAMP!r} is Kafka's own time, and also a field of "
                f"{self.record.origin}; give the field another name in the schema"
            )
            raise DefinitionError(message)
        for role in ("time", "available"):
            name = getattr(self, role)
            if role == "available" and name == RECORD_TIMESTAMP:
                continue
            field = self.field(name, f"{role}=")
            if field.logical not in TIMES or field.avro != "long":
                message = (
                    f"{where}: {role}={name!r} is {field.shown} in {self.record.origin}, which "
                    'does not say its unit and zone; give the field the type {"type": "long", '
                    '"logicalType": "timestamp-micros"} (or timestamp-millis) in the schema'
                )
                raise DefinitionError(message)


_SETTINGS: Final = (
    "topic", "schema", "id", "key", "time", "available", "allowed_lateness", "max_skew", "quantum",
    "max_abs", "dedupe", "revise",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """The model that scores; its bundle's name. Where the bundle lies is a setting."""

    name: str

    def __post_init__(self) -> None:
        checks.pipeline_name(self.name, "Model")


@dataclass(frozen=True, init=False, eq=False)
class Pipeline:
    """What is scored, by which features in which order, with which model (None: features only).

    ``features`` takes features and groups of them, of the scored stream and statistics of others;
    here they stand one by one, settled to ``semantics``: the system whose windows are meant (see
    ``definition.semantics``). ``streams`` has the scored one first.
    """

    name: str
    score: Stream
    streams: tuple[Stream, ...]
    features: tuple[Feature, ...]
    model: Model | None
    semantics: str

    def __init__(
        self,
        *,
        name: str,
        score: Stream,
        features: Sequence[Operand],
        model: Model | None = None,
        semantics: str = "noskew",
        **unknown: Never,
    ) -> None:
        settings = ("name", "score", "features", "model", "semantics")
        checks.unknown("Pipeline", tuple(unknown), settings)
        where = f"pipeline {checks.pipeline_name(name, 'Pipeline')!r}"
        _check_types(score, model, where)
        flat = _flat(features, where)
        streams = vector.streams(flat, score, where)
        for stream in streams:
            checks.apart(name, stream.topic, where)
        flat = vector.settled(flat, score, preset(semantics), where)
        for field, value in (
            ("name", name), ("score", score), ("streams", streams), ("features", flat),
            ("model", model), ("semantics", semantics),
        ):  # fmt: skip
            object.__setattr__(self, field, value)
        vector.check(flat, score, where)


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
            message = f"{where}: features[{place}]: {_no_feature(item)}"
            raise DefinitionError(message)
        flat.extend(item.features)
    return tuple(flat)


def _no_feature(item: object) -> str:
    if isinstance(item, Entity):
        return f"{item!r} is an entity; write a statistic of it, such as .count(over='1d')"
    if isinstance(item, Condition):
        return f"{item} is a condition; write it into where=, or give the model the column itself"
    return f"{item!r} is no feature; a column is written stream.column('name')"


def _definition_folder() -> Path:
    """Return the folder of the file whose code called into this module, else the current one."""
    frame = inspect.currentframe()
    while frame is not None:
        path = frame.f_globals.get("__file__")
        if path is None or Path(path).parent != _HERE:
            return Path(path).parent if path else Path.cwd()
        frame = frame.f_back
    return Path.cwd()
