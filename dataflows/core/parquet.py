"""Columns of Parquet files as the decoder would have given them, judged by the same rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.micros import in_microseconds
from noskew.dataflows.errors import UsageError
from noskew.schemas import rules
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.decode import Decoded
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.schemas.columns import Column
    from noskew.schemas.resolve import Wanted

UNKNOWN = -1
"""In place of an enum's index: the text is none of its symbols, and it has no default."""


@dataclass(slots=True)
class Part:
    """One file's rows of one stream, column by column; a column is given up once it is read.

    partition, offset, record_time_us   as in ``Batch``
    """

    path: Path
    rows: int
    columns: dict[str, pa.ChunkedArray]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    record_time_us: NDArray[np.int64]


def batch(parts: Sequence[Part], stream: StreamPlan) -> Batch:
    """Return the rows of all parts as one batch, in the order of the parts.

    Raises UsageError where a column is not what the schema reads.
    """
    record_time_us = np.concatenate([part.record_time_us for part in parts])
    decoded = _decoded(parts, stream, record_time_us)
    return Batch(
        stream=stream.place,
        partition=np.concatenate([part.partition for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        record_time_us=record_time_us,
        time_us=decoded.time_us,
        available_us=decoded.available_us,
        reason=decoded.reason,
        columns=decoded.columns,
    )


def ints(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return integers, booleans or timestamps as int64[n], times in us; a null is NULL.

    Raises TypeError for another type, ArrowException for a value that int64 or us cannot say.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        column = column.cast(pa.int64())
    else:
        raise TypeError(f"{kind} is not an integer, a boolean or a timestamp")
    values: NDArray[np.int64] = column.fill_null(NULL).to_numpy()
    return np.ascontiguousarray(values)


def _decoded(
    parts: Sequence[Part], stream: StreamPlan, record_time_us: NDArray[np.int64]
) -> Decoded:
    n = len(record_time_us)
    wanted, reading = in_microseconds(stream)
    columns: dict[str, Column] = {}
    nulls: dict[str, NDArray[np.bool_]] = {}
    unknown = np.zeros(n, np.bool_)
    for want in wanted:
        # Popped, so that no column is held both as Arrow has it and as we do.
        found = [_column(part.columns.pop(want.name), want, part) for part in parts]
        columns[want.name] = _join([values for values, _ in found])
        nulls[want.name] = np.concatenate([null for _, null in found])
        if want.symbols:
            unknown |= columns[want.name] == UNKNOWN
    decoded = Decoded(
        schema_id=np.full(n, -1, np.int32),
        reason=np.where(unknown, Reason.WRONG_TYPE, Reason.OK).astype(np.uint8),
        waiting=np.zeros(n, np.bool_),
        time_us=np.zeros(n, np.int64),
        available_us=np.zeros(n, np.int64),
        columns=columns,
    )
    rules.apply(decoded, reading, wanted, nulls, record_time_us)
    for times in (decoded.time_us, decoded.available_us):
        times[decoded.reason > 0] = 0
    return decoded


def _column(column: pa.ChunkedArray, want: Wanted, part: Part) -> tuple[Column, NDArray[np.bool_]]:
    """Return one column of one file and where it is null."""
    null = np.asarray(column.is_null())
    try:
        if want.kind == "string":
            return _strings(column), null
        if want.kind == "float":
            return np.asarray(column.cast(pa.float64()), np.float64), null
        if want.symbols and not pa.types.is_integer(column.type):
            return _symbols(column, want), null
        return ints(column), null
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(
            f"column {want.name!r} of the file is {column.type}, the schema reads it as "
            f"{want.type!r}: {error} ({part.path})"
        ) from error


def _symbols(column: pa.ChunkedArray, want: Wanted) -> NDArray[np.int64]:
    """Return the index of each symbol, as the decoder does; UNKNOWN where it has none."""
    at = pc.index_in(column.cast(pa.string()), pa.array(want.symbols, pa.string()))
    other = want.enum_default if want.enum_default >= 0 else UNKNOWN
    index = ints(at.fill_null(other)).copy()
    index[np.asarray(column.is_null())] = NULL
    return index


def _strings(column: pa.ChunkedArray) -> Strings:
    if not len(column):
        return Strings.from_list([])
    joined = pa.concat_arrays(column.cast(pa.large_string()).chunks)
    offsets = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset :][: len(joined) + 1]
    data = joined.buffers()[2]
    heap = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    null = np.asarray(joined.is_null())
    return Strings(heap, offsets[:-1].copy(), np.where(null, -1, np.diff(offsets)))


def _join(parts: list[Column]) -> Column:
    """Join the files' columns; of one file it is that column."""
    if len(parts) == 1:
        return parts[0]
    texts = [part for part in parts if isinstance(part, Strings)]
    if not texts:
        return np.concatenate(parts)  # type: ignore[arg-type]  # none of them is text
    base = np.cumsum([0, *(len(part.heap) for part in texts[:-1])])
    return Strings(
        np.concatenate([part.heap for part in texts]),
        np.concatenate([part.start + at for part, at in zip(texts, base, strict=True)]),
        np.concatenate([part.length for part in texts]),
    )
