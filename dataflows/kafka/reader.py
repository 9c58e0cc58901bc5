"""Reads all streams' partitions into ``Raw`` batches: the only consumer of input records.

Offsets come from us (``assign``), never from a consumer group. The reference implementation
stands on confluent's ``consume``; what it hands out is one buffer with start positions, so that
another client can stand behind the same three methods.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck
import numpy as np

from noskew.dataflows.core.batch import Raw
from noskew.dataflows.errors import UnsafeResumeError
from noskew.kernels.offsets import fresh
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.journal import Topic

READ_MAX = 4096
"""Records handed out at once."""

WAIT_S = 0.01
"""Longest blocking read: it bounds how late a signal or a timer is noticed."""

CLOSE_S = 2.0
"""Longest wait for the client to end: nothing that matters is left to do then."""

CONSUMER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "log_level": 3,
    # One line a second in an outage, not ten.
    "reconnect.backoff.ms": 500,
    "reconnect.backoff.max.ms": 2000,
    # Lost offsets must stop us; librdkafka would jump to the end of the log instead.
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "check.crcs": True,
    "isolation.level": "read_committed",
    # Small fetches keep the partitions of a backlog close together, so that little has to wait
    # for its turn in the merge.
    "max.partition.fetch.bytes": 256 << 10,
    "fetch.wait.max.ms": 10,
    # The default (1 s) stalls a consumer whose local queue was full once.
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 32 << 10,
}


# Underscores mark librdkafka's own error codes; they are public names.
ENDED = ck.KafkaError._PARTITION_EOF  # noqa: SLF001  # a public name all the same
_OFFSET_GONE = {ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001  # a public name all the same
TRANSIENT = {
    ck.KafkaError._TRANSPORT,  # noqa: SLF001  # a public name all the same
    ck.KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001  # a public name all the same
    ck.KafkaError._TIMED_OUT,  # noqa: SLF001  # a public name all the same
    ck.KafkaError._RESOLVE,  # noqa: SLF001  # a public name all the same
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.REQUEST_TIMED_OUT,
}
"""Outages, which librdkafka mends by itself."""


_NEVER = 2**63 - 1


@dataclass(slots=True)
class Read:
    """What one read gives.

    raws     the records, one batch a stream
    ended    bool[inputs]  the input has no unread record
    held     bool[inputs]  the input is not being read now
    drained  nothing more has arrived: who delivered nothing now was silent
    stop     the reader was asked to stop: nothing follows
    """

    raws: tuple[Raw, ...]
    ended: NDArray[np.bool_]
    held: NDArray[np.bool_]
    drained: bool
    stop: bool = False


class Reader:
    """One consumer over all partitions of all streams' topics, read from the offsets given.

    Inputs are numbered stream by stream: a stream's first input + the partition.

    next_offset  int64[inputs]  the next offset each input will hand out
    """

    def __init__(
        self,
        brokers: str,
        topics: Sequence[Topic],
        start: NDArray[np.int64],
        group: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin to read.

        topics  one per stream, each a different one
        start   int64[inputs]  where each input begins
        """
        self.next_offset = start.astype(np.int64, copy=True)
        self._inputs = [(topic.name, p) for topic in topics for p in range(topic.partitions)]
        self._first = np.cumsum([0, *(topic.partitions for topic in topics)])
        self._places: dict[str | None, int] = {
            topic.name: place for place, topic in enumerate(topics)
        }
        self._ended = np.zeros(len(start), np.bool_)
        self._held = np.zeros(len(start), np.bool_)
        self._consumer = ck.Consumer(
            {
                **CONSUMER,
                "bootstrap.servers": brokers,
                "group.id": group,
                **(options or {}),
            }
        )
        self._consumer.assign(
            [
                ck.TopicPartition(*one, at)
                for one, at in zip(self._inputs, start.tolist(), strict=True)
            ]
        )

    def read(self) -> Read:
        """Return what has arrived, waiting at most ``WAIT_S`` for the first record.

        Raises UnsafeResumeError where an offset is no longer (or not yet) in the log.
        """
        messages = self._consumer.consume(READ_MAX, 0)
        if not messages:
            # A call with a time-out waits for a full batch, so wait for one, then drain.
            messages = self._consumer.consume(1, WAIT_S)
            if messages:
                messages += self._consumer.consume(READ_MAX - 1, 0)
        events = [m for m in messages if m.error() is not None]
        raws = self._raws([m for m in messages if m.error() is None] if events else messages)
        for raw in raws:
            self._ended[self._first[raw.stream] + raw.partition] = False
        for event in events:
            self._note(event)
        drained = len(messages) < READ_MAX
        return Read(raws, self._ended.copy(), self._held.copy(), drained)

    def hold(self, source: int, offset: int) -> None:
        """Stop reading an input at ``offset``; ``release`` goes on from there."""
        self.next_offset[source] = offset
        if not self._held[source]:
            self._held[source] = True
            self._ended[source] = False
            self._consumer.incremental_unassign([ck.TopicPartition(*self._inputs[source])])

    def release(self, source: int) -> None:
        """Read a held input again, from where it was held."""
        if self._held[source]:
            self._held[source] = False
            at = int(self.next_offset[source])
            self._consumer.incremental_assign([ck.TopicPartition(*self._inputs[source], at)])

    @property
    def at_end(self) -> NDArray[np.bool_]:
        """Return which inputs have been read to their end, bool[inputs]."""
        return self._ended

    def commit(self, offsets: NDArray[np.int64]) -> None:
        """Commit group offsets in the background, for lag monitors only: never read back."""
        places = zip(self._inputs, offsets.tolist(), strict=True)
        self._consumer.commit(
            offsets=[ck.TopicPartition(*one, at) for one, at in places], asynchronous=True
        )

    def close(self) -> None:
        """Leave the brokers, or leave it be after ``CLOSE_S``.

        librdkafka waits for a commit that is under way, for minutes if its broker has just died.
        """
        closing = threading.Thread(target=self._consumer.close, daemon=True)
        closing.start()
        closing.join(CLOSE_S)

    def _raws(self, messages: list[ck.Message]) -> tuple[Raw, ...]:
        """Return the records not handed out before, one batch a stream."""
        n = len(messages)
        partition = np.fromiter(map(ck.Message.partition, messages), np.int32, n)
        offset = np.fromiter(map(ck.Message.offset, messages), np.int64, n)
        place = np.zeros(n, np.int64)
        if len(self._places) > 1:
            names = map(ck.Message.topic, messages)
            place = np.fromiter(map(self._places.__getitem__, names), np.int64, n)
        keep = np.empty(n, np.bool_)
        # What a held input still hands out was in flight; it is read again at its release.
        floor = np.where(self._held, _NEVER, self.next_offset)
        kept_rows = fresh((self._first[place] + partition).astype(np.int32), offset, floor, keep)
        self.next_offset = np.where(self._held, self.next_offset, floor)
        raws = []
        for one in range(len(self._places)):
            if len(self._places) == 1 and kept_rows == n:
                raws.append(_raw(one, messages, partition, offset))
                continue
            at = np.flatnonzero(keep & (place == one))
            mine = [messages[i] for i in at.tolist()]
            raws.append(_raw(one, mine, partition[at], offset[at]))
        return tuple(raws)

    def _note(self, event: ck.Message) -> None:
        """Take note of an event that is not a record; raise for what must stop the pipeline."""
        error, topic = event.error(), event.topic()
        partition, offset = event.partition(), event.offset()
        if error is None:
            return
        code = error.code()
        place = self._places.get(topic)
        source = -1
        if place is not None and partition is not None and partition >= 0:
            source = int(self._first[place]) + partition
        if code == ENDED and source >= 0 and offset is not None:
            # The mark may be older than records handed out since, or than a hold.
            is_new = offset >= int(self.next_offset[source])
            self._ended[source] = is_new and not self._held[source]
        elif code in _OFFSET_GONE and source >= 0:
            at = int(self.next_offset[source])
            raise UnsafeResumeError(
                f"topic {topic!r} partition {partition} has no offset {at} "
                f"({error.str()}); its retention has passed what was still to be read, or the "
                "topic was recreated: start anew under another pipeline name to accept the gap"
            )
        elif code not in TRANSIENT:
            raise UnsafeResumeError(
                f"reading topic {topic!r} partition {partition} failed: {error.str()}; "
                "nothing after it was used: mend the cause, then start again"
            )


