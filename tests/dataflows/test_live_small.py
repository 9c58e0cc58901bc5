"""A thousand events on real servers: live run, replays and ``naive`` agree on every bit."""

from __future__ import annotations

import math
import random
import signal
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from definitions import meaning_of
from live import Live
from meaning import Event, bits
from naive import LATE, Fate, Naive, Row
from outages import Ends
from strategies import DAY, HOUR, SECOND, START_US

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.settings import settings
from noskew.schemas.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from naive import Answer

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

EVENTS: Final = 1000
PARTITIONS: Final = 3
SPAN_US: Final = 4 * DAY
MINUTE: Final = 60 * SECOND
TOO_LARGE: Final = 2**41
"""Beyond ``max_abs``: a dead letter of reason ``range``."""

Place = tuple[int, int]
"""Partition and offset."""


@dataclass(frozen=True)
class Arrived:
    """Events in the order in which they arrive, and Kafka's time of each."""

    events: list[Event]
    times_ms: list[int]

    @property
    def places(self) -> dict[Place, Event]:
        """The events by place."""
        return {(event.partition, event.offset): event for event in self.events}


def test_canonical_run_and_all_replays_equal_naive(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, partitions=PARTITIONS, align_wait_s="none")
    arrived = payments(seed=3)
    own.produce(arrived.events, times_ms=arrived.times_ms)

    report = own.run_until_end()

    order = canonical(arrived)
    assert own.taken() == order
    naive, said = answers(own, arrived, order)
    assert (
        10 < sum(answer.flags & LATE for answer in said.values()) == report.tally.scored_stream.late
    )
    assert_outputs_equal(own, arrived, order, naive, said)
    file = tmp_path / "payments.parquet"
    write_parquet(arrived, file)
    for source, wanted in (("kafka", "journal"), ("kafka", "canonical"), (str(file), "auto")):
        out = tmp_path / f"{wanted}.parquet"
        replayed = replay(own.definition, [source], out, settings(**own.flags), order=wanted)
        assert replayed.order == ("journal" if wanted == "journal" else "canonical")
        assert_file_equals(out, order, said)


def test_run_in_order_of_arrival_with_restarts_equals_naive_in_the_journals_order(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, partitions=PARTITIONS)
    arrived = payments(seed=4)
    ends = Ends(own)
    done = 0
    for last, run in runs_of_pieces(arrived):
        with own.start() as running:
            for place, piece in enumerate(run):
                own.produce(piece.events, times_ms=piece.times_ms)
                done += len(piece.events)
                if last or place < len(run) - 1:
                    running.until(lambda: put_out(ends) >= done)  # noqa: B023  # called at once
                # Otherwise the stop comes while the piece is being read.
            assert running.stop(signal.SIGTERM) == 0, running.stderr

    order = own.taken()

    assert sorted(order) == sorted(arrived.places)
    assert order != canonical(arrived)
    naive, said = answers(own, arrived, order)
    assert_outputs_equal(own, arrived, order, naive, said)
    out = tmp_path / "replayed.parquet"
    assert replay(own.definition, ["kafka"], out, settings(**own.flags)).order == "journal"
    assert_file_equals(out, order, said)


# -- events ------------------------------------------------------------------------------------


