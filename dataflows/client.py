"""The reader's side of the entity rows: named values as of a time, and whether they are exact.

    client = Client(pipeline, "redis://127.0.0.1:6379")
    now = client.read("customer_id", 17, at=event_time_us)
    if now is not None and now.exact:
        now.values["amount_sum_1h"]

A row has an entity's statistics over all streams. It is exact from its event time up to, not
including, its ``valid_until``: the first moment at which an event would enter or leave a window.
``since_last`` and decays move with the reader's time: the values are those of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from noskew.dataflows.definition.plan import Plan
from noskew.dataflows.errors import UsageError
from noskew.dataflows.store import rows as layout
from noskew.dataflows.store.keys import Names
from noskew.dataflows.store.link import masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self, TypeAlias

    from noskew.dataflows.definition.stream import Pipeline
    from noskew.dataflows.store.rows import EntityRow

    Id: TypeAlias = int | str
    Time: TypeAlias = int | datetime

DEFAULT_URL: Final = "redis://127.0.0.1:6379/0"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = 20
"""Longest pointer that is looked at: more digits than an int64 has."""


@dataclass(frozen=True, slots=True)
class Read:
    """One entity's row, evaluated at a time. All times in us since the epoch.

    values          by feature name; NaN where a feature has no value
    exact           event_time_us <= at_us < valid_until_us
    at_us           the reader's time
    event_time_us   time of the entity's greatest aggregated event
    valid_until_us  first moment at which the values change by themselves; 2^63 - 1: never
    seq             of the record that wrote the row
    """

    entity: str
    id: int | str
    values: dict[str, float]
    exact: bool
    at_us: int
    event_time_us: int
    valid_until_us: int
    seq: int
    generation: int


class Client:
    """Reads the rows of one pipeline; keeps its connections, follows the generation pointer.

    Thread-safe. Close it, or use it as a context manager.

    Raises:
        UsageError: the URL, the namespace or the pipeline cannot be used.
    """

    def __init__(
        self,
        pipeline: Pipeline | Plan,
        url: str = DEFAULT_URL,
        *,
        namespace: str = "noskew",
        shard: int = 0,
        timeout_s: float = 1.0,
    ) -> None:
        plan = pipeline if isinstance(pipeline, Plan) else _compiled(pipeline)
        self._plan = plan
        self._entities = layout.entity_rows(plan)
        self._names = Names(namespace, plan.name, shard)
        self._shown = masked(url)
        self._generation = 1
        try:
            # Any: redis-py types an answer as sync or async at once.
            self._redis: Any = redis_py.Redis.from_url(
                url,
                protocol=2,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 1),
            )
        except (TypeError, ValueError) as error:
            message = f"{self._shown} is not the URL of a Redis: {error}."
            raise UsageError(message) from error

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def read(
        self,
        entity: str,
        id: Id,  # noqa: A002 - its name in the contract
        at: Time | None = None,
    ) -> Read | None:
        """Return one entity's values, None if there is no row; see ``read_many``."""
        return self.read_many(entity, [id], at)[0]

    def read_many(
        self, entity: str, ids: Sequence[Id], at: Time | None = None
    ) -> list[Read | None]:
        """Return the values of several entities, in order; None where there is no row.

        at  the reader's time: us since the epoch or an aware datetime; default is each row's
            event time. Before a row's event time its values are not exact.

        Raises:
            UsageError: no such entity, an id or a time of the wrong type, a naive datetime, a row
                of another definition or layout, a generation pointer that is no number, or a
                refused password.
            ConnectionError: Redis cannot be reached or does not answer in time.
        """
        row = self._entity(entity)
        keys = [_key(row, value) for value in ids]
        at_us = None if at is None else _us(at)
        generation, blobs = self._fetch(entity, keys)
        return [
            None if blob is None else self._evaluate(row, value, blob, at_us, generation)
            for value, blob in zip(ids, blobs, strict=True)
        ]

    def _entity(self, entity: str) -> EntityRow:
        if entity not in self._entities:
            message = (
                f"pipeline {self._plan.name!r} keeps no statistics by {entity!r}; it does by "
                f"{', '.join(self._entities) or 'nothing'}."
            )
            raise UsageError(message)
        return self._entities[entity]

    def _fetch(self, entity: str, keys: list[int | bytes]) -> tuple[int, list[bytes | None]]:
        """Return the generation in force and its blobs, from one and the same moment."""
        try:
            while True:
                names = [self._names.row(self._generation, entity, key) for key in keys]
                pointer, *blobs = self._redis.mget([self._names.pointer, *names])
                if pointer is None:
                    return self._generation, [None] * len(keys)
                generation = self._pointed(pointer)
                if generation == self._generation:
                    return generation, blobs
                self._generation = generation
        except redis_py.AuthenticationError as error:
            message = f"Redis at {self._shown} refuses the password: {error}."
            raise UsageError(message) from error
        except redis_py.RedisError as error:
            message = f"Redis at {self._shown} cannot be read: {error}"
            raise ConnectionError(message) from error

    def _pointed(self, pointer: bytes) -> int:
        """Return the generation that the pointer names."""
        # Nothing that int() takes beside digits, and no more of them than a generation ever has.
        if not (pointer.isdigit() and len(pointer) < _DIGITS and int(pointer) > 0):
            message = (
                f"the generation pointer {self._names.pointer.decode()!r} in Redis at "
                f"{self._shown} is {pointer[:_DIGITS]!r}, not a whole number from 1: something "
                "other than noskew has set it. Delete that key; noskew run sets it anew."
            )
            raise UsageError(message)
        return int(pointer)

    def _evaluate(
        self, of: EntityRow, value: Id, blob: bytes, at_us: int | None, generation: int
    ) -> Read:
        where = f"the row of {of.entity}={value!r} in Redis at {self._shown}"
        try:
            row = layout.unpack(blob)
        except ValueError as error:
            message = f"{where}: {error}"
            raise UsageError(message) from error
        if row.fingerprint != self._plan.fingerprint:
            message = (
                f"{where} was written by the definition with fingerprint "
                f"{row.fingerprint.hex()}; the one given here has "
                f"{self._plan.fingerprint.hex()}. Read with the definition that is running."
            )
            raise UsageError(message)
        at = row.time_us if at_us is None else at_us
        return Read(
            entity=of.entity,
            id=value,
            values=layout.evaluate(of.fields, row.words, at),
            exact=row.time_us <= at < row.until_us,
            at_us=at,
            event_time_us=row.time_us,
            valid_until_us=row.until_us,
            seq=row.seq,
            generation=generation,
        )


