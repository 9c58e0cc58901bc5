"""Records into topics and out of them, for tests: bytes or events in, decoded records out.

Every wait has a bound.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka as ck

from noskew.dataflows.kafka.tail import span
from noskew.dataflows.kafka.topics import Admin
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meaning import Event

    from noskew.infra.stack import Stack


CONSUMER: Final[dict[str, Any]] = {
    "group.id": "tests",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "fetch.wait.max.ms": 10,
}


@dataclass(frozen=True)
class Record:
    """A record to produce, byte for byte."""

    partition: int
    value: bytes | None
    time_ms: int
    key: bytes | None = None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """A record of one of our topics, decoded."""

    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: dict[str, Any]


def payment(event: Event, schema_id: int) -> bytes:
    """Return an event as a framed record of transaction.avsc; absent fields take defaults.

    The id is ``values["transaction_id"]``, which must be there.
    """
    return records.encode("transaction", {**event.values, "event_time": event.time_us}, schema_id)


def produce(
    stack: Stack,
    topic: str,
    events: Sequence[Event],
    *,
    schema_id: int,
    times_ms: Sequence[int] | None = None,
) -> None:
    """Send payments in the order given, each to its partition, and wait until they are in.

    times_ms  Kafka's timestamps; None: each event's own time, to the millisecond
    """
    times = times_ms if times_ms is not None else [event.time_us // 1000 for event in events]
    sent = [
        Record(event.partition, payment(event, schema_id), at, _key(event))
        for event, at in zip(events, times, strict=True)
    ]
    send(stack, topic, sent)


def send(stack: Stack, topic: str, sent: Iterable[Record]) -> None:
    """Send records in the order given and wait until they are in the topic."""
    failed: list[object] = []
    producer = ck.Producer(
        {
            "bootstrap.servers": stack.brokers,
            # In order without idempotence, whose handshake takes half a second.
            "acks": "all",
            "max.in.flight.requests.per.connection": 1,
            "linger.ms": 1,
            "delivery.report.only.error": True,
        }
    )
    for record in sent:
        producer.produce(
            topic,
            value=record.value,
            key=record.key,
            partition=record.partition,
            timestamp=record.time_ms,
            headers=record.headers,
            on_delivery=lambda error, _: failed.append(error),
        )
    # Longer than the longest outage that a test makes.
    assert producer.flush(60) == 0, f"{topic} did not take the records within 60 s"
    assert not failed, failed[0]


def read_topic(brokers: str, topic: str, schema: str) -> list[Found]:
    """Return the committed records of a topic of ours, decoded, by partition and offset."""
    return [
        Found(
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            records.decode(schema, message.value()),
        )
        for message in read_messages(brokers, topic)
    ]


def read_values(brokers: str, topic: str) -> list[bytes]:
    """Return the committed values of a topic, by partition and offset."""
    return [message.value() for message in read_messages(brokers, topic)]


def read_messages(
    brokers: str, topic: str, timeout_s: float = 30.0, isolation: str = "read_committed"
) -> list[Any]:
    """Return the messages of a topic to its present end, by partition and offset.

    isolation  "read_uncommitted" gives those of open and aborted transactions, too

    Raises AssertionError where the broker does not give them in time.
    """
    consumer = ck.Consumer({**CONSUMER, "isolation.level": isolation, "bootstrap.servers": brokers})
    found: list[Any] = []
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic]
        assert known.error is None, f"{topic}: {known.error}"
        waited = set(known.partitions)
        consumer.assign([ck.TopicPartition(topic, p, 0) for p in sorted(waited)])
        while waited:
            messages = consumer.consume(10_000, 0) or consumer.consume(1, timeout_s)
            assert messages, f"{topic}: nothing within {timeout_s} s, partitions {sorted(waited)}"
            for message in messages:
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == ck.KafkaError._PARTITION_EOF, error.str()
                    waited.discard(message.partition())
    finally:
        consumer.close()
    found.sort(key=lambda message: (message.partition(), message.offset()))
    return found


class Committed:
    """Counts the committed records of a topic, each time reading on from where it was.

    End offsets do not tell: the markers of transactions take offsets, too.
    """

    def __init__(self, brokers: str, topic: str, partitions: int) -> None:
        self._consumer = ck.Consumer({**CONSUMER, "bootstrap.servers": brokers})
        self._parts = [ck.TopicPartition(topic, p, 0) for p in range(partitions)]
        self._next = [0] * partitions
        self._counts = [0] * partitions
        self._consumer.assign(self._parts)

    def __call__(self, timeout_s: float = 30.0) -> list[int]:
        """Return how many records of each partition are committed now."""
        ends_s = time.monotonic() + timeout_s
        stable = [span(self._consumer, part.topic, part.partition)[1] for part in self._parts]
        while any(at < end for at, end in zip(self._next, stable, strict=True)):
            assert time.monotonic() < ends_s, f"{self._parts}: at {self._next} of {stable}"
            read = self._consumer.consume
            messages: list[Any] = read(10_000, 0) or read(1, 0.1)
            for message in messages:
                error, partition = message.error(), message.partition()
                if error is None:
                    self._counts[partition] += 1
                    self._next[partition] = message.offset() + 1
                elif error.code() == ck.KafkaError._PARTITION_EOF:
                    self._next[partition] = max(self._next[partition], message.offset())
        return self._counts.copy()


def ends(brokers: str, topic: str) -> list[int]:
    """Return the end offset of each partition, [] while there is no such topic: to wait for."""
    admin = Admin.connect(brokers)
    known = admin.topic(topic)
    if known is None:
        return []
    found: list[int] = admin.offsets(topic, known.partitions, "latest").tolist()
    return found


def _key(event: Event) -> bytes | None:
    customer = event.values.get("customer_id")
    return None if customer is None else str(customer).encode()
