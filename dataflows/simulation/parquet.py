"""Simulated history as Parquet: the stream's fields, and each record's place in its topic.

A file so written can be replayed in canonical order: it has ``stream``, ``stream_partition``,
``stream_offset`` and ``record_timestamp`` beside the fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noskew.dataflows.simulation.columns import ENTRY_MODES, PaymentColumns
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from noskew.dataflows.simulation.columns import LabelColumns

PAYMENTS_STREAM: Final = "payments"
LABELS_STREAM: Final = "labels"

_TIME: Final = pa.timestamp("us")
_PLACE: Final = (
    pa.field("stream", pa.string(), nullable=False),
    pa.field("stream_partition", pa.int32(), nullable=False),
    pa.field("stream_offset", pa.int64(), nullable=False),
    pa.field("record_timestamp", _TIME, nullable=False),
)

PAYMENTS_SCHEMA: Final = pa.schema(
    [
        *_PLACE,
        pa.field("transaction_id", pa.int64(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("terminal_id", pa.int64()),
        pa.field("amount_cents", pa.int64(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),
        pa.field("entry_mode", pa.string(), nullable=False),
        pa.field("merchant_category", pa.int32(), nullable=False),
        pa.field("country", pa.string(), nullable=False),
        pa.field("card_present", pa.bool_(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
    ]
)

LABELS_SCHEMA: Final = pa.schema(
    [
        *_PLACE,
        pa.field("transaction_id", pa.int64(), nullable=False),
        pa.field("customer_id", pa.int64(), nullable=False),
        pa.field("terminal_id", pa.int64()),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("is_fraud", pa.bool_(), nullable=False),
        pa.field("scenario", pa.int32(), nullable=False),
        pa.field("labelled_at", _TIME, nullable=False),
    ]
)


class Offsets:
    """Numbers the records of each partition from 0 on, over all calls of ``take``."""

    def __init__(self, partitions: int) -> None:
        self._next = np.zeros(partitions, np.int64)

    def take(self, partition: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return int64[n]: the offset each record gets in its partition."""
        order = np.argsort(partition, kind="stable")
        counts = np.bincount(partition, minlength=len(self._next))
        begin = np.cumsum(counts) - counts
        offset = np.empty(len(partition), np.int64)
        offset[order] = np.arange(len(partition)) + np.repeat(self._next - begin, counts)
        self._next += counts
        return offset


class ParquetStream:
    """Writes one stream to one file, chunk by chunk; a context manager.

    The file appears under its name when the context ends well; after an error it does not.
    """

    def __init__(self, path: Path, schema: pa.Schema, partitions: int) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._writer = pq.ParquetWriter(self._part, schema, compression="zstd", compression_level=1)
        self._schema = schema
        self._offsets = Offsets(partitions)
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def write(self, columns: PaymentColumns | LabelColumns) -> None:
        """Append records: their offsets go on from the last chunk's."""
        if not len(columns):
            return
        fields = (
            _payment_fields(columns)
            if isinstance(columns, PaymentColumns)
            else _label_fields(columns)
        )
        offset = pa.array(self._offsets.take(columns.partition))
        arrays = [fields[0], pa.array(columns.partition), offset, *fields[1:]]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self.rows += len(columns)


def _payment_fields(columns: PaymentColumns) -> list[pa.Array]:
    n = len(columns)
    return [
        pa.repeat(PAYMENTS_STREAM, n),
        _times(columns.record_time_us),
        pa.array(columns.transaction_id),
        _times(columns.event_time),
        pa.array(columns.customer_id),
        pa.array(columns.terminal_id, mask=columns.terminal_id == NULL),
        pa.array(columns.amount_cents),
        _texts(columns.currency.code, columns.currency.vocabulary),
        _texts(columns.entry_mode.astype(np.int32), ENTRY_MODES),
        pa.array(columns.merchant_category.astype(np.int32)),
        _texts(columns.country.code, columns.country.vocabulary),
        pa.array(columns.card_present != 0),
        _texts(columns.channel.code, columns.channel.vocabulary),
    ]


def _label_fields(columns: LabelColumns) -> list[pa.Array]:
    n = len(columns)
    return [
        pa.repeat(LABELS_STREAM, n),
        _times(columns.labelled_at),
        pa.array(columns.transaction_id),
        pa.array(columns.customer_id),
        pa.array(columns.terminal_id, mask=columns.terminal_id == NULL),
        _times(columns.event_time),
        pa.array(columns.is_fraud != 0),
        pa.array(columns.scenario.astype(np.int32)),
        _times(columns.labelled_at),
    ]


def _times(time_us: NDArray[np.int64]) -> pa.Array:
    return pa.array(time_us).view(_TIME)


def _texts(code: NDArray[np.int32], vocabulary: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(code, pa.array(vocabulary)).cast(pa.string())
