"""History from Parquet files, as turns in processing order.

With the columns ``stream_partition``, ``stream_offset``, ``record_timestamp`` files are taken in
canonical order over all streams, as their topics would be. One file of a pipeline of one stream may
lack them: its row order is the order and it is one partition (DESIGN section 3.1). The columns a
plan reads are held in memory as a whole, once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noskew.dataflows.core import parquet
from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.core.parquet import Part
from noskew.dataflows.errors import UsageError
from noskew.kernels.layout import NO_TIME
from noskew.kernels.merge import position_clocks
from noskew.schemas import rules
from noskew.schemas.columns import NULL, Strings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan, StreamPlan
    from noskew.schemas.columns import Column

STREAM, PARTITION, OFFSET = "stream", "stream_partition", "stream_offset"
RECORD_TIME = rules.RECORD_TIMESTAMP
PLACES = (PARTITION, OFFSET, RECORD_TIME)
"""The columns that say where and when a record was in its topic."""

PARTITIONS_KEY = b"noskew.partitions"
"""File metadata: how many partitions the topic has, where that is more than occur in the file."""
PARTITIONS_MOST: Final = 1 << 20
"""More than Kafka has in a topic: each takes memory, whether or not a record is of it."""


@dataclass(slots=True)
class History:
    """Records of all streams, ready to be taken.

    order       "canonical", "row", "journal" or "event_time"
    stamped     whether the records have Kafka's timestamp, against which future times are judged
    partitions  per stream, of the topic it stands for
    rows        how many records there are in all
    _batches    one per stream, in any order
    _index      per stream int64[rows of it]: its records in processing order
    _stream     int32[rows]: the stream of each record in processing order
    """

    order: str
    stamped: bool
    partitions: tuple[int, ...]
    rows: int
    _batches: list[Batch]
    _index: list[NDArray[np.int64]]
    _stream: NDArray[np.int32]

    def turns(self) -> Iterator[Turn]:
        """Yield the records in processing order."""
        taken = [0] * len(self._batches)
        ends = self._ends()
        for first, end in pairwise([0, *ends]):
            stream = self._stream[first:end]
            inputs, offset = np.empty(len(stream), np.int32), np.empty(len(stream), np.int64)
            batches = []
            base = 0
            for place, whole in enumerate(self._batches):
                at = np.flatnonzero(stream == place)
                index = self._index[place][taken[place] : taken[place] + len(at)]
                taken[place] += len(at)
                batch = whole.take(index, seq=first + at)
                inputs[at], offset[at] = base + batch.partition, batch.offset
                batches.append(batch)
                base += self.partitions[place]
            yield Turn(first, tuple(batches), stream, inputs, offset)

    def by_event_time(self) -> History:
        """Return the records by (event time, place in the present order), dead letters first.

        Records of one event time are never in two turns: such peers see each other.
        """
        times = np.empty(self.rows, np.int64)
        for place, (batch, index) in enumerate(zip(self._batches, self._index, strict=True)):
            times[self._stream == place] = batch.time_us[index]
        # Both sorts are stable, so a stream's part of the whole order is its own.
        stream = self._stream[np.argsort(times, kind="stable")]
        sorted_index = [
            index[np.argsort(times[self._stream == place], kind="stable")]
            for place, index in enumerate(self._index)
        ]
        own = (self._batches, sorted_index, stream)
        return History("event_time", self.stamped, self.partitions, self.rows, *own)

    def _ends(self) -> list[int]:
        """Return where turns end: every ``BATCH_MAX`` records, or after those of one time."""
        ends = list(range(BATCH_MAX, self.rows, BATCH_MAX))
        if self.order == "event_time":
            times = np.sort(np.concatenate([batch.time_us for batch in self._batches]))
            found = np.searchsorted(times, times[np.array(ends, np.int64) - 1], side="right")
            ends = [end for end in np.unique(found).tolist() if end < self.rows]
        return [*ends, self.rows] if self.rows else []

    @classmethod
    def of(cls, order: str, turns: Iterator[Turn], partitions: tuple[int, ...]) -> History:
        """Hold turns taken from topics, all of them, in their order."""
        held: list[list[Batch]] = [[] for _ in partitions]
        streams = [np.empty(0, np.int32)]
        for turn in turns:
            streams.append(turn.stream)
            for place, batch in enumerate(turn.batches):
                # On a heap of its own: what else was read with it is not kept.
                held[place].append(_joined([batch]))
        batches = [_joined(parts) for parts in held] if len(streams) > 1 else []
        stream = np.concatenate(streams)
        return cls(
            order=order,
            stamped=True,
            partitions=partitions,
            rows=len(stream),
            _batches=batches,
            _index=[np.arange(len(batch)) for batch in batches],
            _stream=stream,
        )


def read(inputs: Sequence[tuple[str, Path]], plan: Plan) -> History:
    """Read what a plan needs of files.

    inputs  (stream, file); "" for a file that says in its column ``stream`` whose each row is, or
            that needs not, because the pipeline reads one stream

    Raises UsageError where a file is missing, unreadable or lacks a column, or a stream has none.
    """
    sources = [_Source.open(name, path, plan) for name, path in inputs]
    canonical = _placed(sources, plan)
    stamped = all(RECORD_TIME in source.names for source in sources)
    batches, partitions, index, clocks = [], [], [], []
    for stream in plan.streams:
        own = [source for source in sources if source.has(stream)]
        if not own:
            raise UsageError(
                f"no input holds stream {stream.name!r}, which pipeline {plan.name!r} reads: add "
                f"--input {stream.name}=FILE.parquet"
            )
        batch = parquet.batch([source.part(stream, canonical=canonical) for source in own], stream)
        count = max([1, int(batch.partition.max(initial=-1)) + 1, *(s.partitions for s in own)])
        batches.append(batch)
        partitions.append(count)
        if canonical:
            order, clock = _clocks(batch, count, ", ".join(str(source.path) for source in own))
            index.append(order)
            clocks.append(clock)
        else:
            index.append(np.arange(len(batch)))
    streams = np.repeat(np.arange(len(batches), dtype=np.int32), [len(one) for one in batches])
    if len(batches) > 1:
        # Stable, over streams in their order.
        streams = streams[np.argsort(np.concatenate(clocks), kind="stable")]
    name = "canonical" if canonical else "row"
    return History(name, stamped, tuple(partitions), len(streams), batches, index, streams)


@dataclass(slots=True)
class _Source:
    """One file and the streams it has rows of.

    stream      the stream its input names, "" for none
    streams     what its column ``stream`` says, None where it has no such column
    partitions  as its metadata says, else 0
    twice       names that several of its columns have
    """

    stream: str
    path: Path
    names: frozenset[str]
    rows: int
    streams: frozenset[str] | None
    partitions: int
    twice: frozenset[str]

    @classmethod
    def open(cls, stream: str, path: Path, plan: Plan) -> _Source:
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{path} cannot be read as Parquet: {_line(error)}") from error
        names = frozenset(file.schema_arrow.names)
        streams = None
        if STREAM in names:
            column = _table(path, [STREAM], read_dictionary=[STREAM])[STREAM]
            streams = frozenset(pc.unique(column).to_pylist())
        source = cls(
            stream=stream or (plan.scored.name if len(plan.streams) == 1 else ""),
            path=path,
            names=names,
            rows=file.metadata.num_rows,
            streams=streams,
            partitions=_partitions(path, file.schema_arrow.metadata or {}),
            twice=frozenset(name for name in names if file.schema_arrow.names.count(name) > 1),
        )
        source.check(plan)
        return source

    def check(self, plan: Plan) -> None:
        """Refuse a file of which it cannot be known whose rows it has, or that has none."""
        known = [stream.name for stream in plan.streams]
        if self.stream and self.stream not in known:
            raise UsageError(
                f"--input {self.stream}={self.path} names stream {self.stream!r}; the pipeline "
                f"reads {', '.join(map(repr, known))}"
            )
        if not self.stream and self.streams is None:
            raise UsageError(
                f"{self.path} has no column {STREAM!r} and pipeline {plan.name!r} reads "
                f"{', '.join(known)}: say whose rows these are, --input {known[0]}={self.path}"
            )
        wanted = {self.stream} if self.stream else set(known)
        if self.rows and self.streams is not None and not wanted & self.streams:
            found = ", ".join(map(repr, sorted(self.streams, key=str)))
            raise UsageError(
                f"{self.path} has no row of stream {', '.join(map(repr, sorted(wanted)))}; its "
                f"column {STREAM!r} has {found}: give the stream that name, or another file"
            )

    def has(self, stream: StreamPlan) -> bool:
        """Return whether a stream's rows are to be taken from here."""
        if self.stream:
            return self.stream == stream.name
        return not self.rows or stream.name in (self.streams or ())

    def part(self, stream: StreamPlan, *, canonical: bool) -> Part:
        """Read the columns of a stream."""
        needed = set(stream.fields)
        if stream.available == RECORD_TIME:
            needed.add(RECORD_TIME)
        missing = sorted(needed - self.names)
        if missing:
            raise UsageError(
                f"{self.path} has no column {', '.join(map(repr, missing))}, which stream "
                f"{stream.name!r} reads; it has {', '.join(sorted(self.names))}"
            )
        places = PLACES if canonical else self.names & {RECORD_TIME}
        mixed = self.streams is not None and self.streams != {stream.name}
        filters = pc.field(STREAM) == stream.name if mixed else None
        wanted = list(dict.fromkeys([*stream.fields, *places]))
        twice = sorted(self.twice.intersection(wanted))
        if twice:
            raise UsageError(
                f"{self.path} has several columns {', '.join(map(repr, twice))}: which one is "
                "meant cannot be known; write the file with one of each name"
            )
        table = _table(self.path, wanted, filters=filters)
        n = table.num_rows
        record_time_us = np.full(n, NULL, np.int64)
        if RECORD_TIME in places:
            record_time_us = self._place(table, RECORD_TIME, least=NULL, most=2**63 - 1)
        partition, offset = np.zeros(n, np.int32), np.arange(n, dtype=np.int64)
        if canonical:
            partition = self._place(table, PARTITION, most=PARTITIONS_MOST - 1).astype(np.int32)
            offset = self._place(table, OFFSET, most=2**63 - 1)
        columns = {name: table[name] for name in stream.fields}
        return Part(self.path, n, columns, partition, offset, record_time_us)

    def _place(self, table: pa.Table, name: str, *, least: int = 0, most: int) -> NDArray[np.int64]:
        """Return a column that says where or when a record was in its topic; a null is ``NULL``."""
        try:
            values = parquet.ints(table[name])
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UsageError(f"{self.path}: column {name!r} cannot be used: {error}") from error
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            value = table[name][int(wrong[0])].as_py()
            raise UsageError(
                f"{self.path}: {name} is {value} in row {int(wrong[0])}; it must be from {least} "
                f"to {most} in every row: mend it, or leave the column out to take the file in "
                "row order"
            )
        return values


