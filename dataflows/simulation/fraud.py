"""Three kinds of fraud: which terminals and cards are in wrong hands on which days.

Whether a terminal or a card is compromised is a function of the seed and the day alone, so two
runs that meet in time agree about it, wherever they start.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.simulation.population import (
    DAY_OF_COMPROMISE,
    DAY_OF_THEFT,
    generator,
)
from noskew.dataflows.simulation.timeline import DAY_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.simulation.population import Population

TERMINAL_DAYS: Final = 28
TERMINALS_PER_DAY: Final = 2e-4
"""Share of all terminals newly compromised on a day, on average; then for TERMINAL_DAYS."""

CARD_DAYS: Final = 14
CARDS_PER_DAY: Final = 6e-4
"""Share of all cards newly stolen on a day, on average; then used for CARD_DAYS."""

THIEF_SHARE: Final = 1 / 3
"""Share of a stolen card's payments that the thief makes, without the card being present."""

THIEF_FACTOR: Final = 5
AMOUNT_SHARE: Final = 6e-4
"""Share of payments that are frauds of a very large amount."""

AMOUNT_LEAST_CENTS: Final = 25_000
AMOUNT_MEAN_EXCESS_CENTS: Final = 30_000.0


class Scenario(IntEnum):
    """Why a payment is a fraud; the numbers stand in stored labels: append only."""

    NONE = 0
    AMOUNT = 1
    TERMINAL = 2
    CARD = 3


class Compromises:
    """The compromised terminals and stolen cards of a population, by day."""

    def __init__(self, seed: int, population: Population) -> None:
        self._seed = seed
        self._population = population
        self._drawn: dict[tuple[int, int], NDArray[np.int64]] = {}

    def terminals(
        self,
        terminal_id: NDArray[np.int64],
        time_us: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Return bool[n]: is this terminal in wrong hands at this time?"""
        day = time_us // DAY_US
        starts = self._starts(
            DAY_OF_COMPROMISE, day, TERMINAL_DAYS, self._population.terminals, TERMINALS_PER_DAY
        )
        return _within(terminal_id, day, starts, TERMINAL_DAYS)

    def cards(
        self,
        customer_id: NDArray[np.int64],
        time_us: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Return bool[n]: is this customer's card stolen at this time?"""
        day = time_us // DAY_US
        starts = self._starts(
            DAY_OF_THEFT, day, CARD_DAYS, self._population.customers, CARDS_PER_DAY
        )
        return _within(customer_id, day, starts, CARD_DAYS)

    def _starts(
        self, purpose: int, day: NDArray[np.int64], days: int, size: int, share: float
    ) -> NDArray[np.int64]:
        """Return what begins on these days or up to ``days`` before: int64[2, k], id and day."""
        numbers = range(int(day.min()) - days + 1, int(day.max()) + 1)
        drawn = [self._draw(purpose, number, size, share) for number in numbers]
        began = np.repeat(np.array(numbers, np.int64), [len(ids) for ids in drawn])
        return np.stack((np.concatenate(drawn), began))

    def _draw(self, purpose: int, day: int, size: int, share: float) -> NDArray[np.int64]:
        if day < 0:
            return np.zeros(0, np.int64)
        if (purpose, day) not in self._drawn:
            rng = generator(self._seed, purpose, day)
            self._drawn[purpose, day] = rng.integers(0, size, int(rng.poisson(size * share)))
        return self._drawn[purpose, day]


def _within(
    subject: NDArray[np.int64],
    day: NDArray[np.int64],
    starts: NDArray[np.int64],
    days: int,
) -> NDArray[np.bool_]:
    """Return bool[n]: did something begin for this subject on this day or up to days - 1 before?"""
    if not starts.shape[1]:
        return np.zeros(len(subject), np.bool_)
    width = int(day.max()) + 1  # codes order by (subject, day): no day reaches the next subject
    begun = np.sort(starts[0] * width + starts[1])
    code = subject * width + day
    newest = begun[np.maximum(np.searchsorted(begun, code, side="right") - 1, 0)]
    same = (newest // width == subject) & (newest <= code)
    inside: NDArray[np.bool_] = same & (code - newest < days)
    return inside
