"""The same job as payments.py in plain-Python Bytewax, well written by hand: the thing to beat.

Everything noskew does for a score is done here, event by event: merge of the partitions in order of
time, fastavro to a dictionary, dictionaries of window states, LightGBM in batches, ``score.avsc``
by fastavro, asynchronous produce, rows to Redis once a second with MSET. Left out, each to its
favour: late events, dead letters, the vector's digest, a row's ``valid_until``, the journal, and
Bytewax's keyed state (which costs more, and does not keep the order among keys). Lists flow through
the graph, so Bytewax itself costs next to nothing.

Run as its own process, with a ``Job`` as JSON: ``python -m noskew.dataflows.bench.baseline JOB``.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import confluent_kafka as ck
import fastavro
import lightgbm
import numpy as np
import redis
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

from noskew.dataflows.bench.plain import DAY, HOUR, NO_TERMINAL, Customer, Terminal
from noskew.dataflows.kafka.outbox import PRODUCER
from noskew.dataflows.kafka.reader import CONSUMER
from noskew.schemas import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

READ_MAX: Final = 4096
BATCH: Final = 1000
"""Vectors per call of ``Booster.predict``."""

ROWS_S: Final = 1.0
"""Time between two writes of rows, as ``redis_flush_s`` of the run beside it."""

ROWS_MAX: Final = 1000
"""Rows per MSET."""

HEADER: Final = 5
"""Bytes of the classic framing: zero and the schema's id."""

WARMING: Final = 4
REACH: Final = 37 * DAY
FEATURES: Final = 22

Event: TypeAlias = "tuple[dict[str, Any], int, int]"
"""A payment, its partition and its offset."""


@dataclass(frozen=True, slots=True)
class Job:
    """Where everything is; hashes and ids in hex.

    schema_id    the registry's id of ``score.avsc``
    events       how many events are done, from the topic's beginning
    """

    brokers: str
    redis: str
    topic: str
    partitions: int
    out: str
    model: str
    schema_id: int
    model_sha: str
    fingerprint: str
    topic_id: str
    events: int


def parsed(schema: Any) -> Any:
    """Return a schema for fastavro without logical types, so that times stay integers."""
    return fastavro.parse_schema(_without_logical(schema))


def read_plainly(values: Iterable[bytes], schema: Any) -> list[dict[str, Any]]:
    """Decode framed records one by one, as everybody does first."""
    read = fastavro.schemaless_reader
    return [read(BytesIO(value[HEADER:]), schema, None) for value in values]  # type: ignore[misc]  # a record is a dictionary


class Merge:
    """Decodes messages and gives them out in order of (time, partition, offset)."""

    def __init__(self, partitions: int, events: int) -> None:
        self.finished = False
        self._left = events
        self._waiting: list[deque[Event]] = [deque() for _ in range(partitions)]
        self._heads: list[tuple[int, int]] = []
        self._ended: set[int] = set()
        self._missing = partitions
        self._schema = parsed(files.load("transaction"))

    def __call__(self, messages: list[Any]) -> Iterator[list[Event]]:
        """Take what one read gave; yield the events whose turn it is."""
        waiting, heads = self._waiting, self._heads
        read, schema = fastavro.schemaless_reader, self._schema
        for message in messages:
            partition = message.partition()
            if message.error() is not None:
                self._end(partition, message.error())
                continue
            event: Any = read(BytesIO(message.value()[HEADER:]), schema, None)
            queue = waiting[partition]
            if not queue:
                heappush(heads, (event["event_time"], partition))
                if partition not in self._ended:
                    self._missing -= 1
            queue.append((event, partition, message.offset()))
        yield self._take()

    def _take(self) -> list[Event]:
        out: list[Event] = []
        waiting, heads = self._waiting, self._heads
        while heads and not self._missing and len(out) < self._left:
            partition = heads[0][1]
            queue = waiting[partition]
            out.append(queue.popleft())
            if queue:
                heapreplace(heads, (queue[0][0]["event_time"], partition))
            else:
                heappop(heads)
                if partition not in self._ended:
                    self._missing += 1
        self._left -= len(out)
        done = len(self._ended) == len(waiting) and not heads
        self.finished = done or not self._left
        return out

    def _end(self, partition: int, error: ck.KafkaError) -> None:
        if error.code() != ck.KafkaError._PARTITION_EOF:  # noqa: SLF001  # a public name all the same
            raise RuntimeError(error.str())
        if partition not in self._ended:
            self._ended.add(partition)
            if not self._waiting[partition]:
                self._missing -= 1


