"""The journal: what a shard took, in which order, and every decision its inputs do not imply.

One record per settled interval. Replay, verify and restart take progress, order and decisions
from here and never decide them again (DESIGN section 5).

What is too much for one record is spread over several: *parts*, entries of count 0 that stand where
the entry before them stands, then the one that covers the records. That one's runs are the parts'
runs and its own, one after the other, and so are its ranges, schemas and decisions. Parts are
complete only with it: those of an instance that ended in between count for nothing, and the next
instance takes the same records anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from noskew.dataflows.core.order import Runs
from noskew.dataflows.errors import UnsafeResumeError
from noskew.kernels.layout import NO_TIME
from noskew.kernels.runs import VARINT_MAX, decode_runs, encode_runs
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Turn

LAYOUT = 1
"""Version of the record's meaning; a record of another layout is refused."""

ENTRY_DUE = 256 << 10
"""Bytes after which an entry is due."""

ENTRY_MAX = 512 << 10
"""Most bytes of an entry, half of the 1 MB that a broker takes by default; what is more goes into
parts before it. Where the inputs alone nearly fill an entry (thousands of partitions), an eighth of
this comes on top of them."""

GAP_BYTES = 29
"""Most that a range of records takes in an entry, beside its stream's name."""

_NUMBER = 10
"""Most bytes of an int;  _TEXT: of what precedes a text."""
_TEXT = 5


