"""Reads topics for an audit: committed records up to fixed ends, below which nothing is open."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import confluent_kafka as ck
import numpy as np
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported, not declared
    AdminClient,
    OffsetSpec,
)

from noskew.dataflows.errors import DeliveryError, UsageError
from noskew.dataflows.kafka.reader import CONSUMER, ENDED, TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

CHUNK = 8192
"""Records handed out at once, about."""

ANSWER_S = 30.0
"""Longest wait for a broker that gives nothing."""

_READER = {
    **CONSUMER,
    # One partition at a time, from end to end.
    "max.partition.fetch.bytes": 4 << 20,
    "fetch.wait.max.ms": 50,
    "queued.max.messages.kbytes": 64 << 10,
}


@dataclass(slots=True)
class Ends:
    """How far each partition of a topic is read.

    low    int64[partitions]  the first offset that is kept
    end    int64[partitions]  up to which everything is committed or aborted
    open   partition -> the end with what is not committed, where it stayed behind that
    """

    low: NDArray[np.int64]
    end: NDArray[np.int64]
    open: dict[int, int]


@dataclass(slots=True)
class Chunk:
    """Some records of a partition: values (b"" where there is none) and offsets, int64[n]."""

    values: list[bytes]
    offset: NDArray[np.int64]


class AuditLog:
    """One cluster's topics, to be read only."""

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._admin = AdminClient(
            {"bootstrap.servers": brokers, "socket.timeout.ms": 5000, "log_level": 0}
        )

    def committed(self, topic: str, partitions: int) -> NDArray[np.int64]:
        """Return the end of each partition as a reader of committed records sees it."""
        return self._offsets(topic, partitions, "latest", ck.IsolationLevel.READ_COMMITTED)

    def settled(self, topic: str, partitions: int, wait_s: float) -> Ends:
        """Return ends below which no transaction is open.

        One that is open now may take ``wait_s`` to end; what stays open is said in ``open``.
        """
        low = self._offsets(topic, partitions, "earliest", ck.IsolationLevel.READ_UNCOMMITTED)
        high = self._offsets(topic, partitions, "latest", ck.IsolationLevel.READ_UNCOMMITTED)
        deadline_s = time.monotonic() + wait_s
        while True:
            end = self.committed(topic, partitions)
            behind = end < high
            if not behind.any() or time.monotonic() >= deadline_s:
                left = {one: int(high[one]) for one in np.flatnonzero(behind).tolist()}
                return Ends(low, np.minimum(end, high), left)
            time.sleep(0.02)

    def read(
        self, topic: str, partition: int, begin: int, end: int
    ) -> Generator[Chunk, None, None]:
        """Yield the committed records of offsets ``begin`` to ``end - 1``.

        Raises DeliveryError where the broker gives nothing for ``ANSWER_S``, UsageError where the
        offsets are no longer there.
        """
        if begin >= end:
            return
        config = {**_READER, "bootstrap.servers": self._brokers, "group.id": f"{topic}.audit"}
        consumer = ck.Consumer(config)
        try:
            consumer.assign([ck.TopicPartition(topic, partition, begin)])
            yield from _chunks(consumer, f"topic {topic!r} partition {partition}", begin, end)
        finally:
            consumer.close()

    def present(self, topic: str, partition: int, first: int, following: int) -> int:
        """Return how many records the offsets ``first`` to ``following - 1`` hold."""
        return sum(len(one.values) for one in self.read(topic, partition, first, following))

    def _offsets(
        self, topic: str, partitions: int, which: str, isolation: ck.IsolationLevel
    ) -> NDArray[np.int64]:
        spec = getattr(OffsetSpec, which)()
        asked = {ck.TopicPartition(topic, one): spec for one in range(partitions)}
        found = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=5)
        try:
            return np.array([found[one].result(6).offset for one in asked], np.int64)
        except ck.KafkaException as error:
            raise DeliveryError(
                f"the offsets of topic {topic!r} cannot be had from {self._brokers!r} "
                f"({error.args[0].str()}): see whether the broker is up, then audit again"
            ) from error


def _chunks(
    consumer: ck.Consumer, place: str, begin: int, end: int
) -> Generator[Chunk, None, None]:
    gathered: list[ck.Message] = []
    heard_s = time.monotonic()
    while True:
        messages = consumer.consume(CHUNK, 0) or consumer.consume(1, 0.1)
        over = answered = False
        for message in messages:
            error, offset = message.error(), message.offset() or 0
            if error is None:
                answered = True
                over = over or offset >= end - 1
                if offset < end:
                    gathered.append(message)
            elif error.code() == ENDED:
                # Markers at the end are no records: only the end itself says that it is there.
                over = over or offset >= end
            elif error.code() not in TRANSIENT:
                raise UsageError(
                    f"{place} cannot be read from offset {begin} to {end - 1}: {error.str()}; "
                    "if retention passes it while it is audited, audit again"
                )
        if answered:
            heard_s = time.monotonic()
        elif not over and time.monotonic() - heard_s > ANSWER_S:
            raise DeliveryError(
                f"{place} gave nothing for {ANSWER_S:g} s before its end {end}: see whether "
                "the broker is up, then audit again"
            )
        if gathered and (over or len(gathered) >= CHUNK):
            yield _chunk(gathered)
            gathered = []
        if over:
            return


def _chunk(messages: list[ck.Message]) -> Chunk:
    n = len(messages)
    values = [value or b"" for value in map(ck.Message.value, messages)]
    return Chunk(values, np.fromiter(map(ck.Message.offset, messages), np.int64, n))