class Features:
    """Keeps every key's windows; yields batches of events with their vectors."""

    def __init__(self, merge: Merge) -> None:
        self.customers: dict[int, Customer] = {}
        self.terminals: dict[int, Terminal] = {}
        self._merge = merge
        self._events: list[Event] = []
        self._vectors: list[list[float]] = []

    def __call__(self, events: list[Event]) -> Iterator[tuple[list[Event], list[list[float]]]]:
        """Update the windows and compute the vectors."""
        customers, terminals = self.customers, self.terminals
        for item in events:
            event = item[0]
            now, cents = event["event_time"], event["amount_cents"]
            customer = customers.get(event["customer_id"])
            if customer is None:
                customer = customers[event["customer_id"]] = Customer()
            card = customer.add(now, cents)
            place = NO_TERMINAL
            if event["terminal_id"] is not None:
                terminal = terminals.get(event["terminal_id"])
                if terminal is None:
                    terminal = terminals[event["terminal_id"]] = Terminal()
                place = terminal.add(now, cents)
            ratio = cents / card[7] if card[7] else math.nan
            self._events.append(item)
            self._vectors.append(
                [
                    cents, now // HOUR % 24, (now // DAY + 3) % 7,
                    *card[:10], ratio, card[10], *place,
                ]
            )  # fmt: skip
            if len(self._vectors) == BATCH:
                yield self._batch()
        if self._merge.finished and self._vectors:
            yield self._batch()

    def _batch(self) -> tuple[list[Event], list[list[float]]]:
        batch = self._events, self._vectors
        self._events, self._vectors = [], []
        return batch


class Scores:
    """Scores batches, puts the scores into the topic and the entities' rows into Redis."""

    def __init__(self, job: Job) -> None:
        self.done = 0
        self._job = job
        self._booster = lightgbm.Booster(model_file=job.model)
        self._schema = parsed(files.load("score"))
        self._frame = b"\0" + job.schema_id.to_bytes(4)
        self._model, self._fingerprint, self._topic_id = map(
            bytes.fromhex, (job.model_sha, job.fingerprint, job.topic_id)
        )
        self._failed: list[str] = []
        self._producer = ck.Producer(
            {**PRODUCER, "bootstrap.servers": job.brokers, "on_delivery": self._note}
        )
        self._redis: Any = redis.Redis.from_url(job.redis)
        self._rows: dict[str, tuple[int, list[float]]] = {}
        self._rows_s = time.monotonic()
        self._origin = 0

    def __call__(self, events: list[Event], vectors: list[list[float]]) -> None:
        """Score and put out one batch."""
        matrix = np.array(vectors, np.float64)
        margins = self._booster.predict(matrix, raw_score=True, num_threads=1).tolist()  # type: ignore[union-attr]  # an array for an array
        packed = matrix.tobytes()
        size = 8 * FEATURES
        if not self.done:
            self._origin = events[0][0]["event_time"]
        warm_from = self._origin + REACH
        write, schema, frame = fastavro.schemaless_writer, self._schema, self._frame
        produce, topic, rows = self._producer.produce, self._job.out, self._rows
        for at, ((event, partition, offset), margin) in enumerate(
            zip(events, margins, strict=True)
        ):
            now, customer, terminal = (
                event["event_time"], event["customer_id"], event["terminal_id"]
            )  # fmt: skip
            out = BytesIO()
            out.write(frame)
            write(
                out,
                schema,
                {
                    "event_id": event["transaction_id"],
                    "entity_keys": {"customer_id": customer, "terminal_id": terminal},
                    "event_time": now,
                    "margin": margin,
                    "score": 1.0 / (1.0 + math.exp(-margin)),
                    "model": self._model,
                    "fingerprint": self._fingerprint,
                    "digest": bytes(8),
                    "vector": packed[at * size : at * size + size],
                    "source": {
                        "topic_id": self._topic_id,
                        "partition": partition,
                        "offset": offset,
                    },
                    "seq": self.done + at,
                    "generation": 1,
                    "flags": WARMING if now < warm_from else 0,
                },
            )
            produce(topic, value=out.getvalue(), partition=partition)
            vector = vectors[at]
            rows[f"plain:customer_id:{customer}"] = now, vector[3:13]
            if terminal is not None:
                rows[f"plain:terminal_id:{terminal}"] = now, vector[15:]
        self._producer.poll(0)
        self.done += len(events)
        if time.monotonic() - self._rows_s >= ROWS_S:
            self._write_rows()

    def finish(self) -> None:
        """Wait until everything is out."""
        while self._producer.flush(1.0):
            pass
        if self._failed:
            raise RuntimeError(f"{len(self._failed)} scores not delivered: {self._failed[0]}")
        self._write_rows()

    def _write_rows(self) -> None:
        customer, terminal = Struct("<q10d"), Struct("<q7d")
        found = [
            (key, (customer if len(values) == 10 else terminal).pack(now, *values))
            for key, (now, values) in self._rows.items()
        ]
        for first in range(0, len(found), ROWS_MAX):
            self._redis.mset(dict(found[first : first + ROWS_MAX]))
        self._rows.clear()
        self._rows_s = time.monotonic()

    def _note(self, error: ck.KafkaError, message: ck.Message) -> None:
        self._failed.append(f"{message.topic()}: {error.str()}")