@dataclass(frozen=True, slots=True)
class Topic:
    """An input topic as the broker knows it. ``id`` is 16 bytes, None where there is none."""

    name: str
    id: bytes | None
    partitions: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that does not follow from the inputs, and the seq from which it holds."""

    kind: str
    seq: int
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of one stream's records that were not used: ``first <= offset < next``.

    reason  scored stream, no score: "dead", "duplicate", "unscored"; other streams, not applied:
            "dead", "late", "duplicate"
    stream  the stream's name
    """

    reason: str
    stream: str
    partition: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal record.

    seq, count    the records covered are ``seq .. seq + count - 1``
    runs          the processing order, packed (``kernels.runs``)
    streams       names, in the plan's order;  topics: what each of them reads
    next_offset, position_us, event_us   int64[inputs], stream by stream; NO_TIME where there is
                  no clock yet
    """

    origin: str
    shard: int
    owner: str
    generation: int
    fingerprint: bytes
    seq: int
    count: int
    runs: bytes
    streams: tuple[str, ...]
    topics: tuple[Topic, ...]
    next_offset: NDArray[np.int64]
    position_us: NDArray[np.int64]
    event_us: NDArray[np.int64]
    horizon_us: int
    model: tuple[str, bytes] | None
    gaps: tuple[Gap, ...] = ()
    schemas: tuple[tuple[int, bytes, str], ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def end(self) -> int:
        """Return the sequence number of the next record to come."""
        return self.seq + self.count

    @property
    def first_inputs(self) -> tuple[int, ...]:
        """Return each stream's first input: where its topic's partition 0 stands among them."""
        return tuple(accumulate((topic.partitions for topic in self.topics), initial=0))[:-1]

    def encode(self, schema_id: int) -> bytes:
        """Return the framed record."""
        return records.encode("journal", self._to_avro(), schema_id)

    def _to_avro(self) -> dict[str, Any]:
        return {
            "layout": LAYOUT,
            "origin": self.origin,
            "shard": self.shard,
            "owner": self.owner,
            "generation": self.generation,
            "fingerprint": self.fingerprint,
            "seq": self.seq,
            "count": self.count,
            "runs": self.runs,
            "inputs": self._inputs(),
            "without_score": [
                {
                    "reason": gap.reason,
                    "stream": gap.stream,
                    "partition": gap.partition,
                    "first": gap.first,
                    "next": gap.next,
                }
                for gap in self.gaps
            ],
            "horizon": _nullable(self.horizon_us),
            "model": None
            if self.model is None
            else dict(zip(("name", "sha256"), self.model, strict=True)),
            "schemas": [
                {"id": number, "sha256": sha256, "subject": subject}
                for number, sha256, subject in self.schemas
            ],
            "decisions": [
                {"kind": d.kind, "seq": d.seq, "subject": d.subject, "detail": d.detail}
                for d in self.decisions
            ],
        }

    def _inputs(self) -> list[dict[str, Any]]:
        places = [
            (stream, topic, partition)
            for stream, topic in zip(self.streams, self.topics, strict=True)
            for partition in range(topic.partitions)
        ]
        columns = (self.next_offset, self.position_us, self.event_us)
        clocks = zip(*(column.tolist() for column in columns), strict=True)
        return [
            {
                "stream": stream,
                "topic": topic.name,
                "topic_id": topic.id,
                "partition": partition,
                "next_offset": next_offset,
                "position_clock": _nullable(position_us),
                "event_clock": _nullable(event_us),
            }
            for (stream, topic, partition), (next_offset, position_us, event_us) in zip(
                places, clocks, strict=True
            )
        ]

    @classmethod
    def decode(cls, value: bytes) -> Entry:
        """Read a framed record. Raises UnsafeResumeError for one this version cannot read."""
        found = records.decode("journal", value)
        if found["layout"] != LAYOUT:
            raise UnsafeResumeError(
                f"the journal was written with layout {found['layout']}, this version reads "
                f"{LAYOUT}: run the version that wrote it, or start under another pipeline name"
            )
        inputs = found["inputs"]
        streams = {
            name: list(own) for name, own in groupby(inputs, key=lambda one: str(one["stream"]))
        }
        model = found["model"]
        return cls(
            origin=found["origin"],
            shard=found["shard"],
            owner=found["owner"],
            generation=found["generation"],
            fingerprint=found["fingerprint"],
            seq=found["seq"],
            count=found["count"],
            runs=found["runs"],
            streams=tuple(streams),
            topics=tuple(
                Topic(own[0]["topic"], own[0]["topic_id"], len(own)) for own in streams.values()
            ),
            next_offset=np.array([one["next_offset"] for one in inputs], np.int64),
            position_us=_times([one["position_clock"] for one in inputs]),
            event_us=_times([one["event_clock"] for one in inputs]),
            horizon_us=NO_TIME if found["horizon"] is None else found["horizon"],
            model=None if model is None else (model["name"], model["sha256"]),
            gaps=tuple(
                Gap(g["reason"], g["stream"], g["partition"], g["first"], g["next"])
                for g in found["without_score"]
            ),
            schemas=tuple((s["id"], s["sha256"], s["subject"]) for s in found["schemas"]),
            decisions=tuple(
                Decision(d["kind"], d["seq"], d["subject"], d["detail"]) for d in found["decisions"]
            ),
        )


@dataclass(slots=True)
class _Part:
    """What one entry is to hold; ``size`` is at least the bytes that it takes there."""

    size: int = 0
    runs: list[bytes] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    schemas: list[tuple[int, bytes, str]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def of(self, entry: Entry) -> Entry:
        """Return an entry with this in it."""
        return replace(
            entry,
            runs=b"".join(self.runs),
            gaps=tuple(self.gaps),
            schemas=tuple(self.schemas),
            decisions=tuple(self.decisions),
        )


@dataclass(slots=True)
class Ledger:
    """What has been taken since the last entry: collects the next one.

    last        the newest entry written (or read back at the start)
    """

    last: Entry
    _next_offset: NDArray[np.int64] = field(init=False)
    _room: int = field(init=False)
    _count: int = field(init=False, default=0)
    _parts: list[_Part] = field(init=False, default_factory=lambda: [_Part()])

    def __post_init__(self) -> None:
        self._next_offset = self.last.next_offset.copy()
        # Three numbers an input and a few more may become longer than they are in this one.
        bare = len(_Part().of(self.last).encode(1)) + _NUMBER * (3 * len(self._next_offset) + 10)
        self._room = max(ENTRY_MAX - bare, ENTRY_MAX // 8)

    @property
    def seq(self) -> int:
        """Return the sequence number of the next record to be taken."""
        return self.last.end + self._count

    @property
    def full(self) -> bool:
        """Return whether the next entry is due for its size."""
        return len(self._parts) > 1 or self._parts[0].size >= ENTRY_DUE

    @property
    def pending(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self._count or self._parts[0].size)

    def take(self, turn: Turn, gaps: Iterable[Gap]) -> None:
        """Note a turn and which of its records were not used."""
        out = np.empty(4 * VARINT_MAX * len(turn), np.uint8)
        size = encode_runs(turn.input, turn.offset, self._next_offset, out)
        self._count += len(turn)
        # Runs are read when all parts are there, so they may be cut anywhere.
        for first in range(0, size, ENTRY_MAX // 8):
            piece = out[first : min(first + ENTRY_MAX // 8, size)].tobytes()
            self._part_for(len(piece)).runs.append(piece)
        for gap in gaps:
            self._part_for(GAP_BYTES + len(gap.stream.encode())).gaps.append(gap)

    def decide(self, kind: str, subject: str, detail: str, seq: int | None = None) -> None:
        """Note a decision that holds from ``seq`` (default: the next record)."""
        made = Decision(kind, self.seq if seq is None else seq, subject, detail)
        size = _NUMBER + sum(_TEXT + len(text.encode()) for text in (kind, subject, detail))
        self._part_for(size).decisions.append(made)

    def saw(self, schema_id: int, sha256: bytes, subject: str) -> None:
        """Note the first use of a writer's schema."""
        size = _NUMBER + len(sha256) + _TEXT + len(subject.encode())
        self._part_for(size).schemas.append((schema_id, sha256, subject))

    def close(
        self, position_us: NDArray[np.int64], event_us: NDArray[np.int64], horizon_us: int
    ) -> list[Entry]:
        """Return the entries of all that was noted and begin anew.

        One entry, unless that is more than ``ENTRY_MAX`` bytes: then parts of it, and last the one
        that covers the records and has the clocks. The order of what was noted stays.
        """
        here = replace(self.last, origin="progress", seq=self.last.end, count=0)
        there = replace(
            here,
            count=self._count,
            next_offset=self._next_offset.copy(),
            position_us=position_us.copy(),
            event_us=event_us.copy(),
            horizon_us=horizon_us,
        )
        entries = [part.of(here) for part in self._parts[:-1]]
        entries.append(self._parts[-1].of(there))
        self.last, self._count, self._parts = entries[-1], 0, [_Part()]
        return entries

    def _part_for(self, size: int) -> _Part:
        """Return the part that has room for so many bytes, which are taken."""
        part = self._parts[-1]
        if part.size and part.size + size > self._room:
            part = _Part()
            self._parts.append(part)
        part.size += size
        return part


