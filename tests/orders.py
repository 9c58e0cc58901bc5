"""What tests of the order of records share: streams, batches, runs, and the order said slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from noskew.dataflows.core.batch import Batch
from noskew.dataflows.core.order import Runs, Waiting
from noskew.schemas.columns import Strings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Turn
    from noskew.dataflows.definition.plan import StreamPlan

Record = tuple[int, int, int]
"""Partition, offset, availability time."""
Place = tuple[int, int]
"""Input and offset."""


@dataclass
class Stream:
    """The one thing order reads of a stream: its topic, for messages."""

    topic: str = "transactions"


NONE_HELD = np.array([False, False])


def waiting(*partitions: int) -> Waiting:
    """Return what waits of one stream per number of partitions."""
    streams = [Stream(name) for name in ("transactions", "fraud_labels")[: len(partitions)]]
    return Waiting(cast("list[StreamPlan]", streams), partitions)


def batch(records: Iterable[Record], dead: frozenset[int] = frozenset(), stream: int = 0) -> Batch:
    rows = list(records)
    time_us = np.array([row[2] for row in rows], np.int64)
    return Batch(
        stream=stream,
        partition=np.array([row[0] for row in rows], np.int32),
        offset=np.array([row[1] for row in rows], np.int64),
        record_time_us=time_us,
        time_us=time_us,
        available_us=time_us,
        reason=np.array([row[1] in dead for row in rows], np.uint8),
        columns={"id": Strings.from_list([f"{row[0]}:{row[1]}" for row in rows])},
    )


def places(turns: Iterable[Turn]) -> list[Place]:
    """Return the records of turns; what a turn says of them is the same wherever it says it."""
    found = []
    for turn in turns:
        pairs = list(zip(turn.input.tolist(), turn.offset.tolist(), strict=True))
        for place, one in enumerate(turn.batches):
            at = np.flatnonzero(turn.stream == place)
            mine = list(zip(one.partition.tolist(), one.offset.tolist(), strict=True))
            assert one.stream == place
            assert one.seq.tolist() == (turn.seq + at).tolist()
            assert cast("Any", one.columns["id"]).to_list() == [f"{p}:{o}" for p, o in mine]
            assert [pairs[i][1] for i in at.tolist()] == [offset for _, offset in mine]
        found += pairs
    return found


def came(*inputs: bool) -> NDArray[np.bool_]:
    return np.array(inputs)


def canonical(records: list[Record]) -> list[tuple[int, int]]:
    """Sort by (running maximum of times, partition, offset): the definition, slowly."""
    keyed = []
    clocks: dict[int, int] = {}
    for partition, offset, time in sorted(records):
        clocks[partition] = max(clocks.get(partition, time), time)
        keyed.append((clocks[partition], partition, offset))
    return [(partition, offset) for _, partition, offset in sorted(keyed)]


def runs(*rows: tuple[int, int, int, int]) -> Runs:
    inputs, first, stop, count = np.ascontiguousarray(np.array(rows, np.int64).T)
    return Runs((inputs, first, stop, count), np.zeros(3, np.int64))
