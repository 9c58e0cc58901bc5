"""kill -9 at any moment, zombies, journals that were cut: each score once, and not a bit different.

What is read is what is committed: an unfinished transaction must be as if it had never been.
"""

from __future__ import annotations

import dataclasses
import random
import signal
from typing import TYPE_CHECKING, Final

import pytest
from confluent_kafka.admin import AdminClient
from crashing import Crash
from outages import (
    Ends,
    Feeder,
    assert_clean,
    assert_each_scored_once,
    assert_vectors_equal_an_undisturbed_replay,
    finish,
    make,
    pass_s,
    put,
    row,
    start,
)
from waiting import until

from noskew.dataflows.kafka.topics import Admin

if TYPE_CHECKING:
    from pathlib import Path

    from kafka_io import Found
    from live import Live
    from outages import Forked

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

SEED: Final = 20_261_127
LOADED: Final = 15_000
ENDED_S: Final = 30.0

TRANSACTIONS: Final = ("noskew.dataflows.kafka.transactions", "Transactions")
DELIVER: Final = ("noskew.dataflows.kafka.deliver", "Deliver")
LOG: Final = ("noskew.dataflows.kafka.journal_log", "JournalLog")
CRASHES: Final = [
    # The first commit is the owner entry's, the others are of outputs.
    Crash(*TRANSACTIONS, "commit", 4, after=False),
    Crash(*TRANSACTIONS, "begin", 1, after=False),
    Crash(*TRANSACTIONS, "commit", 5, after=True),
    Crash(*TRANSACTIONS, "begin", 1, after=True),
    Crash(*TRANSACTIONS, "flush", 3, after=True),
    Crash(*LOG, "settle", 1, after=True),
    Crash(*TRANSACTIONS, "send", 2, after=True),
    Crash(*TRANSACTIONS, "commit", 1, after=False),
    Crash(*TRANSACTIONS, "send_one", 3, after=True),
    Crash(*TRANSACTIONS, "flush", 1, after=True),
    Crash(*DELIVER, "_settle", 5, after=True),
    Crash(*TRANSACTIONS, "commit", 1, after=True),
    Crash(*DELIVER, "_rows", 3, after=False),
    Crash(*DELIVER, "_begin", 1, after=True),
    Crash(*DELIVER, "_rows", 3, after=True),
]
"""Each leaves something for the next to recover, and several of those are killed in doing so."""


# -- kill -9 -----------------------------------------------------------------------------------


