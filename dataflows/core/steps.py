"""The steps between reading and delivering: what each does to the one item that flows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch, Turn
    from noskew.dataflows.core.engine import Engine, Features
    from noskew.dataflows.core.order import Journaled, Merged, Waiting

TURN_MAX = 8
"""Turns taken before the sinks may settle: it bounds what one journal entry has to hold."""


@dataclass(slots=True)
class Decoded:
    """Records of one read as columns: one batch a stream, in offset order per partition.

    came     bool[inputs]  the input delivered some
    ended    bool[inputs]  the input has no unread record, or waits for the registry
    held     bool[inputs]  the input is not being read now
    drained  nothing more has arrived
    """

    batches: tuple[Batch, ...]
    came: NDArray[np.bool_]
    ended: NDArray[np.bool_]
    held: NDArray[np.bool_]
    drained: bool
    stop: bool


@dataclass(slots=True)
class Work:
    """Records in processing order and what has been computed of them.

    turn      None: nothing to do but to look at the clock (or, with ``stop``, to finish)
    end       the sequence number after these records
    silent    being rebuilt from the journal: state only, nothing is put out
    margin, score  float64[n] each; None without a model
    """

    turn: Turn | None
    end: int
    silent: bool = False
    stop: bool = False
    features: Features | None = None
    margin: NDArray[np.float64] | None = None
    score: NDArray[np.float64] | None = None


class Scorer(Protocol):
    """What turns vectors into margins and scores."""

    def score(
        self, vectors: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Score float64[features, n]; return margins and scores, float64[n] each."""
        ...


class Order:
    """Numbers records in processing order: first as the journal says, from then on merged.

    seq   the sequence number of the next record
    """

    def __init__(self, waiting: Waiting, journaled: Journaled, merged: Merged) -> None:
        self.seq = 0
        self.waiting = waiting
        self._journaled = journaled
        self._merged = merged

    @property
    def align_wait_ran_out(self) -> int:
        """Return how often a silent partition was given up waiting for."""
        return self._merged.ran_out

    def __call__(self, decoded: Decoded) -> Iterator[Work]:
        """Yield what is in turn now, then one empty item: the sinks' clock.

        Only at that item have all steps seen the same records: the sinks settle there. The
        journal's last records and the first live ones never come in one call, for the same reason.
        """
        self.waiting.add(decoded.batches)
        self._merged.delivered(decoded.came, decoded.held, drained=decoded.drained)
        if decoded.stop:
            yield Work(None, silent=not self._journaled.done, stop=True, end=self.seq)
            return
        silent = not self._journaled.done
        turns = (
            self._journaled.take(self.waiting, self.seq)
            if silent
            else self._merged.take(self.waiting, decoded.ended, self.seq)
        )
        for turn in islice(turns, TURN_MAX):
            self.seq = turn.end
            yield Work(turn, silent=silent, end=self.seq)
        yield Work(None, silent=not self._journaled.done, end=self.seq)


def features(engine: Engine, work: Work) -> Work:
    """Update the state with a batch and compute its vectors."""
    if work.turn is not None:
        work.features = engine.process(work.turn)
    return work


def score(scorer: Scorer | None, work: Work) -> Work:
    """Score the vectors of a batch; those of dead letters are NaN and never put out."""
    if scorer is not None and work.features is not None and not work.silent:
        work.margin, work.score = scorer.score(work.features.vectors)
    return work
