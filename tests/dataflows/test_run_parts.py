"""Parts of a run that no server is needed for: taking over, waiting, and saying so."""

from __future__ import annotations

import dataclasses
from io import StringIO
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from rich.console import Console

from noskew.dataflows.assemble import _alone
from noskew.dataflows.commands.run import _Patience, _say
from noskew.dataflows.core.journal import Entry, Topic
from noskew.dataflows.errors import AlreadyRunningError
from noskew.dataflows.stop import Stop

if TYPE_CHECKING:
    from noskew.dataflows.kafka.journal_log import JournalLog

OWNER = Entry(
    origin="owner",
    shard=0,
    owner="here:1:a",
    generation=1,
    fingerprint=bytes(32),
    seq=10,
    count=0,
    runs=b"",
    streams=("payments",),
    topics=(Topic("transactions", None, 1),),
    next_offset=np.array([10], np.int64),
    position_us=np.array([5], np.int64),
    event_us=np.array([5], np.int64),
    horizon_us=0,
    model=None,
)


class Tail:
    """A journal's newest entries."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = entries

    def tail(self) -> list[Entry]:
        return list(self.entries)


class Gone(StringIO):
    """A terminal whose reader has gone away."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def progress(owner: str, seq: int, count: int) -> Entry:
    return dataclasses.replace(OWNER, origin="progress", owner=owner, seq=seq, count=count)


def alone(*entries: Entry) -> None:
    _alone(cast("JournalLog", Tail(*entries)), OWNER)


def test_what_was_journaled_before_is_no_other_instance() -> None:
    alone(progress("there:2:b", 7, 3), OWNER)


def test_an_instance_that_journaled_meanwhile_is_named_with_both_places() -> None:
    with pytest.raises(AlreadyRunningError, match=r"there:2:b.*seq 12 .*here:1:a.* at 10") as found:
        alone(progress("there:2:b", 7, 3), progress("there:2:b", 10, 2), OWNER)

    assert found.value.exit_code == 3


def test_a_broker_that_is_waited_for_is_told_of_now_and_then() -> None:
    out = StringIO()
    patience = _Patience(Stop(), Console(file=out, width=200))

    for waited_s in (1.0, 4.9, 5.1, 6.0, 10.2, 0.5, 5.6):
        patience(waited_s)

    assert out.getvalue().splitlines() == [
        f"waiting for the broker for {seconds} s; nothing is lost" for seconds in (5, 10, 6)
    ]


def test_a_reader_that_goes_away_does_not_end_a_run() -> None:
    _say(Console(file=Gone()), ["live"])
