"""Feeds an input topic: buffers of records out, grouped by partition, failures counted.

For the simulator and the loader, which stand outside the pipeline: unlike the pipeline's own
outputs their records may carry the time of the event as Kafka's timestamp, and a key.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import confluent_kafka as ck
import numpy as np

from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

PRODUCER: Final[dict[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,  # keeps each partition's order through retries
    "linger.ms": 5,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 1_000_000,
    "delivery.timeout.ms": 60_000,
    # A callback per delivered record would be a Python call per event: only failures call.
    "delivery.report.only.error": True,
    "log_level": 0,
}

BACKLOG_MAX: Final = 200_000
"""Records waiting to be sent before a writer waits: backpressure, before the queue is full."""

PIECE: Final = 50_000
"""Records handed to the client at once; less than what is left above the backlog."""


class TopicWriter:
    """Writes records to one existing topic. A context manager: leaving it flushes and closes.

    Nothing raises for a single record: failures are counted and ``flush`` raises.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        self.topic = topic
        self.sent = 0
        self._failed = 0
        self._reason = ""
        self._producer = ck.Producer(
            {**PRODUCER, "bootstrap.servers": brokers, "on_delivery": self._note}
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
        buffer: NDArray[np.uint8],
        start: NDArray[np.int64],
        partition: NDArray[np.int32],
        record_time_us: NDArray[np.int64] | None = None,
        keys: Sequence[bytes] | None = None,
    ) -> None:
        """Queue n records; each partition gets its records in the order given.

        buffer, start   uint8[bytes], int64[n + 1]  record i is ``buffer[start[i]:start[i + 1]]``
        partition       int32[n]
        record_time_us  int64[n] µs, Kafka keeps the ms; None: the time of sending (faster)
        keys            message keys, by record; None: no keys
        """
        for at in range(0, len(partition), PIECE):
            piece = slice(at, at + PIECE)
            self._backpressure()
            self._send_piece(
                buffer,
                start[at : at + PIECE + 1],
                partition[piece],
                None if record_time_us is None else record_time_us[piece],
                None if keys is None else keys[piece],
            )

    def flush(self) -> None:
        """Wait until all records are acknowledged; UsageError says how many were not, and why."""
        while self._producer.flush(1.0):
            pass  # ends: after delivery.timeout.ms a record counts as failed
        if self._failed:
            message = (
                f"{self._failed} of {self.sent} records were not delivered to topic "
                f"{self.topic!r} ({self._reason}): see that the broker is up, then start again"
            )
            raise UsageError(message)

    def close(self) -> None:
        """Drop what is still queued and end the client's threads."""
        self._producer.purge()
        self._producer.flush(1.0)

    def _send_piece(
        self,
        buffer: NDArray[np.uint8],
        start: NDArray[np.int64],
        partition: NDArray[np.int32],
        record_time_us: NDArray[np.int64] | None,
        keys: Sequence[bytes] | None,
    ) -> None:
        first = int(start[0])
        data = buffer[first : int(start[-1])].tobytes()
        order = np.argsort(partition, kind="stable")
        begin = (start[:-1] - first)[order].tolist()
        end = (start[1:] - first)[order].tolist()
        places = order.tolist()
        bounds = np.searchsorted(partition[order], np.arange(int(partition.max(initial=-1)) + 2))
        time_ms = None if record_time_us is None else (record_time_us[order] // 1_000).tolist()
        for number, (low, high) in enumerate(pairwise(bounds.tolist())):
            values = [data[a:b] for a, b in zip(begin[low:high], end[low:high], strict=True)]
            named = None if keys is None else [keys[i] for i in places[low:high]]
            if time_ms is None:
                self._batch(number, values, named)
            else:
                self._singly(number, values, named, time_ms[low:high])
        self.sent += len(places)

    def _batch(self, partition: int, values: list[bytes], keys: list[bytes] | None) -> None:
        # confluent takes one dictionary a record: what the client needs, not what flows.
        if keys is None:
            records: list[dict[str, Any]] = [{"value": value} for value in values]
        else:
            records = [
                {"value": value, "key": key} for value, key in zip(values, keys, strict=True)
            ]
        if not records:
            return
        queued = self._producer.produce_batch(self.topic, records, partition=partition)
        if queued != len(records):
            refused = next(record["_error"] for record in records if "_error" in record)
            self._fail(len(records) - queued, str(refused))

    def _singly(
        self,
        partition: int,
        values: list[bytes],
        keys: list[bytes] | None,
        time_ms: list[int],
    ) -> None:
        # produce_batch refuses timestamps, so here is one call a record.
        produce = self._producer.produce
        named: Sequence[bytes | None] = keys if keys is not None else [None] * len(values)
        for value, key, timestamp in zip(values, named, time_ms, strict=True):
            while True:
                try:
                    produce(self.topic, value, key, partition=partition, timestamp=timestamp)
                    break
                except BufferError:
                    self._producer.poll(0.01)

    def _backpressure(self) -> None:
        self._producer.poll(0)
        while len(self._producer) > BACKLOG_MAX:
            self._producer.poll(0.005)

    def _note(self, error: ck.KafkaError, message: ck.Message) -> None:
        self._fail(1, f"partition {message.partition()}: {error.str()}")

    def _fail(self, count: int, reason: str) -> None:
        self._failed += count
        self._reason = self._reason or reason
