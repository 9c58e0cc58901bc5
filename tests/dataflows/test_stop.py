"""SIGTERM at any moment: exit 0, nothing lost, nothing repeated, nothing done again."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING, Final

import pytest
from live import Live
from outages import (
    Ends,
    Feeder,
    Payments,
    assert_clean,
    assert_each_scored_once,
    assert_vectors_equal_an_undisturbed_replay,
    finish,
    make,
    pass_s,
    put,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outages import Forked

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

SEED: Final = 20_261_123
STOP_S: Final = 10.0
OFTEN: Final = (pytest.mark.full, pytest.mark.timeout(600))


@pytest.mark.parametrize(
    ("labelled", "stops"),
    [
        pytest.param(False, 12, id="payments"),
        pytest.param(True, 8, id="payments and labels"),
        pytest.param(False, 40, id="payments, often", marks=OFTEN),
        pytest.param(True, 40, id="payments and labels, often", marks=OFTEN),
    ],
)
def test_sigterm_at_random_moments_loses_and_repeats_nothing(
    stack: Stack, tmp_path: Path, topic_name: str, *, labelled: bool, stops: int
) -> None:
    draw = random.Random(SEED)
    own, payments = make(stack, tmp_path, topic_name, draw, labelled=labelled)
    ends = Ends(own)
    put(own, payments.take(500))
    scored = 0
    with Feeder(own, payments, piece=20, pause_s=0.02):
        for number in range(stops):
            moment = MOMENTS[number % len(MOMENTS)]
            at = draw.random()
            print(f"seed {SEED}, stop {number}: {moment.__name__} at {at}")  # noqa: T201 - shown when it fails
            with start(own) as running:
                moment(own, running, ends, at)
                code = running.stop(STOP_S)
                assert code == 0, running.said
                assert_clean(running.said)
            taken = [] if ends("journal") in ([], [0]) else own.taken()
            assert ends.scored() == sum(source < own.partitions for source, _ in taken), number
            # It had time to do something, most of the times: the moments are not all the same.
            scored += bool(taken)
    finish(own)

    assert scored >= stops // 2
    assert_each_scored_once(own, payments.made)
    assert_vectors_equal_an_undisturbed_replay(own)
    assert own.watermark() == len(payments.made) - 1


def test_on_an_empty_topic_it_waits_and_sigterm_gives_0(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    ends = Ends(own)
    with start(own) as running:
        running.until(lambda: sum(ends("journal")) == 1)
        pass_s(0.5)
        assert running.alive
        assert running.stop() == 0, running.said
        assert_clean(running.said)

    assert own.scores() == own.dead() == own.alerts() == []
    assert [(entry.origin, entry.count) for entry in own.journal()] == [("owner", 0)]


def test_sigint_ends_it_as_sigterm_does(stack: Stack, tmp_path: Path, topic_name: str) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    payments = Payments(random.Random(1), own.partitions)
    own.produce(payments.take(100))
    ends = Ends(own)
    with start(own) as running:
        running.until(ends.scored)
        running.send_signal(signal.SIGINT)
        assert running.wait(STOP_S) == 0, running.said
        assert_clean(running.said)

    finish(own)
    assert_each_scored_once(own, payments.made)


# -- moments -----------------------------------------------------------------------------------


def starting_up(own: Live, running: Forked, ends: Ends, at: float) -> None:
    """From the moment on in which it owns its state directory."""
    lock = own.flags["state_dir"] / "lock"
    running.until(lambda: lock.exists() and f"pid {running.pid} " in lock.read_text())
    pass_s(at / 2)


def rebuilding(own: Live, running: Forked, ends: Ends, at: float) -> None:
    """From its owner entry on: it follows the journal."""
    before = sum(ends("journal"))
    running.until(lambda: sum(ends("journal")) > before)
    pass_s(at / 5)


def live(own: Live, running: Forked, ends: Ends, at: float) -> None:
    """After some number of new scores."""
    wanted = ends.scored() + 1 + int(at * 400)
    running.until(lambda: ends.scored() >= wanted)


def settling(own: Live, running: Forked, ends: Ends, at: float) -> None:
    """Between scores that are out and the journal's next entry: scores have just grown."""
    live(own, running, ends, at / 4)
    before = ends.scored()
    running.until(lambda: ends.scored() > before)


MOMENTS: Final[tuple[Callable[[Live, Forked, Ends, float], None], ...]] = (
    starting_up,
    live,
    rebuilding,
    settling,
)
