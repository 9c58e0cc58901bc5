"""Records of one or two streams as their partitions hold them, and a reader of them in memory.

A ``World`` is a definition and the records of all its inputs. A ``Source`` hands them out as the
reader of Kafka does: so many at a time, with what has ended, is held, and is there to come.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.core.batch import Batch, Letter
from noskew.dataflows.core.steps import Decoded
from noskew.dataflows.definition.compile import compile_plan
from noskew.kernels.layout import NO_TIME
from noskew.schemas.columns import NULL, Strings
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan
    from noskew.schemas.columns import Column

MINUTE: Final = 60_000_000
HOUR: Final = 60 * MINUTE
START: Final = 1_700_000_000 * 1_000_000
OFFSET: Final = 100
"""No record lies below it."""


@dataclass(frozen=True)
class Sent:
    """One record as produced; ``time_us`` and ``available_us`` after ``START``."""

    stream: int
    customer: int
    time_us: int
    available_us: int
    values: dict[str, int | str | None]
    reason: Reason = Reason.OK


def definition(streams: int, max_skew: str = "12h") -> Plan:
    """Return the compiled plan of payments, or of payments and their labels.

    By customer: local features, some of all history. By terminal: only windows, so that terminals
    are forgotten. Labels are revised, and late where they come long after.
    """
    payments = Stream(
        "payments", topic="transactions", schema="transaction.avsc", id="transaction_id",
        key="customer_id", time="event_time", allowed_lateness="20m", max_skew=max_skew,
        dedupe="30m",
    )  # fmt: skip
    labels = Stream(
        "labels", topic="fraud_labels", schema="label.avsc", id="transaction_id",
        key="customer_id", time="event_time", available="labelled_at", allowed_lateness="5h",
        max_skew=max_skew, revise=True,
    )  # fmt: skip
    card, terminal = payments.by("customer_id"), payments.by("terminal_id")
    amount = payments.column("amount_cents")
    known = [
        labels.by("terminal_id").sum("is_fraud", over=["2h", "4h"], delay="1h"),
        labels.by("terminal_id").count(over="3h"),
        labels.by("customer_id").sum("is_fraud", over=None),
        labels.by("customer_id").decayed_count(half_life="3h"),
    ]
    return compile_plan(
        Pipeline(
            name="shapes",
            score=payments,
            features=[
                amount,
                payments.hour(),
                card.count(over=["1h", "6h"]),
                card.count(over="6h", where=payments.column("country") != "SE").named("abroad"),
                card.mean("amount_cents", over="6h"),
                card.max("amount_cents", over="1h", delay="30m"),
                card.sum("amount_cents", over=None),
                card.distinct("terminal_id", over="6h"),
                card.since_last(),
                card.decayed_sum("amount_cents", half_life="2h"),
                (amount / card.mean("amount_cents", over="6h")).named("amount_vs_mean"),
                terminal.count(over=["1h", "3h"]),
                terminal.mean("amount_cents", over="2h", delay="30m"),
                terminal.min("amount_cents", over="1h"),
                terminal.distinct("country", over="3h"),
                *(known if streams > 1 else []),
            ],
        )
    )


def produced(seed: int, payments: int = 140, streams: int = 2, *, calm: bool = False) -> list[Sent]:
    """Return records in the order they were produced: ties, late, revised, twice sent, dead ones.

    Times are whole minutes, so that clocks tie. The first record is the oldest.
    calm  no payment is late, however many partitions there are
    """
    rng = random.Random(seed)
    at: list[tuple[int, int, Sent]] = []
    now_us = 0
    for number in range(payments):
        now_us += MINUTE * rng.choice([0, 0, 1, 1, 3, 10, 20, 150])
        customer, terminal = rng.randrange(11), rng.choice([None, *range(1, 13)])
        behind = rng.choice([0, 0, 0, 2, 9] if calm else [0, 0, 0, 2, 9, 19, 20, 21, 30]) * MINUTE
        time_us = max(now_us - behind, 0)
        values = {
            "transaction_id": number, "customer_id": customer, "terminal_id": terminal,
            "amount_cents": rng.randrange(1, 10**6), "country": rng.choice(["SE", "", "no", "DK"]),
        }  # fmt: skip
        payment = Sent(0, customer, time_us, time_us, values)
        at.append((now_us, 2 * number, payment))
        if rng.random() < 0.08:
            again = time_us + rng.choice([0] if calm else [0, 0, 30, 31]) * MINUTE
            twice = replace(payment, time_us=again, available_us=again)
            at.append((now_us + 9 * MINUTE, 2 * number + 1, twice))
        if rng.random() < 0.04:
            at.append((now_us, 2 * number + 1, _dead(0, customer, rng)))
        if streams > 1 and rng.random() < 0.4:
            at += _labels(payment, number, rng)
    at.sort(key=lambda one: one[:2])
    return [sent for _, _, sent in at]


def payment(number: int, customer: int, minute: int, amount: int) -> Sent:
    """Return a payment without a terminal."""
    at_us = minute * MINUTE
    values = {"transaction_id": number, "customer_id": customer, "amount_cents": amount}
    return Sent(0, customer, at_us, at_us, {**values, "terminal_id": None, "country": "SE"})


def of_customer(sent: Sent, customer: int) -> Sent:
    """Return a record as if it were of another customer."""
    return replace(sent, customer=customer, values=sent.values | {"customer_id": customer})


def _labels(payment: Sent, number: int, rng: random.Random) -> Iterator[tuple[int, int, Sent]]:
    """Yield a payment's label, and its corrections: of the fraud, or of the terminal."""
    known_us = payment.time_us
    for _ in range(rng.choice([1, 1, 2, 3])):
        known_us += rng.choice([5, 30, 60, 90, 400]) * MINUTE
        values = payment.values | {"is_fraud": rng.randrange(2)}
        if rng.random() < 0.2:
            values["terminal_id"] = rng.choice([1, 2, None])
        sent = Sent(1, payment.customer, payment.time_us, known_us, values)
        yield known_us + rng.randrange(25) * MINUTE, 2 * number, sent
        if rng.random() < 0.1:
            yield known_us, 2 * number + 1, _dead(1, payment.customer, rng)


