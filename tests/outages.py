"""What tests of stops, refusals and outages share: quick real processes, plain events, one check.

A ``Forked`` is ``noskew`` in a process of its own, with its real signals, exit code and terminal
output. It is forked from a server that has imported everything and has all machine code, so that
twenty of them do not spend minutes on that.
"""

from __future__ import annotations

import heapq
import multiprocessing as mp
import os
import signal
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow.parquet as pq
import pytest
from crashing import main
from definitions import meaning_of
from kafka_io import Committed
from live import FEATURES, Live, Record
from meaning import Event, bits
from naive import Naive, Row
from strategies import SECOND, START_US
from waiting import until

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.schemas import records

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from crashing import Crash
    from meaning import Value
    from naive import Answer

    from noskew.dataflows.store.rows import Row as StoredRow
    from noskew.infra.stack import Stack

Place = tuple[int, int]
"""Input and offset; of a payment the input is its partition."""

LABEL_FEATURES: Final = """\
    labels.by("terminal_id").sum("is_fraud", over=["1m", "1h"]),
    labels.by("terminal_id").mean("is_fraud", over="5m", delay="1m"),
    labels.by("terminal_id").count(over="1h"),
    labels.by("customer_id").last("is_fraud", over="1h"),
"""
LABEL_FIELDS: Final = ("transaction_id", "customer_id", "terminal_id")

BOUND_S: Final = 60.0

_SERVER: Final = mp.get_context("forkserver")


class Forked:
    """``noskew`` with these arguments; leaving ``with`` ends it for sure."""

    def __init__(self, arguments: Sequence[str], said: Path, crash: Crash | None = None) -> None:
        self._said = said
        self._process = _SERVER.Process(target=main, args=(list(arguments), str(said), crash))

    def __enter__(self) -> Self:
        _ensure_server()
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join(10)

    @property
    def pid(self) -> int:
        """The process's pid."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.is_alive()

    @property
    def said(self) -> str:
        """What it has printed so far, to either stream."""
        return self._said.read_text() if self._said.exists() else ""

    def until(self, condition: Callable[[], object], timeout_s: float = BOUND_S) -> None:
        """Wait until ``condition()`` is true; fails, with what was said, if the process ends."""
        try:
            until(lambda: condition() or not self.alive, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said}") from error
        assert self.alive or condition(), f"ended with {self._process.exitcode}:\n{self.said}"

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code, negative after a signal."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, f"alive after {timeout_s} s:\n{self.said}"
        return self._process.exitcode

    def stop(self, timeout_s: float = 10.0) -> int:
        """Send SIGTERM, wait for the end, return the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)


def start(own: Live, *arguments: str, crash: Crash | None = None, **flags: Any) -> Forked:
    """Return ``noskew run`` of a pipeline, to be used in ``with``."""
    said = own.folder / f"{own.name}.{len(list(own.folder.glob('*.said')))}.said"
    said.touch()
    return Forked(
        ["run", str(own.definition), *arguments, *options(own.flags | flags)], said, crash
    )


def options(flags: dict[str, Any]) -> list[str]:
    """Return settings as the command line has them; all are given with a value."""
    return [part for name, value in flags.items() for part in (_option(name), str(value))]


def finish(own: Live, **flags: Any) -> str:
    """Run until all that is in the topic is done; return what was said."""
    with start(own, "--until-end", **flags) as running:
        code = running.wait(BOUND_S)
        assert code == 0, running.said
        assert_clean(running.said)
        return running.said


def assert_clean(said: str) -> None:
    """Nothing of a traceback or of Bytewax's panics is on the terminal."""
    for word in ("Traceback", "panicked", "PyErr"):
        assert word not in said, said


@dataclass
class Ends:
    """How many records of a pipeline's topics are committed: cheap enough to wait for."""

    own: Live
    _admin: Admin = field(init=False)
    _counts: dict[str, Committed] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._admin = Admin.connect(self.own.stack.brokers)

    def __call__(self, topic: str) -> list[int]:
        """Return each partition's number in ``<app>.<topic>``; nothing where there is none."""
        if topic not in self._counts:
            known = self._admin.topic(f"{self.own.name}.{topic}")
            if known is None:
                return []
            brokers = self.own.stack.brokers
            self._counts[topic] = Committed(brokers, known.name, known.partitions)
        return self._counts[topic]()

    def scored(self) -> int:
        """Return how many scores are out."""
        return sum(self("scores"))


