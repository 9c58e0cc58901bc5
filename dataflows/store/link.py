"""One connection to Redis that never hides a loss: no retry, no reconnecting, bounded waits.

redis-py's own client blocked 15 s through its retries on a black hole, and reconnects without a
word, so that a restart of Redis between two calls would go unnoticed. So this opens one
connection; after any error it is closed, and whoever wants to go on opens another.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, parse_url
from redis.retry import Retry

from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONNECT_S: Final = 0.3
ANSWER_S: Final = 0.7
"""Longest waits for a connection and for one answer: an attempt on a black hole takes 1 s."""

FAILURES: Final = (redis.RedisError, OSError)
"""What any method of ``Link`` raises when Redis is away, full, read-only or loading."""

NOT_ALLOWED: Final = redis.exceptions.NoPermissionError
"""The one of ``FAILURES`` that time does not heal: the user may not use a command."""

_SCAN_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Server:
    """What a Redis server says of itself: ``run_id`` is new after every restart."""

    run_id: str
    policy: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The script's answer: "ok", "refused" or "lost", and the watermark it found (-1: none)."""

    status: str
    generation: int = -1
    seq: int = -1
    writing: int = -1


class Link:
    """One connection, open from ``__init__`` to ``close`` or the first error.

    Raises:
        UsageError: the URL is not one of Redis.
        redis.RedisError, OSError: see ``FAILURES``; then the link is closed.
    """

    def __init__(self, url: str) -> None:
        self._connection = _connection(url)
        self._script = resources.files(__package__).joinpath("script.lua").read_bytes()
        # Redis names a script by this digest; it protects nothing.
        self._digest = hashlib.sha1(self._script, usedforsecurity=False).hexdigest()
        try:
            self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py
            self.server = _server(self._call("INFO"))
        except FAILURES:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; further calls fail."""
        self._connection.disconnect()  # type: ignore[no-untyped-call]  # redis-py

    def load(self) -> None:
        """Put the script into the server's cache."""
        self._call("SCRIPT", "LOAD", self._script)

    def run(self, keys: Sequence[bytes], arguments: Sequence[bytes | int | str]) -> Answer:
        """Call the script; loads it where Redis does not have it."""
        try:
            reply = self._call("EVALSHA", self._digest, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            self.load()
            reply = self._call("EVALSHA", self._digest, len(keys), *keys, *arguments)
        status, *found = reply
        return Answer(status.decode(), *(int(number or b"-1") for number in found))

    def set_if_absent(self, key: bytes, value: int) -> None:
        """Set a key that does not exist."""
        self._call("SET", key, value, "NX")

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """Yield the names that match a glob, in pages; a name may come twice."""
        cursor = b"0"
        while True:
            cursor, names = self._call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)
            yield names
            if cursor == b"0":
                return

    def _call(self, *command: bytes | int | str) -> Any:
        # ``Connection`` would open a new connection by itself: it must not, see the module.
        if not self._connection.is_connected:
            message = "the connection is closed"
            raise redis.ConnectionError(message)
        try:
            self._connection.send_command(*command)  # type: ignore[no-untyped-call]  # redis-py
            return self._connection.read_response()
        except redis.exceptions.NoScriptError:
            raise
        except FAILURES:
            self.close()
            raise


def check_connection(url: str) -> list[str]:
    """Return warnings about the Redis at ``url``; one that is away is only a warning.

    Takes a second or two at most; writes nothing but the script into the script cache.

    Raises:
        UsageError: the URL is no Redis URL, or Redis refuses the password, the database or a
            command that is needed.
    """
    shown = masked(url)
    try:
        link = Link(url)
        try:
            link.load()
        finally:
            link.close()
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise UsageError(_wrong_password(shown, error)) from error
    except redis.exceptions.NoPermissionError as error:
        message = (
            f"Redis at {shown}: {error}. The user needs +info +evalsha +script|load +scan +set "
            "+get +del +hset +hmget on the namespace's keys: ACL SETUSER."
        )
        raise UsageError(message) from error
    except redis.ResponseError as error:
        if _wants_password(error):
            raise UsageError(_wrong_password(shown, error)) from error
        if _is_passing(error):
            return [_away(shown, error)]
        message = f"Redis at {shown}: {error}. Correct the URL (setting redis.url, --redis)."
        raise UsageError(message) from error
    except FAILURES as error:
        return [_away(shown, error)]
    return policy_warnings(shown, link.server)


def policy_warnings(shown: str, server: Server) -> list[str]:
    """Return what is to be said of a server that may throw rows away by itself."""
    if server.policy == "noeviction":
        return []
    warning = (
        f"Redis at {shown} has maxmemory-policy {server.policy}: it may throw rows away, and "
        "readers would miss them. Set it: CONFIG SET maxmemory-policy noeviction."
    )
    return [warning]


def masked(url: str) -> str:
    """Return the URL with its password replaced, for messages."""
    url = re.sub(r"(?<=://)([^/?#]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"([?&]password=)[^&#]*", r"\1***", url)


def _connection(url: str) -> Connection:
    try:
        options = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py
        kind = options.pop("connection_class", Connection)
        options |= {
            "socket_connect_timeout": CONNECT_S,
            "socket_timeout": ANSWER_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        connection: Connection = kind(**options)
    except (TypeError, ValueError) as error:
        message = (
            f"{masked(url)} is not the URL of a Redis: {error}. Write redis://host:port/database, "
            "rediss:// for TLS or unix:///path (setting redis.url, --redis)."
        )
        raise UsageError(message) from error
    return connection


def _server(info: bytes) -> Server:
    fields = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    return Server(
        run_id=fields.get(b"run_id", b"").decode(),
        policy=fields.get(b"maxmemory_policy", b"noeviction").decode(),
    )


def _wants_password(error: Exception) -> bool:
    return str(error).startswith(("NOAUTH", "WRONGPASS", "Authentication required"))


def _is_passing(error: redis.ResponseError) -> bool:
    passing = (
        redis.exceptions.ReadOnlyError,
        redis.exceptions.OutOfMemoryError,
        redis.exceptions.BusyLoadingError,
    )
    return isinstance(error, passing)


def _wrong_password(shown: str, error: Exception) -> str:
    return (
        f"Redis at {shown} refuses the password: {error}. Put the right one into the URL, "
        "redis://user:PASSWORD@host:port/0 (setting redis.url, --redis); without a user: "
        "redis://:PASSWORD@host:port/0."
    )


def _away(shown: str, error: Exception) -> str:
    return (
        f"Redis at {shown} cannot be used now: {error}. Scoring goes on without it; the rows "
        "are written when it is back."
    )
