"""Scores to Avro: many records of ``score.avsc``, framed, into one buffer.

Source: Avro 1.12 specification, "Binary Encoding". The bytes equal fastavro's. What is the same in
every record (framing, names of the entities, model, fingerprint, topic id) is prepared by the
caller and copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.jit import kernel
from noskew.kernels.runs import VARINT_MAX, write_varint

if TYPE_CHECKING:
    from numpy.typing import NDArray

INT = 0
STRING = 1
"""Kinds of a key."""

FIXED_MAX = 5 + 11 + 2 * VARINT_MAX + 18 + 33 + 32 + 8 + 11 + 16 + 5 * VARINT_MAX
"""Most bytes of a record besides its entity keys, its strings and its vector."""

KEY_MAX = 1 + VARINT_MAX
"""Most bytes of a key besides its name and its string."""


@kernel
def encode_scores(
    frame: NDArray[np.uint8],
    names: NDArray[np.uint8],
    name_end: NDArray[np.int64],
    key_kind: NDArray[np.int64],
    key_value: NDArray[np.int64],
    key_length: NDArray[np.int64],
    key_null: NDArray[np.bool_],
    heap: NDArray[np.uint8],
    longs: NDArray[np.int64],
    flags: NDArray[np.int32],
    doubles: NDArray[np.float64],
    model: NDArray[np.uint8],
    fingerprint: NDArray[np.uint8],
    topic_id: NDArray[np.uint8],
    generation: int,
    digest: NDArray[np.uint64],
    vectors: NDArray[np.float64],
    out: NDArray[np.uint8],
    start: NDArray[np.int64],
) -> None:
    """Write k records, back to back; record i is ``out[start[i] : start[i + 1]]``.

    frame        uint8[5]        zero byte and schema id
    names        uint8[bytes]    the entities' names, each as an Avro string, one after another
    name_end     int64[e]        where each of them ends
    key_kind     int64[1 + e]    INT or STRING: of the event id, then of the entity keys
    key_value    int64[1 + e, k] the number, or where the string starts in ``heap``
    key_length   int64[1 + e, k] bytes of the string
    key_null     bool[1 + e, k]  the entity key is null (never the event id)
    longs        int64[4, k]     event time, partition, offset, seq
    flags        int32[k]
    doubles      float64[2, k]   margin and score, or [0, k] without a model
    model        uint8[32]       or [0] without a model
    fingerprint  uint8[32]       topic_id: uint8[16]
    digest       uint64[k]
    vectors      float64[features, k], or [0, k] where they are left out
    out          uint8[enough]   k * (FIXED_MAX + names + e * KEY_MAX + 8 * features) + strings
    start        int64[k + 1]    mutated
    """
    words = vectors.view(np.uint64)
    scores = doubles.view(np.uint64)
    at = 0
    start[0] = 0
    for i in range(len(digest)):
        at = _copy(frame, 0, len(frame), out, at)
        at = _key(int(key_kind[0]), int(key_value[0, i]), int(key_length[0, i]), heap, 0, out, at)
        if len(name_end) > 0:
            at = _entities(
                names, name_end, key_kind, key_value, key_length, key_null, heap, i, out, at
            )
        out[at] = 0
        at = write_varint(int(longs[0, i]), out, at + 1)
        at = _score(scores, i, out, at)
        if len(model) > 0:
            out[at] = 2
            at = _copy(model, 0, len(model), out, at + 1)
        else:
            out[at] = 0
            at += 1
        at = _copy(fingerprint, 0, len(fingerprint), out, at)
        at = _digest(digest[i], out, at)
        at = _vector(words, i, out, at)
        at = _copy(topic_id, 0, len(topic_id), out, at)
        at = write_varint(int(longs[1, i]), out, at)
        at = write_varint(int(longs[2, i]), out, at)
        at = write_varint(int(longs[3, i]), out, at)
        at = write_varint(generation, out, at)
        at = write_varint(int(flags[i]), out, at)
        start[i + 1] = at


@kernel
def _entities(
    names: NDArray[np.uint8],
    name_end: NDArray[np.int64],
    key_kind: NDArray[np.int64],
    key_value: NDArray[np.int64],
    key_length: NDArray[np.int64],
    key_null: NDArray[np.bool_],
    heap: NDArray[np.uint8],
    i: int,
    out: NDArray[np.uint8],
    at: int,
) -> int:
    """Write the one block of the map of entity keys; its end is the caller's."""
    at = write_varint(len(name_end), out, at)
    name = 0
    for e in range(len(name_end)):
        end = int(name_end[e])
        at = _copy(names, name, end, out, at)
        name = end
        if key_null[e + 1, i]:
            out[at] = 0
            at += 1
        else:
            kind, value, length = key_kind[e + 1], key_value[e + 1, i], key_length[e + 1, i]
            at = _key(int(kind), int(value), int(length), heap, 1, out, at)
    return at


@kernel
def _copy(source: NDArray[np.uint8], first: int, last: int, out: NDArray[np.uint8], at: int) -> int:
    for j in range(first, last):
        out[at + j - first] = source[j]
    return at + last - first


@kernel
def _key(
    kind: int,
    value: int,
    length: int,
    heap: NDArray[np.uint8],
    shift: int,
    out: NDArray[np.uint8],
    at: int,
) -> int:
    """Write a union's branch and value; ``shift`` branches stand before long and string."""
    out[at] = np.uint8(2 * (kind + shift))
    if kind == INT:
        return write_varint(value, out, at + 1)
    at = write_varint(length, out, at + 1)
    return _copy(heap, value, value + length, out, at)


@kernel
def _score(scores: NDArray[np.uint64], i: int, out: NDArray[np.uint8], at: int) -> int:
    """Write margin and score, or two nulls."""
    if len(scores) == 0:
        out[at] = 0
        out[at + 1] = 0
        return at + 2
    for j in range(2):
        out[at] = 2
        at = _double(scores[j, i], out, at + 1)
    return at


@kernel
def _digest(word: np.uint64, out: NDArray[np.uint8], at: int) -> int:
    """Write a digest in canonical form: most significant byte first."""
    for byte in range(8):
        out[at + byte] = np.uint8((word >> np.uint64(56 - 8 * byte)) & np.uint64(255))
    return at + 8


@kernel
def _vector(words: NDArray[np.uint64], i: int, out: NDArray[np.uint8], at: int) -> int:
    """Write the vector's bytes, or a null."""
    if len(words) == 0:
        out[at] = 0
        return at + 1
    out[at] = 2
    at = write_varint(8 * len(words), out, at + 1)
    for f in range(len(words)):
        at = _double(words[f, i], out, at)
    return at


@kernel
def _double(word: np.uint64, out: NDArray[np.uint8], at: int) -> int:
    for byte in range(8):
        out[at + byte] = np.uint8((word >> np.uint64(8 * byte)) & np.uint64(255))
    return at + 8
