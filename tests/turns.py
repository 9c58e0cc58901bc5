"""Turns, streams and plans written by hand, for tests of the engine and of its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.definition.plan import Plan, StreamPlan
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from noskew.dataflows.definition.plan import TablePlan
    from noskew.schemas.columns import Column

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_700_000_000 * SECOND


@dataclass(frozen=True)
class Record:
    """One record: of which stream, when after ``START``, with which values; None is a null."""

    stream: int
    after_us: int
    values: Mapping[str, int | float | str | None] = field(default_factory=dict)
    partition: int = 0
    reason: int = 0


def stream_of(
    place: int,
    fields: dict[str, str],
    *,
    lateness_us: int = HOUR,
    skew_us: int = DAY,
    revise: bool = False,
    dedupe_us: int = 0,
) -> StreamPlan:
    """Return a stream with an int ``id`` and the fields given, each of which may be null."""
    return StreamPlan(
        place=place,
        name=f"s{place}",
        topic=f"s{place}",
        schema={},
        schema_text="",
        id="id",
        key="card",
        time="time",
        available="time",
        fields={"id": "int", **fields},
        nullable=frozenset(fields),
        max_abs={},
        allowed_lateness_us=lateness_us,
        max_skew_us=skew_us,
        quantum={},
        dedupe_us=dedupe_us,
        revise=revise,
    )


def plan_of(
    streams: tuple[StreamPlan, ...], tables: tuple[TablePlan, ...], nodes: int | None = None
) -> Plan:
    """Return a plan whose vector is the nodes of all ops."""
    count = sum(len(table.ops) for table in tables) if nodes is None else nodes
    return Plan(
        name="hand",
        streams=streams,
        tables=tables,
        rows=(),
        names=tuple(f"f{node}" for node in range(count)),
        nodes=count,
        ordered=(True,) * count,
        fingerprint=bytes(32),
        model=None,
    )


def turn_of(
    streams: Sequence[StreamPlan], partitions: Sequence[int], records: Sequence[Record], seq: int
) -> Turn:
    """Return records as a turn, in the order given, numbered from ``seq``."""
    numbers = np.arange(seq, seq + len(records))
    first = np.cumsum([0, *partitions])
    of = np.array([record.stream for record in records], np.int32)
    batches = []
    for stream in streams:
        mine = [record for record in records if record.stream == stream.place]
        times = np.array([START + record.after_us for record in mine], np.int64)
        batches.append(
            Batch(
                stream=stream.place,
                partition=np.array([record.partition for record in mine], np.int32),
                offset=np.zeros(len(mine), np.int64),
                record_time_us=times,
                time_us=times,
                available_us=times,
                reason=np.array([record.reason for record in mine], np.uint8),
                columns={
                    name: column_of(kind, [record.values.get(name) for record in mine])
                    for name, kind in stream.fields.items()
                },
                seq=numbers[of == stream.place],
            )
        )
    inputs = np.array([first[r.stream] + r.partition for r in records], np.int32)
    return Turn(seq, tuple(batches), of, inputs, np.zeros(len(records), np.int64))


def column_of(kind: str, values: Sequence[int | float | str | None]) -> Column:
    """Return values as a column of the kind: "int", "float" or "string"."""
    if kind == "string":
        return Strings.from_list([None if value is None else str(value) for value in values])
    if kind == "float":
        return np.array([math.nan if v is None else float(v) for v in values], np.float64)
    return np.array([NULL if v is None else int(v) for v in values], np.int64)
