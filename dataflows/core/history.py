"""History from a Parquet file, as batches in processing order.

With the columns ``stream_partition``, ``stream_offset``, ``record_timestamp`` the file is taken in
canonical order, as its topic would be; without them its row order is the order and it is one
partition (DESIGN section 3.1). The columns a plan reads are held in memory as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.errors import UsageError
from noskew.kernels.layout import NO_TIME
from noskew.kernels.merge import position_clocks
from noskew.schemas import rules
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.decode import Decoded
from noskew.schemas.reason import Reason
from noskew.schemas.resolve import wanted_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.schemas.columns import Column
    from noskew.schemas.resolve import Wanted

STREAM, PARTITION, OFFSET = "stream", "stream_partition", "stream_offset"
RECORD_TIME = rules.RECORD_TIMESTAMP
PARTITIONS_KEY = b"noskew.partitions"
"""File metadata: how many partitions the topic has, where that is more than occur in the file."""

UNKNOWN = -1
"""In place of an enum's index: the text is none of its symbols, and it has no default."""


@dataclass(slots=True)
class History:
    """A file's records, ready to be taken.

    order       "canonical" or "row"
    stamped     whether the records have Kafka's timestamp, against which future times are judged
    partitions  of the topic the file stands for
    """

    order: str
    stamped: bool
    partitions: int
    rows: int
    _batch: Batch
    _index: NDArray[np.int64]

    def batches(self) -> Iterator[Batch]:
        """Yield the records in processing order."""
        for first in range(0, self.rows, BATCH_MAX):
            yield self._batch.take(self._index[first : first + BATCH_MAX], seq=first)


def read(path: Path, stream: StreamPlan) -> History:
    """Read what a plan needs of a file.

    Raises UsageError where the file is missing, unreadable, or lacks a field.
    """
    table, canonical = _table(path, stream)
    n = table.num_rows
    record_time_us = np.full(n, NULL, np.int64)
    if RECORD_TIME in table.column_names:
        record_time_us = _place(table, RECORD_TIME, path, least=NULL, most=2**63 - 1)
    partition, offset = np.zeros(n, np.int32), np.arange(n, dtype=np.int64)
    if canonical:
        partition = _place(table, PARTITION, path, most=2**31 - 2).astype(np.int32)
        offset = _place(table, OFFSET, path, most=2**63 - 1)
    decoded = _decoded(table, stream, record_time_us)
    batch = Batch(
        stream=stream.place,
        partition=partition,
        offset=offset,
        record_time_us=record_time_us,
        time_us=decoded.time_us,
        available_us=decoded.available_us,
        reason=decoded.reason,
        columns=decoded.columns,
    )
    partitions = int(partition.max()) + 1 if n else 1
    partitions = max(partitions, int((table.schema.metadata or {}).get(PARTITIONS_KEY, b"0")))
    index = _canonical(batch, partitions, path) if canonical else np.arange(n)
    order = "canonical" if canonical else "row"
    return History(order, RECORD_TIME in table.column_names, partitions, n, batch, index)


def _table(path: Path, stream: StreamPlan) -> tuple[pa.Table, bool]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be read as Parquet: {error}") from error
    names = set(file.schema_arrow.names)
    missing = sorted(set(stream.fields) - names)
    if missing:
        raise UsageError(
            f"{path} has no column {', '.join(map(repr, missing))}, which stream {stream.name!r} "
            f"reads; it has {', '.join(sorted(names))}"
        )
    places = {PARTITION, OFFSET, RECORD_TIME} & names
    canonical = len(places) == 3
    wanted = [*stream.fields, *(places if canonical else places & {RECORD_TIME})]
    filters = pc.field(STREAM) == stream.name if STREAM in names else None
    table = pq.read_table(path, columns=list(dict.fromkeys(wanted)), filters=filters)
    if file.metadata.num_rows and not table.num_rows:
        found = pc.unique(pq.read_table(path, columns=[STREAM])[STREAM]).to_pylist()
        raise UsageError(
            f"{path} has no row of stream {stream.name!r}; its column {STREAM!r} has "
            f"{', '.join(map(repr, found))}: give the stream that name, or another file"
        )
    return table, canonical


