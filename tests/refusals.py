"""Runs that must not start, or must not go on: the exit code, and what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from outages import assert_clean, start

if TYPE_CHECKING:
    from live import Live

REFUSED_S: Final = 5.0


def refused(own: Live, **flags: Any) -> str:
    """Run what cannot start; return what it said in words, nothing having been done."""
    with start(own, **flags) as running:
        code = running.wait(REFUSED_S)
        assert code == 2, running.said
        assert_clean(running.said)
        return running.said


def unsafe(own: Live) -> str:
    """Run what must not go on; return what it said: the journal and the scores stay as they are."""
    scores = len(own.scores())
    counted = [entry.count for entry in own.journal() if entry.count]
    with start(own) as running:
        code = running.wait(20)
        assert code == 4, running.said
        assert_clean(running.said)
        said = running.said
    assert len(own.scores()) == scores
    assert [entry.count for entry in own.journal() if entry.count] == counted
    return words(said)


def words(said: str) -> str:
    """Return a message as one line."""
    return " ".join(said.split())
