"""A whole topic of score records as columns: millions of them in seconds, for tests.

Written from ``score.avsc``, with nothing of the encoder's. The fingerprint is searched for; what
stands before and after it has a known layout (Avro 1.12, "Binary Encoding").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka as ck
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CHUNK: Final = 10_000
_FRAME: Final = 5
_FINGERPRINT, _DIGEST, _TOPIC_ID = 32, 8, 16
_LONG, _BYTES = 0, 2
"""Branches as zigzag varints: event_id is a long, vector is not null."""


@dataclass(slots=True)
class ScoreColumns:
    """n scores, by (partition, offset) of their source; a partition's rows stand together.

    place    int64[n]  offset of the record in its own partition of the scores' topic
    vectors  float64[n, features]
    """

    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    place: NDArray[np.int64]
    event_id: NDArray[np.int64]
    seq: NDArray[np.int64]
    flags: NDArray[np.int32]
    digest: NDArray[np.uint64]
    vectors: NDArray[np.float64]


def read_scores(
    brokers: str, topic: str, fingerprint: bytes, features: int, expected: int
) -> ScoreColumns:
    """Read a topic of scores to its end; it must hold exactly ``expected`` records.

    Raises AssertionError for a record of another layout, or more or fewer records.
    """
    out = ScoreColumns(
        partition=np.empty(expected, np.int32),
        offset=np.empty(expected, np.int64),
        place=np.empty(expected, np.int64),
        event_id=np.empty(expected, np.int64),
        seq=np.empty(expected, np.int64),
        flags=np.empty(expected, np.int32),
        digest=np.empty(expected, np.uint64),
        vectors=np.empty((expected, features)),
    )
    at = 0
    for messages in _chunks(brokers, topic):
        rows = slice(at, at + len(messages))
        at += len(messages)
        assert at <= expected, f"more than {expected} scores"
        _decode([message.value() for message in messages], fingerprint, out, rows)
        landed = np.array([message.partition() for message in messages])
        assert np.array_equal(out.partition[rows], landed), "a score lies in another partition"
        out.place[rows] = [message.offset() for message in messages]
    assert at == expected, f"{at} scores, {expected} expected"
    order = np.lexsort((out.offset, out.partition))
    for name in ScoreColumns.__slots__:
        setattr(out, name, getattr(out, name)[order])
    return out


def _chunks(brokers: str, topic: str) -> Iterator[list[Any]]:
    consumer = ck.Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "queued.max.messages.kbytes": 64 << 10,
        }
    )
    try:
        left = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([ck.TopicPartition(topic, p, 0) for p in sorted(left)])
        while left:
            messages: list[Any] = consumer.consume(CHUNK, 0.05) or consumer.consume(1, 30)
            assert messages, f"{topic}: nothing for 30 s, partitions {sorted(left)} not at the end"
            for message in messages:
                if (error := message.error()) is not None:
                    assert error.code() == ck.KafkaError._PARTITION_EOF, error.str()
                    left.discard(message.partition())
            if found := [m for m in messages if m.error() is None]:
                yield found
    finally:
        consumer.close()


def _decode(values: list[bytes], fingerprint: bytes, out: ScoreColumns, rows: slice) -> None:
    """Decode records into ``rows`` of the columns."""
    # The slack lets a varint be looked for behind the last record's end.
    data = np.frombuffer(b"".join([*values, bytes(16)]), np.uint8)
    size = np.array([len(value) for value in values])
    start = np.cumsum(size) - size
    features = out.vectors.shape[1]
    branch, at = _varint(data, start + _FRAME)
    assert (branch == _LONG).all(), "an event_id that is not a long"
    out.event_id[rows], _ = _varint(data, at)
    found = np.array([value.find(fingerprint) for value in values])
    assert (found > 0).all(), "a score of another fingerprint"
    at = start + found + _FINGERPRINT
    out.digest[rows] = _bytes(data, at, _DIGEST).view(">u8")[:, 0]
    at = at + _DIGEST
    assert (data[at] == _BYTES).all(), "a score without a vector"
    length, at = _varint(data, at + 1)
    assert (length == 8 * features).all(), "a vector of another length"
    out.vectors[rows] = _bytes(data, at, 8 * features).view("<f8")
    at = at + 8 * features + _TOPIC_ID
    out.partition[rows], at = _varint(data, at)
    out.offset[rows], at = _varint(data, at)
    out.seq[rows], at = _varint(data, at)
    generation, at = _varint(data, at)
    assert (generation == 1).all(), "a score of another generation"
    out.flags[rows], at = _varint(data, at)
    assert np.array_equal(at, start + size), "bytes are left after a score"


def _bytes(data: NDArray[np.uint8], at: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Return the ``size`` bytes at each position, uint8[n, size]."""
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(data, size)[at])


def _varint(
    data: NDArray[np.uint8], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the zigzag varint at each position, and the position behind it."""
    value = np.zeros(len(at), np.uint64)
    going = np.ones(len(at), np.bool_)
    at = at.copy()
    for shift in range(0, 70, 7):
        byte = data[at].astype(np.uint64)
        value |= np.where(going, (byte & np.uint64(0x7F)) << np.uint64(shift), np.uint64(0))
        at += going
        going &= byte >= np.uint64(0x80)
        if not going.any():
            break
    assert not going.any(), "a varint longer than ten bytes"
    signed = (value >> np.uint64(1)).astype(np.int64)
    return np.where(value & np.uint64(1), ~signed, signed), at
