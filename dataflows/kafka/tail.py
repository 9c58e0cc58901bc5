"""The newest committed records of our own topics: for displays, and to see that none is too new."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import confluent_kafka as ck

from noskew.dataflows.errors import DeliveryError, UnsafeResumeError
from noskew.dataflows.kafka.reader import CONSUMER, ENDED, TRANSIENT
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from noskew.dataflows.core.journal import Entry, Topic
    from noskew.dataflows.kafka.letters import Outputs

TIMEOUT_S = 10.0

WAIT_S = 5.0

LOOK_S = 0.02
"""Time between two questions to a broker that does not know a new topic yet."""

_PASSING = TRANSIENT | {ck.KafkaError.UNKNOWN_TOPIC_OR_PART}


def newest(brokers: str, topic: str, count: int) -> list[bytes]:
    """Return the values of up to ``count`` newest records of partition 0, oldest first."""
    with _consumer(brokers, topic) as consumer:
        return _newest(consumer, topic, 0, count)


def none_beyond(
    brokers: str, outputs: Outputs, topics: Sequence[Topic], last: Entry | None
) -> None:
    """Raise UnsafeResumeError where a score or dead letter lies beyond the journal's last entry.

    Only the newest record of each partition is looked at: they are in the order of their seq.
    Raises DeliveryError where a broker does not give one.
    """
    end = 0 if last is None else last.end
    written = (
        (outputs.scores, "score", topics[0].partitions),
        (outputs.dead, "dead_letter", max(topic.partitions for topic in topics)),
    )
    for topic, schema, partitions in written:
        with _consumer(brokers, topic) as consumer:
            for partition in range(partitions):
                for value in _newest(consumer, topic, partition, 1):
                    seq = records.decode(schema, value)["seq"]
                    if seq >= end:
                        raise UnsafeResumeError(
                            f"topic {topic!r} partition {partition} holds seq {seq}, the journal "
                            f"{outputs.journal!r} ends at seq {end}: the journal was cut or made "
                            "again, and going on would put records out twice; restore the "
                            "journal, or start anew under another pipeline name"
                        )


def span(consumer: ck.Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Return the first offset of a partition, and its end as the consumer's isolation has it.

    Raises DeliveryError where the broker does not answer within ``TIMEOUT_S``.
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        part = ck.TopicPartition(topic, partition)
        try:
            low, high = consumer.get_watermark_offsets(part, timeout=TIMEOUT_S)
        except ck.KafkaException as error:
            if error.args[0].code() in _PASSING and time.monotonic() < deadline_s:
                time.sleep(LOOK_S)
                continue
            raise _silent(topic, partition, error.args[0].str(), TIMEOUT_S) from error
        return int(low), int(high)


@contextmanager
def _consumer(brokers: str, topic: str) -> Iterator[ck.Consumer]:
    consumer = ck.Consumer({**CONSUMER, "bootstrap.servers": brokers, "group.id": f"{topic}.tail"})
    try:
        yield consumer
    finally:
        consumer.close()


def _newest(consumer: ck.Consumer, topic: str, partition: int, count: int) -> list[bytes]:
    low, high = span(consumer, topic, partition)
    # The markers of transactions take offsets too, so look back until enough is found.
    back = 2 * count
    while high > low:
        begin = max(low, high - back)
        found = _values(consumer, ck.TopicPartition(topic, partition, begin))
        if len(found) >= count or begin == low:
            return found[-count:]
        back *= 8
    return []


def _values(consumer: ck.Consumer, begin: ck.TopicPartition) -> list[bytes]:
    """Return the values from there to the end."""
    consumer.assign([begin])
    values: list[bytes] = []
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        message = consumer.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            deadline_s = time.monotonic() + WAIT_S
            values.append(message.value() or b"")
        elif error.code() == ENDED:
            return values
    raise _silent(begin.topic, begin.partition, "nothing to be read", WAIT_S)


def _silent(topic: str, partition: int, reason: str, waited_s: float) -> DeliveryError:
    return DeliveryError(
        f"topic {topic!r} partition {partition} does not answer within {waited_s:g} s ({reason}): "
        "see whether the broker is up, then start again"
    )
