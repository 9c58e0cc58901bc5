"""What a reader gets: values by name, and until when they are exact."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING, Any

import pytest
from mirrors import STREAMS, Mirror, mark, pay, table, windowed
from redis_server import RedisServer
from stored import CUSTOMER, FINGERPRINT, HOUR_US, TERMINAL, customers, plan, terminals
from turns import HOUR, MINUTE, START, plan_of

from noskew.dataflows import card_fraud
from noskew.dataflows.client import Client, read
from noskew.dataflows.definition.plan import Op, Stat, Window
from noskew.dataflows.errors import UsageError
from noskew.dataflows.store.keys import Names
from noskew.dataflows.store.writer import Store
from noskew.kernels.decay import half_power

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME_US = 1_700_000_000_000_000
UNTIL_US = TIME_US + 3_600_000_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running, Store(plan(), url=running.url) as store:
        mine = customers([17, -4], seq=5, slots=[0, 1], time_us=TIME_US, until_us=UNTIL_US)
        store.commit([mine, terminals(["a:b%"], seq=3)], 5)
        assert store.flush(15)
        yield running


def test_values_come_by_name_at_the_rows_own_time(server: RedisServer) -> None:
    with Client(plan(), server.url) as client:
        got = client.read(CUSTOMER, 17)

    assert got is not None
    assert got.values == {"sum_1h": 17005.0, "since": 0.0, "m": 5.5, "faded": 8.0}
    assert (got.entity, got.id, got.exact, got.seq, got.generation) == (CUSTOMER, 17, True, 5, 1)
    assert (got.at_us, got.event_time_us, got.valid_until_us) == (TIME_US, TIME_US, UNTIL_US)


@pytest.mark.parametrize(
    ("at_us", "exact"),
    [
        (TIME_US - 1, False),
        (TIME_US, True),
        (UNTIL_US - 1, True),
        (UNTIL_US, False),
        (UNTIL_US + 1, False),
    ],
)
def test_a_row_is_exact_from_its_time_until_just_before_valid_until(
    server: RedisServer, at_us: int, exact: bool
) -> None:
    got = read(CUSTOMER, 17, at=at_us, pipeline=plan(), redis=server.url)

    assert got is not None
    assert got.exact is exact
    if at_us < TIME_US:
        assert math.isnan(got.values["since"])
        assert math.isnan(got.values["faded"])
    else:
        assert got.values["since"] == (at_us - TIME_US) / 1_000_000
        assert got.values["faded"] == 8.0 * half_power(at_us - TIME_US, HOUR_US)


def test_the_time_may_be_an_aware_datetime(server: RedisServer) -> None:
    with Client(plan(), server.url) as client:
        got = client.read(CUSTOMER, 17, at=datetime(2023, 11, 14, 22, 13, 20, 250, tzinfo=UTC))
        assert got is not None
        assert got.at_us == TIME_US + 250
        with pytest.raises(UsageError, match="time zone"):
            client.read(CUSTOMER, 17, at=datetime(2023, 11, 14))  # noqa: DTZ001 - the point


def test_a_row_that_nothing_ends_is_exact_for_ever(server: RedisServer) -> None:
    got = read(TERMINAL, "a:b%", at=2**62, pipeline=plan(), redis=server.url)

    assert got is not None
    assert got.exact
    assert got.values == {"frauds": 0.0, "n_1d": 3.0, "faded_frauds": 0.0}


def test_an_entity_of_several_streams_has_one_row(server: RedisServer) -> None:
    got = read(TERMINAL, "a:b%", pipeline=plan(), redis=server.url)

    assert got is not None
    assert list(got.values) == ["frauds", "n_1d", "faded_frauds"]
    assert got.values == {"frauds": 0.0, "n_1d": 3.0, "faded_frauds": 0.5}


def test_many_come_in_order_and_missing_ones_are_none(server: RedisServer) -> None:
    with Client(plan(), server.url) as client:
        got = client.read_many(CUSTOMER, [1, 17, -4, 17])
        assert [row and row.id for row in got] == [None, 17, -4, 17]
        assert client.read_many(CUSTOMER, []) == []
        assert client.read(TERMINAL, "a:b") is None


def test_another_namespace_has_no_rows(server: RedisServer) -> None:
    assert read(CUSTOMER, 17, pipeline=plan(), redis=server.url, namespace="other") is None


def test_a_client_follows_the_generation_pointer(server: RedisServer) -> None:
    with Client(plan(), server.url) as client:
        assert client.read(CUSTOMER, 17) is not None
        with Store(plan(), url=server.url, generation=2) as store:
            store.commit([customers([17], seq=0, slots=[0])], 0)
            assert store.flush(15)

        got = client.read(CUSTOMER, 17)
        assert got is not None
        assert (got.generation, got.seq) == (2, 0)
        assert client.read(CUSTOMER, -4) is None


@pytest.mark.parametrize(
    "pointer", [b"abc", b"", b"0", b"-1", b"1.0", b" 1", b"1_0", b"\xff", b"9" * 5_000]
)
def test_a_generation_pointer_that_is_no_number_is_refused_with_the_way_out(
    server: RedisServer, pointer: bytes
) -> None:
    name = Names("noskew", "pay", 0).pointer.decode()
    server.client.set(name, pointer)

    with Client(plan(), server.url) as client, pytest.raises(UsageError) as raised:
        client.read(CUSTOMER, 17)

    said = str(raised.value)
    assert said.startswith(f"the generation pointer {name!r} in Redis at {server.url}")
    assert f"is {pointer[:20]!r}, not a whole number from 1" in said
    assert said.endswith("Delete that key; noskew run sets it anew.")
    assert len(said) < 300


def test_a_generation_pointer_that_was_deleted_is_set_anew_by_the_next_rows(
    server: RedisServer,
) -> None:
    server.client.delete(Names("noskew", "pay", 0).pointer)
    with Client(plan(), server.url) as client:
        assert client.read(CUSTOMER, 17) is None
        with Store(plan(), url=server.url) as store:
            store.commit([customers([17], seq=9, slots=[0])], 9)
            assert store.flush(15)

        assert client.read(CUSTOMER, 17) is not None


@pytest.mark.parametrize("at", [1.5, True, "2023-11-14", date(2023, 11, 14)])
def test_a_time_that_is_neither_us_nor_a_datetime_is_refused(at: Any) -> None:
    with (
        Client(plan()) as client,
        pytest.raises(UsageError, match="us since the epoch as an int, or an aware") as raised,
    ):
        client.read(CUSTOMER, 17, at=at)

    assert f"not {at!r} ({type(at).__name__})" in str(raised.value)


def test_a_time_zone_that_says_nothing_is_no_time_zone() -> None:
    with Client(plan()) as client, pytest.raises(UsageError, match="has no time zone"):
        client.read(CUSTOMER, 17, at=datetime(2023, 11, 14, tzinfo=Nowhere()))


class Nowhere(tzinfo):
    """A time zone without an offset, which makes a datetime a naive one."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def test_a_row_of_another_definition_is_refused_naming_both(server: RedisServer) -> None:
    other = dataclasses.replace(plan(), fingerprint=bytes(32))

    with pytest.raises(UsageError, match=f"{FINGERPRINT.hex()}.*{bytes(32).hex()}"):
        read(CUSTOMER, 17, pipeline=other, redis=server.url)


