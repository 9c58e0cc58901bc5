"""History from a topic, as batches in processing order: the journal's, or the canonical one."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.journal import runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.errors import UnsafeResumeError, UsageError
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.throttle import ThrottledReader
from noskew.dataflows.kafka.topics import Admin
from noskew.schemas.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.core.journal import Entry, Topic
    from noskew.dataflows.core.order import Runs
    from noskew.dataflows.core.resolver import Resolver
    from noskew.dataflows.definition.plan import Plan

ORDERS = ("auto", "journal", "canonical")


class TopicHistory:
    """What is in a topic now.

    order    "journal" where the pipeline has one (and it is not refused), else "canonical"
    stamped  the records have Kafka's timestamp, against which future times are judged
    """

    stamped = True

    def __init__(self, plan: Plan, brokers: str, resolver: Resolver, order: str) -> None:
        """Look at the topic. Raises UsageError, UnsafeResumeError as the messages say."""
        if order not in ORDERS:
            raise UsageError(f"--order {order!r} is not one of {', '.join(ORDERS)}")
        admin = Admin.connect(brokers)
        topic = admin.topic(plan.scored.topic)
        if topic is None:
            raise UsageError(f"topic {plan.scored.topic!r} does not exist at {brokers}")
        self.topic: Topic = topic
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
        if last is not None:
            _same(plan, topic, last)
            admin.require(topic, self._log.first().next_offset, last.next_offset)
        self.order = "canonical" if last is None else "journal"
        self._end = 0 if last is None else last.end
        self._start = (
            admin.offsets(topic.name, topic.partitions, "earliest")
            if last is None
            else self._log.first().next_offset
        )
        self._stop = (
            admin.offsets(topic.name, topic.partitions, "latest")
            if last is None
            else last.next_offset
        )

    def batches(self) -> Iterator[Batch]:
        """Yield the records in processing order."""
        reader = Reader(
            self._brokers, self.topic.name, 0, self._start, group=f"{self._plan.name}.replay"
        )
        waiting = Waiting(self._plan.scored, self.topic.partitions)
        throttled = ThrottledReader(reader, waiting)
        decode = Decode(Decoder(self._plan.scored, self._resolver), throttled, self._resolver)
        journaled = Journaled(self._runs() if self.order == "journal" else iter(()))
        merged = Merged(self.topic.partitions, None, lambda: 0.0)
        seq = 0
        try:
            while not self._done(reader, waiting, journaled):
                read = throttled.read()
                batch = decode(read.raw)
                # Only now: a partition held for the registry went back, and is waited for.
                ended = reader.at_end | (reader.next_offset >= self._stop)
                waiting.add(batch.take(np.flatnonzero(batch.offset < self._stop[batch.partition])))
                turn = (
                    journaled.take(waiting, seq)
                    if self.order == "journal"
                    else merged.take(waiting, ended, seq)
                )
                for one in turn:
                    seq = one.seq + len(one)
                    yield one
        finally:
            reader.close()

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


def _same(plan: Plan, topic: Topic, last: Entry) -> None:
    if last.fingerprint != plan.fingerprint:
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written by definition "
            f"{last.fingerprint.hex()[:12]}, this one is {plan.fingerprint.hex()[:12]}: give the "
            "definition that wrote it, or take --order canonical"
        )
    if last.topic.partitions != topic.partitions or last.topic.id != topic.id:
        raise UnsafeResumeError(
            f"topic {topic.name!r} is not the one that the journal of {plan.name!r} was written "
            "over: restore it, or take --order canonical"
        )
