"""Bytes to columns, and what happens to records that cannot be decoded yet or at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from noskew.dataflows.core.batch import Batch, Letter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Raw
    from noskew.dataflows.core.resolver import Resolver
    from noskew.schemas.decode import Decoded as Found
    from noskew.schemas.decode import Decoder


class Held(Protocol):
    """What an input is held at: the reader, or a file that never needs it."""

    def hold(self, source: int, offset: int) -> None:
        """Stop reading an input at ``offset``."""
        ...

    def release(self, source: int) -> None:
        """Read a held input again."""
        ...


class Decode:
    """Decodes reads of one stream; holds a partition whose next schema is not known yet.

    first    the stream's first input: partition p of it is input ``first + p``
    waiting  input -> the schema id its next record waits for
    away     why the registry has not answered, while something waits
    """

    def __init__(self, decoder: Decoder, reader: Held, resolver: Resolver, first: int = 0) -> None:
        self.waiting: dict[int, int] = {}
        self.away: str | None = None
        self.first = first
        self.decoder = decoder
        self._reader = reader
        self._resolver = resolver

    def __call__(self, raw: Raw) -> Batch:
        """Decode one read. Nothing a record holds raises: it becomes a reason.

        Records from a held one on are left out; ``waiting`` says of which partitions.
        """
        for source, schema_id in list(self.waiting.items()):
            if self._resolver.answered(schema_id):
                del self.waiting[source]
                self._reader.release(source)
        found = self.decoder.decode(raw.payload, raw.start, raw.absent, raw.record_time_us)
        batch = self._batch(raw, found)
        if found.waiting.any():
            batch = batch.take(self._hold(raw, found))
        self.away = self._resolver.away if self.waiting else None
        return batch

    def _hold(self, raw: Raw, found: Found) -> NDArray[np.int64]:
        """Hold partitions at their first waiting record; return the positions that go on."""
        keep = np.ones(len(raw), np.bool_)
        for position in np.flatnonzero(found.waiting).tolist():
            partition = int(raw.partition[position])
            if keep[position]:
                keep[position:] &= raw.partition[position:] != partition
                source = self.first + partition
                self.waiting[source] = int(found.schema_id[position])
                self._reader.hold(source, int(raw.offset[position]))
        return np.flatnonzero(keep)

    def _batch(self, raw: Raw, found: Found) -> Batch:
        return Batch(
            stream=raw.stream,
            partition=raw.partition,
            offset=raw.offset,
            record_time_us=raw.record_time_us,
            time_us=found.time_us,
            available_us=found.available_us,
            reason=found.reason,
            columns=found.columns,
            letters=self._letters(raw, found),
        )

    @staticmethod
    def _letters(raw: Raw, found: Found) -> dict[tuple[int, int], Letter]:
        """Keep what dead letters need of their records: the slow path, one object per letter."""
        return {
            (int(raw.partition[i]), int(raw.offset[i])): Letter(
                detail=found.details.get(i, ""),
                schema_id=int(found.schema_id[i]) if found.schema_id[i] >= 0 else None,
                key=raw.keys[i] if raw.keys else None,
                value=None if raw.absent[i] else raw.value(i),
                headers=raw.headers.get(i, []),
            )
            for i in np.flatnonzero(found.reason).tolist()
        }
