"""Where scores come from: the sources of many score records at once, without decoding the rest.

Written from ``score.avsc`` (Avro 1.12, "Binary Encoding"): all records of a chunk are walked side
by side, field by field. What the walk cannot follow is decoded alone, by the reference decoder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from noskew.schemas import records
from noskew.schemas.framing import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SHA, _DIGEST, _TOPIC_ID, _DOUBLE = 32, 8, 16, 8
_KEYS_MAX = 64
"""Entity keys, and blocks of them, that the walk follows; more is for the decoder."""


@dataclass(slots=True)
class Sources:
    """What n score records say of their events.

    topic_id    uint8[n, 16]
    partition, offset, seq   int64[n]
    bad         position of a record that is no score -> why; its columns mean nothing
    """

    topic_id: NDArray[np.uint8]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    seq: NDArray[np.int64]
    bad: dict[int, str] = field(default_factory=dict)


def sources(values: Sequence[bytes]) -> Sources:
    """Read the sources of framed score records."""
    n = len(values)
    out = Sources(
        np.zeros((n, _TOPIC_ID), np.uint8),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )
    if not n:
        return out
    walk = _Walk(values)
    walk.framing()
    walk.key(walk.varint(), 0)
    walk.keys()
    walk.varint()  # event time
    for size in (_DOUBLE, _DOUBLE, _SHA):  # margin, score, model: null or that many bytes
        walk.skip(np.full(n, size), walk.optional())
    walk.skip(np.full(n, _SHA + _DIGEST))
    vector = walk.optional()
    walk.skip(walk.varint(vector), vector)
    out.topic_id[:] = walk.take(_TOPIC_ID)
    for column in (out.partition, out.offset, out.seq):
        column[:] = walk.varint()
    walk.varint()  # generation
    walk.varint()  # flags
    for position in np.flatnonzero(~walk.done()).tolist():
        _alone(values[position], position, out)
    return out


def _alone(value: bytes, position: int, out: Sources) -> None:
    """Decode one record as whoever reads the topic would."""
    try:
        record = records.decode("score", value)
    except ValueError as error:
        out.bad[position] = str(error)
        return
    source = record["source"]
    out.topic_id[position] = np.frombuffer(source["topic_id"], np.uint8)
    out.partition[position] = source["partition"]
    out.offset[position] = source["offset"]
    out.seq[position] = record["seq"]


class _Walk:
    """Positions in n records, which move on together; a record that is left is not good.

    at, end   int64[n]  the next byte of each record, and the one behind its last
    good      bool[n]   everything so far was as the schema says
    """

    def __init__(self, values: Sequence[bytes]) -> None:
        # The slack lets a fixed be looked at behind the last record's end.
        self._data = np.frombuffer(b"".join([*values, bytes(_SHA)]), np.uint8)
        size = np.fromiter(map(len, values), np.int64, len(values))
        self.end = np.cumsum(size)
        self.at = self.end - size
        self.good = np.ones(len(values), np.bool_)

    def done(self) -> NDArray[np.bool_]:
        """Return which records were followed to exactly their end."""
        at_end: NDArray[np.bool_] = self.at == self.end
        return self.good & at_end

    def framing(self) -> None:
        """Pass the frame: a zero byte and a schema id."""
        self.good &= self._data[self.at] == 0
        self.skip(np.full(len(self.at), HEADER))

    def varint(self, where: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Pass a zigzag varint and return it, int64[n]; 0 where it was not asked for."""
        value = np.zeros(len(self.at), np.uint64)
        rows = np.flatnonzero(self.good if where is None else self.good & where)
        for shift in range(0, 70, 7):
            at = self.at[rows]
            byte = self._data[at]
            value[rows] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
            self.at[rows] = at + 1
            rows = rows[byte >= 0x80]
            if not len(rows):
                break
        self.good[rows] = False
        self._within()
        signed = (value >> np.uint64(1)).astype(np.int64)
        return np.where(value & np.uint64(1), ~signed, signed)

    def skip(self, size: NDArray[np.int64], where: NDArray[np.bool_] | None = None) -> None:
        """Pass so many bytes, int64[n]."""
        going = self.good if where is None else self.good & where
        fits = (size >= 0) & (size <= self.end - self.at)
        self.at = np.where(going & fits, self.at + size, self.at)
        self.good &= fits | ~going

    def take(self, size: int) -> NDArray[np.uint8]:
        """Pass a fixed of at most ``_SHA`` bytes and return it, uint8[n, size]."""
        windows = np.lib.stride_tricks.sliding_window_view(self._data, size)
        found: NDArray[np.uint8] = windows[self.at]
        self.skip(np.full(len(self.at), size))
        return found

    def optional(self) -> NDArray[np.bool_]:
        """Pass the branch of a union of null and something; return where it is something."""
        branch = self.varint()
        there: NDArray[np.bool_] = branch == 1
        self.good &= there | (branch == 0)
        return there

    def key(
        self, branch: NDArray[np.int64], nulls: int, where: NDArray[np.bool_] | None = None
    ) -> None:
        """Pass the value of a union of long and string, before which ``nulls`` branches stand."""
        going = self.good if where is None else self.good & where
        self.good &= ~going | ((branch >= 0) & (branch <= nulls + 1))
        self.varint(going & (branch == nulls))
        text = going & (branch == nulls + 1)
        self.skip(self.varint(text), text)

    def keys(self) -> None:
        """Pass the map of entity keys, in as many blocks as it has."""
        left = self.varint()
        for _ in range(_KEYS_MAX):
            open_ = left != 0
            if not (open_ & self.good).any():
                return
            # A block with a negative count says its bytes, too.
            self.varint(left < 0)
            left = np.abs(left)
            for _ in range(_KEYS_MAX):
                going = self.good & (left > 0)
                if not going.any():
                    break
                self.skip(self.varint(going), going)
                self.key(self.varint(going), 1, going)
                left -= left > 0
            self.good &= left == 0
            left = self.varint(open_)
        self.good &= left == 0

    def _within(self) -> None:
        self.good &= self.at <= self.end
        np.minimum(self.at, self.end, out=self.at)
