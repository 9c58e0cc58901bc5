"""Compiles every kernel of a run, so that the first start does not: part of ``make install``.

A few thousand simulated payments and their labels go through the parts of a live pipeline, without
any server.
"""

from __future__ import annotations

import subprocess
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
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.definition.plan import Plan

PARTITIONS = 4
PAYMENTS = 4_000
SCHEMAS = {1: "transaction", 2: "label"}
"""Id -> schema: those of the definition's streams, in their order."""


class _Schemas:
    """A registry that knows the streams' schemas."""

    def schema(self, schema_id: int) -> WriterSchema:
        """Return one."""
        name = SCHEMAS[schema_id]
        return WriterSchema(schema_id, files.text(name), files.load(name), b"")


class _NeverHeld:
    """A reader of which nothing is held: its schemas are known."""

    def hold(self, source: int, offset: int) -> None:
        """Refuse: nothing waits here."""
        raise AssertionError(f"input {source} held at {offset} while warming")

    def release(self, source: int) -> None:
        """Refuse, as above."""
        raise AssertionError(f"input {source} released while warming")


def warm() -> float:
    """Run every kernel once; return the seconds it took."""
    began_s = time.monotonic()
    plan, turns = _material()
    _windows(plan, turns)
    _others(plan, turns)
    return time.monotonic() - began_s


def warm_by_two() -> float:
    """Do the same where nothing is compiled yet: half of it in a process of its own."""
    began_s = time.monotonic()
    command = [sys.executable, "-c", "from noskew.dataflows.warm import others; others()"]
    with subprocess.Popen(command) as beside:  # noqa: S603 - our own module, no input
        _windows(*_material())
    if beside.returncode != 0:
        message = f"compiling kernels failed with exit code {beside.returncode}: see above"
        raise RuntimeError(message)
    warm()
    return time.monotonic() - began_s


def others() -> None:
    """Run every kernel but the largest, which inserts and evaluates."""
    _others(*_material())


def _material() -> tuple[Plan, list[Turn]]:
    """Return the reference definition, and simulated records of both streams in order."""
    plan = compile_plan(load(Path(__file__).with_name("card_fraud.py")))
    inputs = PARTITIONS * len(plan.streams)
    waiting = Waiting(plan.streams, (PARTITIONS,) * len(plan.streams))
    waiting.add(_decoded(plan))
    open_inputs = np.ones(inputs, np.bool_)
    return plan, list(Merged(inputs, None, time.monotonic).take(waiting, open_inputs, 0))


def _windows(plan: Plan, turns: list[Turn]) -> None:
    engine = Engine(plan, (PARTITIONS,) * len(plan.streams))
    for turn in turns:
        engine.process(turn)
    engine.sweep()
    engine.rows()


def _others(plan: Plan, turns: list[Turn]) -> None:
    """Judge, read rows of no keys, write scores and a journal, and order records by it."""
    inputs = PARTITIONS * len(plan.streams)
    engine = Engine(plan, (PARTITIONS,) * len(plan.streams))
    engine.rows()
    encoder = ScoreEncoder(
        plan, 1, bytes(16), generation=1, model_sha=bytes(32), include_vector=True
    )
    ledger = Ledger(_first(plan, inputs))
    first = ledger.last
    for turn in turns:
        engine.clocks.judge(turn)
        batch = turn.scored
        vectors, margin = np.zeros((len(plan.names), len(batch))), np.zeros(len(batch))
        sigmoid(margin, 1.0, margin)
        encoder.encode(
            batch,
            np.arange(len(batch)),
            vectors,
            margin,
            margin,
            digest=digest_rows(vectors),
            flags=np.zeros(len(batch), np.int32),
        )
        ledger.take(turn, ())
    clocks = engine.clocks
    entries = ledger.close(clocks.event_clock, clocks.event_clock, clocks.horizon_us)
    again = Waiting(plan.streams, (PARTITIONS,) * len(plan.streams))
    again.add(_decoded(plan))
    list(Journaled(runs([first, *entries])).take(again, 0))


def _decoded(plan: Plan) -> list[Batch]:
    """Return simulated records of both streams as columns, as a read gives them."""
    resolver = Resolver(_Schemas())
    for schema_id in SCHEMAS:
        resolver.learn(_Schemas().schema(schema_id))
    try:
        return [
            Decode(Decoder(stream, resolver), _NeverHeld(), resolver)(raw)
            for stream, raw in zip(plan.streams, _raws(), strict=True)
        ]
    finally:
        resolver.close()


def _raws() -> tuple[Raw, Raw]:
    """Return payments and their labels, which begin to arrive before the last payments."""
    timeline = Timeline(1_700_000_000_000_000, 1_708_000_000_000_000, PAYMENTS)
    payments = next(iter(Simulation(partitions=PARTITIONS).payments(timeline, chunk=PAYMENTS)))
    labels = labels_of(payments, 0)
    first, second = SCHEMAS
    return (
        _raw(0, encode_payments(payments, first), payments.partition, payments.record_time_us),
        _raw(1, encode_labels(labels, second), labels.partition, labels.labelled_at),
    )


def _raw(
    stream: int,
    encoded: tuple[NDArray[np.uint8], NDArray[np.int64]],
    partition: NDArray[np.int32],
    record_time_us: NDArray[np.int64],
) -> Raw:
    n = len(partition)
    offset = np.empty(n, np.int64)
    for one in range(PARTITIONS):
        rows = np.flatnonzero(partition == one)
        offset[rows] = np.arange(len(rows))
    fresh(partition, offset, np.zeros(PARTITIONS, np.int64), np.empty(n, np.bool_))
    return Raw(
        stream=stream,
        payload=encoded[0],
        start=encoded[1],
        absent=np.zeros(n, np.bool_),
        partition=partition,
        offset=offset,
        record_time_us=record_time_us + 60_000_000,
        keys=[None] * n,
    )


def _first(plan: Plan, inputs: int) -> Entry:
    none = np.full(inputs, NO_TIME, np.int64)
    return Entry(
        origin="owner",
        shard=0,
        owner="warm",
        generation=1,
        fingerprint=plan.fingerprint,
        seq=0,
        count=0,
        runs=b"",
        streams=tuple(stream.name for stream in plan.streams),
        topics=tuple(Topic(stream.topic, None, PARTITIONS) for stream in plan.streams),
        next_offset=np.zeros(inputs, np.int64),
        position_us=none,
        event_us=none,
        horizon_us=NO_TIME,
        model=None,
    )


if __name__ == "__main__":
    directory = cache_directory()
    compiled = directory is None or any(directory.iterdir())
    taken_s = warm() if compiled else warm_by_two()
    sys.stdout.write(f"kernels ready in {taken_s:.1f} s: {directory}\n")
