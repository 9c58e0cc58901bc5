"""A case's records as a user of ``noskew.dataflows.testing`` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strategies import ONLINE

if TYPE_CHECKING:
    from strategies import Case


def written(case: Case) -> list[tuple[str, dict[str, Any]]]:
    """Return the records that are no dead letters, in processing order, by their stream."""
    return [
        (
            f"stream{event.stream}",
            {**event.values, ONLINE: bool(event.values[ONLINE]), "event_time": event.time_us},
        )
        for event in case.events
        if not event.reason
    ]
