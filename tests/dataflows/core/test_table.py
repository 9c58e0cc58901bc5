"""A table equals the slowest reading of its plan, whatever is drawn."""

from __future__ import annotations

import pytest
from slow_table import drawn
from tables import check


@pytest.mark.parametrize("seed", range(30))
def test_a_table_equals_the_slowest_reading(seed: int) -> None:
    check(drawn(seed))
