"""A small pipeline's journal, scores and dead letters, without a broker, to be broken and audited.

Three inputs as in ``journals``: payments 0 and 1, labels 0. Offsets 3 and 4 of the first delivered
nothing, and of 20 to 23 of the labels one did not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from journals import INPUTS, STREAMS, TOPICS, again, owner, turn

from noskew.dataflows.core.audit import Input, Rows
from noskew.dataflows.core.audit_findings import Findings
from noskew.dataflows.core.audit_journal import Follow
from noskew.dataflows.core.journal import Gap, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journals import Place

    from noskew.dataflows.core.journal import Entry

JOURNAL: Final = "app.journal"
PAYMENTS, LABELS = STREAMS
TIMES: Final = np.array([7, 8, 9])

INTERVALS: Final = (
    (
        [(0, 0), (1, 10), (0, 1), (0, 2), (2, 20)],
        [Gap("dead", PAYMENTS, 0, 1, 2)],
    ),
    (
        [(0, 5), (0, 6), (1, 11), (1, 12), (2, 21), (2, 23), (1, 13)],
        [
            Gap("duplicate", PAYMENTS, 1, 11, 13),
            Gap("late", LABELS, 0, 21, 22),
            Gap("dead", LABELS, 0, 23, 24),
        ],
    ),
    ([(0, 7), (0, 8), (0, 10), (1, 14)], [Gap("unscored", PAYMENTS, 1, 14, 15)]),
)
"""What each entry takes, and of that what was not used."""

SCORES: Final = {
    0: [(0, 0), (2, 3), (5, 5), (6, 6), (7, 12), (8, 13), (10, 14)],
    1: [(10, 1), (13, 11)],
}
"""By input: (offset, seq) in the order of the topic."""

LETTERS: Final = {0: [(1, 2)], 2: [(23, 10)]}


def journal(
    intervals: Sequence[tuple[list[Place], list[Gap]]] = INTERVALS, start: Entry | None = None
) -> list[Entry]:
    """Return the entries of one instance, as they are read back."""
    first = start or owner()
    ledger = Ledger(first)
    entries = [first]
    for places, gaps in intervals:
        ledger.take(turn(places), gaps)
        entries += ledger.close(TIMES, TIMES, 5)
    return [again(entry) for entry in entries]


@dataclass
class World:
    """What is journaled and what is out; tests change it before it is audited."""

    entries: list[Entry] = field(default_factory=journal)
    scores: dict[int, list[Place]] = field(
        default_factory=lambda: {at: list(rows) for at, rows in SCORES.items()}
    )
    letters: dict[int, list[Place]] = field(
        default_factory=lambda: {at: list(rows) for at, rows in LETTERS.items()}
    )
    floors: dict[int, int] = field(default_factory=dict)
    letter_floor: int = 0


@dataclass
class Audited:
    """What came of an audit."""

    inputs: list[Input]
    findings: Findings
    follow: Follow

    @property
    def told(self) -> list[tuple[str, int, int, int]]:
        """Return (kind, partition, first, next) of the findings about streams."""
        return [
            (one.kind, one.partition, one.first, one.next)
            for one in self.findings.listed
            if one.topic != JOURNAL
        ]

    @property
    def of_journal(self) -> list[tuple[str, int]]:
        """Return (kind, offset) of the findings about the journal."""
        return [(one.kind, one.first) for one in self.findings.listed if one.topic == JOURNAL]


def rows(found: Sequence[Place]) -> Rows:
    """Return rows that stand in this order from offset 100 of their topic on."""
    offset = np.array([one[0] for one in found], np.int64)
    behind = np.concatenate([[-1], offset])[:-1].astype(np.int64)
    seq = np.array([one[1] for one in found], np.int64)
    return Rows(offset, seq, np.arange(100, 100 + len(offset)), behind)


def audited(world: World, *, windows: int = 1, retained: bool = False) -> Audited:
    """Audit it in so many windows."""
    findings = Findings()
    first, *others = world.entries
    follow = Follow(JOURNAL, first, findings)
    inputs = [
        Input(topic.name, partition, int(origin), findings, scored=topic is TOPICS[0],
              retained=retained)
        for (topic, partition), origin in zip(
            ((topic, one) for topic in TOPICS for one in range(topic.partitions)),
            first.next_offset, strict=True,
        )
    ]  # fmt: skip
    scores = [rows(world.scores.get(at, [])) for at in range(INPUTS)]
    letters = [rows(world.letters.get(at, [])) for at in range(INPUTS)]

    def settle() -> None:
        for at, (one, window) in enumerate(zip(inputs, follow.window(), strict=True)):
            mine, scores[at] = scores[at].split(window.end)
            dead, letters[at] = letters[at].split(window.end)
            one.floor = world.floors.get(at, 0)
            one.letter_floor = world.letter_floor
            one.settle(window, mine, dead)

    step = max(len(others) // windows, 1)
    for place, entry in enumerate(others, 1):
        follow.take(place, entry)
        if place % step == 0:
            settle()
    follow.finish(len(world.entries))
    settle()
    for at, one in enumerate(inputs):
        one.finish(scores[at], letters[at])
    return Audited(inputs, findings, follow)
