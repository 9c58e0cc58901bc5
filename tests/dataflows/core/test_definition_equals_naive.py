"""A definition as a user writes it, compiled and run, equals what ``naive`` says it means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from definitions import meaning_of, pipeline_of
from hypothesis import HealthCheck, given, settings
from naive import Naive, bits
from strategies import batch_of, cases

from noskew.dataflows.core.engine import Engine
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    import pytest
    from strategies import Case

thorough = settings(
    max_examples=int(os.environ.get("NOSKEW_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(case=cases(size=40))
@thorough
def test_compiled_definition_equals_naive(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())
    plan = compile_plan(pipeline)
    naive = Naive(case.meaning, case.partitions)

    found = Engine(plan, case.partitions).process(batch_of(case, case.events, 0))

    assert plan.names == tuple(case.meaning.features)
    for i, event in enumerate(case.events):
        values = [bits(value) for value in found.vectors[:, i].tolist()]
        assert (bool(found.dead[i]), int(found.flags[i]), *values) == naive.process(event).bits


@given(case=cases(size=0))
@thorough
def test_expressions_of_a_definition_say_what_was_written(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = pipeline_of(case.meaning, case.strings, tmp_path_factory.getbasetemp())

    assert meaning_of(pipeline) == case.meaning
