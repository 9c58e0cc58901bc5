"""Transactions on a real broker: visible together or not at all, and fenced by the next owner."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from journals import owner
from kafka_io import read_messages, read_values
from waiting import until

from noskew.dataflows.errors import DeliveryError, UsageError
from noskew.dataflows.kafka import journal_log
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.tail import newest
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.kafka.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

PARTITIONS = 2


class LostError(Exception):
    """What a test's ``lost`` gives."""


class GaveUpError(Exception):
    """Raised by a test's ``waits``."""


def lost(reason: str, fenced: bool) -> Exception:
    return LostError(reason, fenced)


@pytest.fixture
def topic(stack: Stack, topic_name: str) -> str:
    Admin.connect(stack.brokers).ensure(topic_name, PARTITIONS, {})
    return topic_name


@pytest.fixture
def opener(stack: Stack, topic: str) -> Iterator[Callable[[], Transactions]]:
    """Give what takes the topic's transactional id once more."""
    with ExitStack() as opened:

        def take() -> Transactions:
            one = Transactions(stack.brokers, topic, lost)
            opened.callback(one.close)
            one.begin()
            return one

        yield take


def uncommitted(stack: Stack, topic: str) -> list[bytes]:
    found = read_messages(stack.brokers, topic, isolation="read_uncommitted")
    return [message.value() for message in found]


def put(own: Transactions, topic: str, value: bytes) -> None:
    own.send_one(topic, 0, value)
    own.commit()


def ends(stack: Stack, topic: str) -> list[int]:
    found: list[int] = Admin.connect(stack.brokers).offsets(topic, PARTITIONS, "latest").tolist()
    return found


