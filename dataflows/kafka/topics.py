"""Topics: what a broker says of them, and making those that are ours to make."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck
import numpy as np
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported, not declared
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from noskew.dataflows.core.journal import Topic
from noskew.dataflows.errors import UnsafeResumeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan

TIMEOUT_S = 3.0
"""How long a broker may take to answer before it counts as unreachable."""

APPEAR_S = 10.0
"""How long a topic just made may take to appear."""

FUTURE_MAX_MS = 3_600_000
"""Largest ``message.timestamp.after.max.ms`` under which Kafka's timestamps can be trusted."""

DAY_MS = 86_400_000

_PASSING = {
    ck.KafkaError.NOT_LEADER_FOR_PARTITION,
    ck.KafkaError.LEADER_NOT_AVAILABLE,
    ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
    ck.KafkaError.UNKNOWN_LEADER_EPOCH,
    ck.KafkaError.FENCED_LEADER_EPOCH,
    ck.KafkaError.OFFSET_NOT_AVAILABLE,
}
"""What a partition answers for a moment when its topic or its broker is new."""


@dataclass(slots=True)
class Admin:
    """Questions to one cluster. Every call ends within a few seconds."""

    brokers: str
    _client: AdminClient

    @classmethod
    def connect(cls, brokers: str) -> Admin:
        """Return a connection.

        Raises UsageError where no broker answers in ``TIMEOUT_S``, sooner where all refuse.
        """
        refused: list[ck.KafkaError] = []
        # Its declared type forgets callbacks.
        settings: dict[str, Any] = {
            "bootstrap.servers": brokers,
            "socket.timeout.ms": 5000,
            "log_level": 0,
            "error_cb": refused.append,
        }
        client = AdminClient(settings)
        began_s = time.monotonic()
        while True:
            try:
                client.list_topics(timeout=TIMEOUT_S / 3)
                return cls(brokers, client)
            except ck.KafkaException as error:
                client.poll(0)
                waited_s = time.monotonic() - began_s
                # Underscores mark librdkafka's own error codes; they are public names.
                down = any(one.code() == ck.KafkaError._ALL_BROKERS_DOWN for one in refused)  # noqa: SLF001  # public name
                if not down and waited_s < TIMEOUT_S:
                    continue
                raise UsageError(
                    f"no Kafka broker answers at {brokers!r} within {waited_s:.0f} s "
                    f"({error.args[0].str()}): start it ('noskew stack up'), or give --brokers or "
                    "NOSKEW_BROKERS"
                ) from error

    def topic(self, name: str) -> Topic | None:
        """Return what the broker says of a topic, None where there is no such topic."""
        try:
            found = self._client.list_topics(name, timeout=TIMEOUT_S).topics.get(name)
        except ck.KafkaException as error:
            raise UsageError(
                f"what is known of topic {name!r} cannot be had from {self.brokers!r} "
                f"({error.args[0].str()}): see whether the broker is up, then start again"
            ) from error
        if found is None or found.error is not None or not found.partitions:
            return None
        return Topic(name, self._topic_id(name), len(found.partitions))

    def ensure(self, name: str, partitions: int, config: Mapping[str, str]) -> Topic:
        """Return a topic of ours, made if absent.

        Raises UsageError where it exists with another number of partitions.
        """
        found = self.topic(name)
        if found is None:
            new = NewTopic(name, partitions, config=dict(config))
            try:
                self._client.create_topics([new], operation_timeout=5)[name].result(10)
            except ck.KafkaException as error:
                raced = error.args[0].code() == ck.KafkaError.TOPIC_ALREADY_EXISTS
                if not raced:
                    raise UsageError(
                        f"topic {name!r} cannot be created: {error.args[0].str()}; create it with "
                        f"{partitions} partitions, or allow this user to"
                    ) from error
            found = self._appeared(name)
        if found.partitions != partitions:
            raise UsageError(
                f"topic {name!r} has {found.partitions} partitions, {partitions} are needed: "
                "delete it, or run this pipeline under another name"
            )
        return found

    def _appeared(self, name: str) -> Topic:
        """Wait for a topic just made: not every broker knows it at once."""
        deadline_s = time.monotonic() + APPEAR_S
        while time.monotonic() < deadline_s:
            found = self.topic(name)
            if found is not None:
                return found
            time.sleep(0.05)
        raise UsageError(
            f"topic {name!r} was created but does not appear within {APPEAR_S:g} s: see the "
            "broker's log, then start again"
        )

    def config(self, name: str) -> dict[str, str]:
        """Return a topic's configuration; empty where the broker does not tell."""
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            found = self._client.describe_configs([resource], request_timeout=5)[resource].result(6)
        except ck.KafkaException:
            return {}
        return {key: str(entry.value) for key, entry in found.items()}

    def offsets(self, name: str, partitions: int, when: str | int) -> NDArray[np.int64]:
        """Return an offset per partition: of "earliest", "latest", or a time in Kafka's ms.

        A time after the last record gives the end of the partition. Raises UsageError where the
        partitions have had no leader for ``APPEAR_S``.
        """
        words = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest}
        word = words.get(str(when))
        spec = OffsetSpec.for_timestamp(int(when)) if word is None else word()  # type: ignore[no-untyped-call]  # untyped there
        asked = {ck.TopicPartition(name, p): spec for p in range(partitions)}
        deadline_s = time.monotonic() + APPEAR_S
        while True:
            found = self._client.list_offsets(asked, request_timeout=5)
            try:
                out = np.array([found[part].result(6).offset for part in asked], np.int64)
                break
            except ck.KafkaException as error:
                # A topic just made, or a broker just started: not every partition has a leader.
                passing = error.args[0].code() in _PASSING
                if not passing or time.monotonic() > deadline_s:
                    raise UsageError(
                        f"the offsets of topic {name!r} cannot be had from {self.brokers!r} "
                        f"({error.args[0].str()}): see the broker's log, then start again"
                    ) from error
                time.sleep(0.05)
        if (out < 0).any():
            out = np.where(out < 0, self.offsets(name, partitions, "latest"), out)
        return out

    def require(self, topic: Topic, first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
        """Raise UnsafeResumeError unless a topic holds the offsets ``first`` to ``last - 1``.

        first, last  int64[partitions]
        """
        low = self.offsets(topic.name, topic.partitions, "earliest")
        high = self.offsets(topic.name, topic.partitions, "latest")
        for partition in np.flatnonzero((first < last) & ((low > first) | (high < last))).tolist():
            raise UnsafeResumeError(
                f"topic {topic.name!r} partition {partition} holds offsets {low[partition]} to "
                f"{high[partition] - 1}, the journal took {first[partition]} to "
                f"{last[partition] - 1}: retention has passed them, or the log was cut; restore "
                "the topic, or start anew under another pipeline name"
            )

    def _topic_id(self, name: str) -> bytes | None:
        try:
            found = self._client.describe_topics(ck.TopicCollection([name]), request_timeout=5)
            topic_id = found[name].result(6).topic_id
        except ck.KafkaException:
            return None
        high, low = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
        return b"".join((part & (2**64 - 1)).to_bytes(8, "big") for part in (high, low))


def each_once(plan: Plan) -> None:
    """Raise UsageError where two streams read one topic: its offsets are of one input."""
    for place, stream in enumerate(plan.streams):
        for other in plan.streams[:place]:
            if other.topic == stream.topic:
                raise UsageError(
                    f"streams {other.name!r} and {stream.name!r} both read topic "
                    f"{stream.topic!r}: a topic is read once; take the features of both from one "
                    "stream, or give each a topic of its own"
                )


def when(text: str, setting: str, words: set[str]) -> str | int:
    """Return a point in a log: one of ``words`` as it is, or an ISO time in Kafka's ms.

    Raises UsageError for anything else.
    """
    if text in words:
        return text
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError as error:
        known = " or ".join(repr(word) for word in sorted(words))
        raise UsageError(
            f"--{setting} {text!r} is neither {known} nor an ISO time such as "
            "2026-11-23T08:00:00+00:00"
        ) from error
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return int(at.timestamp() * 1000)


def deletions(config: Mapping[str, str]) -> list[str]:
    """Return what of a topic's configuration lets records vanish, as "name=value (days)"."""
    policy = config.get("cleanup.policy", "delete")
    found = []
    age_ms = int(config.get("retention.ms", -1))
    size = int(config.get("retention.bytes", -1))
    if "delete" in policy and age_ms != -1:
        found.append(f"retention.ms={age_ms} ({age_ms / DAY_MS:.3g} days)")
    if "delete" in policy and size != -1:
        found.append(f"retention.bytes={size}")
    if "compact" in policy:
        found.append(f"cleanup.policy={policy}")
    return found


def trustworthy_times(config: Mapping[str, str]) -> bool:
    """Return whether Kafka's record timestamps bound event times (DESIGN section 3.6)."""
    if config.get("message.timestamp.type") == "LogAppendTime":
        return True
    limit = config.get("message.timestamp.after.max.ms")
    return limit is not None and int(limit) <= FUTURE_MAX_MS
