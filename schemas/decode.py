"""Records of one stream to columns: framing, the writer's schema, the body, and what may be in it.

``Decoder.decode`` takes a buffer of records and gives columns; which records could not be used and
why stands beside them. This decoder reads record by record with fastavro (a slow path by design: a
columnar one can stand behind the same interface). No exception of a record reaches its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from noskew.schemas import framing, rules
from noskew.schemas.bodies import DETAIL, Work, read
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.reason import STAGE, Reason
from noskew.schemas.resolve import Route, route, show_wanted, wanted_fields
from noskew.schemas.safety import UnsafeSchemaError, screen, suspicious
from noskew.schemas.writer import RegistryAwayError, UnknownSchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from noskew.schemas.columns import Column
    from noskew.schemas.writer import Schemas, WriterSchema

__all__ = ["STAGE", "Decoded", "Decoder", "Reading", "Reason"]


class Reading(Protocol):
    """What a pipeline reads of a stream; ``StreamPlan`` is one."""

    @property
    def schema(self) -> dict[str, Any]:
        """The reader schema as parsed JSON: a record."""

    @property
    def id(self) -> str:
        """Name of the id field; never null."""

    @property
    def time(self) -> str:
        """Name of the time field; never null."""

    @property
    def available(self) -> str:
        """Name of the availability field, or "record_timestamp" for Kafka's own."""

    @property
    def fields(self) -> Mapping[str, str]:
        """Every field to decode -> "int", "float" or "string"."""

    @property
    def nullable(self) -> frozenset[str]:
        """Fields in which a null is data."""

    @property
    def max_abs(self) -> Mapping[str, int]:
        """Largest absolute value of each int field that is aggregated, of a quantum's integers."""

    @property
    def quantum(self) -> Mapping[str, int]:
        """Decimal places k of each float field aggregated as ``rint(x * 10**k)``."""


@dataclass(slots=True)
class Decoded:
    """n records as columns.

    schema_id     int32[n]  as framed; -1 where the record is not framed
    reason        uint8[n]  ``Reason``; where it is set, columns hold nulls and both times are 0
    waiting       bool[n]   its schema cannot be had now: hold the partition from this record on
    time_us, available_us   int64[n]
    columns       field -> Column of n values
    details       position -> text, for every record with a reason
    away          why the registry has no answer, where records wait; else empty
    """

    schema_id: NDArray[np.int32]
    reason: NDArray[np.uint8]
    waiting: NDArray[np.bool_]
    time_us: NDArray[np.int64]
    available_us: NDArray[np.int64]
    columns: dict[str, Column]
    details: dict[int, str] = field(default_factory=dict)
    away: str = ""


class Decoder:
    """Decodes one stream. Keeps one ``Route`` per writer's schema it has met.

    writers   id -> every writer's schema used so far, in order of first use
    """

    def __init__(self, reading: Reading, schemas: Schemas) -> None:
        """Prepare; ValueError where a wanted field is not in the schema or has another kind."""
        self.reading = reading
        self.writers: dict[int, WriterSchema] = {}
        self._schemas = schemas
        self._routes: dict[int, Route] = {}
        self._wanted = wanted_fields(reading.schema, reading.fields)
        for want in self._wanted:
            if want.kind != reading.fields[want.name]:
                message = (
                    f"field {want.name!r} is read as {reading.fields[want.name]!r}, but the "
                    f"schema says {show_wanted(want)}, a column of {want.kind!r}"
                )
                raise ValueError(message)

    def decode(
        self,
        payload: NDArray[np.uint8],
        start: NDArray[np.int64],
        absent: NDArray[np.bool_],
        record_time_us: NDArray[np.int64],
    ) -> Decoded:
        """Decode n records; arrays are as in ``Raw`` (record_time_us NULL where unknown)."""
        schema_id, body, reason = framing.frame(payload, start, absent)
        n = len(schema_id)
        out = Decoded(
            schema_id=schema_id,
            reason=reason,
            waiting=np.zeros(n, np.bool_),
            time_us=np.zeros(n, np.int64),
            available_us=np.zeros(n, np.int64),
            columns={},
        )
        heap = payload.tobytes()
        edges = start.tolist()
        for i in np.flatnonzero(reason).tolist():
            value = None if absent[i] else heap[edges[i] : edges[i + 1]]
            out.details[i] = framing.guess(value)
        work = Work(out, heap, start[1:], body, self._wanted)
        work.suspects = set(suspicious(payload, body, start[1:]).tolist())
        for one in np.unique(schema_id[reason == 0]).tolist():
            places = np.flatnonzero((schema_id == one) & (reason == 0))
            found = self._route(one, places, work, edges)
            if found is not None:
                read(found, places, work, one)
        work.finish()
        rules.apply(out, self.reading, self._wanted, work.nulls, record_time_us)
        _blank(out)
        return out

    def _route(
        self, schema_id: int, places: NDArray[np.int64], work: Work, edges: list[int]
    ) -> Route | None:
        """Return the route of an id, or mark its records and return None."""
        found = self._routes.get(schema_id)
        if found is None:
            try:
                writer = self._schemas.schema(schema_id)
            except RegistryAwayError as error:
                work.out.waiting[places] = True
                work.out.away = str(error)
                return None
            except UnknownSchemaError as error:
                for i in places.tolist():
                    value = work.heap[edges[i] : edges[i + 1]]
                    hint = framing.guess_unknown(schema_id, value)
                    work.fail(i, Reason.UNKNOWN_SCHEMA, f"{error}; {hint}")
                return None
            except UnsafeSchemaError as error:
                found = _no_route(str(error))
            else:
                self.writers[schema_id] = writer
                found = self._new_route(writer)
            self._routes[schema_id] = found
        if found.problem is not None and found.problem[0] == Reason.UNSAFE_SCHEMA:
            for i in places.tolist():
                work.fail(i, *found.problem)
            return None
        return found

    def _new_route(self, writer: WriterSchema) -> Route:
        refused = screen(writer.parsed)
        if refused is not None:
            return _no_route(f"the writer's schema {writer.id} is refused: {refused}")
        try:
            return route(writer.parsed, self.reading.schema, self._wanted)
        except Exception as error:  # noqa: BLE001 -- fastavro raises many kinds for a bad schema
            text = f"{type(error).__name__}: {error}"
            return _no_route(f"the writer's schema {writer.id} is no valid Avro schema ({text})")


def _no_route(detail: str) -> Route:
    return Route(None, None, None, [], {}, (Reason.UNSAFE_SCHEMA, detail[:DETAIL]))


def _blank(out: Decoded) -> None:
    """Leave nothing of a record that could not be used in the columns."""
    bad = (out.reason != 0) | out.waiting
    if not bad.any():
        return
    for column in out.columns.values():
        if isinstance(column, Strings):
            column.length[bad] = -1
        else:
            column[bad] = NULL if column.dtype == np.int64 else np.nan
    out.time_us[bad] = 0
    out.available_us[bad] = 0
