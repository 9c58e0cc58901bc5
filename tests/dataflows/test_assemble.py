"""A shard that cannot be put together leaves nothing open, whatever failed and when."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest
from live import Live

from noskew.dataflows import assemble as assembling
from noskew.dataflows.kafka import preflight
from noskew.dataflows.kafka.journal_log import JournalLog
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.transactions import Transactions
from noskew.dataflows.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from noskew.dataflows.core.journal import Entry
    from noskew.dataflows.pipeline import Shard
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

OPENED: Final = {
    "none_beyond": ["journal", "outbox"],
    "_owner": ["journal", "outbox"],
    "Reader": ["outbox"],
    "Engine": ["reader", "outbox"],
    "Decoder": ["reader", "outbox"],
    "Merged": ["journal", "reader", "outbox"],
    "ScoreEncoder": ["journal", "reader", "outbox"],
    "Deliver": ["journal", "reader", "outbox"],
}
"""What fails -> what is open then, the last first."""


class DefectError(Exception):
    """What no part is known to raise."""


def fail(*_: object, **__: object) -> None:
    raise DefectError


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been closed since the outbox was opened; the parts themselves are real."""
    names: list[str] = []

    class WatchedOutbox(Transactions):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            names.clear()
            super().__init__(*arguments, **options)

        def commit(self) -> None:
            super().commit()
            # The journal's beginning has been looked at, for what is in the owner entry.
            names.clear()

        def close(self) -> None:
            names.append("outbox")
            super().close()

    class WatchedReader(Reader):
        def close(self) -> None:
            names.append("reader")
            super().close()

    class WatchedLog(JournalLog):
        def entries(self) -> Generator[Entry, None, None]:
            try:
                yield from super().entries()
            finally:
                names.append("journal")

    monkeypatch.setattr(assembling, "Transactions", WatchedOutbox)
    monkeypatch.setattr(assembling, "Reader", WatchedReader)
    monkeypatch.setattr(assembling, "JournalLog", WatchedLog)
    return names


@contextmanager
def assembler(own: Live) -> Iterator[Callable[[], Shard]]:
    """Give what assembles a shard of a pipeline that has passed its checks."""
    given = settings(**own.flags)
    checked = preflight.check(own.plan, given, [])
    try:
        yield lambda: assembling.assemble(
            own.plan, given, checked, None, None, None, lambda _: None
        )
    finally:
        checked.resolver.close()
        checked.registry.close()


def test_whatever_fails_all_that_was_opened_is_closed_the_last_first(
    stack: Stack,
    tmp_path: Path,
    topic_name: str,
    closed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    own.run_until_end()
    found: dict[str, list[str]] = {}
    with assembler(own) as assemble:
        for name in OPENED:
            with monkeypatch.context() as broken:
                broken.setattr(assembling, name, fail)
                with pytest.raises(DefectError) as raised:
                    assemble()
            # While the error is held, nothing has been closed by being forgotten.
            assert raised.tb is not None
            found[name] = closed.copy()

    assert found == OPENED


def test_what_cannot_be_closed_keeps_nothing_else_open(
    stack: Stack,
    tmp_path: Path,
    topic_name: str,
    closed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    monkeypatch.setattr(Reader, "close", fail)
    monkeypatch.setattr(assembling, "Engine", fail)

    with assembler(own) as assemble, pytest.raises(DefectError):
        assemble()

    assert closed == ["reader", "outbox"]


def test_a_shard_that_was_put_together_is_open_until_it_is_closed(
    stack: Stack, tmp_path: Path, topic_name: str, closed: list[str]
) -> None:
    own = Live.make(stack, tmp_path, topic_name)

    with assembler(own) as assemble:
        shard = assemble()
        assert closed == []
        shard.close()

    assert closed == ["outbox", "reader"]