class _Source(DynamicSource[list[Any]]):
    def __init__(self, consumer: ck.Consumer, merge: Merge) -> None:
        self.consumer = consumer
        self.merge = merge

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Reading:  # noqa: ARG002  # Bytewax's signature
        return _Reading(self)


class _Reading(StatelessSourcePartition[list[Any]]):
    def __init__(self, source: _Source) -> None:
        self._source = source

    def next_batch(self) -> list[list[Any]]:
        if self._source.merge.finished:
            raise StopIteration
        consume = self._source.consumer.consume
        messages = consume(READ_MAX, 0)
        if not messages:
            messages = consume(1, 0.01)
        return [messages]


class _Sink(DynamicSink[Any]):
    def __init__(self, scores: Scores) -> None:
        self.scores = scores

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writing:  # noqa: ARG002  # Bytewax's signature
        return _Writing(self.scores)


class _Writing(StatelessSinkPartition[Any]):
    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def write_batch(self, items: list[Any]) -> None:
        for events, vectors in items:
            self._scores(events, vectors)


def main(arguments: Sequence[str]) -> None:
    """Do the job; say when it caught up on standard error, and print a report as JSON."""
    job = Job(**json.loads(arguments[0]))
    scores = Scores(job)
    merge = Merge(job.partitions, job.events)
    consumer = ck.Consumer({**CONSUMER, "bootstrap.servers": job.brokers, "group.id": "plain"})
    consumer.assign([ck.TopicPartition(job.topic, p, 0) for p in range(job.partitions)])
    flow = Dataflow("plain")
    read = op.input("read", flow, _Source(consumer, merge))
    merged = op.flat_map("merge", read, merge)
    computed = op.flat_map("features", merged, Features(merge))
    op.output("score", computed, _Sink(scores))
    began_s = time.monotonic()
    cli_main(flow)  # type: ignore[no-untyped-call]  # Bytewax's
    scores.finish()
    took_s = time.monotonic() - began_s
    sys.stderr.write(f"caught up after {took_s:.3f} s: {scores.done:,} events\n")
    sys.stderr.flush()
    consumer.close()
    sys.stdout.write(json.dumps({"scored": scores.done, "seconds": took_s}) + "\n")


def _without_logical(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_logical(v) for k, v in schema.items() if k != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical(one) for one in schema]
    return schema


if __name__ == "__main__":
    main(sys.argv[1:])
