"""Compiles every kernel of a run, so that the first start does not: part of ``make install``.

A few thousand simulated payments go through the parts of a live pipeline, without any server.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.batch import Raw
from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.journal import Entry, Ledger, Topic, runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.core.resolver import Resolver
from noskew.dataflows.core.scores import ScoreEncoder
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.simulation.columns import encode_labels, encode_payments
from noskew.dataflows.simulation.labels import labels_of
from noskew.dataflows.simulation.payments import Simulation
from noskew.dataflows.simulation.timeline import Timeline
from noskew.kernels.digest import digest_rows
from noskew.kernels.jit import cache_directory
from noskew.kernels.layout import NO_TIME
from noskew.kernels.offsets import fresh
from noskew.kernels.transform import sigmoid
from noskew.schemas import files
from noskew.schemas.decode import Decoder
from noskew.schemas.writer import WriterSchema

if TYPE_CHECKING:
    from noskew.dataflows.definition.plan import Plan

PARTITIONS = 4
PAYMENTS = 4_000
SCHEMA_ID = 1


class _OneSchema:
    """A registry that knows the payment's schema."""

    def schema(self, schema_id: int) -> WriterSchema:
        """Return it, whatever the id."""
        return WriterSchema(schema_id, files.text("transaction"), files.load("transaction"), b"")


class _NeverHeld:
    """A reader of which nothing is held: its one schema is known."""

    def hold(self, partition: int, offset: int) -> None:
        """Refuse: nothing waits here."""
        raise AssertionError(f"partition {partition} held at {offset} while warming")

    def release(self, partition: int) -> None:
        """Refuse, as above."""
        raise AssertionError(f"partition {partition} released while warming")


def warm() -> float:
    """Run every kernel once; return the seconds it took."""
    began_s = time.monotonic()
    plan = compile_plan(load(Path(__file__).with_name("card_fraud.py")))
    resolver = Resolver(_OneSchema())
    resolver.learn(_OneSchema().schema(SCHEMA_ID))
    try:
        decoded = Decode(Decoder(plan.scored, resolver), _NeverHeld(), resolver)(_raw())
    finally:
        resolver.close()
    ended = np.ones(PARTITIONS, np.bool_)
    waiting = Waiting(plan.scored, PARTITIONS)
    waiting.add(decoded)
    engine = Engine(plan, PARTITIONS)
    encoder = ScoreEncoder(
        plan, SCHEMA_ID, bytes(16), generation=1, model_sha=bytes(32), include_vector=True
    )
    ledger = Ledger(_first(plan))
    first = ledger.last
    for batch in Merged(PARTITIONS, None, time.monotonic).take(waiting, ended, 0):
        features = engine.process(batch)
        margin = np.zeros(len(batch))
        sigmoid(margin, 1.0, margin)
        encoder.encode(
            batch,
            np.arange(len(batch)),
            features.vectors,
            margin,
            margin,
            digest=digest_rows(features.vectors),
            flags=features.flags,
        )
        ledger.take(batch, ())
    engine.sweep()
    for table in engine.tables:
        table.drain()
    entries = ledger.close(waiting.taken_us, engine.clocks.event_clock, engine.clocks.horizon_us)
    again = Waiting(plan.scored, PARTITIONS)
    again.add(decoded)
    list(Journaled(runs([first, *entries])).take(again, 0))
    return time.monotonic() - began_s


def _raw() -> Raw:
    timeline = Timeline(1_700_000_000_000_000, 1_708_000_000_000_000, PAYMENTS)
    payments = next(iter(Simulation(partitions=PARTITIONS).payments(timeline, chunk=PAYMENTS)))
    encode_labels(labels_of(payments, 0), SCHEMA_ID)
    payload, start = encode_payments(payments, SCHEMA_ID)
    partition = payments.partition
    offset = np.empty(PAYMENTS, np.int64)
    for one in range(PARTITIONS):
        rows = np.flatnonzero(partition == one)
        offset[rows] = np.arange(len(rows))
    keep = np.empty(PAYMENTS, np.bool_)
    fresh(partition, offset, np.zeros(PARTITIONS, np.int64), keep)
    return Raw(
        stream=0,
        payload=payload,
        start=start,
        absent=np.zeros(PAYMENTS, np.bool_),
        partition=partition,
        offset=offset,
        record_time_us=payments.event_time + 60_000_000,
        keys=[None] * PAYMENTS,
    )


def _first(plan: Plan) -> Entry:
    none = np.full(PARTITIONS, NO_TIME, np.int64)
    return Entry(
        origin="owner",
        shard=0,
        owner="warm",
        generation=1,
        fingerprint=plan.fingerprint,
        seq=0,
        count=0,
        runs=b"",
        stream=plan.scored.name,
        topic=Topic(plan.scored.topic, None, PARTITIONS),
        next_offset=np.zeros(PARTITIONS, np.int64),
        position_us=none,
        event_us=none,
        horizon_us=NO_TIME,
        model=None,
    )


if __name__ == "__main__":
    taken_s = warm()
    sys.stdout.write(f"kernels ready in {taken_s:.1f} s: {cache_directory()}\n")
