"""Writes buffers of records to topics; a record is out once ``flush`` has returned.

Nothing is dropped: a delivery that fails stops the pipeline, and a broker that is away is waited
for. The reference implementation stands on confluent's ``produce_batch``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck
import numpy as np

from noskew.dataflows.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "log_level": 3,
    "enable.idempotence": True,
    "linger.ms": 2,
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 512 << 10,
    "batch.num.messages": 10_000,
    # Only the topic decides what is too large: a dead letter is larger than its record.
    "message.max.bytes": 1_000_000_000,
    # A callback per delivered record would be a Python call per event: only failures call.
    "delivery.report.only.error": True,
}

BACKLOG_MAX = 100_000
"""Records waiting to be sent before a writer waits: backpressure, long before the queue is full."""


class Outbox:
    """An idempotent producer for buffers of records.

    waits    called while the broker keeps us waiting; may raise to give up
    """

    def __init__(
        self,
        brokers: str,
        options: Mapping[str, Any] | None = None,
        waits: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._failed: list[str] = []
        self._waits = waits
        self._producer = ck.Producer(
            {
                **PRODUCER,
                "bootstrap.servers": brokers,
                "on_delivery": self._note,
                **(options or {}),
            }
        )

    def send(
        self,
        topic: str,
        buffer: NDArray[np.uint8],
        start: NDArray[np.int64],
        partition: NDArray[np.int32],
    ) -> None:
        """Queue n records; each partition receives its records in the order given.

        buffer, start   uint8[bytes], int64[n + 1]  record i is ``buffer[start[i]:start[i + 1]]``
        partition       int32[n]
        """
        data = buffer[: int(start[-1])].tobytes()
        order = np.argsort(partition, kind="stable")
        begin, end = start[:-1][order].tolist(), start[1:][order].tolist()
        numbers, first = np.unique(partition[order], return_index=True)
        bounds = [*first.tolist(), len(order)]
        self._wait(lambda: len(self._producer) <= BACKLOG_MAX)
        for number, low, high in zip(numbers.tolist(), bounds, bounds[1:], strict=False):
            # confluent takes one dictionary per record: what the client needs, not what flows. It
            # overlooks a "partition" in them (2.16.0), so there is one call per partition.
            records: list[dict[str, Any]] = [
                {"value": data[a:b]} for a, b in zip(begin[low:high], end[low:high], strict=True)
            ]
            queued = self._producer.produce_batch(topic, records, partition=number)
            if queued != len(records):
                refused = next(record["_error"] for record in records if "_error" in record)
                raise DeliveryError(self._message(f"{topic}: {refused}"))

    def send_one(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes | None = None,
    ) -> None:
        """Queue one record: dead letters, alerts and journal records."""
        self._wait(lambda: len(self._producer) <= BACKLOG_MAX)
        try:
            self._producer.produce(topic, value=value, key=key, partition=partition)
        except ck.KafkaException as error:
            raise DeliveryError(self._message(f"{topic}: {error}")) from error

    def flush(self) -> None:
        """Wait until everything queued is acknowledged. Raises DeliveryError."""
        self._wait(lambda: self._producer.flush(0.05) == 0)
        if self._failed:
            raise DeliveryError(self._message(self._failed[0]))

    def close(self) -> None:
        """Drop what is still queued and end the client's threads."""
        self._producer.purge()
        self._producer.flush(1)

    def _wait(self, done: Callable[[], bool]) -> None:
        began_s = time.monotonic()
        while not done():
            if self._failed:
                raise DeliveryError(self._message(self._failed[0]))
            self._producer.poll(0.005)
            self._waits(time.monotonic() - began_s)

    def _note(self, error: ck.KafkaError, message: ck.Message) -> None:
        self._failed.append(f"{message.topic()} partition {message.partition()}: {error.str()}")

    @staticmethod
    def _message(what: str) -> str:
        return (
            f"a record was not delivered to topic {what}; what depends on it is not journaled and "
            "will be done again: mend the cause, then start again"
        )
