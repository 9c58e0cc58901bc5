"""Servers that are away: at the start, in the middle, for a while; nothing is lost by it."""

from __future__ import annotations

import json
import random
import signal
from typing import TYPE_CHECKING, Final

import pytest
from kafka_io import Record, payment
from live import Live, read_rows
from outages import (
    Ends,
    Feeder,
    Payments,
    assert_clean,
    assert_each_scored_once,
    assert_vectors_equal_an_undisturbed_replay,
    assert_vectors_equal_naive,
    finish,
    make,
    pass_s,
    put,
    row,
    start,
)
from redis_server import RedisServer
from stacked import stacked

from noskew.infra import stack as stacks
from noskew.schemas import files
from noskew.schemas.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meaning import Event, Key
    from naive import Naive, Row

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

COUNT: Final = 300


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this module's own, whose servers are stopped, killed and paused."""
    with stacked(tmp_path_factory.mktemp("fragile")) as started:
        yield started


@pytest.fixture
def servers(fragile: Stack) -> Iterator[Stack]:
    """Give the fragile stack, and bring back what a test has stopped or paused."""
    yield fragile
    for name in stacks.SERVERS:
        fragile.resume(name)
        fragile.start_server(name)


# -- the registry ------------------------------------------------------------------------------


def test_with_the_registry_away_at_the_start_known_schemas_are_scored(
    servers: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(servers, tmp_path, topic_name)
    payments = Payments(random.Random(1), own.partitions)
    schema_id = own.schema_id()
    produce(own, payments.take(COUNT), schema_id)
    finish(own)
    servers.stop_server("registry")
    produce(own, payments.take(COUNT), schema_id)

    said = finish(own)

    assert "warning: the schema registry does not answer" in said
    assert "known schemas go on" in said
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_naive(own, payments.made)


def test_records_of_unknown_ids_wait_for_the_registry_and_the_others_go_on(
    servers: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(servers, tmp_path, topic_name, align_wait_s=0.2)
    payments = Payments(random.Random(2), own.partitions)
    known = own.schema_id()
    produce(own, payments.take(COUNT), known)
    ends = Ends(own)
    with start(own) as running:
        running.until(lambda: ends.scored() == COUNT)
        before = ends("scores")
        # Registered while it runs and under no subject it reads, so it cannot know the id.
        later = newer_version(servers, f"{own.name}.elsewhere")
        servers.stop_server("registry")
        produce(own, payments.take(5, partition=0), known)
        produce(own, payments.take(20, partition=0), later)
        produce(own, payments.take(30, partition=0), known)
        for partition in (1, 2):
            produce(own, payments.take(50, partition=partition), known)

        going_on = [before[0] + 5, before[1] + 50, before[2] + 50]
        running.until(lambda: ends("scores") == going_on)
        produce(own, payments.take(10, partition=1), known)
        going_on[1] += 10
        running.until(lambda: ends("scores") == going_on)
        running.until(
            lambda: f"held for the registry: payments 0 (schema {later})" in running.said, 15
        )
        assert ends("scores") == going_on

        servers.start_server("registry")
        running.until(lambda: ends.scored() == len(payments.made))
        assert running.stop() == 0, running.said
        assert_clean(running.said)
    assert own.dead() == []
    finish(own)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_naive(own, payments.made)


def test_a_stop_while_a_partition_is_held_loses_nothing(
    servers: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(servers, tmp_path, topic_name, align_wait_s=0.2)
    payments = Payments(random.Random(3), own.partitions)
    known = own.schema_id()
    produce(own, payments.take(COUNT), known)
    finish(own)
    later = newer_version(servers, f"{own.name}.elsewhere")
    servers.stop_server("registry")
    ends = Ends(own)
    before = ends("scores")
    with start(own) as running:
        produce(own, payments.take(20, partition=1), later)
        produce(own, payments.take(20, partition=1), known)
        produce(own, payments.take(20, partition=2), known)
        running.until(lambda: ends("scores")[2] == before[2] + 20)
        assert running.stop() == 0, running.said
        assert_clean(running.said)
    assert ends("scores")[1] == before[1]
    servers.start_server("registry")

    finish(own)

    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_naive(own, payments.made)


# -- Redis -------------------------------------------------------------------------------------


def test_redis_away_at_the_start_gets_every_row_when_it_comes(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    server = RedisServer(tmp_path)
    own = Live.make(stack, tmp_path, topic_name, redis=server.url)
    payments = Payments(random.Random(4), own.partitions)
    own.produce(payments.take(COUNT))
    ends = Ends(own)
    with start(own) as running:
        running.until(lambda: ends.scored() == COUNT)
        assert "warning: Redis at" in running.said
        with server:
            running.until(lambda: rows_stand_at(own, server, COUNT - 1))
            assert running.stop() == 0, running.said
            assert_clean(running.said)
            naive = assert_vectors_equal_naive(own, payments.made)
            assert_rows_equal(own, server, naive)
    assert_each_scored_once(own, payments.made)


def test_redis_stopped_in_the_middle_and_started_empty_gets_every_row_again(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    with RedisServer(tmp_path) as server:
        own = Live.make(stack, tmp_path, topic_name, redis=server.url)
        payments = Payments(random.Random(5), own.partitions)
        own.produce(payments.take(COUNT))
        ends = Ends(own)
        with start(own) as running:
            running.until(lambda: rows_stand_at(own, server, COUNT - 1))
            server.kill()
            # Fewer keys than before: the others' rows come from memory.
            own.produce(payments.take(20))
            running.until(lambda: ends.scored() == COUNT + 20)

            server.start()

            assert server.client.dbsize() == 0 or rows_stand_at(own, server, COUNT + 19)
            running.until(lambda: rows_stand_at(own, server, COUNT + 19))
            own.produce(payments.take(20))
            running.until(lambda: rows_stand_at(own, server, COUNT + 39))
            assert running.stop() == 0, running.said
            assert_clean(running.said)
        naive = assert_vectors_equal_naive(own, payments.made)
        assert_rows_equal(own, server, naive)
    assert_each_scored_once(own, payments.made)


def test_a_stop_with_redis_away_says_so_and_the_next_start_writes_the_rows(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    with RedisServer(tmp_path) as server:
        own = Live.make(stack, tmp_path, topic_name, redis=server.url)
        payments = Payments(random.Random(6), own.partitions)
        own.produce(payments.take(COUNT))
        ends = Ends(own)
        with start(own) as running:
            running.until(lambda: rows_stand_at(own, server, COUNT - 1))
            server.kill()
            own.produce(payments.take(COUNT))
            running.until(lambda: ends.scored() == 2 * COUNT)
            assert running.stop() == 0, running.said
            assert "warning: Redis does not answer" in running.said
        server.start()

        finish(own)

        naive = assert_vectors_equal_naive(own, payments.made)
        assert_rows_equal(own, server, naive)
    assert_each_scored_once(own, payments.made)


# -- the broker --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outage_s", [5.0, pytest.param(30.0, marks=[pytest.mark.full, pytest.mark.timeout(400)])]
)
@pytest.mark.parametrize(
    "labelled",
    [
        pytest.param(False, id="payments"),
        pytest.param(True, id="payments and labels", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("how", ["paused", "killed"])
def test_a_broker_that_was_away_is_waited_for_and_each_event_is_scored_once(
    servers: Stack, tmp_path: Path, topic_name: str, how: str, outage_s: float, *, labelled: bool
) -> None:
    own, payments = make(servers, tmp_path, topic_name, random.Random(7), labelled=labelled)
    put(own, payments.take(COUNT))
    ends = Ends(own)
    with start(own) as running:
        with Feeder(own, payments, piece=30, pause_s=0.02):
            running.until(lambda: ends.scored() > 2 * COUNT)
            if how == "paused":
                servers.pause("kafka")
                pass_s(outage_s)
                servers.resume("kafka")
            else:
                servers.stop_server("kafka", kill=True)
                pass_s(outage_s)
                servers.start_server("kafka")
            assert running.alive, running.said
            made = payments.count
            running.until(lambda: payments.count > made + 200)
        ends = Ends(own)
        running.until(lambda: ends.scored() >= payments.count)
        assert running.stop() == 0, running.said
        assert_clean(running.said)

    finish(own)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_an_undisturbed_replay(own)


def test_a_second_signal_ends_it_at_once_where_the_first_waits_for_the_broker(
    servers: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(servers, tmp_path, topic_name)
    payments = Payments(random.Random(8), own.partitions)
    own.produce(payments.take(COUNT))
    ends = Ends(own)
    with start(own) as running, Feeder(own, payments, piece=50, pause_s=0.005):
        running.until(lambda: ends.scored() > COUNT)
        servers.pause("kafka")
        pass_s(0.5)
        running.send_signal(signal.SIGTERM)
        pass_s(0.5)
        assert running.alive, running.said
        running.send_signal(signal.SIGTERM)
        code = running.wait(2)
        servers.resume("kafka")
        assert code == -signal.SIGTERM

    finish(own)
    assert_each_scored_once(own, payments.made)


# -- one key in two partitions -----------------------------------------------------------------


def test_a_key_in_two_partitions_is_alerted_and_journaled_once(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    payments = Payments(random.Random(9), own.partitions)
    own.produce(payments.take(100))
    strays = payments.take(4, partition=1)
    for stray in strays:
        stray.values["customer_id"] = 0  # of partition 0
    own.produce(strays)
    finish(own)
    more = payments.take(4, partition=2)
    for stray in more:
        stray.values["customer_id"] = 0
    own.produce(more)

    finish(own)

    (alert,) = own.alerts()
    (decision,) = [d for e in own.journal() for d in e.decisions if d.kind == "split_key"]
    assert alert.value["kind"] == "split_key"
    assert alert.value["subject"] == decision.subject == "customer_id=0"
    assert alert.value["before"] == "partition 0"
    assert alert.value["after"] == "partition 1"
    assert alert.value["seq"] == decision.seq
    assert own.taken()[decision.seq] == (strays[0].partition, strays[0].offset)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_naive(own, payments.made)


# -- helpers -----------------------------------------------------------------------------------


def produce(own: Live, events: list[Event], schema_id: int) -> None:
    """Send payments without asking the registry for the id."""
    own.send(
        Record(event.partition, payment(event, schema_id), event.time_us // 1000)
        for event in events
    )


def newer_version(servers: Stack, subject: str) -> int:
    """Register a payment's schema that nobody has seen, with the same fields; return its id."""
    schema = json.loads(files.text("transaction"))
    schema["doc"] = f"as {subject} has it"
    client = Registry(servers.registry, None)
    try:
        return client.register(f"{subject}-value", json.dumps(schema))
    finally:
        client.close()


def rows_stand_at(own: Live, server: RedisServer, seq: int) -> bool:
    found = server.client.hget(f"noskew:{{{own.name}.0}}:watermark", "seq")
    return found is not None and int(found) == seq


def assert_rows_equal(own: Live, server: RedisServer, naive: Naive) -> None:
    """The rows are those of a run that was never disturbed."""
    found: dict[tuple[str, Key], Row] = {
        place: row(stored) for place, stored in read_rows(server.url, own.plan).items()
    }
    naive.flush()
    assert found == naive.live_rows()
