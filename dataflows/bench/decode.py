"""Decoding alone: framed Avro payments to checked columns, beside fastavro record by record."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.bench.baseline import parsed, read_plainly
from noskew.dataflows.bench.figures import Figure, WrongResultError
from noskew.dataflows.bench.kernel import REPEATS
from noskew.dataflows.core.order import BATCH_MAX
from noskew.dataflows.simulation.columns import encode_payments
from noskew.dataflows.simulation.payments import Simulation
from noskew.dataflows.simulation.timeline import Timeline
from noskew.schemas import files
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.decode import Decoder
from noskew.schemas.writer import WriterSchema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import StreamPlan
    from noskew.schemas.columns import Column
    from noskew.schemas.decode import Decoded

SCHEMA_ID: Final = 1
START_US: Final = 1_700_000_000_000_000
DAYS_US: Final = 30 * 86_400_000_000


class _OneSchema:
    """A registry that knows the payment's schema."""

    def schema(self, schema_id: int) -> WriterSchema:
        """Return it, whatever the id."""
        return WriterSchema(schema_id, files.text("transaction"), files.load("transaction"), b"")


def measure(stream: StreamPlan, records: int) -> Figure:
    """Measure ``records`` simulated payments, both ways; CPU time of this thread.

    Ours also checks framing, types, ranges and times. Raises WrongResultError where a value
    differs.
    """
    timeline = Timeline(START_US, START_US + DAYS_US, records)
    parts = [
        (*encode_payments(payments, SCHEMA_ID), payments.record_time_us)
        for payments in Simulation(late=0.0).payments(timeline, chunk=BATCH_MAX)
    ]
    decoder = Decoder(stream, _OneSchema())
    schema = parsed(files.load("transaction"))
    decoder.decode(*_raw(*parts[0]))
    ours_s = theirs_s = np.inf
    for _ in range(REPEATS):
        took_s = plain_s = 0.0
        for part in parts:
            began_s = time.thread_time()
            found = decoder.decode(*_raw(*part))
            took_s += time.thread_time() - began_s
            heap, edges = part[0].tobytes(), part[1].tolist()
            values = [heap[a:b] for a, b in pairwise(edges)]
            began_s = time.thread_time()
            plain = read_plainly(values, schema)
            plain_s += time.thread_time() - began_s
            check(stream, found, plain)
        ours_s, theirs_s = min(ours_s, took_s), min(theirs_s, plain_s)
    return Figure(
        "decode",
        f"Avro payment of 11 fields to {len(stream.fields)} checked columns",
        "records/s/core",
        records / ours_s,
        records,
        records / theirs_s,
        records,
        "fastavro to dictionaries",
    )


def check(stream: StreamPlan, found: Decoded, plain: list[dict[str, Any]]) -> None:
    """Compare every value of every column with the dictionaries; raises WrongResultError."""
    for name in stream.fields:
        ours = _values(found.columns[name])
        theirs = [record[name] for record in plain]
        if ours != theirs:
            place = next(
                i for i, pair in enumerate(zip(ours, theirs, strict=True)) if len({*pair}) > 1
            )
            raise WrongResultError(
                f"decode: {name} of record {place} is {ours[place]!r}, fastavro says "
                f"{theirs[place]!r}; no speed is reported"
            )
    if found.reason.any():
        raise WrongResultError(
            f"decode: {int((found.reason != 0).sum())} good records were refused"
        )


def _raw(
    payload: NDArray[np.uint8], start: NDArray[np.int64], record_time_us: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    return payload, start, np.zeros(len(start) - 1, np.bool_), record_time_us


def _values(column: Column) -> list[Any]:
    if isinstance(column, Strings):
        return column.to_list()
    return [None if value == NULL else value for value in column.tolist()]
