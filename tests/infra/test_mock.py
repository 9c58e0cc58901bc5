"""The stand-in for the stack, through the real clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from noskew.infra.mock import MockBroker, MockStack
from noskew.infra.mock_registry import MockRegistry
from noskew.infra.processes import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCHEMA = '{"type": "record", "name": "Payment", "fields": []}'
SAME = '{"type":"record","name":"Payment","fields":[]}'
OTHER = '{"type":"record","name":"Label","fields":[]}'


@pytest.fixture
def client() -> Iterator[SchemaRegistryClient]:
    with MockRegistry() as registry:
        client = SchemaRegistryClient({"url": registry.url})
        yield client
        client.close()


def test_what_is_written_to_the_mock_stack_is_read_back(tmp_path: Path) -> None:
    with MockStack(tmp_path, topics={"payments": 8}) as stack:
        producer = Producer({"bootstrap.servers": stack.brokers})
        producer.produce("payments", b"paid", partition=7)
        assert producer.flush(20) == 0
        consumer = Consumer({"bootstrap.servers": stack.brokers, "group.id": "reader"})
        consumer.assign([TopicPartition("payments", 7, 0)])
        (message,) = consumer.consume(1, 20)
        rows = redis.Redis.from_url(stack.redis, protocol=2)

        assert message.value() == b"paid"
        assert len(producer.list_topics("payments", timeout=20).topics["payments"].partitions) == 8
        assert rows.ping()

        consumer.close()
        rows.close()


def test_the_mock_stack_ends_its_redis(tmp_path: Path) -> None:
    with MockStack(tmp_path, topics={}) as stack:
        rows = redis.Redis.from_url(stack.redis, protocol=2, retry=None)
        rows.ping()

    with pytest.raises(redis.ConnectionError):
        rows.ping()
    rows.close()


def test_a_topic_is_made_once() -> None:
    broker = MockBroker()
    broker.create_topic("payments", 2)

    with pytest.raises(StackError, match="the mock broker has topic payments already"):
        broker.create_topic("payments", 2)

    broker.close()


def test_equal_schemas_have_one_id_and_versions_count_per_subject(
    client: SchemaRegistryClient,
) -> None:
    first = client.register_schema("a", Schema(SCHEMA, "AVRO"))

    assert client.register_schema("b", Schema(SAME, "AVRO")) == first
    assert client.register_schema("a", Schema(OTHER, "AVRO")) == first + 1
    assert client.get_subjects() == ["a", "b"]
    assert client.get_versions("a") == [1, 2]
    assert client.get_latest_version("a").schema_id == first + 1
    assert client.get_version("a", 1).schema_id == first
    assert client.lookup_schema("a", Schema(SAME, "AVRO")).version == 1
    assert json.loads(client.get_schema(first).schema_str or "") == json.loads(SCHEMA)


def test_what_is_unknown_is_answered_with_confluents_codes(client: SchemaRegistryClient) -> None:
    client.register_schema("a", Schema(SCHEMA, "AVRO"))
    asked: dict[int, Callable[[], object]] = {
        40401: lambda: client.get_latest_version("nobody"),
        40402: lambda: client.get_version("a", 9),
        40403: lambda: client.get_schema(77),
        42201: lambda: client.register_schema("a", Schema("{", "AVRO")),
    }

    for code, ask in asked.items():
        with pytest.raises(SchemaRegistryError) as raised:
            ask()
        assert raised.value.error_code == code
        assert raised.value.http_status_code == code // 100
