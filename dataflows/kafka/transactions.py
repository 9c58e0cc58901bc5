"""Writes what belongs together as one Kafka transaction: readers see all of it, or none of it.

One producer owns a transactional id. ``begin`` takes it: whoever had it before is fenced, and what
that one left open is aborted. A transaction begins with the first record sent after a commit, so
that a pipeline with nothing to say writes nothing.

After an error of a transactional call the producer is of no more use: what its transaction held is
hidden for ever or, if it was the answer that got lost, committed with its journal record. Only the
journal knows, so the run ends and the next start reads it there. Nothing is aborted to carry on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

import confluent_kafka as ck

from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRANSACTION_S: Final = 300.0
"""How long a transaction may stay open, and so how long an outage is waited out. A third of what a
broker grants by default (transaction.max.timeout.ms). The next start ends an open one at once."""

CALL_S: Final = 0.25
"""Longest wait inside the client: it bounds how late a signal is noticed."""

ABORT_S: Final = 0.5
"""Longest wait for the broker to drop an unfinished transaction when the run ends."""

TRANSACTIONAL: Final[Mapping[str, Any]] = {
    "transaction.timeout.ms": round(TRANSACTION_S * 1e3),
    # The client sleeps so long where the markers of the transaction before are not yet written.
    "retry.backoff.ms": 5,
}

# Underscores mark librdkafka's own error codes; they are public names.
FENCED: Final = frozenset(
    {
        ck.KafkaError._FENCED,  # noqa: SLF001  # a public name all the same
        ck.KafkaError.PRODUCER_FENCED,
        ck.KafkaError.INVALID_PRODUCER_EPOCH,
    }
)
"""What the broker says to a producer whose epoch is over."""


class Transactions(Outbox):
    """An outbox whose records become visible at ``commit``, all at once. For one thread.

    transactional_id   what fences: one id is of one pipeline's shard, on whatever host
    lost               (reason, fenced) -> the error to raise once the producer is of no more use

    ``begin`` must have returned before anything is sent.
    """

    def __init__(
        self,
        brokers: str,
        transactional_id: str,
        lost: Callable[[str, bool], Exception],
        options: Mapping[str, Any] | None = None,
        waits: Callable[[float], None] = lambda _: None,
    ) -> None:
        own = {
            **TRANSACTIONAL,
            "transactional.id": transactional_id,
            "error_cb": self._refused,
            **(options or {}),
        }
        self.id = transactional_id
        self.open = False
        self._lost = lost
        self._fenced = False
        timeout_s = own["transaction.timeout.ms"] / 1e3
        super().__init__(brokers, own, waits, timeout_s=timeout_s)

    def begin(self) -> None:
        """Take the transactional id from whoever has it, and end what that one left open.

        Raises UsageError where the broker refuses.
        """
        began_s = time.monotonic()
        while (error := self._tried(self._producer.init_transactions)) is not None:
            if not error.retriable():
                if error.code() in FENCED:
                    self._raise()
                raise UsageError(
                    f"the broker refuses transactions under transactional.id {self.id!r}: "
                    f"{error.str()}; let this user write with that id, and let the broker's "
                    f"transaction.max.timeout.ms be at least {TRANSACTION_S * 1e3:.0f}"
                )
            self._waits(time.monotonic() - began_s)

    def commit(self) -> None:
        """Make all that was sent since the last commit visible at once; nothing sent: nothing.

        Raises what ``lost`` says, once the producer is of no more use: whether the transaction
        counts is then in the journal.
        """
        if not self.open:
            return
        # First the records, so that one that is not taken is named with its topic.
        self.flush()
        began_s = time.monotonic()
        while (error := self._tried(self._producer.commit_transaction)) is not None:
            if not error.retriable():
                self._give_up(f"the transaction was not committed: {error.str()}")
            self._waits(time.monotonic() - began_s)
        self.open = False

    def close(self) -> None:
        """Drop an unfinished transaction, so that no reader has to wait for its end, and end."""
        if self.open and not self._fenced:
            with suppress(ck.KafkaException):
                self._producer.abort_transaction(ABORT_S)
        # A fenced client raises that at every call.
        with suppress(ck.KafkaException):
            super().close()

    def _served(self, call: Callable[[float], int], timeout_s: float) -> int:
        try:
            return call(timeout_s)
        except ck.KafkaException as error:
            self._refused(error.args[0])
            self._give_up(f"the producer is of no more use: {error.args[0].str()}", error)

    def _starting(self) -> None:
        if self.open:
            return
        try:
            self._producer.begin_transaction()
        except ck.KafkaException as error:
            self._refused(error.args[0])
            self._give_up(f"no transaction can be begun: {error.args[0].str()}", error)
        self.open = True

    def _tried(self, call: Callable[[float], None]) -> ck.KafkaError | None:
        """Call, and return its error; one that is retriable goes on where it is."""
        try:
            call(CALL_S)
        except ck.KafkaException as error:
            found: ck.KafkaError = error.args[0]
            self._refused(found)
            return found
        return None

    def _refused(self, error: ck.KafkaError) -> None:
        # Also what the client says of itself: nearly all of that it mends without us.
        self._fenced |= error.code() in FENCED

    def _raise(self, cause: Exception | None = None) -> NoReturn:
        reason = f"a record was not delivered to {self._reason}" if self._reason else "fenced"
        self._give_up(reason, cause)

    def _give_up(self, reason: str, cause: Exception | None = None) -> NoReturn:
        raise self._lost(reason, self._fenced) from cause
