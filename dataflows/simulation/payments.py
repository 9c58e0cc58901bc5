"""The simulation: a stream of payments, columns at a time, that is a function of its arguments.

Payments are drawn in blocks of fixed size, each from its own random generator, and cut into the
chunks asked for; so no chunk size, rate or end changes a payment. A payment's number decides
when it arrives (``Timeline``), the seed decides who pays where how much, and the seed with the
day which terminals and cards are in wrong hands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.columns import (
    CHANNELS,
    COUNTRIES,
    CURRENCIES,
    ENTRY_MODES,
    PaymentColumns,
    Words,
)
from noskew.dataflows.simulation.fraud import (
    AMOUNT_LEAST_CENTS,
    AMOUNT_MEAN_EXCESS_CENTS,
    AMOUNT_SHARE,
    THIEF_FACTOR,
    THIEF_SHARE,
    Compromises,
    Scenario,
)
from noskew.dataflows.simulation.population import PAYMENTS, Population, generator, partition_of
from noskew.dataflows.simulation.timeline import HOUR_US, SECOND_US
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from noskew.dataflows.simulation.timeline import Timeline

BLOCK: Final = 32_768
LATE_SHARE: Final = 0.005
LATE_MOST_US: Final = 2 * HOUR_US
TIE_SHARE: Final = 0.002
"""Share of payments made in the same second as the payment before, by the same customer."""

SHARE_MOST: Final = 0.5
MILLISECOND_US: Final = 1_000
CASH_MACHINE: Final = 6011
ONLINE_SHOP: Final = 5964

KINDS: Final = (
    (0.50, "pos", "CONTACTLESS"),
    (0.30, "pos", "CHIP"),
    (0.04, "pos", "MAGSTRIPE"),
    (0.01, "pos", "MANUAL"),
    (0.05, "atm", "CHIP"),
    (0.06, "web", "ONLINE"),
    (0.04, "app", "ONLINE"),
)
"""How payments are made: share, channel, entry mode. Online ones have no card, no terminal."""

_SHARES: Final = np.cumsum([share for share, _, _ in KINDS])
_CHANNEL: Final = np.array([CHANNELS.index(channel) for _, channel, _ in KINDS], np.int32)
_ENTRY_MODE: Final = np.array([ENTRY_MODES.index(mode) for _, _, mode in KINDS], np.int64)
_ONLINE: Final = np.array([mode == "ONLINE" for _, _, mode in KINDS])
_THIEF_KIND: Final = 5


class Simulation:
    """A population and what it pays; raises UsageError for sizes or shares out of range.

    seed        any integer >= 0; decides everything that is drawn
    partitions  of the topic; a customer's is ``partition_of``
    late        share of payments that arrive up to two hours after they were made
    ties        share of payments in the same second as the customer's payment before
    """

    def __init__(
        self,
        seed: int = 0,
        customers: int = 5_000,
        terminals: int = 10_000,
        partitions: int = 8,
        *,
        late: float = LATE_SHARE,
        ties: float = TIE_SHARE,
    ) -> None:
        for name, share in (("late", late), ("ties", ties)):
            if not 0.0 <= share <= SHARE_MOST:
                message = f"simulate: the share {name} is {share}; give 0 to {SHARE_MOST}"
                raise UsageError(message)
        if partitions < 1:
            message = f"simulate: {partitions} partitions; give at least 1"
            raise UsageError(message)
        self.seed = seed
        self.partitions = partitions
        self.late = late
        self.ties = ties
        self.population = Population.draw(seed, customers, terminals)
        self._compromises = Compromises(seed, self.population)
        self._partition = partition_of(np.arange(customers), partitions)

    def payments(
        self, timeline: Timeline, *, chunk: int = BLOCK, first_id: int = 0
    ) -> Iterator[PaymentColumns]:
        """Yield the timeline's payments in order of arrival, at most ``chunk`` at a time.

        Payment i has transaction_id ``first_id + i``.
        """
        if chunk < 1:
            message = f"simulate: chunks of {chunk} payments; give at least 1"
            raise UsageError(message)
        for first in range(0, timeline.count, BLOCK):
            block = self._block(timeline, first, first_id)
            for at in range(0, len(block), chunk):
                yield block[at : at + chunk]

    def _block(self, timeline: Timeline, first: int, first_id: int) -> PaymentColumns:
        rng = generator(self.seed, PAYMENTS, first // BLOCK)
        u = rng.random((9, BLOCK))
        usual = rng.standard_gamma(4.0, BLOCK) / 4.0  # mean 1, deviation 1/2, never negative
        excess = rng.standard_exponential(BLOCK)
        customer_id = self.population.choose_customers(u[1])
        arrival = timeline.arrivals(first, u[0])
        event_time = self._delayed(arrival, u[7])
        tie = 1 + np.flatnonzero(u[8, 1:] < self.ties)
        customer_id[tie] = customer_id[tie - 1]
        event_time[tie] = event_time[tie - 1]

        kind = np.minimum(np.searchsorted(_SHARES, u[5], side="right"), len(KINDS) - 1)
        stolen = self._compromises.cards(customer_id, event_time) & (u[6] < THIEF_SHARE)
        kind[stolen] = _THIEF_KIND
        online = _ONLINE[kind]
        terminal_id = self.population.choose_terminals(customer_id, u[2:5])
        scenario = np.where(
            ~online & self._compromises.terminals(terminal_id, event_time), Scenario.TERMINAL, 0
        )
        large = ~stolen & (u[6] >= 1.0 - AMOUNT_SHARE)
        scenario[large] = Scenario.AMOUNT
        scenario[stolen] = Scenario.CARD
        cents = usual * self.population.usual_cents[customer_id]
        cents = np.where(stolen, cents * THIEF_FACTOR, cents)
        cents = np.where(large, AMOUNT_LEAST_CENTS + excess * AMOUNT_MEAN_EXCESS_CENTS, cents)

        channel = _CHANNEL[kind]
        category = np.where(online, ONLINE_SHOP, self.population.category[terminal_id])
        category[channel == CHANNELS.index("atm")] = CASH_MACHINE
        block = PaymentColumns(
            transaction_id=np.arange(first_id + first, first_id + first + BLOCK),
            event_time=event_time,
            customer_id=customer_id,
            terminal_id=np.where(online, NULL, terminal_id),
            amount_cents=np.maximum(np.rint(cents), 1.0).astype(np.int64),
            currency=Words(np.zeros(BLOCK, np.int32), CURRENCIES),
            entry_mode=_ENTRY_MODE[kind],
            merchant_category=category,
            country=Words(
                np.where(online, 0, self.population.country[terminal_id]).astype(np.int32),
                COUNTRIES,
            ),
            card_present=1 - online.astype(np.int64),
            channel=Words(channel, CHANNELS),
            partition=self._partition[customer_id],
            record_time_us=arrival // MILLISECOND_US * MILLISECOND_US,
            scenario=scenario.astype(np.int64),
        )
        return block[: timeline.count - first]

    def _delayed(self, arrival_us: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return event times: whole seconds, the arrival's or, for late ones, up to 2 h before."""
        behind = np.where(u < self.late, u / max(self.late, 1e-12) * LATE_MOST_US, 0.0)
        event_time = (arrival_us - behind.astype(np.int64)) // SECOND_US * SECOND_US
        return np.maximum(event_time, 0)