def _dead(stream: int, customer: int, rng: random.Random) -> Sent:
    reason = rng.choice([Reason.NO_VALUE, Reason.UNKNOWN_SCHEMA, Reason.RANGE])
    return Sent(stream, customer, -START, -START, {}, reason)


class World:
    """A definition, and its inputs' records in the order of their offsets.

    A record's number is its place among all that were produced.

    numbers  int64[n]  the records that the inputs hold, in the order in which they arrived
    source, offset  int64[n]  where each of them is
    batches  per stream all its records;  rows: per input the places of its records in there
    """

    def __init__(
        self,
        records: Sequence[Sent],
        partitions: Sequence[int],
        plan: Plan,
        leave_out: Collection[int] = (),
    ) -> None:
        """Lay records out; those left out by number leave gaps, as compaction does."""
        self.records, self.partitions, self.plan = tuple(records), tuple(partitions), plan
        self.first = np.cumsum([0, *partitions])
        source = [
            int(self.first[one.stream]) + one.customer % partitions[one.stream] for one in records
        ]
        offset, following = [], [OFFSET] * self.inputs
        for number, one in enumerate(source):
            following[one] += 1 + (number % 6 == 0)
            offset.append(following[one])
        kept = [number for number in range(len(records)) if number not in leave_out]
        self.numbers = np.array(kept)
        self.source, self.offset = np.array(source)[kept], np.array(offset)[kept]
        stream_of = np.array([records[number].stream for number in kept])
        self.batches = tuple(self._batch(stream, stream_of) for stream in range(len(partitions)))
        place = np.zeros(len(kept), np.int64)
        for stream in range(len(partitions)):
            place[stream_of == stream] = np.arange((stream_of == stream).sum())
        self.rows = [place[self.source == one] for one in range(self.inputs)]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def inputs(self) -> int:
        return int(self.first[-1])

    @property
    def dead(self) -> list[int]:
        """Return the numbers of the records that cannot be decoded."""
        return [n for n in self.numbers.tolist() if self.records[n].reason is not Reason.OK]

    def place(self, number: int) -> tuple[int, int]:
        """Return a record's input and offset."""
        at = self.numbers.tolist().index(number)
        return int(self.source[at]), int(self.offset[at])

    def _batch(self, stream: int, stream_of: NDArray[np.int64]) -> Batch:
        at = np.flatnonzero(stream_of == stream)
        mine = [self.records[number] for number in self.numbers[at].tolist()]
        time_us = np.array([START + one.time_us for one in mine], np.int64)
        columns = {
            name: _column(kind, [one.values.get(name) for one in mine])
            for name, kind in self.plan.streams[stream].fields.items()
        }
        return Batch(
            stream=stream,
            partition=(self.source[at] - self.first[stream]).astype(np.int32),
            offset=self.offset[at],
            record_time_us=time_us,
            time_us=time_us,
            available_us=np.array([START + one.available_us for one in mine], np.int64),
            reason=np.array([one.reason for one in mine], np.uint8),
            columns={**columns, "number": self.numbers[at]},
        )

    def canonical(self) -> list[int]:
        """Return the numbers of all records in canonical order, said slowly (DESIGN 3.1)."""
        clocks: dict[int, int] = {}
        keyed = []
        places = (self.source.tolist(), self.offset.tolist(), self.numbers.tolist())
        for source, offset, number in zip(*places, strict=True):
            sent = self.records[number]
            if sent.reason is Reason.OK:
                clocks[source] = max(clocks.get(source, NO_TIME), sent.available_us)
            keyed.append((clocks.get(source, NO_TIME), source, offset, number))
        return [number for *_, number in sorted(keyed)]