def test_a_row_of_another_layout_is_refused(server: RedisServer) -> None:
    name = Names("noskew", "pay", 0).row(1, CUSTOMER, 17)
    server.client.setrange(name, 0, b"\x02\x00")

    with pytest.raises(UsageError, match=r"customer_id=17.*layout 2"):
        read(CUSTOMER, 17, pipeline=plan(), redis=server.url)


def test_wrong_questions_are_answered_with_what_to_ask(server: RedisServer) -> None:
    with Client(plan(), server.url) as client:
        with pytest.raises(UsageError, match="customer_id, terminal_id"):
            client.read("card", 1)
        with pytest.raises(UsageError, match="is an int, not '17'"):
            client.read(CUSTOMER, "17")
        with pytest.raises(UsageError, match="is a str, not 17"):
            client.read(TERMINAL, 17)
    with pytest.raises(UsageError, match="not the URL"):
        Client(plan(), "localhost")


def test_a_redis_that_is_away_is_a_connection_error(tmp_path: Path) -> None:
    with Client(plan(), RedisServer(tmp_path).url) as client, pytest.raises(ConnectionError):
        client.read(CUSTOMER, 1)


def test_a_wrong_password_is_a_usage_error_without_the_password(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right") as server:
        url = server.url.replace("://", "://:wr0ng@")
        with Client(plan(), url) as client, pytest.raises(UsageError, match=r":\*\*\*@") as raised:
            client.read(CUSTOMER, 1)
    assert "wr0ng" not in str(raised.value)


def test_what_the_engine_found_is_what_a_reader_is_told(tmp_path: Path) -> None:
    """Two streams, windows and moving statistics: the bits an event would be given then."""
    labels = table(1, (Window(2 * HOUR),), (
        Op(Stat.DECAYED_SUM, 0, column=0, half_life_us=1_234_567_891),
        Op(Stat.SINCE_LAST, 2, empty=math.nan),
        Op(Stat.MEAN, 3, 0, column=0, empty=math.nan),
    ), 0, 2, 3)  # fmt: skip
    payments = table(0, (Window(HOUR),), (Op(Stat.COUNT, 1, 0, include_self=False),), 1)
    made = plan_of(STREAMS, (payments, labels))
    mirror = Mirror(made)
    at_us = START + HOUR + MINUTE + 17
    mirror.take(*(mark(i * MINUTE, i, "a:%", i) for i in range(50)), pay(HOUR, "a:%"))
    mirror.engine.sweep()
    with RedisServer(tmp_path) as server, Store(made, url=server.url) as store:
        store.commit(mirror.engine.rows(), mirror.seq - 1)
        assert store.flush(15)

        got = read("card", "a:%", at=at_us, pipeline=made, redis=server.url)
        event = mirror.take(pay(at_us - START, "a:%"))

        assert got is not None
        assert got.exact
        assert list(got.values) == ["f0", "f1", "f2", "f3"]
        assert list(got.values.values()) == event.vectors[:, 0].tolist()


def test_a_row_goes_when_all_its_tables_can_tell_nothing_more(tmp_path: Path) -> None:
    made = windowed()
    mirror = Mirror(made)
    with RedisServer(tmp_path) as server, Store(made, url=server.url) as store:
        for records in ([pay(0, "a"), mark(0, 1, "a")], [pay(90 * MINUTE, "b")]):
            mirror.take(*records)
            mirror.engine.sweep()
            store.commit(mirror.engine.rows(), mirror.seq - 1)
            assert store.flush(15)
            # Of the payment nothing is left after an hour, but the label is still to be seen.
            assert read("card", "a", pipeline=made, redis=server.url) is not None

        mirror.take(pay(2 * HOUR, "b"))
        mirror.engine.sweep()
        store.commit(mirror.engine.rows(), mirror.seq - 1)
        assert store.flush(15)
        assert read("card", "a", pipeline=made, redis=server.url) is None
        assert read("card", "b", pipeline=made, redis=server.url) is not None


def test_a_client_takes_a_pipeline_as_the_team_wrote_it(server: RedisServer) -> None:
    with Client(card_fraud.pipeline, server.url) as client:
        assert client.read("customer_id", 17) is None
        with pytest.raises(UsageError, match="'card_fraud' keeps no statistics by 'amount'"):
            client.read("amount", 1)