@pytest.mark.timeout(400)
def test_kills_leave_the_very_scores_letters_and_rows_of_one_uninterrupted_run(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    draw = random.Random(SEED)
    own, payments = make(stack, tmp_path, topic_name, draw, labelled=True, align_wait_s="none")
    payments.take(LOADED)
    # Some cannot be used: they become dead letters, as new in each run as its scores.
    for event in payments.made[::997]:
        event.values["customer_id" if event.stream else "amount_cents"] = 2**60
    put(own, payments.made)
    whole = named(own, f"{topic_name}_whole")
    finish(whole)
    total = len(whole.scores())

    for number in range(12):
        at = draw.random()
        print(f"seed {SEED}, kill {number} at {at}")  # noqa: T201 - shown when it fails
        with start(own) as running:
            kill(own, running, number, at, total * (number + 1) // 13)

    finish(own)
    assert len(whole.dead()) > 10
    assert values(own.scores()) == values(whole.scores())
    assert values(own.dead(), own.name) == values(whole.dead(), whole.name)
    assert own.taken() == whole.taken()
    assert own.watermark() == len(payments.made) - 1
    assert rows(own) == rows(whole)


@pytest.mark.timeout(400)
def test_kills_while_records_arrive_lose_and_repeat_nothing(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    draw = random.Random(SEED + 1)
    own, payments = make(stack, tmp_path, topic_name, draw, labelled=True)
    ends = Ends(own)
    with Feeder(own, payments, piece=20, pause_s=0.01):
        for number in range(10):
            at = draw.random()
            print(f"seed {SEED + 1}, kill {number} at {at}")  # noqa: T201 - shown when it fails
            with start(own) as running:
                kill(own, running, number, at, sum(ends("scores")) + 100)

    finish(own)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_an_undisturbed_replay(own)
    assert own.watermark() == len(payments.made) - 1


@pytest.mark.timeout(400)
def test_a_kill_before_and_after_each_step_loses_and_repeats_nothing(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own, payments = make(stack, tmp_path, topic_name, random.Random(2), labelled=True)
    with Feeder(own, payments, piece=20, pause_s=0.01):
        for crash in CRASHES:
            with start(own, crash=crash) as running:
                assert running.wait(ENDED_S) == -signal.SIGKILL, (crash, running.said)

    finish(own)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_an_undisturbed_replay(own)
    assert own.watermark() == len(payments.made) - 1


# -- who owns it -------------------------------------------------------------------------------


def test_a_zombie_ends_with_3_and_adds_nothing(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own, payments = make(stack, tmp_path, topic_name, random.Random(3), labelled=False)
    ends = Ends(own)
    with start(own) as first, Feeder(own, payments, piece=20, pause_s=0.005):
        first.until(lambda: ends.scored() > 300)
        first.send_signal(signal.SIGSTOP)
        before = ends.scored()
        with start(own, state_dir=tmp_path / "elsewhere") as second:
            second.until(lambda: ends.scored() > before + 300)
            first.send_signal(signal.SIGCONT)

            assert first.wait(ENDED_S) == 3, first.said
            said = " ".join(first.said.split())
            assert f":{second.pid}:" in said.partition("is owned by")[2].partition(" now,")[0]
            assert f":{first.pid}:" in said.partition("took it over from")[2]
            assert_clean(first.said)
            before = ends.scored()
            second.until(lambda: ends.scored() > before + 100)
            assert second.stop() == 0, second.said

    finish(own)
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_an_undisturbed_replay(own)


def test_a_start_that_is_refused_does_not_disturb_the_one_that_runs(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own, payments = make(stack, tmp_path, topic_name, random.Random(4), labelled=False)
    put(own, payments.take(50))
    ends = Ends(own)
    other = dataclasses.replace(own, definition=tmp_path / "other.py")
    text = own.definition.read_text().replace('over=["1h", "1d"]', 'over=["2h", "1d"]', 1)
    other.definition.write_text(text)
    with start(own) as running:
        running.until(lambda: ends.scored() == 50)

        with start(other, state_dir=tmp_path / "elsewhere") as refused:
            assert refused.wait(ENDED_S) == 4, refused.said

        put(own, payments.take(50))
        running.until(lambda: ends.scored() == 100)
        assert running.stop() == 0, running.said
    assert_each_scored_once(own, payments.made)


# -- the journal -------------------------------------------------------------------------------


def test_scores_beyond_the_journal_stop_the_start(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own, payments = make(stack, tmp_path, topic_name, random.Random(5), labelled=False)
    put(own, payments.take(200))
    finish(own)
    journal = f"{own.name}.journal"
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    admin.delete_topics([journal])[journal].result(10)
    connected = Admin.connect(stack.brokers)
    until(lambda: connected.topic(journal) is None)

    with start(own) as running:
        assert running.wait(ENDED_S) == 4, running.said

    said = " ".join(running.said.split())
    assert f"the journal '{journal}' ends at seq 0" in said
    assert "restore the journal, or start anew under another pipeline name" in said
    assert len(own.scores()) == 200


# -- helpers -----------------------------------------------------------------------------------


def kill(own: Live, running: Forked, number: int, at: float, wanted: int) -> None:
    """Kill a run: of four, one as it starts, one while it recovers, two at work.

    at       0 to 1: where in that phase
    wanted   committed scores at which to kill one at work
    """
    ends = Ends(own)
    if number % 4 == 1:
        lock = own.flags["state_dir"] / "lock"
        running.until(lambda: lock.exists() and f"pid {running.pid} " in lock.read_text())
        pass_s(at)
    elif number % 4 == 2:
        before = sum(ends("journal"))
        running.until(lambda: sum(ends("journal")) > before)
        pass_s(at / 5)
    else:
        running.until(lambda: ends.scored() >= wanted)
        pass_s(at / 50)
    assert running.alive, running.said
    running.send_signal(signal.SIGKILL)
    assert running.wait(ENDED_S) == -signal.SIGKILL


def named(own: Live, name: str) -> Live:
    """Return the same pipeline over the same topics under another name."""
    definition = own.folder / f"{name}.py"
    text = own.definition.read_text()
    definition.write_text(text.replace(f"name={own.name!r}", f"name={name!r}"))
    flags = own.flags | {"state_dir": own.folder / f"{name}.state"}
    return dataclasses.replace(own, name=name, definition=definition, flags=flags)


def values(found: list[Found], pipeline: str = "") -> list[tuple[int, bytes | None, object]]:
    """Return what was put out, without where and when, and a dead letter's pipeline's name."""
    for one in found:
        assert one.value.pop("pipeline", "") == pipeline
    return [(one.partition, one.key, one.value) for one in found]


def rows(own: Live) -> dict[object, object]:
    """Return the rows in Redis."""
    return {place: row(stored) for place, stored in own.rows().items()}
