"""The generated records reach every edge: each broken variant of the meaning is told apart."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import broken_judges
import broken_windows
import pytest
from naive import Naive
from strategies import deep_case, random_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strategies import Case

MUTANTS = [
    kind
    for module in (broken_windows, broken_judges)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Naive) and kind is not Naive
]


def outcome(kind: type[Naive], case: Case) -> Iterator[object]:
    """Yield all that a case comes to, a piece at a time: most variants differ early."""
    naive = kind(case.meaning, case.partitions, cap=4)
    for chunk in case.chunks():
        for event in chunk:
            yield naive.process(event).bits
        yield naive.flush()
        yield naive.live_rows()
        yield naive.gone()
    yield naive.splits
    yield naive.caps


@cache
def corpus() -> list[tuple[Case, list[object]]]:
    """Return cases as the property tests draw them, always the same, and what each means."""
    drawn = [random_case(seed, 40) for seed in range(160)]
    drawn += [deep_case(seed, 80) for seed in range(1, 41, 2)]
    return [(case, list(outcome(Naive, case))) for case in drawn]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_generated_records_tell_every_broken_meaning_apart(mutant: type[Naive]) -> None:
    assert any(
        found != expected
        for case, meant in corpus()
        for found, expected in zip(outcome(mutant, case), meant, strict=True)
    )