def _raw(
    stream: int,
    messages: list[ck.Message],
    partition: NDArray[np.int32],
    offset: NDArray[np.int64],
) -> Raw:
    """Return one stream's messages as one buffer."""
    n = len(messages)
    found = list(map(ck.Message.value, messages))
    start = np.zeros(n + 1, np.int64)
    absent = np.zeros(n, np.bool_)
    if None in found:
        absent[:] = [value is None for value in found]
    values = [value or b"" for value in found]
    np.cumsum(np.fromiter(map(len, values), np.int64, n), out=start[1:])
    stamps = list(map(methodcaller("timestamp"), messages))
    kind = np.fromiter(map(itemgetter(0), stamps), np.int64, n)
    record_ms = np.fromiter(map(itemgetter(1), stamps), np.int64, n)
    headers = list(map(ck.Message.headers, messages))
    return Raw(
        stream=stream,
        payload=np.frombuffer(b"".join(values), np.uint8),
        start=start,
        absent=absent,
        partition=partition,
        offset=offset,
        record_time_us=np.where(kind == ck.TIMESTAMP_NOT_AVAILABLE, NULL, record_ms * 1000),
        keys=list(map(ck.Message.key, messages)),
        headers=_headers(headers) if any(headers) else {},
    )


def _headers(found: list[Any]) -> dict[int, list[tuple[str, bytes | None]]]:
    """Return the headers of the records that have any, by position: the slow path."""
    return {i: headers for i, headers in enumerate(found) if headers}