def _table(path: Path, columns: list[str], **options: Any) -> pa.Table:
    """Read columns of a file whose footer was read; its pages may be damaged all the same."""
    try:
        return pq.read_table(path, columns=columns, **options)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{path} is damaged ({_line(error)}): write it again, or take it from a copy"
        ) from error


def _line(error: Exception) -> str:
    """Return what Arrow says as one line."""
    return " ".join(str(error).split()).rstrip(".:")


def _partitions(path: Path, metadata: Mapping[bytes, bytes]) -> int:
    """Return how many partitions a file's metadata says its topic has, 0 where it does not say."""
    text = metadata.get(PARTITIONS_KEY, b"0").decode(errors="replace")
    if not re.fullmatch("[0-9]{1,7}", text, re.ASCII) or int(text) > PARTITIONS_MOST:
        raise UsageError(
            f"{path} says in its metadata {PARTITIONS_KEY.decode()!r} that its topic has {text!r} "
            f"partitions; write a whole number up to {PARTITIONS_MOST}, or leave it out"
        )
    return int(text)


def _placed(sources: list[_Source], plan: Plan) -> bool:
    """Return whether all files have their places; False for one file of one stream without."""
    missing = {
        str(source.path): [name for name in PLACES if name not in source.names]
        for source in sources
    }
    if not any(missing.values()):
        return True
    if len(sources) == 1 and len(plan.streams) == 1:
        return False
    lacking = "; ".join(
        f"{path} has no {', '.join(map(repr, names))}" for path, names in missing.items() if names
    )
    raise UsageError(
        f"several streams or files are taken in canonical order, which needs the columns "
        f"{', '.join(PLACES)} in every file, and {lacking}: write them, as `noskew simulate` "
        "does; only one file of a pipeline of one stream may be taken in row order"
    )


