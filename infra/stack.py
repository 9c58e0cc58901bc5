"""The local stack: real Kafka, Redis and a schema registry on this host, without Docker.

    stack = up(Path(".noskew/stack"), ports="default")
    stack.brokers, stack.registry, stack.redis
    down(Path(".noskew/stack"), keep_data=False)

The servers outlive the process that starts them; a folder holds everything about them:
``state.json`` (pids with start times, ports; replaced in one step), ``logs/``, ``data/``,
``conf/``. One folder is one stack; several can run at once.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote

from noskew.infra.processes import Process, StackError, await_ready, free_port, is_free, spawn
from noskew.infra.programs import MavenMissingError, exclusive
from noskew.infra.servers import HOST, RECIPES, Site

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "SERVERS",
    "MavenMissingError",
    "Ports",
    "Stack",
    "StackError",
    "down",
    "start_redis",
    "status",
    "up",
]

Ports: TypeAlias = Literal["default", "free"]
"""``default``: 9092, 6379 and 8081 where free, else any free port; ``free``: any free port."""

SERVERS: Final = tuple(RECIPES)
"""The names of the servers: kafka, redis, registry."""

_STATE_VERSION: Final = 1


@dataclass(slots=True)
class Stack:
    """A started stack: where its servers are, and the means to disturb them one by one.

    The methods that stop and start servers are for tests and demonstrations; they keep
    ``state.json`` true, so that another process may do the next step.
    """

    directory: Path
    ports: dict[str, int]
    processes: dict[str, Process] = field(default_factory=dict)
    redis_password: str | None = None
    complete: bool = False
    """True once all servers were ready; false after a start that was broken off."""
    notes: tuple[str, ...] = ()
    """What a user should know about this start; not kept."""
    _saving: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def brokers(self) -> str:
        """Kafka's bootstrap address."""
        return f"{HOST}:{self.ports['kafka']}"

    @property
    def registry(self) -> str:
        """The registry's address for Confluent's client."""
        return f"http://{HOST}:{self.ports['registry']}/apis/ccompat/v7"

    @property
    def redis(self) -> str:
        """Redis's address, with its password if it has one."""
        password = "" if self.redis_password is None else f":{quote(self.redis_password, safe='')}@"
        return f"redis://{password}{HOST}:{self.ports['redis']}/0"

    @property
    def alive(self) -> dict[str, bool]:
        """Whether each server's process exists now."""
        return {name: name in self.processes and self.processes[name].alive for name in SERVERS}

    @property
    def pids(self) -> dict[str, int]:
        """The pid of each server that was started; look at ``alive`` too."""
        return {name: process.pid for name, process in self.processes.items()}

    def log(self, name: str) -> Path:
        """Return the file that a server writes its log to."""
        return self._site().log(_known(name))

    def describe(self) -> dict[str, object]:
        """Return addresses, pids, logs and liveness as plain values, for JSON and for tables."""
        alive = self.alive
        address = {"kafka": self.brokers, "redis": self.redis, "registry": self.registry}
        return {
            name: {
                "address": address[name],
                "alive": alive[name],
                "pid": self.pids.get(name),
                "log": str(self.log(name)),
            }
            for name in SERVERS
        }

    def restart(self, name: str, *, kill: bool = False) -> None:
        """Stop a server and start it again: same ports, same data, another pid.

        Raises:
            StackError: it did not end or did not come back.

        """
        self.stop_server(name, kill=kill)
        self.start_server(name)

    def stop_server(self, name: str, *, kill: bool = False) -> None:
        """End one server, with SIGKILL at once if ``kill``; nothing if it is not running."""
        if process := self.processes.get(_known(name)):
            process.stop(kill=kill)

    def start_server(self, name: str) -> None:
        """Start one server that was stopped and wait until it is ready.

        Raises:
            StackError: it ended or was not ready in time; its process is gone then.

        """
        if self.alive[_known(name)]:
            return
        recipe, site = RECIPES[name], self._site()
        command, is_ready = recipe.command(site), recipe.readiness(site)
        process = spawn(command, log=site.log(name))
        self.processes[name] = process
        self._save()
        try:
            await_ready(name, process, is_ready, log=site.log(name), limit_s=recipe.limit_s)
        except BaseException:
            process.stop(kill=True)
            raise

    def pause(self, name: str) -> None:
        """Freeze one server (SIGSTOP): its connections stay open and nothing answers."""
        self.processes[_known(name)].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a paused server go on."""
        self.processes[_known(name)].signal(signal.SIGCONT)

    def _site(self) -> Site:
        return Site(self.directory, self.ports, self.redis_password)

    def _start_all(self, names: Iterable[str]) -> None:
        """Start the servers side by side; if one fails, none is left running."""
        try:
            with ThreadPoolExecutor(thread_name_prefix="stack") as pool:
                starts = [pool.submit(self.start_server, name) for name in names]
                try:
                    for start in starts:
                        start.result()
                except BaseException:
                    # The threads that wait for these see them end, and end too.
                    self._stop_all(kill=True)
                    raise
        except BaseException:
            # Once more, for what a thread started after it was told to be stopped.
            self._stop_all(kill=True)
            raise
        self.complete = True
        self._save()

    def _stop_all(self, *, kill: bool = False) -> None:
        with ThreadPoolExecutor(thread_name_prefix="stack") as pool:
            for stop in [
                pool.submit(process.stop, kill=kill) for process in tuple(self.processes.values())
            ]:
                stop.result()

    def _save(self) -> None:
        """Replace ``state.json`` in one step, so that a reader never sees half of it."""
        with self._saving:
            state = {
                "version": _STATE_VERSION,
                # For readers that only want to know where the servers are.
                "brokers": self.brokers,
                "registry": self.registry,
                "redis": self.redis,
                "ports": self.ports,
                "redis_password": self.redis_password,
                "complete": self.complete,
                "processes": {name: asdict(process) for name, process in self.processes.items()},
            }
            partial = _state_file(self.directory).with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_text(json.dumps(state, indent=2) + "\n")
            partial.replace(_state_file(self.directory))


def up(directory: Path, *, ports: Ports = "free", redis_password: str | None = None) -> Stack:
    """Start the stack of a folder, or find it running; every server is ready afterwards.

    A stack of which some server died, or whose start was broken off, is stopped first and
    started anew over its data. What a user should know (already up, other ports than usual) is
    in the result's ``notes``.

    Raises:
        MavenMissingError: the jars must be fetched first and Maven is missing.
        StackError: no Java, no redis-server, or a server did not become ready; none runs then.

    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory / "lock"):
        old = status(directory)
        notes = []
        if old is not None:
            dead = [name for name, alive in old.alive.items() if not alive]
            if old.complete and not dead:
                old.notes = (f"the stack of {directory} was already up",)
                return old
            old._stop_all()  # noqa: SLF001 - the same class, another instance
            _state_file(directory).unlink()
            what = f"{', '.join(dead)} had died" if old.complete else "a start was broken off"
            notes.append(f"{what}; all servers were started anew")
        chosen = _choose_ports(ports, notes)
        stack = Stack(directory, chosen, redis_password=redis_password)
        try:
            stack._start_all(SERVERS)  # noqa: SLF001 - the class's own constructor, in effect
        except BaseException:
            _state_file(directory).unlink(missing_ok=True)
            raise
        stack.notes = tuple(notes)
        return stack


