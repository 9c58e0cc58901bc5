"""The accounting identity, input by input: what the journal took against what is out.

A window is a stretch of the journal. Of each input it has the runs and the ranges that were not
used; beside them are put the scores and dead letters of the same offsets. Every delivered offset
must have exactly one outcome (DESIGN section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.dataflows.core.audit_findings import LISTED, each, spans
from noskew.dataflows.core.audit_runs import NONE, Runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.audit_findings import Findings

SCORED_REASONS: Final = ("dead", "duplicate", "unscored", "held")
OTHER_REASONS: Final = ("dead", "late", "duplicate", "held")
"""What the journal may call a record that was not used."""

MISSED_MAX: Final = 10_000
"""Stretches of lost scores that are remembered, in case they come later, out of order."""

SCORE, LETTER = "score", "dead letter"


@dataclass(frozen=True, slots=True)
class Window:
    """What a stretch of the journal says of one input.

    runs  int64[4, r]: first offset, next offset, records, seq of the first; ascending
    gaps  (reason, first, next) of records that were not used
    end   the input's next offset after it
    """

    runs: NDArray[np.int64]
    gaps: tuple[tuple[str, int, int], ...]
    end: int


@dataclass(slots=True)
class Rows:
    """Scores or dead letters of one input, in the order in which they stand in their topic.

    offset, seq   int64[n]  of the event
    place         int64[n]  the record's own offset
    behind        int64[n]  the event's offset of the record before it, -1 for the first
    """

    offset: NDArray[np.int64]
    seq: NDArray[np.int64]
    place: NDArray[np.int64]
    behind: NDArray[np.int64]

    @classmethod
    def none(cls) -> Rows:
        """Return no rows."""
        return cls(NONE, NONE, NONE, NONE)

    @classmethod
    def joined(cls, parts: list[Rows]) -> Rows:
        """Return the rows of all parts, one after the other."""
        if not parts:
            return cls.none()
        names = cls.__slots__
        return cls(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, chosen: NDArray[Any]) -> Rows:
        return Rows(self.offset[chosen], self.seq[chosen], self.place[chosen], self.behind[chosen])

    def split(self, end: int) -> tuple[Rows, Rows]:
        """Return the rows of offsets below ``end``, and the others."""
        below = self.offset < end
        return self[below], self[~below]


@dataclass(slots=True)
class Account:
    """The terms of one input.

    scored, dead   scores and dead letters that are there;  the others: as the journal says
    gone           outcomes that retention has deleted
    nothing        offsets that delivered nothing, in ``ranges`` stretches, of which some are
                   ``listed``: (first, next, records somewhere in it)
    """

    delivered: int = 0
    scored: int = 0
    applied: int = 0
    dead: int = 0
    duplicate: int = 0
    late: int = 0
    unscored: int = 0
    held: int = 0
    gone: int = 0
    nothing: int = 0
    ranges: int = 0
    listed: list[tuple[int, int, int]] = field(default_factory=list)

    def terms(self, *, scored: bool) -> dict[str, int]:
        """Return the terms that ``delivered`` must be the sum of."""
        names = ["scored", "dead", "duplicate", "unscored", "held"]
        if not scored:
            names = ["applied", "late", "dead", "duplicate", "held"]
        if self.gone:
            names.append("gone")
        return {name: int(getattr(self, name)) for name in names}


class Input:
    """One partition of one stream, audited window by window.

    account       the terms so far
    floor         scores of lower offsets, letter_floor: letters of lower seqs, retention deleted
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        origin: int,
        findings: Findings,
        *,
        scored: bool,
        retained: bool = False,
    ) -> None:
        """Begin at offset ``origin`` of a stream's topic.

        scored    of the scored stream: what is not unused must have a score
        retained  what is gone is no finding
        """
        self.topic = topic
        self.partition = partition
        self.scored = scored
        self.account = Account()
        self.floor = self.letter_floor = 0
        self._origin = self._reached = origin
        self._findings = findings
        self._retained = retained
        self._missed: list[tuple[int, int]] = []

    def settle(self, window: Window, scores: Rows, letters: Rows) -> None:
        """Account for a window; the rows are those of offsets below its end, not yet settled."""
        account, runs = self.account, Runs(window.runs, self._reached)
        delivered = int(runs.records.sum())
        account.delivered += delivered
        unused = self._unused(window, runs)
        with_score = self._once(SCORE, scores, runs)
        account.scored += len(scores)
        with_letter = self._once(LETTER, letters, runs)
        account.dead += len(letters)
        if self.scored:
            self._both(with_score, unused)
            runs.account(each(np.concatenate([with_score, *unused.values()])))
            self._lost(runs)
        else:
            account.applied += delivered - sum(map(len, unused.values()))
        self._letters(unused.get("dead", NONE), with_letter, runs)
        self._seqs(SCORE, scores, runs)
        self._seqs(LETTER, letters, runs)
        for first, following, records in runs.nothing():
            account.ranges += 1
            account.nothing += following - first - records
            if len(account.listed) < LISTED:
                account.listed.append((first, following, records))
        self._reached = window.end

    def finish(self, scores: Rows, letters: Rows) -> None:
        """Account for what lies beyond the journal, and for the sum."""
        for what, rows in ((SCORE, scores), (LETTER, letters)):
            for span in spans(each(rows.offset)):
                numbers = (f"offsets below {self._reached}", span[0])
                self._add("beyond", span, numbers, f"a {what} of what is not journaled")
        self.account.scored += len(scores)
        self.account.dead += len(letters)
        terms = self.account.terms(scored=self.scored)
        if not (self.adds_up or len(self._findings)):
            span = (self._origin, self._reached)
            number = (self.account.delivered, sum(terms.values()))
            self._add("identity", span, number, f"the terms are {terms}")

    @property
    def adds_up(self) -> bool:
        """Return whether the terms add up to what was delivered."""
        return sum(self.account.terms(scored=self.scored).values()) == self.account.delivered

    def _unused(self, window: Window, runs: Runs) -> dict[str, NDArray[np.int64]]:
        """Return the offsets that the journal says were not used, by reason; count them.

        Each offset has one reason, and was delivered; of what contradicts that is told.
        """
        reasons = SCORED_REASONS if self.scored else OTHER_REASONS
        ranges: dict[str, list[NDArray[np.int64]]] = {}
        for reason, first, following in window.gaps:
            if reason in reasons and runs.begin <= first < following <= window.end:
                ranges.setdefault(reason, []).append(np.arange(first, following))
            else:
                number = (f"{' or '.join(reasons)} in {runs.begin} to {window.end - 1}", reason)
                self._add("outcome", (first, following), number, "an outcome that cannot be")
        unused: dict[str, NDArray[np.int64]] = {}
        seen = NONE
        for reason, found in ranges.items():
            every = np.sort(np.concatenate(found), kind="stable")
            mine, twice = each(every), each(every[1:][np.diff(every) == 0])
            delivered = runs.inside(mine)
            self._odd("outcome", twice, ("once", "twice"), f"{reason} more than once")
            self._odd("outcome", mine[~delivered], ("a record", "none"), f"{reason}, not delivered")
            again = np.intersect1d(mine, seen, assume_unique=True)
            self._odd("outcome", again, ("one reason", "two"), f"{reason}, and something else too")
            mine = np.setdiff1d(mine[delivered], seen, assume_unique=True)
            seen = each(np.concatenate([seen, mine]))
            unused[reason] = mine
            if reason != "dead":
                setattr(self.account, reason, getattr(self.account, reason) + len(mine))
        return unused

    def _once(self, what: str, rows: Rows, runs: Runs) -> NDArray[np.int64]:
        """Return the offsets of rows that were delivered, ascending, each once.

        Tells of rows that come again, out of order, or from nowhere.
        """
        order = np.argsort(rows.offset, kind="stable")
        again = np.zeros(len(rows), np.bool_)
        again[order[1:][np.diff(rows.offset[order]) == 0]] = True
        before = rows.offset < runs.begin
        known = before & (rows.offset >= self._origin)
        again |= known & ~self._came_late(rows.offset)
        repeated = each(rows.offset[again])
        self._odd(
            "twice" if what == SCORE else "letter_twice",
            repeated,
            (len(repeated), len(repeated) + int(again.sum())),
            _at(f"{what}s more than once, the repeated ones", rows, again),
        )
        fell = (rows.behind >= rows.offset) & ~again
        for at in np.flatnonzero(fell).tolist():
            one = int(rows.offset[at])
            number = (f"above {rows.behind[at]}", one)
            self._add(
                "order", (one, one + 1), number, f"its {what} stands too late, at {rows.place[at]}"
            )
        unique = each(rows.offset[~known])
        inside = runs.inside(unique)
        strange = np.isin(rows.offset, unique[~inside])
        self._odd(
            "uncovered",
            unique[~inside],
            ("none", int(strange.sum())),
            _at(f"{what}s of what was never taken,", rows, strange),
        )
        return unique[inside]

    def _came_late(self, offset: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which offsets, int64[n], were missed in a window before."""
        found = np.zeros(len(offset), np.bool_)
        for first, following in self._missed:
            found |= (offset >= first) & (offset < following)
        return found

    def _both(self, scored: NDArray[np.int64], unused: dict[str, NDArray[np.int64]]) -> None:
        for reason, offsets in unused.items():
            both = np.intersect1d(scored, offsets, assume_unique=True)
            self._odd("both", both, (reason, SCORE), f"a score of what the journal calls {reason}")

    def _lost(self, runs: Runs) -> None:
        """Tell of records that have neither a score nor a reason to have none."""
        for first, following, wanted, have in runs.short():
            cut = min(max(self.floor, first), following)
            whole = cut in {first, following}
            parts = [(first, following)] if whole else [(first, cut), (cut, following)]
            for low, high in parts:
                number = (wanted, have) if whole else (high - low, 0)
                if high <= self.floor:
                    self.account.gone += number[0] - number[1]
                    if not self._retained:
                        self._add("gone", (low, high), number, "scores that retention deleted")
                    continue
                if len(self._missed) < MISSED_MAX:
                    self._missed.append((low, high))
                self._add("lost", (low, high), number, "neither a score nor a reason for none")
        for first, following, wanted, have in runs.over():
            number = (wanted, have)
            self._add("uncovered", (first, following), number, "more outcomes than records taken")

    def _letters(self, dead: NDArray[np.int64], there: NDArray[np.int64], runs: Runs) -> None:
        """Compare the dead letters with the records that the journal calls dead."""
        missing = np.setdiff1d(dead, there, assume_unique=True)
        gone = runs.seqs(missing)[1] < self.letter_floor
        self.account.gone += int(gone.sum())
        if not self._retained:
            self._odd("gone", missing[gone], None, "dead letters that retention deleted")
        self._odd("letter_lost", missing[~gone], None, "no dead letter of what is journaled as one")
        extra = np.setdiff1d(there, dead, assume_unique=True)
        self._odd("both", extra, ("not dead", LETTER), "a dead letter of what is not called dead")

    def _seqs(self, what: str, rows: Rows, runs: Runs) -> None:
        """Tell of rows with another seq than the journal gives their record."""
        taken = rows[runs.inside(rows.offset)]
        low, high = runs.seqs(taken.offset)
        wrong = (taken.seq < low) | (taken.seq > high)
        places = taken.offset[wrong]
        for at in np.flatnonzero(wrong)[np.unique(places, return_index=True)[1]].tolist():
            one = int(taken.offset[at])
            wanted = f"{low[at]}" if low[at] == high[at] else f"{low[at]} to {high[at]}"
            self._add(
                "seq", (one, one + 1), (wanted, int(taken.seq[at])),
                f"the seq of its {what} at {taken.place[at]}",
            )  # fmt: skip

    def _odd(
        self,
        kind: str,
        offsets: NDArray[np.int64],
        number: tuple[int | str, int | str] | None,
        what: str,
    ) -> None:
        """Tell of the stretches of ascending offsets; without a ``number``: each is absent."""
        for span in spans(offsets):
            self._add(kind, span, number or (span[1] - span[0], 0), what)

    def _add(
        self,
        kind: str,
        span: tuple[int, int],
        number: tuple[int | str, int | str],
        detail: str,
    ) -> None:
        self._findings.add(kind, self.topic, self.partition, span, number, detail)


def _at(what: str, rows: Rows, chosen: NDArray[np.bool_]) -> str:
    """Say where the chosen rows stand."""
    places = rows.place[chosen]
    return f"{what} at {places.min()} to {places.max()}" if len(places) else what
