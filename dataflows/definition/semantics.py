"""What other systems mean by a window, as presets: ``Pipeline(semantics="chronon")``.

A preset is data: which ends of a window are closed, whether an event counts itself, whether events
of one time see each other, and how the old end is rounded. ``tests/conformance.json`` says case by
case what each system gives, and where a preset falls short of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from noskew.dataflows.definition.durations import SECOND_US, duration_us, show
from noskew.dataflows.definition.fields import nearest
from noskew.dataflows.definition.plan import Window
from noskew.dataflows.errors import DefinitionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noskew.dataflows.definition.plan import Plan

CLOSED: Final[Mapping[str, tuple[bool, bool]]] = {
    "right": (False, False),
    "left": (True, True),
    "both": (True, False),
    "neither": (False, True),
}
"""``closed=`` -> (``Window.low_closed``, ``Window.high_open``)."""

_MINUTE_US: Final = 60 * SECOND_US
_HOUR_US: Final = 60 * _MINUTE_US
_DAY_US: Final = 24 * _HOUR_US


@dataclass(frozen=True, slots=True)
class Preset:
    """A system's meaning of a window.

    closed        ends that belong to the window: a key of CLOSED
    note          what it is modelled on: interval, source and version read
    include_self  an event counts itself where its time is inside the window
    peers         events of one time see each other, whichever came first
    hops          (shortest window, hop) in us, longest first: windows from that length on have
                  their old end rounded down to a whole multiple of the hop
    """

    name: str
    closed: str
    note: str
    include_self: bool = True
    peers: bool = False
    hops: tuple[tuple[int, int], ...] = ()

    @property
    def refusal(self) -> str:
        """Return why ``noskew run`` refuses it, "" where it does not."""
        if not self.peers:
            return ""
        return (
            f"semantics={self.name!r} lets events of one time see each other, also those that "
            "arrive later, which a running pipeline cannot know; for the same window with ties in "
            f'order of arrival, leave semantics out and write closed="{self.closed}"'
        )

    def window(self, over_us: int | None, delay_us: int, given: Mapping[str, object]) -> Window:
        """Return the window that this preset makes of a statistic's settings.

        over_us, delay_us  microseconds; over_us None is all of history
        given   the settings among ``closed`` and ``resolution`` that the statistic itself has, as
                written: they win over the preset's

        Raises DefinitionError for one of them that has no meaning, or a width that does not fit the
        preset's hops.
        """
        low_closed, high_open = _ends(given.get("closed", self.closed))
        if over_us is None:
            if "resolution" in given:
                message = "resolution= rounds a window's old end, and over=None has none; leave out"
                raise DefinitionError(message)
            return Window(None, delay_us, high_open=high_open)
        if "resolution" in given:
            resolution_us = duration_us(given["resolution"], "resolution", zero=True)
        else:
            resolution_us = self._hop_us(over_us)
        return Window(over_us, delay_us, low_closed, high_open, resolution_us)

    def _hop_us(self, over_us: int) -> int:
        """Return what the old end of a window of this width is rounded to; 0 for nothing."""
        if not self.hops:
            return 0
        # A hop of the smallest kind is the step the system's own windows come in.
        step_us = self.hops[-1][1]
        if over_us % step_us:
            message = (
                f"semantics={self.name!r}: over={show(over_us)!r} is no whole number of its hops "
                f"of {show(step_us)!r}; write such a width, or resolution= on the statistic"
            )
            raise DefinitionError(message)
        return next(hop_us for least_us, hop_us in self.hops if over_us >= least_us)


PRESETS: Final[Mapping[str, Preset]] = {
    one.name: one
    for one in (
        Preset(
            "noskew",
            "right",
            "(T - W, T]: itself, and what was processed before it (DESIGN section 3.2)",
        ),
        Preset(
            "pandas",
            "right",
            "rolling('Wd'): (T - W, T], rows at or before this one in row order; pandas 3.1.1, "
            "_libs/window/indexers.pyx",
        ),
        Preset(
            "chronon",
            "left",
            "[floor(T - W), T), hops of 5 min, 1 h from W = 12 h, 1 d from W = 12 d; "
            "airbnb/chronon 5edd4fc, SawtoothAggregator and FiveMinuteResolution: offline, and "
            "untiled online",
            include_self=False,
            hops=((12 * _DAY_US, _DAY_US), (12 * _HOUR_US, _HOUR_US), (0, 5 * _MINUTE_US)),
        ),
        Preset(
            "openmldb",
            "both",
            "ROWS_RANGE BETWEEN W PRECEDING AND CURRENT ROW in request mode: [T - W, T], the "
            "request row included; OpenMLDB c5ffa75, docs WINDOW_CLAUSE",
        ),
        Preset(
            "kafka_streams",
            "both",
            "SlidingWindows: [T - W, T], the value sent on as the record itself is processed; "
            "apache/kafka, KStreamSlidingWindowAggregate and KIP-450",
        ),
        Preset(
            "quix",
            "both",
            "sliding_window: [T - W, T], the value sent on as the record itself is processed; "
            "quixstreams 3.28.1",
        ),
        Preset(
            "tecton",
            "right",
            "aggregations in continuous mode: (T - W, T], all rows of time T; Tecton SDK 1.2.13, "
            "its offline query",
            peers=True,
        ),
        Preset(
            "flink",
            "both",
            "OVER (... RANGE BETWEEN W PRECEDING AND CURRENT ROW) on event time: [T - W, T], all "
            "rows of time T; apache/flink 2.3.0, RowTimeRangeBoundedPrecedingFunction",
            peers=True,
        ),
        Preset(
            "feast",
            "both",
            "point-in-time join: T - ttl <= t <= T, all rows of time T; Feast 0.67.0, the SQL of "
            "its offline stores",
            peers=True,
        ),
    )
}
"""Name -> preset; the first is the default."""

_TILES: Final = (
    "rounds the new end of a window too, so an event does not see what just happened: a window "
    "here always ends at the event"
)
NOT_OFFERED: Final[Mapping[str, str]] = {
    "tecton_interval": f"Tecton with an aggregation interval {_TILES}; semantics='tecton' is its "
    "continuous mode",
    "chronon_tiled": f"Chronon's tiled fetcher {_TILES}; semantics='chronon' is its offline value",
    "feast_tiled": f"Feast's tiling {_TILES}; semantics='feast' is its point-in-time join",
}
"""Known, but not to be had here -> why."""


def preset(name: object) -> Preset:
    """Return the preset of this name.

    Raises DefinitionError for an unknown one, with the nearest, and for one not offered, with why.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    if isinstance(name, str) and name in NOT_OFFERED:
        message = f"semantics={name!r} is not offered: {NOT_OFFERED[name]}"
    else:
        message = f"semantics={name!r} is no preset; {nearest(str(name), PRESETS)}"
    raise DefinitionError(message)


def refuse_live(plan: Plan) -> None:
    """Raise UsageError for a plan that only a replay can compute: its peers may arrive later."""
    if not plan.peers:
        return
    names = ", ".join(repr(one.name) for one in PRESETS.values() if one.peers)
    message = (
        f"pipeline {plan.name!r} has semantics ({names}) under which events of one time see each "
        "other, also those that arrive later, and a running pipeline cannot know what comes later; "
        "such values exist in `noskew replay` and in noskew.dataflows.testing. To run it, leave "
        "semantics= out and write closed= on its windows: ties then count in order of arrival"
    )
    raise UsageError(message)


def _ends(closed: object) -> tuple[bool, bool]:
    """Return (low_closed, high_open) of a ``closed=`` setting."""
    if isinstance(closed, str) and closed in CLOSED:
        return CLOSED[closed]
    raise DefinitionError(f"closed={closed!r} is none of the ends; {nearest(str(closed), CLOSED)}")