def test_what_is_sent_is_visible_at_the_commit_and_together(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    own = opener()
    own.send(topic, np.frombuffer(b"abc", np.uint8), np.arange(4), np.array([0, 1, 0], np.int32))
    own.send_one(topic, 1, b"journal")
    own.flush()

    assert uncommitted(stack, topic) == [b"a", b"c", b"b", b"journal"]
    assert read_values(stack.brokers, topic) == []

    own.commit()
    until(lambda: read_values(stack.brokers, topic) == [b"a", b"c", b"b", b"journal"])


def test_with_nothing_to_say_nothing_is_written(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    own = opener()
    own.commit()
    own.send(topic, np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.int32))
    own.commit()
    assert ends(stack, topic) == [0, 0]

    own.send_one(topic, 0, b"one")
    own.commit()
    own.commit()
    assert ends(stack, topic) == [2, 0]  # the record and the transaction's marker


def test_an_unfinished_transaction_is_never_visible(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    first = opener()
    first.send_one(topic, 0, b"unfinished")
    first.flush()
    first.close()

    second = opener()
    second.send_one(topic, 0, b"finished")
    second.commit()

    until(lambda: read_values(stack.brokers, topic) == [b"finished"])
    assert uncommitted(stack, topic) == [b"unfinished", b"finished"]


def test_the_next_owner_fences_the_one_before_and_ends_its_transaction(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    first = opener()
    first.send_one(topic, 0, b"unfinished")
    first.flush()

    second = opener()
    second.send_one(topic, 0, b"finished")
    second.commit()
    with pytest.raises(LostError) as raised:
        first.commit()

    assert raised.value.args[1], raised.value
    until(lambda: read_values(stack.brokers, topic) == [b"finished"])
    with pytest.raises(LostError) as again:
        put(first, topic, b"more")
    assert again.value.args[1], again.value
    assert read_values(stack.brokers, topic) == [b"finished"]


def test_an_idle_owner_learns_of_the_next_when_it_has_something_to_say(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    first = opener()
    first.send_one(topic, 0, b"first")
    first.commit()
    opener()

    with pytest.raises(LostError) as raised:
        put(first, topic, b"zombie")

    assert raised.value.args[1], raised.value
    assert read_values(stack.brokers, topic) == [b"first"]


def test_what_is_open_for_too_long_is_ended_by_the_broker_and_never_visible(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    options = {"transaction.timeout.ms": 1000, "message.timeout.ms": 1000}
    own = Transactions(stack.brokers, topic, lost, options)
    try:
        own.begin()
        own.send_one(topic, 0, b"unfinished")
        own.flush()
        # The broker looks every ten seconds.
        until(lambda: ends(stack, topic) == [2, 0], 30)
        with pytest.raises(LostError, match="not committed") as raised:
            own.commit()
    finally:
        own.close()

    assert raised.value.args[1], "who has done that is to be looked for"
    put(opener(), topic, b"again")
    until(lambda: read_values(stack.brokers, topic) == [b"again"])


def test_a_record_that_is_refused_is_named_and_nothing_of_its_transaction_is_visible(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    own = opener()
    own.send_one(topic, 0, b"small")
    own.send_one(topic, 1, bytes(2_000_000))

    with pytest.raises(LostError, match=rf"{topic} partition 1.*too large") as raised:
        own.commit()

    assert not raised.value.args[1]
    own.close()
    opener()
    assert read_values(stack.brokers, topic) == []


def test_a_time_out_that_the_broker_does_not_grant_is_refused(
    stack: Stack, topic_name: str
) -> None:
    options = {"transaction.timeout.ms": 2_000_000, "message.timeout.ms": 1_000_000}
    own = Transactions(stack.brokers, topic_name, lost, options)
    try:
        with pytest.raises(UsageError, match=rf"{topic_name}.*transaction\.max\.timeout\.ms"):
            own.begin()
    finally:
        own.close()


def test_who_waits_for_a_broker_that_is_away_may_give_up(topic_name: str) -> None:
    def give_up(waited_s: float) -> None:
        raise GaveUpError(waited_s)

    own = Transactions("127.0.0.1:9", topic_name, lost, {"log_level": 0}, give_up)
    try:
        with pytest.raises(GaveUpError):
            own.begin()
    finally:
        own.close()


def test_the_newest_records_are_found_behind_any_number_of_markers(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    own = opener()
    texts = [str(i).encode() for i in range(5)]
    for value in texts:
        put(own, topic, value)
    # Each of these takes two offsets of which nothing is to be read.
    for _ in range(4):
        own.send_one(topic, 0, b"aborted")
        own.flush()
        own.close()
        own = opener()

    assert newest(stack.brokers, topic, 3) == texts[2:]
    assert newest(stack.brokers, topic, 99) == texts


# -- the journal at the start ------------------------------------------------------------------


def test_the_journal_is_read_only_once_nothing_in_it_is_open(
    stack: Stack, topic: str, opener: Callable[[], Transactions]
) -> None:
    own = opener()
    own.send_one(topic, SHARD, owner().encode(9))
    own.commit()
    own.send_one(topic, SHARD, owner(seq=5).encode(9))
    own.flush()
    looks: list[float] = []

    def waits(waited_s: float) -> None:
        looks.append(waited_s)
        if len(looks) == 3:
            own.commit()

    log = JournalLog(stack.brokers, topic, SHARD)
    before = log.last()
    JournalLog(stack.brokers, topic, SHARD, waits=waits).settle()
    after = log.last()

    assert before is not None
    assert after is not None
    assert (before.end, after.end) == (0, 5)
    assert len(looks) >= 3


def test_a_transaction_that_stays_open_is_told_of(
    stack: Stack,
    topic: str,
    opener: Callable[[], Transactions],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_log, "OPEN_S", 0.1)
    own = opener()
    own.send_one(topic, SHARD, owner().encode(9))
    own.flush()

    with pytest.raises(DeliveryError, match=rf"'{topic}' has a transaction open.*offset 0, .* 1;"):
        JournalLog(stack.brokers, topic, SHARD).settle()
