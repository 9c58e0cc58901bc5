"""How each server of the local stack is configured, started and asked whether it is ready.

Everything listens on 127.0.0.1 only and keeps its data under the stack's folder. Settings that
are not Kafka's, Redis's or Apicurio's defaults say why (measured: `notes/servers.md` of the
project's shared folder).
"""

from __future__ import annotations

import base64
import socket
import subprocess
import urllib.request
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from noskew.infra import programs
from noskew.infra.processes import StackError, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HOST: Final = "127.0.0.1"

_KAFKA_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
# A fixed list, so that the ports may change over kept data.
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{kafka},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{kafka}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}

# A topic that nobody created is a mistake that should show.
auto.create.topics.enable=false
# Simulated payments may be years old: nothing here is deleted by age.
log.retention.ms=-1

# One broker.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After kill -9 a broker is refused until its old session ends: 13 s with the defaults.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
# Its default alone, 128 MB, is a quarter of the heap.
log.cleaner.dedupe.buffer.size=4000000
"""

_LOG4J_PROPERTIES: Final = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c: %m%n
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
"""

_JAVA: Final = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")


@dataclass(frozen=True, slots=True)
class Site:
    """What a server is told: where its files are, which ports are its own, Redis's password."""

    directory: Path
    ports: Mapping[str, int]
    redis_password: str | None = None

    def data(self, name: str) -> Path:
        """Return the folder of a server's data, there from now on."""
        folder = self.directory / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        """Return the file of a server's log; its folder is there from now on."""
        folder = self.directory / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


class Recipe(Protocol):
    """One kind of server: which ports it takes, how it is started, when it is ready."""

    ports: Mapping[str, int]
    """The ports it needs by name, each with its usual number; 0: any."""
    limit_s: float
    """How long it may take to be ready."""

    def command(self, site: Site) -> list[str]:
        """Return what to run; data and configuration are in place after this call."""
        ...

    def readiness(self, site: Site) -> Callable[[], bool]:
        """Return a check whether it is ready; made before the start; OSError means not yet."""
        ...


class Kafka:
    """Apache Kafka in KRaft mode: broker and controller in one JVM."""

    ports: Mapping[str, int] = {"kafka": 9092, "controller": 0}
    limit_s = 90.0

    def command(self, site: Site) -> list[str]:
        """Write the configuration, format the storage once, return the broker's command."""
        data = site.data("kafka")
        conf = site.directory / "conf"
        conf.mkdir(exist_ok=True)
        properties = conf / "kafka.properties"
        properties.write_text(_KAFKA_PROPERTIES.format(host=HOST, data=data, **site.ports))
        log4j = conf / "log4j2.properties"
        log4j.write_text(_LOG4J_PROPERTIES)
        java, classes = programs.java(), f"{programs.jars()}/kafka/*"
        if not (data / "meta.properties").exists():
            _format(java, classes, properties, site.log("kafka-format"))
        return [
            java,
            "-Xms128m",
            "-Xmx512m",
            *_JAVA,
            f"-XX:ErrorFile={site.log('kafka-crash')}",
            f"-Dlog4j2.configurationFile=file:{log4j}",
            "-cp",
            classes,
            "kafka.Kafka",
            str(properties),
        ]

    def readiness(self, site: Site) -> Callable[[], bool]:
        """Ready: it said so in its log since now, and its port answers."""
        log = site.log("kafka")
        begin = log.stat().st_size if log.exists() else 0

        def is_ready() -> bool:
            with log.open("rb") as file:
                file.seek(begin)
                return b"Kafka Server started" in file.read() and _answers(site.ports["kafka"])

        return is_ready


class Redis:
    """redis-server without persistence: rows are rebuilt from the topics, never from its disk."""

    ports: Mapping[str, int] = {"redis": 6379}
    limit_s = 15.0

    def command(self, site: Site) -> list[str]:
        """Return the server's command; the password goes through a file, not the process list."""
        conf = site.directory / "conf"
        conf.mkdir(exist_ok=True)
        file = conf / "redis.conf"
        lines = [
            f"bind {HOST}",
            f"port {site.ports['redis']}",
            f'dir "{site.data("redis")}"',
            "daemonize no",
            'save ""',
            "appendonly no",
            # A full Redis must refuse rows aloud, not forget some.
            "maxmemory-policy noeviction",
        ]
        if site.redis_password is not None:
            quoted = site.redis_password.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'requirepass "{quoted}"')
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n")
        return [programs.redis_server(), str(file)]

    def readiness(self, site: Site) -> Callable[[], bool]:
        """Ready: it answers PING, if only by asking for a password."""

        def is_ready() -> bool:
            with socket.create_connection((HOST, site.ports["redis"]), timeout=1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith((b"+PONG", b"-NOAUTH"))

        return is_ready


class Registry:
    """Apicurio Registry on an H2 file; speaks Confluent's API under /apis/ccompat/v7."""

    ports: Mapping[str, int] = {"registry": 8081, "registry_management": 0}
    limit_s = 120.0

    def command(self, site: Site) -> list[str]:
        """Return the server's command."""
        jar = programs.jars() / "registry" / "quarkus-run.jar"
        settings = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": site.ports["registry"],
            # Its default, 9000, makes two stacks collide.
            "quarkus.management.host": HOST,
            "quarkus.management.port": site.ports["registry_management"],
            "quarkus.http.access-log.enabled": "false",
            # Its own default is to check nothing.
            "apicurio.rules.global.compatibility": "BACKWARD",
            "apicurio.datasource.url": f"jdbc:h2:file:{site.data('registry')}/registry",
            "apicurio.datasource.jdbc.initial-size": 2,
            "apicurio.datasource.jdbc.min-size": 2,
            "apicurio.datasource.jdbc.max-size": 10,
        }
        return [
            programs.java(),
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",  # starts in half the time
            *_JAVA,
            f"-XX:ErrorFile={site.log('registry-crash')}",
            *(f"-D{name}={value}" for name, value in settings.items()),
            "-jar",
            str(jar),
        ]

    def readiness(self, site: Site) -> Callable[[], bool]:
        """Ready: it lists its subjects."""
        address = f"http://{HOST}:{site.ports['registry']}/apis/ccompat/v7/subjects"

        def is_ready() -> bool:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)

        return is_ready


RECIPES: Final[Mapping[str, Recipe]] = {
    "kafka": Kafka(),
    "redis": Redis(),
    "registry": Registry(),
}
"""Every server of the stack by its name."""


def _format(java: str, classes: str, properties: Path, log: Path) -> None:
    """Make Kafka's storage folder a cluster of its own."""
    # A cluster id is a UUID in base64; Kafka refuses one that begins with a dash.
    cluster = "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    with log.open("wb") as output:
        code = subprocess.run(  # noqa: S603 - our own java on our own jars
            [java, "-XX:TieredStopAtLevel=1", "-cp", classes, *tool],
            stdout=output,
            stderr=output,
            check=False,
            timeout=60,
        ).returncode
    if code != 0:
        message = f"Kafka's storage could not be formatted (exit {code}); {log}:\n{tail(log)}"
        raise StackError(message)


def _answers(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True
