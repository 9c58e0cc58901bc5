"""Who pays where: customers and terminals on a square, drawn once from the seed.

The idea of the simulated world follows the publicly described transaction simulator of the
"Reproducible Machine Learning for Credit Card Fraud Detection" handbook: customers with a home,
a pace and a usual amount, who pay at terminals near their home. It is written from that
description; the distributions here are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.columns import COUNTRIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE: Final = 100.0
"""Length of the square's side; the unit is arbitrary (think of kilometres)."""

REACH: Final = 5.0
"""A customer pays at terminals at most about this far from home."""

TERMINALS_PER_CELL: Final = 4
CATEGORIES: Final = (4111, 5311, 5411, 5541, 5812, 5912, 5999, 7832)

POPULATION: Final = 1
DAY_OF_COMPROMISE: Final = 2
DAY_OF_THEFT: Final = 3
PAYMENTS: Final = 4
"""Purposes of random streams: each draws from its own, so that one never shifts another."""


def generator(seed: int, purpose: int, number: int = 0) -> np.random.Generator:
    """Return the random generator of one purpose: a function of its three arguments alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose, number])))


def partition_of(customer_id: NDArray[np.int64], partitions: int) -> NDArray[np.int32]:
    """Return each customer's partition: the finaliser of SplitMix64 over the id, modulo.

    The function is stated so that other producers of the same topic can agree with it: with
    z = id as unsigned 64 bit, z ^= z >> 30, z *= 0xbf58476d1ce4e5b9, z ^= z >> 27,
    z *= 0x94d049bb133111eb, z ^= z >> 31, all modulo 2^64 (Steele, Lea, Flood 2014); then
    z modulo ``partitions``.
    """
    z = mix64(np.asarray(customer_id, np.int64).astype(np.uint64))
    return (z % np.uint64(partitions)).astype(np.int32)


def mix64(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of SplitMix64 over each word."""
    z = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Population:
    """Customers 0 .. customers - 1 and terminals 0 .. terminals - 1.

    home_x, home_y  float64[customers]  where a customer lives, in [0, SIDE)
    usual_cents     float64[customers]  the mean of a customer's amounts
    pace            float64[customers]  running sum of the customers' shares of all payments
    category        int64[terminals]    merchant category code (ISO 18245)
    country         int32[terminals]    position in COUNTRIES, by the terminal's place
    cells           cells a side; terminals are spread evenly over the cells^2 cells
    terminal_at     int64[terminals]    terminals in the order of cells: the k-th terminal of
                                        cell c is ``terminal_at[c + k * cells**2]``
    """

    customers: int
    terminals: int
    home_x: NDArray[np.float64]
    home_y: NDArray[np.float64]
    usual_cents: NDArray[np.float64]
    pace: NDArray[np.float64]
    category: NDArray[np.int64]
    country: NDArray[np.int32]
    cells: int
    terminal_at: NDArray[np.int64]

    @classmethod
    def draw(cls, seed: int, customers: int, terminals: int) -> Population:
        """Draw a population; raises UsageError for sizes below one or a negative seed."""
        for name, value, least in (
            ("seed", seed, 0),
            ("customers", customers, 1),
            ("terminals", terminals, 1),
        ):
            if value < least:
                message = f"simulate: {name} is {value}; give at least {least}"
                raise UsageError(message)
        rng = generator(seed, POPULATION)
        shares = np.cumsum(rng.random(customers) + 0.02)  # everybody pays at some time
        cells = max(1, int((terminals / TERMINALS_PER_CELL) ** 0.5))
        terminal_at = rng.permutation(terminals)
        column = np.empty(terminals, np.int64)
        column[terminal_at] = np.arange(terminals) % cells**2 % cells
        return cls(
            customers=customers,
            terminals=terminals,
            home_x=rng.random(customers) * SIDE,
            home_y=rng.random(customers) * SIDE,
            usual_cents=500.0 + rng.random(customers) * 9_500.0,
            pace=shares / shares[-1],
            category=rng.choice(np.array(CATEGORIES, np.int64), terminals),
            country=(1 + column * (len(COUNTRIES) - 1) // cells).astype(np.int32),
            cells=cells,
            terminal_at=terminal_at,
        )

    def choose_customers(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return a customer for each uniform number, in proportion to the customers' paces."""
        found = np.searchsorted(self.pace, u, side="right")
        return np.minimum(found, self.customers - 1)

    def choose_terminals(
        self,
        customer_id: NDArray[np.int64],
        u: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Return a terminal near each customer's home.

        u  float64[3, n]  uniform numbers: where to (two), which terminal there (one)
        """
        side = self.cells
        column = self._cell(self.home_x[customer_id] + REACH * (2.0 * u[0] - 1.0))
        row = self._cell(self.home_y[customer_id] + REACH * (2.0 * u[1] - 1.0))
        cell = row * side + column
        here = (self.terminals - cell + side * side - 1) // (side * side)
        nth = np.minimum((u[2] * here).astype(np.int64), here - 1)
        chosen: NDArray[np.int64] = self.terminal_at[cell + nth * side * side]
        return chosen

    def _cell(self, place: NDArray[np.float64]) -> NDArray[np.int64]:
        inside = np.clip(place, 0.0, np.nextafter(SIDE, 0.0))
        cell: NDArray[np.int64] = (inside * (self.cells / SIDE)).astype(np.int64)
        return np.minimum(cell, self.cells - 1)
