"""The registry's answers are told apart, kept on disk, and asked for no more than needed."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from noskew.schemas import files
from noskew.schemas.registry import Registry
from noskew.schemas.safety import UnsafeSchemaError
from noskew.schemas.writer import RegistryAwayError, RegistryRefusedError, UnknownSchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXT = files.text("transaction")
Answer = tuple[int, Any]


class Server:
    """An HTTP server whose answers a test decides: (method, path, body) -> (status, JSON)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.answer: Callable[[str, str, Any], Answer] = unknown
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                path = self.path.partition("?")[0]
                outer.requests.append((self.command, path, body))
                status, content = outer.answer(self.command, path, body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                with suppress(BrokenPipeError):  # the client may have given up
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 -- the name http.server calls

            def log_message(self, *_: Any) -> None:
                """Keep the test's output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def unknown(_method: str, _path: str, _body: Any) -> Answer:
    return 404, {"error_code": 40403, "message": "Schema not found"}


def known(*_: Any) -> Answer:
    return 200, {"schema": TEXT}


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


@pytest.fixture
def registry(server: Server, tmp_path: Path) -> Iterator[Registry]:
    one = Registry(server.url, tmp_path)
    yield one
    one.close()


def test_a_known_id_is_asked_for_once_and_survives_the_registry_on_disk(
    server: Server, registry: Registry, tmp_path: Path
) -> None:
    server.answer = known
    first = registry.schema(7)
    assert first.parsed == files.load("transaction")
    assert registry.schema(7) is first
    assert len(server.requests) == 1
    server.answer = lambda *_: (503, {})
    again = Registry(server.url, tmp_path)
    assert again.schema(7) == first
    assert len(server.requests) == 1
    with pytest.raises(RegistryAwayError):
        again.schema(8)
    again.close()


def test_the_cache_of_one_registry_is_not_that_of_another(server: Server, tmp_path: Path) -> None:
    server.answer = known
    one, other = Registry(server.url, tmp_path), Registry(server.url + "/other", tmp_path)
    one.schema(7)
    other.schema(7)
    assert len(server.requests) == 2
    one.close()
    other.close()


@pytest.mark.parametrize("damage", ["", "{}", '{"text": 5}', '{"text": "{}", "sha256": "00"}'])
def test_a_damaged_cache_file_is_asked_for_again(
    server: Server, tmp_path: Path, damage: str
) -> None:
    server.answer = known
    one = Registry(server.url, tmp_path)
    one.schema(7)
    next(tmp_path.rglob("7.json")).write_text(damage)
    again = Registry(server.url, tmp_path)
    assert again.schema(7) == one.schema(7)
    assert len(server.requests) == 2
    one.close()
    again.close()


def test_an_unknown_id_is_known_once_it_is_registered(server: Server, registry: Registry) -> None:
    with pytest.raises(UnknownSchemaError, match="99"):
        registry.schema(99)
    server.answer = known
    assert registry.schema(99).text == TEXT
    assert len(server.requests) == 2


def test_what_can_be_no_id_is_not_asked_for(server: Server, registry: Registry) -> None:
    for schema_id in (0, -1, 2**31):
        with pytest.raises(UnknownSchemaError):
            registry.schema(schema_id)
    assert server.requests == []


def test_random_ids_do_not_flood_the_registry(server: Server, registry: Registry) -> None:
    began_s = time.monotonic()
    waited = 0
    for schema_id in range(1, 1500):
        try:
            registry.schema(schema_id)
        except RegistryAwayError:
            waited += 1
        except UnknownSchemaError:
            pass
    assert len(server.requests) <= 201 + 100 * (time.monotonic() - began_s)
    assert waited == 1499 - len(server.requests)


AWAY: list[tuple[Answer, str]] = [
    ((500, {"error_code": 50001, "message": "store"}), "50001"),
    ((502, b"<html>bad gateway</html>"), "502"),
    ((429, {"error_code": 429, "message": "slow down"}), "429"),
    ((401, {"error_code": 40101, "message": "who"}), "user and password"),
    ((403, {"error_code": 40301, "message": "no"}), "user and password"),
    ((200, b"<html>log in</html>"), "no registry's"),
    ((200, [1, 2]), "no registry's"),
    ((404, b"<html>nginx</html>"), "404"),
    ((400, {"error_code": 400, "message": "bad"}), "HTTP 400"),
    ((405, {"error_code": 405, "message": "method"}), "HTTP 405"),
    ((422, {"error_code": 42201, "message": "invalid"}), "42201"),
]


@pytest.mark.parametrize(("answer", "said"), AWAY)
def test_no_usable_answer_means_away_and_is_not_repeated_at_once(
    server: Server, registry: Registry, answer: Answer, said: str
) -> None:
    server.answer = lambda *_: answer
    with pytest.raises(RegistryAwayError, match=said):
        registry.schema(7)
    with pytest.raises(RegistryAwayError, match=said):
        registry.schema(8)
    assert len(server.requests) == 1


def test_a_refused_connection_is_away_and_hides_the_password(tmp_path: Path) -> None:
    closed = Server()
    closed.stop()
    one = Registry(closed.url.replace("//", "//anna:secret@"), tmp_path)
    with pytest.raises(RegistryAwayError, match="ConnectError") as caught:
        one.schema(7)
    assert "secret" not in str(caught.value)
    one.close()


def test_a_registry_that_hangs_is_away_after_the_timeout(server: Server, tmp_path: Path) -> None:
    def hang(*_: Any) -> Answer:
        server.release.wait(30)
        return known()

    server.answer = hang
    one = Registry(server.url, tmp_path, timeout_s=0.05)
    with pytest.raises(RegistryAwayError, match="Timeout"):
        one.schema(7)
    assert len(server.requests) == 1
    one.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"schema": "syntax = proto3;", "schemaType": "PROTOBUF"}, "PROTOBUF"),
        ({"schema": "no json"}, "no JSON"),
        (
            {"schema": TEXT, "references": [{"name": "a", "subject": "b", "version": 1}]},
            "references",
        ),
    ],
)
def test_what_is_no_avro_schema_is_unsafe(
    server: Server, registry: Registry, content: dict[str, Any], said: str
) -> None:
    server.answer = lambda *_: (200, content)
    with pytest.raises(UnsafeSchemaError, match=said):
        registry.schema(7)


def test_registering_asks_first_and_adds_no_version_for_another_layout(
    server: Server, registry: Registry
) -> None:
    latest = {"subject": "s", "version": 3, "id": 12, "schema": json.dumps(json.loads(TEXT))}
    server.answer = lambda _m, path, _b: (
        (200, latest) if "latest" in path else unknown("", "", None)
    )
    assert registry.register("s", TEXT) == 12
    assert [one[:2] for one in server.requests] == [
        ("POST", "/subjects/s"),
        ("GET", "/subjects/s/versions/latest"),
    ]


def test_registering_what_is_there_only_looks(server: Server, registry: Registry) -> None:
    server.answer = lambda *_: (200, {"subject": "s", "version": 1, "id": 5, "schema": TEXT})
    assert registry.register("s", TEXT) == 5
    assert len(server.requests) == 1


def test_registering_what_is_absent_sends_the_text(server: Server, registry: Registry) -> None:
    def answer(method: str, path: str, _body: Any) -> Answer:
        return (
            (200, {"id": 31})
            if (method, path) == ("POST", "/subjects/s/versions")
            else unknown("", "", 0)
        )

    server.answer = answer
    assert registry.register("s", TEXT) == 31
    assert server.requests[-1][2]["schema"] == TEXT


def test_a_refused_registration_gives_the_registrys_reason(
    server: Server, registry: Registry
) -> None:
    def answer(method: str, path: str, _body: Any) -> Answer:
        refused = 409, {"error_code": 409, "message": "READER_FIELD_MISSING_DEFAULT_VALUE"}
        return refused if (method, path) == ("POST", "/subjects/s/versions") else unknown("", "", 0)

    server.answer = answer
    with pytest.raises(RegistryRefusedError, match="READER_FIELD_MISSING"):
        registry.register("s", TEXT)


def test_a_refused_lookup_of_a_subject_is_no_usable_answer(
    server: Server, registry: Registry
) -> None:
    server.answer = lambda *_: (405, {"error_code": 405, "message": "method"})
    with pytest.raises(RegistryAwayError, match="HTTP 405"):
        registry.subjects_has("s")
    with pytest.raises(RegistryAwayError, match="HTTP 405"):
        registry.versions("s")
    with pytest.raises(RegistryRefusedError, match="HTTP 405"):
        registry.register("s", TEXT)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("localhost:8081", "localhost:8081"),
        ("anna:secret@localhost:8081", "localhost:8081"),
        ("", ""),
        ("http://", "http://"),
        ("ftp://anna:secret@host", "ftp://host"),
        ("mock://x", "mock://x"),
        ("http://anna:secret@[::1", "http://[::1"),
        ("http://host:port", "http://host:port"),
        ("http://one:8081,two:8081", "http://one:8081,two:8081"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(ValueError, match="give one like http://") as caught:
        Registry(url, None)
    assert f"{shown!r} is no address" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_versions_are_read_and_unusable_ones_left_out(server: Server, registry: Registry) -> None:
    def answer(_method: str, path: str, _body: Any) -> Answer:
        if path.endswith("/versions"):
            return 200, [1, 2]
        text = TEXT if path.endswith("1") else "no json"
        return 200, {"subject": "s", "version": 1, "id": 40 + int(path[-1]), "schema": text}

    server.answer = answer
    assert registry.subjects_has("s")
    assert [one.id for one in registry.versions("s")] == [41]
    asked = len(server.requests)
    assert registry.schema(41).text == TEXT
    assert len(server.requests) == asked
    server.answer = unknown
    assert not registry.subjects_has("t")
    assert registry.versions("t") == []


def test_a_cache_that_cannot_be_written_costs_only_the_cache(
    server: Server, tmp_path: Path
) -> None:
    server.answer = known
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    one = Registry(server.url, blocked)
    assert one.schema(7).id == 7
    one.close()
