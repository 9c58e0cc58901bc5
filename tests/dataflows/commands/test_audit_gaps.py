"""Offsets that delivered nothing: explained by what the input topic holds there now."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from noskew.dataflows.commands.audit import explained
from noskew.dataflows.core.audit import Input
from noskew.dataflows.core.audit_findings import Findings

if TYPE_CHECKING:
    from noskew.dataflows.kafka.audit_log import AuditLog


class Holding:
    """An input topic that holds so many records wherever one looks."""

    def __init__(self, records: int) -> None:
        self._records = records

    def present(self, *_: object) -> int:
        return self._records


@pytest.mark.parametrize(
    ("begins", "present", "why"),
    [
        (None, 0, "the topic is gone"),
        (6, 0, "retention deleted it: the partition begins at 6"),
        (0, 2, "no record there"),
        (5, 3, "there, but not delivered: 1 records"),
    ],
)
def test_offsets_that_delivered_nothing_are_explained_by_what_is_there(
    begins: int | None, present: int, why: str
) -> None:
    findings = Findings()
    one = Input("transactions", 1, 0, findings, scored=True)

    gap = explained(one, (5, 9, 2), begins, cast("AuditLog", Holding(present)), findings)

    assert gap.why.startswith(why)
    wanted = [("skipped", 5, 9, 2, 3)] if present > 2 else []
    assert [(f.kind, f.first, f.next, f.expected, f.found) for f in findings.listed] == wanted
