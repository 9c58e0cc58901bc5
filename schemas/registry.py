"""The schema registry: ids to writers' schemas, cached on disk, and registration of our own.

The client's failures are of three kinds, which must not be mixed up: the registry does not know an
id (a dead letter), it gives no usable answer (records wait), it gives a schema that must not be
used. Every call ends within its timeouts; known ids never need the network. Nothing but good
answers is kept here: who asks remembers the others (``core.resolver``).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import httpx2
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from noskew.schemas.framing import MAX_ID
from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import (
    RegistryAwayError,
    RegistryRefusedError,
    UnknownSchemaError,
    WriterSchema,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_Answer = TypeVar("_Answer")

_NOT_FOUND: Final = 404
_UNAUTHORISED: Final = {401, 403}
_AWAY: Final = {408, 425, 429}
_SERVER: Final = 500

_AWAY_FOR_S: Final = 1.0
_BURST: Final = 200.0
_PER_S: Final = 100.0
_VERSIONS: Final = 100


class Registry:
    """A Confluent-compatible registry behind a disk cache.

    url        as Confluent's clients take it; may hold user:password@
    cache_dir  where known ids are kept, one folder per registry; None keeps them in memory only
    timeout_s  of each phase of a request (connect, send, receive); there are no retries inside a
               lookup: after a failure the registry counts as away for a second

    Ids are immutable: an id once read keeps its schema without being asked for again. No more than
    200 ids at once and 100 per second are asked for.
    """

    def __init__(self, url: str, cache_dir: Path | None, timeout_s: float = 1.0) -> None:
        """Prepare, without a request; ValueError where ``url`` is no address of a registry."""
        self.url = url
        self._check()
        self._client = SchemaRegistryClient(
            {"url": url, "timeout": timeout_s, "max.retries": 0, "retries.wait.ms": 100}
        )
        # Another registry gives the same ids other meanings.
        folder = hashlib.sha256(url.encode()).hexdigest()[:16]
        self._folder = None if cache_dir is None else cache_dir / folder
        self._known: dict[int, WriterSchema] = {}
        self._away: tuple[float, str] = (0.0, "")
        self._tokens = _BURST
        self._filled = time.monotonic()

    def close(self) -> None:
        """Close the client's connections; safe to call more than once."""
        self._client.close()

    def schema(self, schema_id: int) -> WriterSchema:
        """Return the schema behind an id.

        Raises UnknownSchemaError (the registry does not know it), RegistryAwayError (no usable
        answer now) or UnsafeSchemaError (not a schema we can decode with).
        """
        found = self._known.get(schema_id) or self._from_disk(schema_id)
        if found is not None:
            self._known[schema_id] = found
            return found
        if not 0 < schema_id <= MAX_ID:
            message = f"schema id {schema_id} is outside 1..{MAX_ID}"
            raise UnknownSchemaError(message)
        now = time.monotonic()
        until, text = self._away
        if now < until:
            raise RegistryAwayError(text)
        self._take_token(now)
        answer = self._ask(lambda: self._client.get_schema(schema_id), f"schema {schema_id}")
        if answer is None:
            message = f"the registry at {self.shown} does not know schema id {schema_id}"
            raise UnknownSchemaError(message)
        return self._accept(schema_id, answer)

    def register(self, subject: str, text: str) -> int:
        """Return the id of a schema under a subject, registering it if it is absent.

        A schema that differs from the latest version only in layout of its text is that version.
        Raises RegistryAwayError or RegistryRefusedError.
        """
        schema = Schema(text, "AVRO")
        ask = partial(self._ask, what=subject, may_refuse=True)
        found = ask(lambda: self._client.lookup_schema(subject, schema))
        if found is None:
            found = ask(lambda: self._client.get_latest_version(subject))
            if found is not None and not _same(found.schema.schema_str, text):
                found = None
        if found is not None and found.schema_id is not None:
            return int(found.schema_id)
        given = ask(lambda: self._client.register_schema(subject, schema))
        if given is None:
            message = f"the registry at {self.shown} has no subject path for {subject!r} (404)"
            raise RegistryRefusedError(message)
        return int(given)

    def subjects_has(self, subject: str) -> bool:
        """Return whether a subject exists; raises RegistryAwayError."""
        found = self._ask(lambda: self._client.get_versions(subject), subject)
        return bool(found)

    def versions(self, subject: str) -> list[WriterSchema]:
        """Return the newest versions of a subject (at most 100), oldest first.

        Versions that are no schema we can decode with are left out: ``schema`` refuses them at
        their first use. Raises RegistryAwayError.
        """
        numbers = self._ask(lambda: self._client.get_versions(subject), subject) or []
        found = []
        for number in sorted(numbers)[-_VERSIONS:]:
            one = self._ask(partial(self._client.get_version, subject, number), subject)
            if one is not None and one.schema_id is not None:
                with suppress(UnsafeSchemaError):
                    found.append(self._accept(int(one.schema_id), one.schema))
        return found

    @property
    def shown(self) -> str:
        """The URL without user and password, for people and files."""
        scheme, mark, rest = self.url.partition("://")
        return scheme + mark + rest.rpartition("@")[2] if mark else scheme.rpartition("@")[2]

    def _check(self) -> None:
        """Raise ValueError unless each of the addresses is one for HTTP."""
        for one in self.url.split(","):
            try:
                parsed = httpx2.URL(one.strip())
                good = parsed.scheme in {"http", "https"} and bool(parsed.host)
            except (httpx2.InvalidURL, ValueError):
                good = False  # what it says may quote a password
            if not good:
                message = (
                    f"{self.shown!r} is no address of a schema registry: give one like "
                    "http://127.0.0.1:8081"
                )
                raise ValueError(message)

    def _ask(
        self, call: Callable[[], _Answer], what: str, *, may_refuse: bool = False
    ) -> _Answer | None:
        """Return the client's answer, None for 404; maps every failure to one of ours.

        may_refuse  a refusal says something of the request; to a lookup it is no usable answer
        """
        try:
            return call()
        except SchemaRegistryError as error:
            status = int(error.http_status_code)
            said = f"HTTP {status}, code {error.error_code}: {str(error.error_message)[:300]}"
            if status == _NOT_FOUND and error.error_code not in (-1, None):
                return None
            if status in _UNAUTHORISED:
                said += "; check the user and password in the registry's URL"
            elif may_refuse and status not in {*_AWAY, _NOT_FOUND} and status < _SERVER:
                message = f"the registry at {self.shown} refused {what} ({said})"
                raise RegistryRefusedError(message) from error
            self._set_away(said, what, error)
        except httpx2.HTTPError as error:
            self._set_away(f"{type(error).__name__}: {error}", what, error)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            # 200 with a login page of a proxy, or JSON of another shape.
            self._set_away(f"an answer that is no registry's ({error})", what, error)

    def _set_away(self, said: str, what: str, error: Exception) -> NoReturn:
        message = (
            f"the registry at {self.shown} gave no usable answer for {what} ({said}); "
            "start it or correct its URL"
        )
        self._away = (time.monotonic() + _AWAY_FOR_S, message)
        raise RegistryAwayError(message) from error

    def _accept(self, schema_id: int, answer: Schema) -> WriterSchema:
        known = self._known.get(schema_id)
        if known is not None:
            return known
        kind, text = answer.schema_type or "AVRO", answer.schema_str
        if kind != "AVRO" or text is None:
            message = f"schema {schema_id} is {kind}, not Avro"
            raise UnsafeSchemaError(message)
        if answer.references:
            message = f"schema {schema_id} has references, which are not supported"
            raise UnsafeSchemaError(message)
        found = _writer(schema_id, str(text))
        if found is None:
            message = f"the text of schema {schema_id} is no JSON: {str(text)[:100]}"
            raise UnsafeSchemaError(message)
        self._known[schema_id] = found
        self._to_disk(found)
        return found

    def _take_token(self, now: float) -> None:
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _PER_S)
        self._filled = now
        if self._tokens < 1:
            message = (
                f"more than {_PER_S:.0f} unknown schema ids a second: records wait, so that the "
                f"registry at {self.shown} is not flooded"
            )
            raise RegistryAwayError(message)
        self._tokens -= 1

    def _from_disk(self, schema_id: int) -> WriterSchema | None:
        if self._folder is None:
            return None
        try:
            kept = json.loads((self._folder / f"{schema_id}.json").read_text(encoding="utf-8"))
            found = _writer(schema_id, kept["text"])
            whole = found is not None and found.sha256.hex() == kept["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent or damaged: the registry is asked
        return found if whole else None

    def _to_disk(self, found: WriterSchema) -> None:
        """Keep a schema; a disk that cannot be written costs only the cache."""
        if self._folder is None:
            return
        content = json.dumps({"id": found.id, "sha256": found.sha256.hex(), "text": found.text})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._folder / f"{found.id}.json")
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            return


def _writer(schema_id: int, text: str) -> WriterSchema | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    digest = hashlib.sha256(text.encode()).digest()
    return WriterSchema(schema_id, text, parsed, digest)


def _same(theirs: str | None, ours: str) -> bool:
    """Return whether two texts are the same JSON; registries may lay text out anew."""
    try:
        left: Any = json.loads(theirs or "null")
    except ValueError:
        return False
    return bool(left == json.loads(ours))