def _decoded(table: pa.Table, stream: StreamPlan, record_time_us: NDArray[np.int64]) -> Decoded:
    """Return the file's columns as the decoder would have given them, judged by the same rules."""
    n = table.num_rows
    # A file's times are microseconds already, whatever the unit on the wire.
    wanted = [replace(one, millis=False) for one in wanted_fields(stream.schema, stream.fields)]
    columns: dict[str, Column] = {}
    nulls: dict[str, NDArray[np.bool_]] = {}
    unknown = np.zeros(n, np.bool_)
    for want in wanted:
        column = table[want.name]
        nulls[want.name] = np.asarray(column.is_null())
        try:
            if want.kind == "string":
                columns[want.name] = _strings(column)
            elif want.kind == "float":
                columns[want.name] = np.asarray(column.cast(pa.float64()), np.float64)
            elif want.symbols and not pa.types.is_integer(column.type):
                columns[want.name] = _symbols(column, want)
                unknown |= columns[want.name] == UNKNOWN
            else:
                columns[want.name] = _ints(column)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(
                f"column {want.name!r} of the file is {column.type}, the schema reads it as "
                f"{want.type!r}: {error}"
            ) from error
    decoded = Decoded(
        schema_id=np.full(n, -1, np.int32),
        reason=np.where(unknown, Reason.WRONG_TYPE, Reason.OK).astype(np.uint8),
        waiting=np.zeros(n, np.bool_),
        time_us=np.zeros(n, np.int64),
        available_us=np.zeros(n, np.int64),
        columns=columns,
    )
    rules.apply(decoded, stream, wanted, nulls, record_time_us)
    return decoded


def _canonical(batch: Batch, partitions: int, path: Path) -> NDArray[np.int64]:
    """Return the order by (position clock, partition, offset)."""
    by_offset = np.lexsort((batch.offset, batch.partition))
    same = np.diff(batch.partition[by_offset]) == 0
    twice = np.flatnonzero(same & (np.diff(batch.offset[by_offset]) == 0))
    if len(twice):
        one = by_offset[twice[0]]
        raise UsageError(
            f"{path}: {len(twice)} rows are there twice, the first is partition "
            f"{batch.partition[one]} offset {batch.offset[one]}: a record of a topic is one row"
        )
    clocks = np.empty(len(batch), np.int64)
    position_clocks(
        batch.partition[by_offset],
        batch.available_us[by_offset],
        batch.reason[by_offset],
        0,
        len(batch),
        np.full(partitions, NO_TIME, np.int64),
        clocks,
    )
    # Stable, over rows already in (partition, offset) order.
    order: NDArray[np.int64] = by_offset[np.argsort(clocks, kind="stable")]
    return order


def _place(
    table: pa.Table, name: str, path: Path, *, least: int = 0, most: int
) -> NDArray[np.int64]:
    """Return a column that says where or when a record was in its topic; a null is ``NULL``."""
    try:
        values = _ints(table[name])
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(f"{path}: column {name!r} cannot be used: {error}") from error
    wrong = np.flatnonzero((values < least) | (values > most))
    if len(wrong):
        value = table[name][int(wrong[0])].as_py()
        raise UsageError(
            f"{path}: {name} is {value} in row {int(wrong[0])}; it must be from {least} to {most} "
            "in every row: mend it, or leave the column out to take the file in row order"
        )
    return values


def _symbols(column: pa.ChunkedArray, want: Wanted) -> NDArray[np.int64]:
    """Return the index of each symbol, as the decoder does; UNKNOWN where it has none."""
    at = pc.index_in(column.cast(pa.string()), pa.array(want.symbols, pa.string()))
    other = want.enum_default if want.enum_default >= 0 else UNKNOWN
    index = _ints(at.fill_null(other)).copy()
    index[np.asarray(column.is_null())] = NULL
    return index


def _ints(column: pa.ChunkedArray) -> NDArray[np.int64]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        column = column.cast(pa.int64())
    else:
        raise TypeError(f"{kind} is not an integer, a boolean or a timestamp")
    values: NDArray[np.int64] = column.fill_null(NULL).to_numpy()
    return np.ascontiguousarray(values)


def _strings(column: pa.ChunkedArray) -> Strings:
    if not len(column):
        return Strings.from_list([])
    joined = pa.concat_arrays(column.cast(pa.large_string()).chunks)
    offsets = np.frombuffer(joined.buffers()[1], np.int64)[joined.offset :][: len(joined) + 1]
    data = joined.buffers()[2]
    heap = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    null = np.asarray(joined.is_null())
    return Strings(heap, offsets[:-1].copy(), np.where(null, -1, np.diff(offsets)))
