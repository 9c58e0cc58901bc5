"""Scores of a batch as framed Avro records in one buffer, as the scores topic's sink takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.kernels.scores import FIXED_MAX, INT, KEY_MAX, STRING, encode_scores
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.framing import framed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import Plan

_SHA: Final = 32
_TOPIC_ID: Final = 16


class ScoreEncoder:
    """Writes ``score.avsc`` for one plan, model and topic.

    The entity keys of a record are those of the plan's tables, each once, in the plan's order.
    """

    def __init__(
        self,
        plan: Plan,
        schema_id: int,
        topic_id: bytes,
        generation: int,
        model_sha: bytes | None,
        *,
        include_vector: bool,
    ) -> None:
        """Prepare what all records share; ValueError names a hash or id of the wrong size.

        schema_id   the registry's id of ``score.avsc``
        topic_id    16 bytes, of the scored stream's topic
        model_sha   SHA-256 of the model, None where there is none
        """
        _check("the fingerprint", plan.fingerprint, _SHA)
        _check("the topic id", topic_id, _TOPIC_ID)
        if model_sha is not None:
            _check("the model's SHA-256", model_sha, _SHA)
        self.generation = generation
        self.include_vector = include_vector
        scored = plan.scored
        entities = [table.entity for table in plan.tables if table.stream == scored.place]
        self._fields = [scored.id, *dict.fromkeys(entities)]
        names = [_string(name) for name in self._fields[1:]]
        self._frame = _bytes(framed(schema_id, b""))
        self._names = _bytes(b"".join(names))
        self._name_end = np.cumsum([len(name) for name in names], dtype=np.int64)
        self._model = _bytes(model_sha or b"")
        self._fingerprint = _bytes(plan.fingerprint)
        self._topic_id = _bytes(topic_id)

    def encode(
        self,
        batch: Batch,
        keep: NDArray[np.int64],
        vectors: NDArray[np.float64],
        margin: NDArray[np.float64] | None,
        score: NDArray[np.float64] | None,
        digest: NDArray[np.uint64],
        flags: NDArray[np.int32],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return (buffer uint8[bytes], start int64[k + 1]): record i is start[i]:start[i + 1].

        batch    n records in processing order;  keep: int64[k], which of them are scored
        vectors  float64[features, n];  margin, score: float64[n], both None without a model
        digest   uint64[n];  flags: int32[n]

        ValueError where there is a margin but no model, or the reverse.
        """
        if (margin is None) != (len(self._model) == 0) or (score is None) != (margin is None):
            message = "margin, score and the model's hash must be given together, or none of them"
            raise ValueError(message)
        k = len(keep)
        kind, value, length, null, heap = self._keys(batch, keep)
        longs = np.stack(
            [
                batch.time_us[keep],
                batch.partition[keep].astype(np.int64),
                batch.offset[keep],
                batch.seq[keep],
            ]
        )
        doubles = np.zeros((0, k))
        if margin is not None and score is not None:
            doubles = np.stack([margin[keep], score[keep]])
        kept = vectors[:, keep] if self.include_vector else np.zeros((0, k))
        fixed = FIXED_MAX + len(self._names) + len(self._name_end) * KEY_MAX + 8 * len(kept)
        out = np.empty(k * fixed + int(length.sum()), np.uint8)
        start = np.zeros(k + 1, np.int64)
        encode_scores(
            self._frame,
            self._names,
            self._name_end,
            kind,
            value,
            length,
            null,
            heap,
            longs,
            flags[keep],
            doubles,
            self._model,
            self._fingerprint,
            self._topic_id,
            self.generation,
            digest[keep],
            np.ascontiguousarray(kept),
            out,
            start,
        )
        return out[: start[k]], start

    def _keys(
        self, batch: Batch, keep: NDArray[np.int64]
    ) -> tuple[
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.bool_],
        NDArray[np.uint8],
    ]:
        """Return the event id and the entity keys as the kernel takes them."""
        shape = (len(self._fields), len(keep))
        kind = np.full(shape[0], INT, np.int64)
        value = np.zeros(shape, np.int64)
        length = np.zeros(shape, np.int64)
        null = np.zeros(shape, np.bool_)
        heaps: list[NDArray[np.uint8]] = []
        base = 0
        for row, name in enumerate(self._fields):
            column = batch.columns[name]
            if isinstance(column, Strings):
                kind[row] = STRING
                value[row] = column.start[keep] + base
                null[row] = column.length[keep] < 0
                length[row] = np.maximum(column.length[keep], 0)
                heaps.append(column.heap)
                base += len(column.heap)
            else:
                if column.dtype != np.int64:
                    message = f"key {name!r} is a column of {column.dtype}, not of integers or text"
                    raise TypeError(message)
                value[row] = column[keep]
                null[row] = value[row] == NULL
        heap = np.concatenate(heaps) if heaps else np.zeros(0, np.uint8)
        return kind, value, length, null, heap


def _check(what: str, value: bytes, size: int) -> None:
    if len(value) != size:
        message = f"{what} has {len(value)} bytes, not {size}"
        raise ValueError(message)


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).copy()


def _string(text: str) -> bytes:
    """Return a short Avro string: names of fields are identifiers of a few bytes."""
    data = text.encode()
    size = 2 * len(data)
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size]) + data
