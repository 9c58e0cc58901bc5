"""Labels: what becomes known about each payment, days later, and sometimes corrected.

A label is a function of the seed and of its payment alone, so it does not matter in which
chunks payments come.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from noskew.dataflows.simulation.columns import LabelColumns
from noskew.dataflows.simulation.population import mix64
from noskew.dataflows.simulation.timeline import DAY_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.simulation.columns import PaymentColumns

DELAY_LEAST_US: Final = DAY_US
DELAY_MOST_US: Final = 14 * DAY_US
"""A label follows its payment's arrival after a delay between these two, evenly distributed."""

CORRECTION_MOST_US: Final = 7 * DAY_US
CORRECTION_SHARE: Final = 0.005
"""Share of payments whose first verdict is wrong, and corrected up to 7 days later."""


def labels_of(
    payments: PaymentColumns, seed: int, correction_share: float = CORRECTION_SHARE
) -> LabelColumns:
    """Return every label of these payments, by (labelled_at, transaction_id).

    A wrong verdict calls a fraud none (scenario 0), or a good payment a fraud of unknown kind
    (is_fraud 1, scenario 0); the right one follows under the same transaction_id.
    """
    spread = _uniform(payments.transaction_id, seed, 0) * (DELAY_MOST_US - DELAY_LEAST_US)
    first = _whole_second(payments.record_time_us + DELAY_LEAST_US + spread.astype(np.int64))
    wrong = np.flatnonzero(_uniform(payments.transaction_id, seed, 1) < correction_share)
    wait = _uniform(payments.transaction_id[wrong], seed, 2) * CORRECTION_MOST_US
    second = _whole_second(first[wrong] + SECOND_US + wait.astype(np.int64))
    is_fraud = (payments.scenario > 0).astype(np.int64)
    verdict = is_fraud.copy()
    verdict[wrong] = 1 - verdict[wrong]
    scenario = payments.scenario.copy()
    scenario[wrong] = 0

    def both(column: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate((column, column[wrong]))

    labels = LabelColumns(
        transaction_id=both(payments.transaction_id),
        customer_id=both(payments.customer_id),
        terminal_id=both(payments.terminal_id),
        event_time=both(payments.event_time),
        is_fraud=np.concatenate((verdict, is_fraud[wrong])),
        scenario=np.concatenate((scenario, payments.scenario[wrong])),
        labelled_at=np.concatenate((first, second)),
        partition=np.concatenate((payments.partition, payments.partition[wrong])),
    )
    return labels[np.lexsort((labels.transaction_id, labels.labelled_at))]


@dataclass(slots=True)
class LabelQueue:
    """Labels that wait for their time; they come out by (labelled_at, transaction_id).

    Each push must be in that order. The order of what comes out is the same for any pushes and
    pops, as long as no push holds a label of an earlier time than a pop before it.
    """

    _waiting: list[LabelColumns] = field(default_factory=list)

    def push(self, labels: LabelColumns) -> None:
        """Add labels, which must be in order."""
        if len(labels):
            self._waiting.append(labels)

    def pop(self, until_us: int | None = None) -> LabelColumns:
        """Take the labels known at ``until_us`` (all of them: None), in order."""
        taken: list[LabelColumns] = []
        left: list[LabelColumns] = []
        for labels in self._waiting:
            end = len(labels)
            if until_us is not None:
                end = int(np.searchsorted(labels.labelled_at, until_us, side="right"))
            if end:
                taken.append(labels[:end])
            if end < len(labels):
                left.append(labels[end:])
        self._waiting = left
        joined = concatenated(taken)
        return joined[np.lexsort((joined.transaction_id, joined.labelled_at))]


def concatenated(parts: Sequence[LabelColumns]) -> LabelColumns:
    """Return labels one after another."""
    if not parts:
        none = np.zeros(0, np.int64)
        return LabelColumns(none, none, none, none, none, none, none, np.zeros(0, np.int32))
    return LabelColumns(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(LabelColumns)
        }
    )


def _uniform(number: NDArray[np.int64], seed: int, stream: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) that are a function of (number, seed, stream).

    SplitMix64 of the number from a start that mixes the other two.
    """
    begin = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    z = mix64(begin + number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _whole_second(time_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return time_us // SECOND_US * SECOND_US
