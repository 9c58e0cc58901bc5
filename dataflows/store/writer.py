"""``Store``: keeps the entity rows in Redis equal to what has been committed.

The pipeline's thread copies rows into the mirrors; a background thread writes them, coalesced.
Redis may be slow, away, restarted empty or rolled back: scoring never waits for it, and the rows
are right again soon after it is back, from memory, without Kafka.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from noskew.dataflows.store.keys import Names
from noskew.dataflows.store.link import (
    FAILURES,
    NOT_ALLOWED,
    Answer,
    Link,
    check_connection,
    masked,
    policy_warnings,
)
from noskew.dataflows.store.passes import Mirrors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from noskew.dataflows.core.rows import Rows
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.store.passes import Call, Pass

CHUNK: Final = 2000
"""Rows or deletions in one Lua call: tens of milliseconds, in which Redis serves nobody else."""

FLUSH_S: Final = 0.1
_IDLE_CHECK_S: Final = 1.0  # how long a restart of Redis may go unnoticed when nothing is written
_FIRST_PAUSE_S: Final = 0.1
_LAST_PAUSE_S: Final = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """How far Redis is behind, for metrics and messages.

    dirty      rows to be set and keys to be deleted
    seq        last committed seq; -1: none
    acked_seq  seq up to which Redis has every row; -1: none
    connected  the last call was answered
    rewrites   times every row was rewritten because Redis had lost some
    written    rows written since the start
    refused    why nothing is written any more, or None
    error      the last failure while Redis is away, or None
    """

    dirty: int
    seq: int
    acked_seq: int
    connected: bool
    rewrites: int
    written: int
    refused: str | None
    error: str | None


class Store:
    """The rows of one shard of a pipeline, in Redis.

    plan        its tables say what rows there are
    url         redis://, rediss:// or unix://
    namespace   setting ``redis.namespace``
    shard, generation   DESIGN section 5; the first generation is 1
    flush_s     least time between two writes of one row

    Thread-safe. Use as a context manager, or call ``start`` and ``close``.

    Raises:
        UsageError: the URL or a name cannot be used.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        url: str,
        namespace: str = "noskew",
        app: str | None = None,
        shard: int = 0,
        generation: int = 1,
        flush_s: float = FLUSH_S,
    ) -> None:
        self.url = url
        self.shown = masked(url)
        self.names = Names(namespace, plan.name if app is None else app, shard)
        self.generation = generation
        self._flush_s = flush_s
        self._mirrors = Mirrors(plan, self.names, generation)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="noskew-store", daemon=True)
        self._link: Link | None = None
        self._run_id = ""
        self._seq = -1
        self._acked: int | None = None  # None: nothing is expected of Redis
        self._sweep = False  # Redis may hold rows of keys that are gone
        self._hurried = False
        self._closing = False
        self._ended = False
        self._rewrites = 0
        self._written = 0
        self._refused: str | None = None
        self._error: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def refused(self) -> str | None:
        """Return why this store has stopped writing: a newer writer has been here; or None."""
        return self._refused

    def check_connection(self) -> list[str]:
        """Return warnings for the preflight; see ``link.check_connection``."""
        return check_connection(self.url)

    def start(self) -> None:
        """Start the writing thread. Redis need not be there."""
        self._thread.start()

    def commit(self, rows: Sequence[Rows], seq: int) -> None:
        """Take rows over whose outputs have been delivered.

        Never waits for Redis and never raises because of it. The arrays are copied.

        seq  of the last record whose outputs are delivered; every row is as of it or earlier
        """
        with self._changed:
            self._mirrors.take(rows)
            self._seq = max(self._seq, seq)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Write everything now; return whether Redis has acknowledged all of it in time."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_clean() or self._is_over(), timeout_s)
            return self._is_clean()

    def close(self) -> None:
        """Stop writing; waits for the call under way, two seconds at most. Does not flush."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def status(self) -> Status:
        """Return how far Redis is behind."""
        with self._changed:
            return Status(
                dirty=self._mirrors.dirty,
                seq=self._seq,
                acked_seq=-1 if self._acked is None else self._acked,
                connected=self._link is not None,
                rewrites=self._rewrites,
                written=self._written,
                refused=self._refused,
                error=self._error,
            )

    def _is_clean(self) -> bool:
        written = self._seq < 0 or self._acked == self._seq
        return written and self._mirrors.dirty == 0

    def _is_over(self) -> bool:
        return self._ended or self._refused is not None

    def _work(self) -> None:
        pause_s = 0.0
        try:
            while self._wait(pause_s):
                started_s = time.monotonic()
                if self._attempt():
                    passed_s = time.monotonic() - started_s
                    pause_s = max(0.0, self._flush_s - passed_s)
                else:
                    pause_s = min(_LAST_PAUSE_S, max(_FIRST_PAUSE_S, 2 * pause_s))
        finally:
            with self._changed:
                self._disconnect()
                self._ended = True
                self._changed.notify_all()

    def _wait(self, pause_s: float) -> bool:
        """Wait for the next attempt to be due; return False if there is none to come."""
        with self._changed:
            # First the pause, which only a flush may cut short, once ...
            self._changed.wait_for(lambda: self._closing or self._hurried, pause_s)
            self._hurried = False
            # ... then for work, or until it is time to see whether Redis is still the same.
            if self._link is not None:
                self._changed.wait_for(lambda: self._closing or not self._is_clean(), _IDLE_CHECK_S)
            return not (self._closing or self._is_over())

    def _attempt(self) -> bool:
        """Connect if need be and write what is dirty; return whether Redis answered."""
        try:
            link = self._link or self._connect()
            if self._seq < 0:  # nothing committed yet: readers may learn the generation
                link.set_if_absent(self.names.pointer, self.generation)
            else:
                self._write_all(link)
        except FAILURES as error:
            self._note_failure(error)
            return False
        return True

    def _connect(self) -> Link:
        link = Link(self.url)
        with self._changed:
            self._link = link
            if self._error is not None:
                _log.warning("Redis at %s is back", self.shown)
            self._error = None
            if self._run_id not in ("", link.server.run_id):
                self._lose()
            if self._run_id != link.server.run_id:
                for warning in policy_warnings(self.shown, link.server):
                    _log.warning("%s", warning)
            self._run_id = link.server.run_id
        return link

    def _note_failure(self, error: Exception) -> None:
        with self._changed:
            if self._error is None:
                _log.warning(
                    "Redis at %s is away: %s; scoring goes on, rows are kept for it",
                    self.shown,
                    error,
                )
            self._error = str(error)
            self._disconnect()
            self._changed.notify_all()

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _lose(self) -> None:
        self._acked = None
        self._rewrites += 1
        self._sweep = True
        self._mirrors.mark_all()

    def _write_all(self, link: Link) -> None:
        """Write one pass; once more if Redis turns out to have lost what it acknowledged."""
        answer = self._write_pass(link)
        if answer.status == "lost":
            _log.warning("Redis at %s has lost rows: all are rewritten", self.shown)
            with self._changed:
                self._lose()
            answer = self._write_pass(link)
        if answer.status == "refused":
            self._refuse(answer)
        elif answer.status == "ok" and self._sweep:
            self._find_orphans(link)

    def _write_pass(self, link: Link) -> Answer:
        """Write what is dirty now, ``CHUNK`` rows or deletions a call.

        Rows are copied when their call is due: one that has changed meanwhile is written as it
        is then. The watermark moves with the last call, to the seq of the beginning.
        """
        with self._changed:
            under_way = self._mirrors.begin(self._seq)
        answer = Answer("ok")
        for start in range(0, max(1, len(under_way)), CHUNK):
            with self._changed:
                parts = self._mirrors.gather(under_way, start, start + CHUNK)
            call = self._mirrors.call(under_way, start, start + CHUNK, parts)
            try:
                answer = self._send(link, under_way, start, call)
            except FAILURES:
                self._give_back(under_way, start)
                raise
            if answer.status != "ok":
                self._give_back(under_way, start)
                return answer
        with self._changed:
            self._acked = under_way.seq
            self._mirrors.settle()
            self._changed.notify_all()
        return answer

    def _send(self, link: Link, under_way: Pass, start: int, call: Call) -> Answer:
        answer = link.run(
            [self.names.watermark, self.names.pointer, *call.deletes, *call.sets],
            [
                self.generation,
                under_way.seq,
                "" if self._acked is None else self._acked,
                int(start == 0),
                int(start + CHUNK >= len(under_way)),
                len(call.deletes),
                *call.blobs,
            ],
        )
        if answer.status == "ok":
            self._written += len(call.sets)
        return answer

    def _give_back(self, under_way: Pass, start: int) -> None:
        with self._changed:
            self._mirrors.restore(under_way, start)

    def _refuse(self, answer: Answer) -> None:
        with self._changed:
            self._refused = (
                f"Redis at {self.shown}: {self.names.watermark.decode()} holds generation "
                f"{answer.generation}, seq {max(answer.seq, answer.writing)}; this process has "
                f"committed generation {self.generation}, seq {self._seq}. Another, newer "
                "process writes these rows: stop one of the two. If the topics were made anew, "
                "set another redis.namespace, or delete that key."
            )
            _log.error("%s", self._refused)
            self._changed.notify_all()

    def _find_orphans(self, link: Link) -> None:
        """Have rows deleted that came back with an old state of Redis: no entity has them."""
        try:
            for names in link.scan(self.names.pattern(self.generation)):
                with self._changed:
                    self._mirrors.delete_orphans(names)
        except NOT_ALLOWED as error:
            _log.warning("Redis at %s: %s; rows of gone entities may stay", self.shown, error)
            self._sweep = False
            raise
        self._sweep = False
