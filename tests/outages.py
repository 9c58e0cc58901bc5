"""What tests of stops, refusals and outages share: quick real processes, plain events, one check.

A ``Forked`` is ``noskew`` in a process of its own, with its real signals, exit code and terminal
output. It is forked from a server that has imported everything, so that twenty of them do not
spend a minute on imports.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import struct
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from definitions import meaning_of
from meaning import Event, bits
from naive import Naive, Row
from strategies import SECOND, START_US
from waiting import until

from noskew.dataflows.kafka.topics import Admin

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from live import Live
    from naive import Answer

    from noskew.dataflows.store.rows import Row as StoredRow

Place = tuple[int, int]
"""Partition and offset."""

BOUND_S: Final = 60.0

_SERVER: Final = mp.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["noskew.dataflows.cli", "noskew.dataflows.commands.run", "noskew.dataflows.model.scoring"]
)


class Forked:
    """``noskew`` with these arguments; leaving ``with`` ends it for sure."""

    def __init__(self, arguments: Sequence[str], said: Path) -> None:
        self._said = said
        self._process = _SERVER.Process(target=_main, args=(list(arguments), str(said)))

    def __enter__(self) -> Self:
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


def start(own: Live, *arguments: str, **flags: Any) -> Forked:
    """Return ``noskew run`` of a pipeline, to be used in ``with``."""
    said = own.folder / f"{own.name}.{len(list(own.folder.glob('*.said')))}.said"
    said.touch()
    return Forked(["run", str(own.definition), *arguments, *options(own.flags | flags)], said)


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
    """End offsets of a pipeline's topics, over one connection: cheap enough to wait for."""

    own: Live
    _admin: Admin = field(init=False)

    def __post_init__(self) -> None:
        self._admin = Admin.connect(self.own.stack.brokers)

    def __call__(self, topic: str) -> list[int]:
        """Return the end of each partition of ``<app>.<topic>``; nothing where there is none."""
        known = self._admin.topic(f"{self.own.name}.{topic}")
        if known is None:
            return []
        found: list[int] = self._admin.offsets(known.name, known.partitions, "latest").tolist()
        return found

    def scored(self) -> int:
        """Return how many scores are out."""
        return sum(self("scores"))


class Payments:
    """A stream of plain payments that goes on for ever: one each second, none late or dead."""

    def __init__(self, draw: random.Random, partitions: int, customers: int = 60) -> None:
        self.made: list[Event] = []
        self._draw = draw
        self._offsets = [0] * partitions
        self._customers = customers

    def take(self, count: int, partition: int | None = None) -> list[Event]:
        """Make the next payments; all of one partition if it is given."""
        partitions = len(self._offsets)
        made = []
        for _ in range(count):
            customer = self._draw.randrange(self._customers)
            if partition is not None:
                customer += partition - customer % partitions
            of = customer % partitions
            number = len(self.made)
            event = Event(
                of,
                self._offsets[of],
                START_US + number * SECOND,
                {
                    "transaction_id": number,
                    "customer_id": customer,
                    "terminal_id": self._draw.randrange(9),
                    "amount_cents": self._draw.randrange(1, 1_000_000),
                },
            )
            self._offsets[of] += 1
            self.made.append(event)
            made.append(event)
        return made


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
                self._own.produce(self._payments.take(self._piece))
        except Exception as error:  # noqa: BLE001  # raised where the thread is left
            self.failed = error


def pass_s(seconds: float) -> None:
    """Let time pass: an outage has a length, and a random moment comes when it comes."""
    threading.Event().wait(seconds)


def assert_each_scored_once(own: Live, events: Sequence[Event]) -> None:
    """Every event has exactly one score, in offset order, with the seq the journal gave it."""
    order = own.taken()
    seqs = {place: seq for seq, place in enumerate(order)}
    found = own.scores()
    at = [(one.partition, one.value["source"]["offset"]) for one in found]

    assert len(seqs) == len(order)
    assert sorted(order) == sorted((event.partition, event.offset) for event in events)
    assert at == sorted(seqs)
    assert [one.value["source"]["partition"] for one in found] == [place[0] for place in at]
    assert [one.value["seq"] for one in found] == [seqs[place] for place in at]


def answers(own: Live, events: Sequence[Event]) -> tuple[Naive, dict[Place, Answer]]:
    """Return what ``naive`` says of every record in the order the journal has."""
    naive = Naive(meaning_of(own.pipeline), [own.partitions])
    places = {(event.partition, event.offset): event for event in events}
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


def row(stored: StoredRow) -> Row:
    """Return a row of Redis as ``naive`` says rows."""
    return Row(stored.time_us, stored.until_us, stored.seq, tuple(stored.words.tolist()))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _main(arguments: list[str], said: str) -> None:
    """Be ``noskew``: in the new process, with both streams in a file."""
    from noskew.dataflows import cli

    to = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(to, 1)
    os.dup2(to, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.argv = ["noskew", *arguments]
    cli.main()