class Payments:
    """A stream of plain payments that goes on for ever: one each second, none late or dead.

    made   all records so far, in the order in which they were made
    count  how many of them are payments
    """

    def __init__(self, draw: random.Random, partitions: int, customers: int = 60) -> None:
        self.made: list[Event] = []
        self.count = 0
        self._draw = draw
        self._offsets: Counter[Place] = Counter()
        self._partitions = partitions
        self._customers = customers

    def take(self, count: int, partition: int | None = None) -> list[Event]:
        """Make the next payments; all of one partition if it is given."""
        made = []
        for _ in range(count):
            customer = self._draw.randrange(self._customers)
            if partition is not None:
                customer += partition - customer % self._partitions
            values: dict[str, Value] = {
                "transaction_id": self.count,
                "customer_id": customer,
                "terminal_id": self._draw.randrange(9),
                "amount_cents": self._draw.randrange(1, 1_000_000),
            }
            made.append(self._make(0, START_US + self.count * SECOND, values))
            self.count += 1
        return made

    def _make(
        self, stream: int, time_us: int, values: dict[str, Value], available_us: int | None = None
    ) -> Event:
        of = int(values["customer_id"] or 0) % self._partitions
        offset = self._offsets[stream, of]
        self._offsets[stream, of] += 1
        event = Event(of, offset, time_us, values, stream=stream, available_us=available_us)
        self.made.append(event)
        return event


class Labelled(Payments):
    """The same payments, and labels of most: known within a minute and a half, some corrected."""

    def __init__(self, draw: random.Random, partitions: int, customers: int = 60) -> None:
        super().__init__(draw, partitions, customers)
        self._to_come: list[tuple[int, int, Event, int]] = []

    def take(self, count: int, partition: int | None = None) -> list[Event]:
        """Make the next payments, and the labels that are known by the last one's time."""
        made = super().take(count, partition)
        for paid in made:
            fraud = self._draw.randrange(2)
            known_us = paid.time_us + self._draw.randrange(5, 90) * SECOND
            for _ in range(self._draw.choice([0, 1, 1, 2])):
                heapq.heappush(self._to_come, (known_us, len(self._to_come), paid, fraud))
                known_us, fraud = known_us + 30 * SECOND, 1 - fraud
        while self._to_come and self._to_come[0][0] <= made[-1].time_us:
            known_us, _, paid, fraud = heapq.heappop(self._to_come)
            values = {name: paid.values[name] for name in LABEL_FIELDS} | {"is_fraud": fraud}
            made.append(self._make(1, paid.time_us, values, known_us))
        return made


def make(
    stack: Stack, folder: Path, name: str, draw: random.Random, *, labelled: bool, **flags: Any
) -> tuple[Live, Payments]:
    """Return a pipeline over payments, or over payments and labels, and what feeds it."""
    if not labelled:
        own = Live.make(stack, folder, name, **flags)
        return own, Payments(draw, own.partitions)
    features, labels = FEATURES + LABEL_FEATURES, 'allowed_lateness="1h", revise=True'
    own = Live.make(stack, folder, name, features=features, labels=labels, **flags)
    return own, Labelled(draw, own.partitions)


def put(own: Live, events: Sequence[Event]) -> None:
    """Send payments and labels, each stream in the order given, and wait until they are in."""
    own.produce([event for event in events if event.stream == 0])
    known = [event for event in events if event.stream == 1]
    if known:
        schema_id = own.label_schema_id()
        own.send_labels([_label(event, schema_id) for event in known])