def read(
    entity: str,
    id: Id,  # noqa: A002 - its name in the contract
    at: Time | None = None,
    *,
    pipeline: Pipeline | Plan,
    redis: str = DEFAULT_URL,
    namespace: str = "noskew",
) -> Read | None:
    """Read one entity once; ``Client`` keeps its connection and is for more than that."""
    with Client(pipeline, redis, namespace=namespace) as client:
        return client.read(entity, id, at)


def _key(of: EntityRow, value: Id) -> int | bytes:
    wanted = int if of.key_type == "int" else str
    if not isinstance(value, wanted) or isinstance(value, bool):
        message = (
            f"an id of {of.entity!r} is {'an int' if wanted is int else 'a str'}, "
            f"not {value!r} ({type(value).__name__})."
        )
        raise UsageError(message)
    return value.encode() if isinstance(value, str) else value


def _us(at: Time) -> int:
    if isinstance(at, int) and not isinstance(at, bool):
        return at
    if not isinstance(at, datetime):
        message = (
            f"the reader's time is us since the epoch as an int, or an aware datetime, not {at!r} "
            f"({type(at).__name__}): write int(...) of us, not of seconds."
        )
        raise UsageError(message)
    if at.utcoffset() is None:
        message = f"the reader's time {at} has no time zone: write an aware datetime, or us."
        raise UsageError(message)
    return (at - _EPOCH) // timedelta(microseconds=1)


def _compiled(pipeline: Pipeline) -> Plan:
    # A reader that has a plan needs no compiler.
    from noskew.dataflows.definition.compile import compile_plan  # noqa: PLC0415 - see above

    return compile_plan(pipeline)
