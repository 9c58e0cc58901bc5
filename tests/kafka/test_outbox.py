"""The outbox: where records go, in which order, and what happens while the broker is away."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import numpy as np
import pytest
from kafka_io import read_messages

from noskew.dataflows.errors import DeliveryError
from noskew.dataflows.kafka.outbox import PIECE_RECORDS, WAITING_BYTES, WAITING_RECORDS, Outbox
from noskew.infra.mock import MockBroker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PARTITIONS = 4
TINY_QUEUES = (
    {"queue.buffering.max.messages": 10},
    {"queue.buffering.max.kbytes": 1},
)
AT_US = 1_522_540_800_000_000


class GaveUpError(Exception):
    """Raised by a test's ``waits``."""


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    started = MockBroker()
    try:
        yield started
    finally:
        started.close()


@pytest.fixture
def topic(broker: MockBroker, topic_name: str) -> str:
    broker.create_topic(topic_name, PARTITIONS)
    return topic_name


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections and that no other process can take."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def give_up(waited_s: float) -> None:
    raise GaveUpError(waited_s)


def buffer_of(values: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    start = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in values], out=start[1:])
    return np.frombuffer(b"".join(values), np.uint8), start


def partitions_of(n: int) -> NDArray[np.int32]:
    """Return partitions in no simple order, the last one unused."""
    return np.random.default_rng(1).integers(0, PARTITIONS - 1, n, np.int32)


def texts(n: int, width: int = 0) -> list[bytes]:
    return [str(i).zfill(width).encode() for i in range(n)]


def split(values: Sequence[bytes], partition: NDArray[np.int32]) -> list[list[bytes]]:
    chosen = partition.tolist()
    return [
        [value for value, p in zip(values, chosen, strict=True) if p == number]
        for number in range(PARTITIONS)
    ]


def read(broker: MockBroker, topic: str) -> list[list[bytes]]:
    """Return the values of each partition, by offset."""
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for message in read_messages(broker.brokers, topic):
        found[message.partition()].append(message.value())
    return found


def test_each_partition_receives_its_records_in_the_order_given(
    broker: MockBroker, topic: str
) -> None:
    values = texts(2 * PIECE_RECORDS + 7)
    partition = partitions_of(len(values))

    with Outbox(broker.brokers) as outbox:
        outbox.send(topic, *buffer_of(values), partition)

    assert read(broker, topic) == split(values, partition)


def test_calls_one_after_the_other_keep_their_order(broker: MockBroker, topic: str) -> None:
    values = texts(9)
    with Outbox(broker.brokers) as outbox:
        outbox.send(topic, *buffer_of(values[:4]), np.zeros(4, np.int32))
        outbox.send_one(topic, 0, values[4])
        outbox.send(
            topic,
            *buffer_of(values[5:]),
            np.zeros(4, np.int32),
            record_time_us=np.full(4, AT_US),
        )

    assert read(broker, topic)[0] == values


def test_a_buffer_may_hold_more_than_its_records(broker: MockBroker, topic: str) -> None:
    buffer = np.frombuffer(b"head.one.three.tail", np.uint8)
    with Outbox(broker.brokers) as outbox:
        outbox.send(topic, buffer, np.array([5, 8, 8, 14]), np.array([2, 0, 2], np.int32))
        outbox.send(topic, buffer, np.array([5]), np.zeros(0, np.int32))

    assert read(broker, topic) == [[b""], [], [b"one", b".three"], []]