def payments(seed: int) -> Arrived:
    """Draw payments with ties, edges of windows, lateness, null terminals and dead letters.

    Times are whole minutes, so that ties and events exactly an hour or a day apart are common;
    some stand exactly at the line below which they would be late, or one microsecond below it.
    """
    draw = random.Random(seed)
    offsets = [0] * PARTITIONS
    clocks = [START_US] * PARTITIONS
    events, times_ms = [], []
    for number in range(EVENTS):
        arrival_us = START_US + SPAN_US * number // EVENTS
        kind = draw.random()
        lateness_us = 0 if kind < 0.6 else draw.randrange(HOUR if kind < 0.9 else 2 * HOUR)
        customer = draw.randrange(12)
        partition = customer % PARTITIONS
        time_us = (arrival_us - lateness_us) // MINUTE * MINUTE
        if kind > 0.96:
            time_us = clocks[partition] - HOUR - (kind > 0.98)
        is_dead = number % 97 == 50
        events.append(
            Event(
                partition,
                offsets[partition],
                time_us,
                {
                    "transaction_id": 7_000_000 + number,
                    "customer_id": customer,
                    "terminal_id": draw.choice([None, 0, 1, 2, -3, 2**40]),
                    "amount_cents": TOO_LARGE if is_dead else draw.randrange(1, 1_000_000),
                },
                reason=Reason.RANGE if is_dead else Reason.OK,
            )
        )
        if not is_dead:
            clocks[partition] = max(clocks[partition], time_us)
        times_ms.append(arrival_us // 1000)
        offsets[partition] += 1
    return Arrived(events, times_ms)


def canonical(arrived: Arrived) -> list[Place]:
    """Return the places by (position clock, partition, offset), as DESIGN section 3.1 says."""
    clocks = [-math.inf] * PARTITIONS
    keyed = []
    for place, event in sorted(arrived.places.items()):
        if not event.reason:
            clocks[event.partition] = max(clocks[event.partition], event.time_us)
        keyed.append((clocks[event.partition], place))
    return [place for _, place in sorted(keyed)]


def runs_of_pieces(arrived: Arrived) -> Iterator[tuple[bool, list[Arrived]]]:
    """Cut the stream into pieces of one partition each, and the pieces into three runs.

    Of every 90 events one partition's come first, another's next: not the canonical order.
    """
    pieces = []
    for turn, at in enumerate(range(0, EVENTS, 90)):
        for step in range(PARTITIONS):
            partition = (turn + step) % PARTITIONS
            chosen = [
                i
                for i in range(at, min(at + 90, EVENTS))
                if arrived.events[i].partition == partition
            ]
            pieces.append(
                Arrived([arrived.events[i] for i in chosen], [arrived.times_ms[i] for i in chosen])
            )
    third = len(pieces) // 3
    yield False, pieces[:third]
    yield False, pieces[third : 2 * third]
    yield True, pieces[2 * third :]


def write_parquet(arrived: Arrived, path: Path) -> None:
    """Write the topic as a file with its places, the rows in no order at all."""
    rows = list(zip(arrived.events, arrived.times_ms, strict=True))
    random.Random(1).shuffle(rows)
    time = pa.timestamp("us")
    values = [event.values for event, _ in rows]
    table = {
        "stream": pa.array(["payments"] * len(rows)),
        "stream_partition": pa.array([event.partition for event, _ in rows], pa.int32()),
        "stream_offset": pa.array([event.offset for event, _ in rows], pa.int64()),
        "record_timestamp": pa.array([at * 1000 for _, at in rows], time),
        "event_time": pa.array([event.time_us for event, _ in rows], time),
        **{
            name: pa.array([value[name] for value in values], pa.int64())
            for name in ("transaction_id", "customer_id", "terminal_id", "amount_cents")
        },
    }
    pq.write_table(pa.table(table), path, row_group_size=100)


# -- what naive says, and what came out --------------------------------------------------------


def answers(own: Live, arrived: Arrived, order: list[Place]) -> tuple[Naive, dict[Place, Answer]]:
    """Return what ``naive`` says of every record when it is given them in this order."""
    naive = Naive(meaning_of(own.pipeline), [PARTITIONS])
    return naive, {place: naive.process(arrived.places[place]) for place in order}


def put_out(ends: Ends) -> int:
    """Return how many records have a score or a dead letter now."""
    return sum(sum(ends(to)) for to in ("scores", "dead"))


def assert_outputs_equal(
    own: Live, arrived: Arrived, order: list[Place], naive: Naive, said: dict[Place, Answer]
) -> None:
    """Every event has exactly one score or dead letter; vectors, flags, digests, rows equal."""
    places, seqs = arrived.places, {place: seq for seq, place in enumerate(order)}
    fingerprint, scores, dead = own.plan.fingerprint, own.scores(), own.dead()
    at = [(found.partition, found.value["source"]["offset"]) for found in scores]

    assert at == sorted(place for place, event in places.items() if not event.reason)
    for place, found in zip(at, scores, strict=True):
        value, event = found.value, places[place]
        values = vector(value["vector"])
        assert value["source"]["partition"] == found.partition
        assert [bits(one) for one in values] == [bits(one) for one in said[place].vector], place
        assert value["digest"] == digest(said[place].vector)
        assert value["flags"] == said[place].flags, place
        assert value["seq"] == seqs[place]
        assert value["event_id"] == event.values["transaction_id"]
        assert value["event_time"] == event.time_us
        assert value["entity_keys"] == {
            name: event.values[name] for name in ("customer_id", "terminal_id")
        }
        assert value["fingerprint"] == fingerprint
        assert value["margin"] is value["score"] is value["model"] is None

    assert [
        (found.value["source"]["partition"], found.value["source"]["offset"], found.value["reason"])
        for found in dead
    ] == sorted((*place, "range") for place, event in places.items() if event.reason)
    assert [found.value["seq"] for found in dead] == [
        seqs[place] for place, event in sorted(places.items()) if event.reason
    ]

    rows = {
        place: Row(row.time_us, row.until_us, row.seq, tuple(row.words.tolist()))
        for place, row in own.rows().items()
    }
    naive.flush()
    assert rows == naive.live_rows()
    assert own.watermark() == len(order) - 1


def assert_file_equals(path: Path, order: list[Place], said: dict[Place, Answer]) -> None:
    """A replay's file has the rows in processing order, with every bit of the vectors."""
    table = pq.read_table(path)
    first = table.schema.names.index("event_time") + 1
    columns = [table.column(name).to_pylist() for name in table.schema.names[first:]]
    at = list(
        zip(
            table["stream_partition"].to_pylist(),
            table["stream_offset"].to_pylist(),
            strict=True,
        )
    )
    assert at == [place for place in order if said[place].fate is not Fate.DEAD]
    for place, *values, flags in zip(at, *columns, strict=True):
        assert [bits(one) for one in values] == [bits(one) for one in said[place].vector], place
        assert flags == said[place].flags, place


def vector(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 8}d", packed)


def digest(values: list[float]) -> bytes:
    """XXH64 of the little-endian values, with one NaN and one zero (DESIGN section 5)."""
    one = [math.nan if math.isnan(value) else value + 0.0 for value in values]
    return xxhash.xxh64(struct.pack(f"<{len(one)}d", *one), seed=0).digest()
