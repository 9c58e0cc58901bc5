"""The newest records of a topic: for displays, never for progress."""

from __future__ import annotations

import confluent_kafka as ck

from noskew.dataflows.kafka.reader import CONSUMER

WAIT_S = 5.0


def newest(brokers: str, topic: str, count: int) -> list[bytes]:
    """Return the values of up to ``count`` newest records of partition 0, oldest first."""
    consumer = ck.Consumer({**CONSUMER, "bootstrap.servers": brokers, "group.id": f"{topic}.tail"})
    try:
        low, high = consumer.get_watermark_offsets(ck.TopicPartition(topic, 0), timeout=WAIT_S)
        consumer.assign([ck.TopicPartition(topic, 0, max(low, high - count))])
        values: list[bytes] = []
        while len(values) < min(count, high - low):
            message = consumer.poll(WAIT_S)
            if message is None or message.error() is not None:
                break
            values.append(message.value() or b"")
        return values
    finally:
        consumer.close()