def _clocks(
    batch: Batch, partitions: int, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a stream's records in canonical order, and their position clocks in it."""
    by_offset = np.lexsort((batch.offset, batch.partition))
    same = np.diff(batch.partition[by_offset]) == 0
    twice = np.flatnonzero(same & (np.diff(batch.offset[by_offset]) == 0))
    if len(twice):
        one = by_offset[twice[0]]
        raise UsageError(
            f"{where}: {len(twice)} rows are there twice, the first is partition "
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
    order = np.argsort(clocks, kind="stable")
    return by_offset[order], clocks[order]


def _joined(parts: Sequence[Batch]) -> Batch:
    """Join batches of one stream; text columns get a heap that holds only what they refer to."""
    columns: dict[str, Column] = {}
    for name, first in parts[0].columns.items():
        found = [part.columns[name] for part in parts]
        if isinstance(first, Strings):
            columns[name] = Strings.concatenate(one for one in found if isinstance(one, Strings))
        else:
            columns[name] = np.concatenate(found)  # type: ignore[arg-type]  # none of them is text
    return Batch(
        stream=parts[0].stream,
        partition=np.concatenate([part.partition for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        record_time_us=np.concatenate([part.record_time_us for part in parts]),
        time_us=np.concatenate([part.time_us for part in parts]),
        available_us=np.concatenate([part.available_us for part in parts]),
        reason=np.concatenate([part.reason for part in parts]),
        columns=columns,
    )
