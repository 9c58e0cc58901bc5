"""Writes buffers of records to topics; a record is out once ``flush`` has returned.

Nothing is dropped and nothing changes places: a delivery that fails raises, a queue that is full is
waited for. The reference implementation stands on confluent's ``produce_batch``.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

import confluent_kafka as ck
import numpy as np

from noskew.dataflows.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

PRODUCER: Final[Mapping[str, Any]] = {
    "acks": "all",
    "log_level": 3,
    "reconnect.backoff.ms": 500,
    "reconnect.backoff.max.ms": 2000,
    "enable.idempotence": True,  # keeps each partition's order through the client's retries
    "linger.ms": 2,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 512 << 10,
    "batch.num.messages": 10_000,
    # Only the topic decides what is too large: a dead letter is larger than its record.
    "message.max.bytes": 1_000_000_000,
    # A callback per delivered record would be a Python call per event: only failures call.
    "delivery.report.only.error": True,
}

WAITING_RECORDS: Final = 100_000
"""Records that may wait to be sent, well below the client's own limit, which is so never met."""

WAITING_BYTES: Final = 64 << 20
"""Bytes that may wait to be sent; only a single record may be larger."""

PIECE_RECORDS: Final = 20_000
"""Records handed to the client at once."""

PIECE_BYTES: Final = 8 << 20
"""Bytes handed to the client at once; only a single record may be larger."""