def _column(kind: str, values: list[Any]) -> Column:
    if kind == "string":
        return Strings.from_list(values)
    return np.array([NULL if value is None else value for value in values], np.int64)


class Source:
    """Hands out a world's records as a reader does, from the first on.

    arrived  how many records have been produced so far
    taken    int64[inputs]  how many of each input's have been handed out
    now_s    the clock that silence is measured by
    """

    def __init__(self, world: World, arrived: int) -> None:
        self.world, self.arrived = world, arrived
        self.taken = np.zeros(world.inputs, np.int64)
        self.now_s = 0.0
        self._ended = np.zeros(world.inputs, np.bool_)

    @property
    def unread(self) -> NDArray[np.int64]:
        """Return how many records of each input are there to be read, int64[inputs]."""
        there = np.bincount(self.world.source[: self.arrived], minlength=self.world.inputs)
        return there - self.taken

    def read(
        self,
        *counts: int,
        drained: bool = True,
        ends: bool = True,
        held: Collection[int] = (),
        stop: bool = False,
    ) -> Decoded:
        """Hand out so many of each input's next records, or fewer where there are no more.

        ends  whether the marks that say where inputs end have come, too: until an input's next
              record, a mark stands
        held  inputs that wait for the registry: the step after the reader says so
        """
        most = np.array([*counts, *[0] * (self.world.inputs - len(counts))])
        most[list(held)] = 0
        number = np.minimum(most, self.unread)
        batches = []
        for stream, whole in enumerate(self.world.batches):
            own = range(self.world.first[stream], self.world.first[stream + 1])
            at = [self.world.rows[i][self.taken[i] : self.taken[i] + number[i]] for i in own]
            batches.append(_with_letters(whole.take(np.concatenate(at))))
        self.taken += number
        waits = np.isin(np.arange(self.world.inputs), list(held))
        self._ended = (self.unread == 0) & (ends | (self._ended & (number == 0)))
        ended = self._ended | waits
        return Decoded(tuple(batches), number > 0, ended, waits, drained=drained, stop=stop)


def _with_letters(batch: Batch) -> Batch:
    batch.letters = {
        (int(batch.partition[i]), int(batch.offset[i])): Letter("", None, None, None, [])
        for i in np.flatnonzero(batch.reason).tolist()
    }
    return batch