def runs(entries: Iterable[Entry]) -> Iterator[Runs]:
    """Yield the runs of entries in their order.

    An owner entry covers nothing: one left by an instance that found another at work changes
    nothing. Raises UnsafeResumeError where an entry does not follow on the one before it.
    """
    next_offset: NDArray[np.int64] | None = None
    seq = 0
    parts: list[Entry] = []
    for entry in entries:
        if next_offset is None:
            # The first entry says where the inputs begin and covers nothing.
            next_offset, seq = entry.next_offset.copy(), entry.end
            continue
        if entry.origin == "owner":
            continue
        parts = [part for part in parts if part.owner == entry.owner]
        parts.append(entry)
        # One without records is a part, or says nothing of the order: both may go before one with.
        found = _unpack(parts, next_offset) if entry.count else None
        stands = entry.seq == seq and np.array_equal(next_offset, entry.next_offset)
        if not stands or (entry.count and found is None):
            raise UnsafeResumeError(
                f"the journal of shard {entry.shard} is damaged: the entry at seq {entry.seq} does "
                f"not follow on seq {seq}; two instances may have written it, or it was cut: "
                "start anew under another pipeline name"
            )
        if found is not None:
            parts, seq = [], entry.end
            yield found


def _unpack(parts: list[Entry], next_offset: NDArray[np.int64]) -> Runs | None:
    """Return the runs of an entry and of the parts before it; None where they are not runs."""
    entry = parts[-1]
    data = np.frombuffer(b"".join(part.runs for part in parts), np.uint8)
    out = np.empty((4, len(data) // 4 + 1), np.int64)
    size = decode_runs(data, next_offset, out)
    if size < 0 or int(out[3, :size].sum()) != entry.count:
        return None
    source, first, following, count = (np.ascontiguousarray(row[:size]) for row in out)
    inputs = dict(zip(entry.streams, entry.first_inputs, strict=True))
    dead = tuple(
        (inputs[g.stream] + g.partition, g.first, g.next)
        for part in parts
        for g in part.gaps
        if g.reason == "dead"
    )
    return Runs((source, first, following, count), np.zeros(3, np.int64), dead)


def _nullable(time_us: int) -> int | None:
    return None if time_us == NO_TIME else int(time_us)


def _times(values: list[int | None]) -> NDArray[np.int64]:
    return np.array([NO_TIME if value is None else value for value in values], np.int64)
