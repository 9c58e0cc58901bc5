"""A schema registry inside this process: the small part of Confluent's API that we speak.

For `noskew demo` where Maven is missing, and for tests that need a registry at once. It keeps
schemas in memory, checks no compatibility, and answers errors with the real one's codes.

    POST /subjects/{subject}/versions           register; the id of an equal schema is given again
    POST /subjects/{subject}                    look up: which version is this schema?
    GET  /subjects, /subjects/{subject}/versions, /subjects/{subject}/versions/{number or latest}
    GET  /schemas/ids/{id}
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_SUBJECT_UNKNOWN: Final = 40401
_VERSION_UNKNOWN: Final = 40402
_SCHEMA_UNKNOWN: Final = 40403
_SCHEMA_INVALID: Final = 42201

_ROUTES: Final = (
    ("GET", re.compile(r"/subjects/?"), "subjects"),
    ("GET", re.compile(r"/subjects/([^/]+)/versions/?"), "versions"),
    ("GET", re.compile(r"/subjects/([^/]+)/versions/([^/]+)"), "version"),
    ("GET", re.compile(r"/schemas/ids/(\d+)"), "schema"),
    ("POST", re.compile(r"/subjects/([^/]+)/versions/?"), "register"),
    ("POST", re.compile(r"/subjects/([^/]+)/?"), "look_up"),
)


class _Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """A request is answered with an error: Confluent's code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Schemas:
    """What is registered. Ids are global and begin at 1, versions are per subject."""

    texts: list[str] = field(default_factory=list)
    """The schema of id i is ``texts[i - 1]``."""
    ids: dict[str, int] = field(default_factory=dict)
    """By the schema's JSON without layout."""
    by_subject: dict[str, list[int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def subjects(self) -> list[str]:
        return sorted(self.by_subject)

    def versions(self, subject: str) -> list[int]:
        return list(range(1, len(self._ids_of(subject)) + 1))

    def version(self, subject: str, number: str) -> dict[str, Any]:
        ids = self._ids_of(subject)
        at = len(ids) if number in {"latest", "-1"} else int(number) if number.isdigit() else 0
        if not 1 <= at <= len(ids):
            raise _Refused(_VERSION_UNKNOWN, f"Version {number} not found.")
        return self._describe(subject, at)

    def schema(self, number: str) -> dict[str, Any]:
        at = int(number)
        if not 1 <= at <= len(self.texts):
            raise _Refused(_SCHEMA_UNKNOWN, f"Schema {at} not found")
        return {"schema": self.texts[at - 1]}

    def register(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        text, plain = _schema_of(body)
        schema_id = self.ids.get(plain)
        if schema_id is None:
            self.texts.append(text)
            schema_id = self.ids[plain] = len(self.texts)
        versions = self.by_subject.setdefault(subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return {"id": schema_id}

    def look_up(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        ids = self._ids_of(subject)
        schema_id = self.ids.get(_schema_of(body)[1])
        if schema_id not in ids:
            raise _Refused(_SCHEMA_UNKNOWN, "Schema not found")
        return self._describe(subject, ids.index(schema_id) + 1)

    def _ids_of(self, subject: str) -> list[int]:
        if subject not in self.by_subject:
            raise _Refused(_SUBJECT_UNKNOWN, f"Subject '{subject}' not found.")
        return self.by_subject[subject]

    def _describe(self, subject: str, at: int) -> dict[str, Any]:
        schema_id = self.by_subject[subject][at - 1]
        text = self.texts[schema_id - 1]
        return {"subject": subject, "version": at, "id": schema_id, "schema": text}


class _Handler(BaseHTTPRequestHandler):
    """One connection. The server hands the schemas over as a class attribute."""

    protocol_version = "HTTP/1.1"  # clients keep their connection
    schemas: _Schemas

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: standard error belongs to the program around us."""

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = HTTPStatus.OK
        answer: object
        try:
            answer = self._find(method, urlsplit(self.path).path, body)
        except _Refused as refused:
            status = HTTPStatus(refused.code // 100 if refused.code > 999 else refused.code)
            answer = {"error_code": refused.code, "message": str(refused)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _find(self, method: str, path: str, body: bytes) -> object:
        for verb, pattern, name in _ROUTES:
            found = pattern.fullmatch(path)
            if verb == method and found:
                words: list[Any] = [unquote(word) for word in found.groups()]
                if verb == "POST":
                    words.append(_json(body))
                with self.schemas.lock:
                    return getattr(self.schemas, name)(*words)
        raise _Refused(HTTPStatus.NOT_FOUND, f"{method} {path}: not a path of this registry")


class MockRegistry:
    """The registry on a free loopback port, served by a thread; ``url`` once started."""

    def __init__(self) -> None:
        handler = type("Handler", (_Handler,), {"schemas": _Schemas()})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="mock-registry", daemon=True
        )

    @property
    def url(self) -> str:
        """The address for Confluent's client."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise _Refused(_SCHEMA_INVALID, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise _Refused(_SCHEMA_INVALID, "the body is not a JSON object")
    return value


def _schema_of(body: dict[str, Any]) -> tuple[str, str]:
    """Return the schema of a request as it was written, and without its layout."""
    text = body.get("schema")
    if not isinstance(text, str):
        raise _Refused(_SCHEMA_INVALID, 'the body has no string "schema"')
    try:
        return text, json.dumps(json.loads(text), separators=(",", ":"))
    except ValueError as error:
        raise _Refused(_SCHEMA_INVALID, f"Invalid schema: {error}") from error
