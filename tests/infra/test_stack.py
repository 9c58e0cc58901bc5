"""The local stack on real servers: start, status, disturbance, stop, and what goes wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import until

from noskew.infra import processes, programs, servers
from noskew.infra import stack as stacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = '{"type":"record","name":"Payment","fields":[{"name":"id","type":"long"}]}'


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.Stack]:
    """A stack of this module's own, to be disturbed."""
    directory = tmp_path_factory.mktemp("own")
    try:
        yield stacks.up(directory, redis_password='pass "word"\\')
    except stacks.MavenMissingError as missing:
        pytest.skip(str(missing))
    finally:
        stacks.down(directory)


def link(address: str) -> Any:
    # Any: redis-py types an answer as sync or async at once.
    return redis.Redis.from_url(address, protocol=2)


def make_topic(brokers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(10)


def write(brokers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": brokers, "message.timeout.ms": 20_000})
    errors: list[object] = []
    producer.produce(topic, value, partition=1, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(30) == 0
    assert errors == [None]


def read(brokers: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader"})
    try:
        consumer.assign([TopicPartition(topic, 1, 0)])
        (message,) = consumer.consume(1, 20)
        return message.value()
    finally:
        consumer.close()


@pytest.mark.stack
def test_a_started_stack_serves_all_three(own: stacks.Stack, topic_name: str) -> None:
    make_topic(own.brokers, topic_name)
    write(own.brokers, topic_name, b"paid")
    client = SchemaRegistryClient({"url": own.registry})
    number = client.register_schema("payments-value", Schema(SCHEMA, "AVRO"))
    rows = link(own.redis)

    assert own.alive == {"kafka": True, "redis": True, "registry": True}
    assert read(own.brokers, topic_name) == b"paid"
    assert json.loads(client.get_schema(number).schema_str or "") == json.loads(SCHEMA)
    assert rows.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    rows.close()
    client.close()


@pytest.mark.stack
def test_redis_without_its_password_is_refused(own: stacks.Stack) -> None:
    nobody = redis.Redis(port=own.ports["redis"], protocol=2, retry=Retry(NoBackoff(), 0))

    with pytest.raises(redis.AuthenticationError):
        nobody.ping()

    nobody.close()


@pytest.mark.stack
def test_every_port_listens_on_loopback_only(own: stacks.Stack) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # No packet is sent: this only asks which address packets would leave from.
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this host has no address but loopback")
        outside = probe.getsockname()[0]
    for name, port in own.ports.items():
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with socket.socket() as link:
            link.settimeout(5)
            assert link.connect_ex((outside, port)) != 0, f"{name} listens on {outside}:{port}"


@pytest.mark.stack
def test_status_reads_the_same_stack_back(own: stacks.Stack) -> None:
    found = stacks.status(own.directory)

    assert found is not None
    assert found.describe() == own.describe()
    assert (found.brokers, found.registry, found.redis) == (own.brokers, own.registry, own.redis)
    state = own.directory / "state.json"
    kept = json.loads(state.read_text())
    assert [kept[name] for name in ("brokers", "registry", "redis")] == [
        own.brokers,
        own.registry,
        own.redis,
    ]
    assert state.stat().st_mode & 0o077 == 0, "the state file holds a password"


@pytest.mark.stack
def test_up_when_up_changes_nothing_and_says_so(own: stacks.Stack) -> None:
    again = stacks.up(own.directory)

    assert again.pids == own.pids
    assert again.notes == (f"the stack of {own.directory} was already up",)


@pytest.mark.stack
@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_keeps_ports_and_data(own: stacks.Stack, topic_name: str, kill: bool) -> None:
    make_topic(own.brokers, topic_name)
    write(own.brokers, topic_name, b"before")
    client = SchemaRegistryClient({"url": own.registry})
    number = client.register_schema(topic_name, Schema(SCHEMA, "AVRO"))
    before = own.pids

    for name in stacks.SERVERS:
        own.restart(name, kill=kill)

    assert all(own.pids[name] != before[name] for name in stacks.SERVERS)
    assert read(own.brokers, topic_name) == b"before"
    assert client.get_schema(number).schema_str
    client.close()


@pytest.mark.stack
def test_a_paused_server_is_silent_and_answers_once_resumed(own: stacks.Stack) -> None:
    rows = redis.Redis.from_url(
        own.redis, socket_timeout=0.2, retry=Retry(NoBackoff(), 0), protocol=2
    )
    rows.ping()

    own.pause("redis")
    with pytest.raises(redis.TimeoutError):
        rows.ping()
    own.resume("redis")

    until(lambda: bool(link_answers(own.redis)))
    rows.close()


def link_answers(address: str) -> bool:
    rows = link(address)
    try:
        return bool(rows.ping())
    finally:
        rows.close()


@pytest.mark.stack
def test_a_stack_with_a_dead_server_is_started_anew_over_its_data(
    own: stacks.Stack, topic_name: str
) -> None:
    make_topic(own.brokers, topic_name)
    write(own.brokers, topic_name, b"kept")
    own.stop_server("redis", kill=True)
    found = stacks.status(own.directory)
    assert found is not None
    assert found.alive == {"kafka": True, "redis": False, "registry": True}

    anew = stacks.up(own.directory, redis_password=own.redis_password)

    assert anew.notes == ("redis had died; all servers were started anew",)
    assert all(anew.alive.values())
    assert not any(own.alive.values()), "the old servers are gone"
    assert read(anew.brokers, topic_name) == b"kept"
    own.ports, own.processes = anew.ports, anew.processes


def test_down_stops_everything_and_keeps_the_logs(tmp_path: Path) -> None:
    stack = stacks.start_redis(tmp_path)
    (pid,) = stack.pids.values()
    assert stacks.down(tmp_path) is True

    assert not any(stack.alive.values())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert stack.log("redis").exists()
    assert not (tmp_path / "data").exists()
    assert stacks.status(tmp_path) is None
    assert stacks.down(tmp_path) is False


def test_down_keeps_the_data_when_asked_to(tmp_path: Path) -> None:
    stacks.start_redis(tmp_path)

    stacks.down(tmp_path, keep_data=True)

    assert (tmp_path / "data" / "redis").exists()


def test_a_pid_that_another_program_has_now_is_never_signalled(tmp_path: Path) -> None:
    stack = stacks.start_redis(tmp_path)
    state = tmp_path / "state.json"
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        kept = json.loads(state.read_text())
        kept["processes"]["redis"]["pid"] = other.pid
        state.write_text(json.dumps(kept))

        found = stacks.status(tmp_path)
        stacks.down(tmp_path)

        assert found is not None
        assert found.alive["redis"] is False
        assert other.poll() is None
    finally:
        stack.stop_server("redis")
        other.communicate(b"\n")


def test_taken_usual_ports_are_replaced_and_named() -> None:
    usual = ("kafka", 9092), ("redis", 6379), ("registry", 8081)
    notes: list[str] = []
    held = [socket.create_server(("127.0.0.1", n)) for _, n in usual if processes.is_free(n)]
    try:
        chosen = stacks._choose_ports("default", notes)
    finally:
        for one in held:
            one.close()

    assert notes == [f"port {n} is taken: {name} listens on {chosen[name]}" for name, n in usual]
    assert len(set(chosen.values())) == len(chosen)
    assert not {n for _, n in usual} & set(chosen.values())


def test_a_server_that_cannot_start_is_shown_with_its_log_and_nothing_runs(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"redis": taken.getsockname()[1]}
        stack = stacks.Stack(tmp_path, ports | {"kafka": 1, "registry": 2})

        with pytest.raises(stacks.StackError) as raised:
            stack._start_all(["redis"])

    message = str(raised.value)
    assert "redis ended while starting" in message
    assert str(stack.log("redis")) in message
    assert "Address already in use" in message
    assert not any(stack.alive.values())


@pytest.mark.stack
def test_one_server_that_fails_takes_the_others_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOSKEW_REDIS_SERVER", "/bin/false")

    with pytest.raises(stacks.StackError, match="redis ended while starting"):
        stacks.up(tmp_path)

    assert stacks.status(tmp_path) is None
    commands = subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in commands.stdout


def test_a_broken_off_start_is_not_taken_for_a_running_stack(tmp_path: Path) -> None:
    stack = stacks.start_redis(tmp_path)
    found = stacks.status(tmp_path)

    assert found is not None
    assert found.complete is False
    stack.stop_server("redis")


def test_a_foreign_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"version": 1}')

    with pytest.raises(stacks.StackError, match=r"state\.json is not a state file.*remove it"):
        stacks.status(tmp_path)


def test_an_unknown_server_is_named_with_those_there_are(tmp_path: Path) -> None:
    stack = stacks.Stack(tmp_path, {})

    with pytest.raises(
        stacks.StackError, match=r"'zookeeper' is no server.*kafka, redis, registry"
    ):
        stack.stop_server("zookeeper")


def test_missing_maven_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(stacks.MavenMissingError, match="apt-get install maven"):
        stacks.up(tmp_path / "stack")

    assert stacks.status(tmp_path / "stack") is None


def test_failing_maven_is_quoted_and_leaves_no_half_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no route to the jars\nexit 7\n")
    maven.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    with pytest.raises(stacks.StackError, match=r"(?s)Maven failed \(7\).*no route to the jars"):
        programs.jars()

    assert [path.suffix for path in programs.cache().iterdir()] == [".lock"]


def test_an_old_java_is_refused_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("NOSKEW_JAVA", str(java))

    with pytest.raises(stacks.StackError, match="is version 17; it must be 21 or later"):
        programs.java()


def test_ports_are_below_those_of_outgoing_connections() -> None:
    drawn = {processes.free_port() for _ in range(50)}

    assert max(drawn) < 32_768
    assert len(drawn) > 40


def test_recipes_and_names_agree() -> None:
    assert tuple(servers.RECIPES) == stacks.SERVERS == ("kafka", "redis", "registry")
