"""A journal entry in parts, through a broker that takes as much as it does by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from journals import followed, owner, turn

from noskew.dataflows.core.journal import Ledger
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.outbox import Outbox
from noskew.dataflows.kafka.topics import Admin
from noskew.schemas.rules import TEXT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noskew.dataflows.core.journal import Entry
    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

KEYS = 2_000


def written(stack: Stack, topic: str, entries: Sequence[Entry]) -> JournalLog:
    with Outbox(stack.brokers) as outbox:
        for entry in entries:
            outbox.send_one(topic, SHARD, entry.encode(9))
    return JournalLog(stack.brokers, topic, SHARD)


def test_a_broker_takes_many_long_split_keys_and_a_restart_stands_behind_them(
    stack: Stack, topic_name: str
) -> None:
    Admin.connect(stack.brokers).ensure(topic_name, 1, {})
    first = owner((0, 0, 0))
    ledger = Ledger(first)
    ledger.take(turn([(0, i) for i in range(KEYS)]), [])
    for i in range(KEYS):
        ledger.decide("split_key", f"customer_id={'x' * TEXT_MAX}", "", i)
    times = np.array([7, 8, 9])
    *parts, last = ledger.close(times, times, 5)

    unfinished = written(stack, topic_name, [first, *parts]).last()
    log = written(stack, topic_name, [last])
    whole = log.last()

    # Parts alone cover nothing, however many there are: the restart begins where they do.
    assert len(parts) == 15
    assert unfinished is not None
    assert (unfinished.end, unfinished.next_offset.tolist()) == (0, [0, 0, 0])
    assert whole is not None
    assert (whole.end, whole.horizon_us, whole.event_us.tolist()) == (KEYS, 5, [7, 8, 9])
    assert followed(log.entries()) == [(0, 0, KEYS, KEYS)]
    assert sum(len(entry.decisions) for entry in log.entries()) == KEYS