def down(directory: Path, *, keep_data: bool = False) -> bool:
    """Stop the stack of a folder by pid; the logs stay, the data only if ``keep_data``.

    Returns whether there was one. Raises StackError if a process does not end.
    """
    directory = directory.absolute()
    if not directory.exists():
        return False
    with exclusive(directory / "lock"):
        stack = status(directory)
        if stack is not None:
            stack._stop_all()  # noqa: SLF001 - a stack is stopped here only
            _state_file(directory).unlink()
        if not keep_data:
            shutil.rmtree(directory / "data", ignore_errors=True)
    return stack is not None


def status(directory: Path) -> Stack | None:
    """Return the stack of a folder as its state file has it; None if it was never started.

    Its servers need not be alive: see ``Stack.alive``.

    Raises:
        StackError: the state file is not one of ours.

    """
    file = _state_file(directory.absolute())
    try:
        state = json.loads(file.read_text())
        version = state["version"]
        if version != _STATE_VERSION:
            message = (
                f"{file} is of version {version}, this noskew writes {_STATE_VERSION}; "
                "stop that stack with the noskew that started it"
            )
            raise StackError(message)
        return Stack(
            directory.absolute(),
            state["ports"],
            {name: Process(**process) for name, process in state["processes"].items()},
            state["redis_password"],
            complete=state["complete"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as broken:
        message = f"{file} is not a state file of a stack ({broken!r}); remove it"
        raise StackError(message) from broken


def start_redis(directory: Path) -> Stack:
    """Start Redis alone on a free port, for what needs no Kafka; stop it with ``down``."""
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    stack = Stack(directory, _choose_ports("free", []))
    stack.start_server("redis")
    return stack


def _choose_ports(ports: Ports, notes: list[str]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for recipe in RECIPES.values():
        for name, usual in recipe.ports.items():
            if ports == "default" and usual and is_free(usual):
                chosen[name] = usual
                continue
            chosen[name] = free_port(but=chosen.values())
            if ports == "default" and usual:
                notes.append(f"port {usual} is taken: {name} listens on {chosen[name]}")
    return chosen


def _known(name: str) -> str:
    if name not in SERVERS:
        message = f"{name!r} is no server of the stack; there are {', '.join(SERVERS)}"
        raise StackError(message)
    return name


def _state_file(directory: Path) -> Path:
    return directory / "state.json"