class Outbox:
    """An idempotent producer for buffers of records, for one thread.

    options    librdkafka's, over ``PRODUCER``
    waits      called with the seconds so far while the broker keeps us waiting; may raise to give
               up, after which only ``close`` makes sense
    timeout_s  how long a record may take before its delivery has failed; 0: a broker that is away
               is waited for

    A context manager: leaving it flushes, unless an exception is under way, and closes.
    """

    def __init__(
        self,
        brokers: str,
        options: Mapping[str, Any] | None = None,
        waits: Callable[[float], None] = lambda _: None,
        *,
        timeout_s: float = 0.0,
    ) -> None:
        chosen = {**PRODUCER, "message.timeout.ms": round(timeout_s * 1e3), **(options or {})}
        self._waits = waits
        self._failed = 0
        self._reason = ""
        self._room = _Room(
            # Zero is librdkafka's word for no limit.
            min(WAITING_RECORDS, int(chosen["queue.buffering.max.messages"]) or WAITING_RECORDS),
            min(WAITING_BYTES, int(chosen["queue.buffering.max.kbytes"]) << 10),
        )
        self._producer = ck.Producer(
            {**chosen, "bootstrap.servers": brokers, "on_delivery": self._note}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self.close()

    def send(
        self,
        topic: str,
        buffer: NDArray[np.uint8],
        start: NDArray[np.int64],
        partition: NDArray[np.int32],
        *,
        record_time_us: NDArray[np.int64] | None = None,
        keys: Sequence[bytes] | None = None,
    ) -> None:
        """Queue n records; each partition receives its records in the order given.

        buffer, start   uint8[bytes], int64[n + 1]  record i is ``buffer[start[i]:start[i + 1]]``
        partition       int32[n]
        record_time_us  int64[n] µs, Kafka keeps the ms; None: the time of sending (faster)
        keys            message keys, by record; None: no keys

        Returns once the client has them all, waiting for room as needed. Raises DeliveryError
        where a record, of this call or an earlier one, was not delivered or is not accepted.
        """
        for low, high in self._room.pieces(start):
            self._starting()
            self._send_piece(
                topic,
                buffer,
                start[low : high + 1],
                partition[low:high],
                None if record_time_us is None else record_time_us[low:high],
                None if keys is None else keys[low:high],
            )

    def send_one(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes | None = None,
    ) -> None:
        """Queue one record: dead letters, alerts and journal records. Waits and raises as send."""
        self._starting()
        size = len(value) + len(key or b"")
        self._wait_for_room(1, size, size)
        self._produce(topic, partition, [value], [key], [0])

    def flush(self) -> None:
        """Wait until everything queued is acknowledged. Raises DeliveryError."""
        self._wait(lambda: self._served(self._producer.flush, 0.05) == 0)

    def close(self) -> None:
        """Drop what is still queued and end the client's threads."""
        self._producer.purge()
        self._producer.flush(1)

    def _send_piece(
        self,
        topic: str,
        buffer: NDArray[np.uint8],
        start: NDArray[np.int64],
        partition: NDArray[np.int32],
        record_time_us: NDArray[np.int64] | None,
        keys: Sequence[bytes] | None,
    ) -> None:
        data = buffer[int(start[0]) : int(start[-1])].tobytes()
        key_sizes = [0] if keys is None else [len(key) for key in keys]
        self._wait_for_room(
            len(partition), len(data) + sum(key_sizes), int(np.diff(start).max()) + max(key_sizes)
        )
        order = np.argsort(partition, kind="stable")
        at = start - start[0]
        begin, end = at[:-1][order].tolist(), at[1:][order].tolist()
        values = [data[a:b] for a, b in zip(begin, end, strict=True)]
        named = None if keys is None else [keys[i] for i in order.tolist()]
        time_ms = None if record_time_us is None else (record_time_us[order] // 1_000).tolist()
        numbers, first = np.unique(partition[order], return_index=True)
        bounds = pairwise([*first.tolist(), len(order)])
        for number, (low, high) in zip(numbers.tolist(), bounds, strict=True):
            mine = None if named is None else named[low:high]
            if time_ms is None:
                self._produce_batch(topic, number, values[low:high], mine)
            else:
                mine = mine or [None] * (high - low)
                self._produce(topic, number, values[low:high], mine, time_ms[low:high])

    def _produce_batch(
        self, topic: str, partition: int, values: list[bytes], keys: list[bytes] | None
    ) -> None:
        # confluent takes one dictionary per record: what the client needs, not what flows. It
        # overlooks a "partition" in them (2.16.0), so there is one call per partition.
        records: list[dict[str, Any]] = (
            [{"value": value} for value in values]
            if keys is None
            else [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]
        )
        queued = self._producer.produce_batch(topic, records, partition=partition)
        if queued != len(records):
            refused = next(record["_error"] for record in records if "_error" in record)
            self._refused(refused)
            self._fail(len(records) - queued, topic, partition, refused.str())
            self._raise()

    def _produce(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes],
        keys: Sequence[bytes | None],
        time_ms: Sequence[int],
    ) -> None:
        # produce_batch refuses timestamps (2.16.0), so here is one call a record; time 0 is now.
        produce = self._producer.produce
        for value, key, timestamp in zip(values, keys, time_ms, strict=True):
            try:
                produce(topic, value, key, partition=partition, timestamp=timestamp)
            except (BufferError, ck.KafkaException) as error:
                if isinstance(error, ck.KafkaException):
                    self._refused(error.args[0])
                # There is room, so a full queue means a record larger than the whole queue.
                self._fail(1, topic, partition, str(error))
                self._raise(error)

    def _wait_for_room(self, records: int, size: int, largest: int) -> None:
        self._served(self._producer.poll, 0)  # serves the failures, which else wait in the queue
        self._wait(lambda: self._room.fits(len(self._producer), records, size))
        self._room.take(size, largest)

    def _wait(self, done: Callable[[], bool]) -> None:
        began_s = time.monotonic()
        while not done():
            self._check()
            self._served(self._producer.poll, 0.005)
            self._waits(time.monotonic() - began_s)
        self._check()

    def _check(self) -> None:
        if self._failed:
            self._raise()

    def _served(self, call: Callable[[float], int], timeout_s: float) -> int:
        """Let the client call back what it has to tell."""
        return call(timeout_s)

    def _starting(self) -> None:
        """Be told that a record is about to be sent."""

    def _refused(self, error: ck.KafkaError) -> None:
        """Be told why a record was not taken, before that is raised."""

    def _note(self, error: ck.KafkaError, message: ck.Message) -> None:
        self._refused(error)
        self._fail(1, str(message.topic()), message.partition(), error.str())

    def _fail(self, count: int, topic: str, partition: int | None, cause: str) -> None:
        self._failed += count
        self._reason = self._reason or f"topic {topic} partition {partition}: {cause}"

    def _raise(self, cause: Exception | None = None) -> NoReturn:
        message = (
            f"a record was not delivered to {self._reason} (records so far: {self._failed}); "
            "nothing that depends on it counts as done: mend the cause, then start again"
        )
        raise DeliveryError(message) from cause


class _Room:
    """Says how much more may wait to be sent, in records and in bytes.

    The client never meets its own limit so. That matters for the order: its produce_batch goes on
    behind a refused record, and a later one that found room would overtake it.
    """

    def __init__(self, records: int, size: int) -> None:
        self._records = records
        self._bytes = size
        self._taken = 0
        """Bytes taken since nothing waited."""
        self._largest = 0
        """The largest record of those."""

    def pieces(self, start: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield bounds of pieces of the records that ``start`` bounds, none of them empty."""
        n, low = len(start) - 1, 0
        records, size = min(PIECE_RECORDS, self._records), min(PIECE_BYTES, self._bytes)
        while low < n:
            fitting = int(np.searchsorted(start, start[low] + size, side="right")) - 1
            high = min(max(fitting, low + 1), low + records, n)
            yield low, high
            low = high

    def fits(self, waiting: int, records: int, size: int) -> bool:
        """Return whether so much may join the ``waiting`` records.

        Always true where nothing waits, and then what was taken before is forgotten.
        """
        if not waiting:
            self._taken = self._largest = 0
            return True
        # Two upper bounds for the bytes that wait: the records may have left in any order.
        most = min(self._taken, waiting * self._largest)
        return waiting + records <= self._records and most + size <= self._bytes

    def take(self, size: int, largest: int) -> None:
        """Note that so much joins the waiting."""
        self._taken += size
        self._largest = max(self._largest, largest)
