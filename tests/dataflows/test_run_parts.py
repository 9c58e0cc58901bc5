"""Parts of a run that no server is needed for: waiting, and saying so."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from noskew.dataflows.commands.run import _Patience, _say
from noskew.dataflows.stop import Stop


class Gone(StringIO):
    """A terminal whose reader has gone away."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


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