@pytest.mark.parametrize("timed", [False, True])
def test_a_record_has_the_key_and_the_time_given(
    broker: MockBroker, topic: str, *, timed: bool
) -> None:
    values = texts(100)
    keys = [b"key " + value for value in values]
    times = AT_US + 1_000_999 * np.arange(100)
    with Outbox(broker.brokers) as outbox:
        outbox.send(
            topic,
            *buffer_of(values),
            partitions_of(100),
            record_time_us=times if timed else None,
            keys=keys,
        )

    found = sorted(
        (int(message.value()), message.key(), message.timestamp()[1])
        for message in read_messages(broker.brokers, topic)
    )
    assert [(i, key) for i, key, _ in found] == list(enumerate(keys))
    if timed:
        assert [at for _, _, at in found] == (times // 1_000).tolist()


@pytest.mark.parametrize("options", TINY_QUEUES, ids=lambda options: next(iter(options)))
@pytest.mark.parametrize("timed", [False, True])
def test_a_full_queue_is_waited_for_and_reorders_nothing(
    broker: MockBroker, topic: str, options: dict[str, int], *, timed: bool
) -> None:
    values = texts(200, width=100)
    partition = partitions_of(len(values))
    waited: list[float] = []

    with Outbox(broker.brokers, options, waited.append) as outbox:
        outbox.send(
            topic,
            *buffer_of(values),
            partition,
            record_time_us=np.full(len(values), AT_US) if timed else None,
        )

    assert read(broker, topic) == split(values, partition)
    assert waited


@pytest.mark.parametrize("options", TINY_QUEUES, ids=lambda options: next(iter(options)))
def test_a_full_queue_is_waited_for_by_single_records(
    broker: MockBroker, topic: str, options: dict[str, int]
) -> None:
    values = texts(100, width=100)
    with Outbox(broker.brokers, options) as outbox:
        for value in values:
            outbox.send_one(topic, 1, value, b"key")

    assert read(broker, topic)[1] == values


@pytest.mark.parametrize(
    ("records", "size"),
    [(WAITING_RECORDS + 1, 1), (10, WAITING_BYTES // 10 + 1)],
    ids=["records", "bytes"],
)
def test_what_waits_is_bounded(nobody: str, records: int, size: int) -> None:
    start = np.arange(records + 1) * size
    outbox = Outbox(nobody, {"log_level": 0}, give_up)
    try:
        with pytest.raises(GaveUpError):
            outbox.send("away", np.zeros(start[-1], np.uint8), start, np.zeros(records, np.int32))
    finally:
        outbox.close()


def test_who_waits_for_the_broker_may_give_up(nobody: str) -> None:
    waited: list[float] = []

    def waits(waited_s: float) -> None:
        waited.append(waited_s)
        if len(waited) == 3:
            raise GaveUpError

    with pytest.raises(GaveUpError), Outbox(nobody, {"log_level": 0}, waits) as outbox:
        outbox.send_one("away", 0, b"value")

    assert 0 < waited[0] < waited[1] < waited[2]


def test_a_record_out_of_time_stops_all_that_follows(nobody: str) -> None:
    outbox = Outbox(nobody, {"log_level": 0}, timeout_s=0.3)
    try:
        outbox.send("away", *buffer_of(texts(3)), np.full(3, 2, np.int32))
        with pytest.raises(DeliveryError, match=r"topic away partition 2: .*timed out"):
            outbox.flush()
        with pytest.raises(DeliveryError, match="topic away partition 2"):
            outbox.send("away", *buffer_of(texts(3)), np.zeros(3, np.int32))
        with pytest.raises(DeliveryError, match="topic away partition 2"):
            outbox.send_one("away", 0, b"value")
    finally:
        outbox.close()


@pytest.mark.parametrize("timed", [False, True])
def test_a_partition_that_is_not_there_is_named(
    broker: MockBroker, topic: str, *, timed: bool
) -> None:
    times = np.array([AT_US]) if timed else None
    with (
        pytest.raises(DeliveryError, match=rf"topic {topic} partition 7: .*[Uu]nknown partition"),
        Outbox(broker.brokers) as outbox,
    ):
        outbox.send(topic, *buffer_of([b"v"]), np.array([7], np.int32), record_time_us=times)


@pytest.mark.parametrize("timed", [False, True])
def test_a_record_larger_than_the_whole_queue_is_refused(
    broker: MockBroker, topic: str, *, timed: bool
) -> None:
    times = np.array([AT_US, AT_US]) if timed else None
    values = [b"fits", bytes(1025)]
    with (
        pytest.raises(DeliveryError, match=f"topic {topic} partition 1: .*[Qq]ueue full"),
        Outbox(broker.brokers, {"queue.buffering.max.kbytes": 1}) as outbox,
    ):
        outbox.send(topic, *buffer_of(values), np.ones(2, np.int32), record_time_us=times)


def test_an_exception_under_way_is_not_held_up_by_the_broker(nobody: str) -> None:
    def fail() -> None:
        with Outbox(nobody, {"log_level": 0}, give_up) as outbox:
            outbox.send_one("away", 0, b"value")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