def _label(event: Event, schema_id: int) -> Record:
    assert event.available_us is not None
    values = event.values | {"event_time": event.time_us, "labelled_at": event.available_us}
    values["is_fraud"] = bool(values["is_fraud"])
    value = records.encode("label", values, schema_id)
    return Record(event.partition, value, event.available_us // 1000)


class Feeder(threading.Thread):
    """Produces payments in small pieces until it is told to stop, whatever the broker does."""

    def __init__(self, own: Live, payments: Payments, piece: int, pause_s: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self.failed: Exception | None = None
        self._own, self._payments, self._piece, self._pause_s = own, payments, piece, pause_s
        self._told = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._told.set()
        self.join(BOUND_S)
        assert not self.is_alive()
        assert self.failed is None, self.failed

    def run(self) -> None:
        """Produce."""
        try:
            while not self._told.wait(self._pause_s):
                put(self._own, self._payments.take(self._piece))
        except Exception as error:  # noqa: BLE001  # raised where the thread is left
            self.failed = error


def pass_s(seconds: float) -> None:
    """Let time pass: an outage has a length, and a random moment comes when it comes."""
    threading.Event().wait(seconds)


def assert_each_scored_once(own: Live, events: Sequence[Event]) -> None:
    """Every event was taken once, and every payment has exactly one score, in offset order.

    A score's seq is the one that the journal gave its payment.
    """
    order = own.taken()
    seqs = {place: seq for seq, place in enumerate(order)}
    found = own.scores()
    at = [(one.partition, one.value["source"]["offset"]) for one in found]

    assert len(seqs) == len(order)
    assert sorted(order) == sorted(_place(own, event) for event in events)
    assert at == sorted(place for place in seqs if place[0] < own.partitions)
    assert [one.value["source"]["partition"] for one in found] == [place[0] for place in at]
    assert [one.value["seq"] for one in found] == [seqs[place] for place in at]


def answers(own: Live, events: Sequence[Event]) -> tuple[Naive, dict[Place, Answer]]:
    """Return what ``naive`` says of every record in the order the journal has."""
    partitions = [own.partitions, own.label_partitions]
    naive = Naive(meaning_of(own.pipeline), partitions[: len(own.pipeline.streams)])
    places = {_place(own, event): event for event in events}
    return naive, {place: naive.process(places[place]) for place in own.taken()}


def assert_vectors_equal_naive(own: Live, events: Sequence[Event]) -> Naive:
    """Every score's vector has ``naive``'s bits; returns the naive one, to ask for more."""
    naive, said = answers(own, events)
    for one in own.scores():
        packed, place = one.value["vector"], (one.partition, one.value["source"]["offset"])
        values = struct.unpack(f"<{len(packed) // 8}d", packed)
        assert [bits(value) for value in values] == [bits(value) for value in said[place].vector], (
            place
        )
    return naive


def assert_vectors_equal_an_undisturbed_replay(own: Live) -> None:
    """The features put out by all those processes are those of one that never stopped."""
    out = own.folder / "undisturbed.parquet"
    replay(own.definition, ["kafka"], out, settings(**own.flags), order="journal")
    table = pq.read_table(out, columns=["stream_partition", "stream_offset", *own.plan.names])
    replayed = {
        (partition, offset): values
        for partition, offset, *values in zip(
            *(table.column(i).to_numpy() for i in range(table.num_columns)), strict=True
        )
    }
    found = own.scores()
    assert len(found) == len(replayed)
    for one in found:
        values = replayed[one.partition, one.value["source"]["offset"]]
        assert one.value["vector"] == b"".join(value.tobytes() for value in values), one.offset


def row(stored: StoredRow) -> Row:
    """Return a row of Redis as ``naive`` says rows."""
    return Row(stored.time_us, stored.until_us, stored.seq, tuple(stored.words.tolist()))


def _ensure_server() -> None:
    """Start the server that processes are forked from, unless it runs.

    It finds ``warmed`` by the environment: what it is told of this process's path it leaves aside.
    """
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        _SERVER.set_forkserver_preload(["warmed"])
        forkserver.ensure_running()


def _place(own: Live, event: Event) -> Place:
    """Return an event's input and offset."""
    return event.partition + (own.partitions if event.stream else 0), event.offset


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
