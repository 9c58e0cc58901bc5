"""The journal's topic: reading its entries back, first to last."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import confluent_kafka as ck

from noskew.dataflows.core.journal import Entry
from noskew.dataflows.errors import DeliveryError, UnsafeResumeError
from noskew.dataflows.kafka.reader import CONSUMER, ENDED, TRANSIENT, WAIT_S
from noskew.dataflows.kafka.tail import span

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

SHARD = 0
"""Compact mode: one process runs one shard with all partitions, and journals to partition 0."""

TAIL = 16
"""Entries looked at for the last one."""

OPEN_S = 60.0
"""How long the end of a transaction is waited for that the broker has been told to end."""

LOOK_S = 0.01
"""Time between two looks at whether a transaction is still open."""


class JournalLog:
    """Reads one shard's journal partition: what is committed, and nothing else.

    waits    called while a broker keeps us waiting; may raise to give up
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        shard: int,
        options: Mapping[str, Any] | None = None,
        waits: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._topic = topic
        self._shard = shard
        self._waits = waits
        self._config = {
            **CONSUMER,
            "bootstrap.servers": brokers,
            "group.id": f"{topic}.reader",
            **(options or {}),
        }

    def settle(self) -> None:
        """Wait until nothing in the journal is open: only then is the last entry the last.

        A commit's answer comes before its records can be read, and an abort's too. To be called
        when no other producer can write: one that did would be waited for.
        """
        committed = ck.Consumer(self._config)
        written = ck.Consumer({**self._config, "isolation.level": "read_uncommitted"})
        began_s = time.monotonic()
        try:
            # First the end that only grows: what is committed up to it is all there was.
            while (high := self._span(written)[1]) > (stable := self._span(committed)[1]):
                waited_s = time.monotonic() - began_s
                self._waits(waited_s)
                if waited_s > OPEN_S:
                    raise DeliveryError(
                        f"the journal {self._topic!r} has a transaction open for {OPEN_S:g} s: it "
                        f"is committed up to offset {stable}, written up to {high}; another "
                        "producer writes to it, or the broker cannot end the transaction: see "
                        "'kafka-transactions.sh find-hanging', then start again"
                    )
                time.sleep(LOOK_S)
        finally:
            written.close()
            committed.close()

    def first(self) -> Entry:
        """Return the oldest entry; there is one where ``last`` gives one.

        Raises UnsafeResumeError where the beginning of the journal is gone.
        """
        with closing(self.entries()) as entries:
            return next(entries)

    def last(self) -> Entry | None:
        """Return the newest of the entries that reach furthest, None where the journal is empty.

        With transactions that is the newest. Without them, in journals of version 0.1, an instance
        that found another at work has left its owner entry.
        """
        return max(reversed(self.tail()), key=lambda entry: entry.end, default=None)

    def tail(self) -> list[Entry]:
        """Return some of the newest entries, oldest first; none where the journal is empty."""
        consumer = ck.Consumer(self._config)
        try:
            low, high = self._span(consumer)
            # Transaction markers take offsets too, so look back until a record is found.
            back = TAIL
            while high > low:
                begin = max(low, high - back)
                found = [Entry.decode(value) for value in self._read(consumer, begin)]
                if found or begin == low:
                    return found
                back *= 8
            return []
        finally:
            consumer.close()

    def entries(self) -> Generator[Entry, None, None]:
        """Yield every entry written so far, oldest first.

        Raises UnsafeResumeError where the beginning of the journal is gone.
        """
        consumer = ck.Consumer(self._config)
        try:
            low, _ = self._span(consumer)
            if low > 0:
                raise UnsafeResumeError(
                    f"the journal {self._topic!r} begins at offset {low}, not 0: its beginning was "
                    "deleted by retention, and the order before it is unknown; set retention.ms=-1 "
                    "and start anew under another pipeline name"
                )
            for value in self._read(consumer, low):
                yield Entry.decode(value)
        finally:
            consumer.close()

    def _span(self, consumer: ck.Consumer) -> tuple[int, int]:
        return span(consumer, self._topic, self._shard)

    def _read(self, consumer: ck.Consumer, begin: int) -> Iterator[bytes]:
        """Yield the values from offset ``begin`` to the end; an outage is waited for."""
        consumer.assign([ck.TopicPartition(self._topic, self._shard, begin)])
        waited_s = time.monotonic()
        while True:
            messages = consumer.consume(500, 0) or consumer.consume(1, WAIT_S)
            if messages:
                waited_s = time.monotonic()
            self._waits(time.monotonic() - waited_s)
            for message in messages:
                error, value = message.error(), message.value()
                if error is None and value is not None:
                    begin = (message.offset() or 0) + 1
                    yield value
                elif error is not None and error.code() == ENDED:
                    return
                elif error is None or error.code() not in TRANSIENT:
                    raise UnsafeResumeError(
                        f"the journal {self._topic!r} cannot be read at offset {begin}: "
                        f"{'an empty record' if error is None else error.str()}"
                    )
