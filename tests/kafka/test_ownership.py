"""Who owns a shard once a transaction has failed: another instance, or still nobody else."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

import pytest
from journals import owner

from noskew.dataflows.errors import AlreadyRunningError, DeliveryError
from noskew.dataflows.kafka.ownership import APPEAR_S, Ownership

if TYPE_CHECKING:
    from noskew.dataflows.core.journal import Entry
    from noskew.dataflows.kafka.journal_log import JournalLog

MINE = "here:1:a"


class Log:
    """A journal whose newest entries are, at each look, the next of those given."""

    def __init__(self, *owners: str) -> None:
        self.owners = list(owners)
        self.looks = 0

    def tail(self) -> list[Entry]:
        self.looks += 1
        at = min(self.looks, len(self.owners)) - 1
        return [dataclasses.replace(owner(), owner=self.owners[at])] if at >= 0 else []


class Away:
    """A journal whose broker does not answer."""

    def tail(self) -> list[Entry]:
        raise DeliveryError


def ownership(log: Log | Away, paused: list[float] | None = None) -> Ownership:
    pause = (paused if paused is not None else []).append
    return Ownership("fraud", MINE, cast("JournalLog", log), pause)


def test_who_has_journaled_since_is_named_with_both_instances() -> None:
    error = ownership(Log("there:2:b")).lost("no answer", False)

    assert isinstance(error, AlreadyRunningError)
    assert error.exit_code == 3
    for word in ("'fraud'", "there:2:b", MINE, "no answer", "stop it before"):
        assert word in str(error)


@pytest.mark.parametrize("log", [Log(MINE), Log(), Away()], ids=["ours", "empty", "away"])
def test_where_nobody_else_owns_it_the_next_start_does_it_again(log: Log | Away) -> None:
    error = ownership(log).lost("the record is too large", False)

    assert isinstance(error, DeliveryError)
    assert error.exit_code == 75
    assert str(error).startswith("the record is too large. ")
    assert "done again at the next start" in str(error)


def test_who_has_fenced_us_is_waited_for_until_its_entry_is_there() -> None:
    paused: list[float] = []

    error = ownership(Log(MINE, MINE, "there:2:b"), paused).lost("fenced", True)

    assert isinstance(error, AlreadyRunningError)
    assert "there:2:b" in str(error)
    assert len(paused) == 2


def test_fenced_by_the_broker_alone_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([0.0, APPEAR_S / 2, APPEAR_S])
    monkeypatch.setattr("time.monotonic", lambda: next(now_s))

    error = ownership(Log(MINE)).lost("fenced", True)

    assert isinstance(error, DeliveryError)
    assert "no other instance" in str(error)


def test_those_who_came_before_have_not_taken_it_over() -> None:
    mine = ownership(Log("before:3:c", "before:3:c", "there:2:b"))
    mine.entered()

    assert isinstance(mine.lost("at the owner entry", False), DeliveryError)
    assert isinstance(mine.lost("later", False), AlreadyRunningError)
