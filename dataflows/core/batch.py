"""The two shapes that flow: ``Raw`` as a source hands it out, ``Batch`` as decoded columns.

Both are structs of arrays. No Python object per event exists between the source and the sinks;
the sparse dictionaries hold only records on their way to the dead letters (the slow path).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.schemas.columns import Column


@dataclass(slots=True)
class Raw:
    """n records of one stream as read, in the order of each partition's offsets.

    payload         uint8[bytes]  the values, one after another
    start           int64[n + 1]  value i is ``payload[start[i] : start[i + 1]]``
    absent          bool[n]       the record has no value (a tombstone)
    partition       int32[n]
    offset          int64[n]
    record_time_us  int64[n]      Kafka's timestamp; NULL where there is none
    keys            raw message keys of this batch (slow path: only dead letters read them)
    headers         raw headers of records that have any, by position
    """

    stream: int
    payload: NDArray[np.uint8]
    start: NDArray[np.int64]
    absent: NDArray[np.bool_]
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    record_time_us: NDArray[np.int64]
    keys: list[bytes | None] = field(default_factory=list)
    headers: dict[int, list[tuple[str, bytes | None]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offset)

    def value(self, position: int) -> bytes:
        """Return one record's bytes: for dead letters."""
        return self.payload[self.start[position] : self.start[position + 1]].tobytes()


@dataclass(slots=True)
class Letter:
    """What a dead letter keeps of a record that could not be used."""

    detail: str
    schema_id: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(slots=True)
class Batch:
    """n records of one stream as columns.

    As decoded: in offset order within each partition. As ordered: in processing order, and ``seq``
    has the records' sequence numbers (empty as decoded).

    partition       int32[n]
    offset          int64[n]
    record_time_us  int64[n]      NULL where the source has no record timestamps
    time_us         int64[n]      event time; 0 where ``reason`` is set
    available_us    int64[n]      availability time; 0 where ``reason`` is set
    reason          uint8[n]      0, or the ``Reason`` for which the record is a dead letter
    columns         name -> Column of n values: every field the plan reads
    letters         (partition, offset) -> Letter, for records whose ``reason`` is set
    """

    stream: int
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    record_time_us: NDArray[np.int64]
    time_us: NDArray[np.int64]
    available_us: NDArray[np.int64]
    reason: NDArray[np.uint8]
    columns: dict[str, Column]
    letters: dict[tuple[int, int], Letter] = field(default_factory=dict)
    seq: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, index: NDArray[np.int64], seq: NDArray[np.int64] | None = None) -> Batch:
        """Return the records at ``index``, in that order, with their numbers if they have any."""
        return Batch(
            stream=self.stream,
            partition=self.partition[index],
            offset=self.offset[index],
            record_time_us=self.record_time_us[index],
            time_us=self.time_us[index],
            available_us=self.available_us[index],
            reason=self.reason[index],
            columns={
                name: column.take(index) if isinstance(column, Strings) else column[index]
                for name, column in self.columns.items()
            },
            letters=self.letters,
            seq=np.zeros(0, np.int64) if seq is None else seq,
        )


@dataclass(slots=True)
class Turn:
    """Records of all streams in processing order: what the engine works through at once.

    seq      number of the first record; record i of the turn has ``seq + i``
    batches  one per stream, by place, each in processing order with its ``seq`` numbers; empty
             batches for streams without a record here
    stream   int32[n]   place of each record's stream
    input    int32[n]   the input it came from: its stream's first input + its partition
    offset   int64[n]
    """

    seq: int
    batches: tuple[Batch, ...]
    stream: NDArray[np.int32]
    input: NDArray[np.int32]
    offset: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.stream)

    @property
    def end(self) -> int:
        """Return the number after the last record's."""
        return self.seq + len(self)

    @property
    def scored(self) -> Batch:
        """Return the records of the scored stream."""
        return self.batches[0]

    @classmethod
    def of(cls, batch: Batch, seq: int) -> Turn:
        """Return one stream's records, already in processing order, as a turn of it alone."""
        count = len(batch)
        batch.seq = np.arange(seq, seq + count)
        return cls(
            seq, (batch,), np.zeros(count, np.int32), batch.partition.astype(np.int32), batch.offset
        )
