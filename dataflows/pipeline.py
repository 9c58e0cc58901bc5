"""The dataflow: one Bytewax worker over one shard, read top to bottom.

Bytewax gives the graph and its scheduling. It runs without its recovery store and always with one
worker, because position and state are ours and its clusters stall (DESIGN section 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from noskew.dataflows.core.steps import Decoded, Work, features, score
from noskew.dataflows.kafka.reader import Read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from noskew.dataflows.core.decode import Decode
    from noskew.dataflows.core.engine import Engine
    from noskew.dataflows.core.steps import Order, Scorer
    from noskew.dataflows.kafka.deliver import Deliver
    from noskew.dataflows.kafka.throttle import ThrottledReader

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(slots=True)
class Shard:
    """Everything one process owns of a pipeline: the parts that ``build`` puts in a row.

    decodes   one per stream, in the plan's order
    """

    name: str
    reader: ThrottledReader
    decodes: tuple[Decode, ...]
    order: Order
    engine: Engine
    scorer: Scorer | None
    deliver: Deliver

    def decoded(self, read: Read) -> Iterator[Decoded]:
        """Turn bytes into columns."""
        batches = tuple(decode(raw) for decode, raw in zip(self.decodes, read.raws, strict=True))
        came, ended = np.zeros(len(read.ended), np.bool_), read.ended
        for decode, batch in zip(self.decodes, batches, strict=True):
            came[decode.first + batch.partition] = True
        # A partition that waits for the registry is paused: it is not waited for.
        ended[list(self.held)] = True
        yield Decoded(batches, came, ended, read.held, drained=read.drained, stop=read.stop)

    @property
    def held(self) -> dict[int, int]:
        """Return the inputs that wait for the registry: input -> schema id."""
        return {source: one for decode in self.decodes for source, one in decode.waiting.items()}

    def computed(self, work: Work) -> Iterator[Work]:
        """Update the state with a batch and compute its vectors."""
        yield features(self.engine, work)

    def scored(self, work: Work) -> Iterator[Work]:
        """Score the vectors of a batch."""
        yield score(self.scorer, work)

    def delivered(self, work: Work) -> Iterator[None]:
        """Put out what was computed; yields nothing."""
        self.deliver(work)
        yield from ()

    def idle(self) -> bool:
        """Return whether all that is in the topics has been read, put out and journaled."""
        return self.deliver.settled and not self.order.waiting.rows and self.reader.ended()

    def close(self) -> None:
        """Leave the brokers; what was settled stays settled."""
        self.deliver.close()
        self.reader.close()


class Failure:
    """The first error of any step. After it nothing is processed and the flow ends.

    An exception that leaves a callback makes Bytewax's worker panic, with a Rust backtrace on the
    terminal; so it is kept here, and whoever runs the flow raises it again.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None

    def guard(self, step: Callable[[_In], Iterable[_Out]]) -> Callable[[_In], list[_Out]]:
        """Return a step that gives nothing once any step has failed."""

        def guarded(item: _In) -> list[_Out]:
            if self.error is not None:
                return []
            try:
                return list(step(item))
            except Exception as error:  # noqa: BLE001  # kept, and raised again by the runner
                self.error = error
                return []

        return guarded


def build(
    shard: Shard,
    failure: Failure,
    stopped: Callable[[], bool],
    watch: Callable[[], None] = lambda: None,
) -> Dataflow:
    """Return the dataflow.

    failure  where an error is left; to be looked at when the flow has ended
    stopped  asked at every read; True drains and ends the flow
    watch    called before every read: for progress and the like
    """
    step = failure.guard
    flow = Dataflow(shard.name)
    read = op.input("read", flow, _Source(shard.reader, failure, stopped, watch))  # Read
    decoded = op.flat_map("decode", read, step(shard.decoded))  # columns, in offset order
    ordered = op.flat_map("order", decoded, step(shard.order))  # Work, in processing order
    computed = op.flat_map("features", ordered, step(shard.computed))  # Work with vectors
    scored = op.flat_map("score", computed, step(shard.scored))  # Work with scores
    op.output("deliver", scored, _Sink(step(shard.delivered)))
    return flow


class _Reading(StatelessSourcePartition[Read]):
    def __init__(self, source: _Source) -> None:
        self._read = source.failure.guard(self._one)
        self._source = source
        self._last = False

    def next_batch(self) -> list[Read]:
        if self._last or self._source.failure.error is not None:
            raise StopIteration
        return self._read(None)

    def _one(self, _: None) -> list[Read]:
        self._source.watch()
        # An empty read goes on too: it is the clock of the steps behind it.
        read = self._source.reader.read()
        self._last = read.stop = self._source.stopped()
        return [read]


@dataclass
class _Source(DynamicSource[Read]):
    reader: ThrottledReader
    failure: Failure
    stopped: Callable[[], bool]
    watch: Callable[[], None]

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Reading:  # noqa: ARG002  # Bytewax's signature
        _one_worker(worker_count)
        return _Reading(self)


class _Delivering(StatelessSinkPartition[Work]):
    def __init__(self, deliver: Callable[[Work], list[None]]) -> None:
        self._deliver = deliver

    def write_batch(self, items: list[Work]) -> None:
        for work in items:
            self._deliver(work)


@dataclass
class _Sink(DynamicSink[Work]):
    deliver: Callable[[Work], list[None]]

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Delivering:  # noqa: ARG002  # Bytewax's signature
        _one_worker(worker_count)
        return _Delivering(self.deliver)


def _one_worker(worker_count: int) -> None:
    if worker_count != 1:
        raise RuntimeError(f"a shard is one worker, not {worker_count}: start a process a shard")
