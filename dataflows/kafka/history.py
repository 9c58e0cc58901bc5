"""History from topics, as turns in processing order: the journal's, or the canonical one."""

from __future__ import annotations

from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.journal import runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.errors import UnsafeResumeError, UsageError
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.throttle import ThrottledReader
from noskew.dataflows.kafka.topics import Admin, each_once
from noskew.schemas.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Turn
    from noskew.dataflows.core.journal import Entry, Topic
    from noskew.dataflows.core.order import Runs
    from noskew.dataflows.core.resolver import Resolver
    from noskew.dataflows.definition.plan import Plan

ORDERS = ("auto", "journal", "canonical")


class TopicHistory:
    """What is in the streams' topics now.

    order       "journal" where the pipeline has one (and it is not refused), else "canonical"
    stamped     the records have Kafka's timestamp, against which future times are judged
    topics      one per stream
    partitions  one number per stream; inputs are numbered stream by stream
    """

    stamped = True

    def __init__(self, plan: Plan, brokers: str, resolver: Resolver, order: str) -> None:
        """Look at the topics. Raises UsageError, UnsafeResumeError as the messages say."""
        each_once(plan)
        admin = Admin.connect(brokers)
        self.topics = tuple(_topic(admin, stream.topic, brokers) for stream in plan.streams)
        self.partitions = tuple(topic.partitions for topic in self.topics)
        self._first = np.cumsum([0, *self.partitions])
        self._plan = plan
        self._brokers = brokers
        self._resolver = resolver
        journal = f"{plan.name}.journal"
        self._log = JournalLog(brokers, journal, SHARD)
        last = None
        if order != "canonical" and admin.topic(journal) is not None:
            last = self._log.last()
        if order == "journal" and last is None:
            raise UsageError(
                f"pipeline {plan.name!r} has no journal at {brokers}: run it first, or take "
                "--order canonical"
            )
        self.order = "canonical" if last is None else "journal"
        self._end = 0 if last is None else last.end
        if last is None:
            self._start, self._stop = (
                np.concatenate([admin.offsets(t.name, t.partitions, end) for t in self.topics])
                for end in ("earliest", "latest")
            )
            return
        _same(plan, self.topics, last)
        self._start, self._stop = self._log.first().next_offset, last.next_offset
        for topic, start, stop in zip(
            self.topics, self._by_stream(self._start), self._by_stream(self._stop), strict=True
        ):
            admin.require(topic, start, stop)

    def turns(self) -> Iterator[Turn]:
        """Yield the records in processing order."""
        group = f"{self._plan.name}.replay"
        reader = Reader(self._brokers, self.topics, self._start, group=group)
        waiting = Waiting(self._plan.streams, self.partitions)
        throttled = ThrottledReader(reader, waiting)
        decodes = [
            Decode(Decoder(stream, self._resolver), throttled, self._resolver, int(first))
            for stream, first in zip(self._plan.streams, self._first, strict=False)
        ]
        journaled = Journaled(self._runs() if self.order == "journal" else iter(()))
        merged = Merged(sum(self.partitions), None, lambda: 0.0)
        seq = 0
        try:
            while not self._done(reader, waiting, journaled):
                read = throttled.read()
                batches = [decode(raw) for decode, raw in zip(decodes, read.raws, strict=True)]
                # Only now: a partition held for the registry went back, and is waited for.
                ended = reader.at_end | (reader.next_offset >= self._stop)
                waiting.add(
                    [
                        batch.take(np.flatnonzero(batch.offset < stop[batch.partition]))
                        for batch, stop in zip(batches, self._by_stream(self._stop), strict=True)
                    ]
                )
                turns = (
                    journaled.take(waiting, seq)
                    if self.order == "journal"
                    else merged.take(waiting, ended, seq)
                )
                for turn in turns:
                    seq = turn.end
                    yield turn
        finally:
            reader.close()

    def _by_stream(self, inputs: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return an array over inputs as one over partitions per stream."""
        return np.split(inputs, self._first[1:-1])

    def _runs(self) -> Iterator[Runs]:
        """Yield the runs journaled when this history was looked at; a live run adds more."""
        end = self._end
        return runs(takewhile(lambda entry: entry.end <= end, self._log.entries()))

    def _done(self, reader: Reader, waiting: Waiting, journaled: Journaled) -> bool:
        if self.order == "journal":
            return journaled.done
        # Behind the last record there may be markers: then only the end of the partition tells.
        read = (reader.next_offset >= self._stop) | reader.at_end
        return bool(read.all()) and not waiting.rows


def _topic(admin: Admin, name: str, brokers: str) -> Topic:
    topic = admin.topic(name)
    if topic is None:
        raise UsageError(f"topic {name!r} does not exist at {brokers}")
    return topic


def _same(plan: Plan, topics: Sequence[Topic], last: Entry) -> None:
    if last.fingerprint != plan.fingerprint:
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written by definition "
            f"{last.fingerprint.hex()[:12]}, this one is {plan.fingerprint.hex()[:12]}: give the "
            "definition that wrote it, or take --order canonical"
        )
    for topic, was in zip_longest(topics, last.topics):
        if topic is None or was is None:
            raise UnsafeResumeError(
                f"the journal of {plan.name!r} was written over "
                f"{', '.join(one.name for one in last.topics)}, the definition reads "
                f"{', '.join(one.name for one in topics)}: give the definition that wrote it, or "
                "take --order canonical"
            )
        if was.partitions != topic.partitions or was.id != topic.id:
            raise UnsafeResumeError(
                f"topic {topic.name!r} is not the one that the journal of {plan.name!r} was "
                "written over: restore it, or take --order canonical"
            )
