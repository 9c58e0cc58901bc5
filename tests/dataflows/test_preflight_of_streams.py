"""What cannot be started of a pipeline of two streams: every input is looked at like the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient
from kafka_io import Record
from live import Live
from outages import finish
from refusals import refused, unsafe, words
from waiting import until

from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.simulation.topics import TOPIC_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

LABELS: Final = 'allowed_lateness="60d"'
LABEL_FEATURE: Final = '    labels.by("terminal_id").sum("is_fraud", over="1d", delay="7d"),\n'


def test_every_stream_whose_topic_is_missing_is_told_at_once(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, topic=False, features=LABEL_FEATURE, labels=LABELS)

    said = words(refused(own))

    assert "2 problems:" in said
    assert f"topic '{own.topic}' (stream 'payments') does not exist at" in said
    assert f"topic '{own.labels}' (stream 'labels') does not exist at" in said
    assert Admin.connect(stack.brokers).topic(f"{own.name}.journal") is None


def test_a_second_streams_topic_without_trustworthy_times_is_refused(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, topic=False, features=LABEL_FEATURE, labels=LABELS)
    admin = Admin.connect(stack.brokers)
    admin.ensure(own.topic, 1, TOPIC_CONFIG)
    any_time = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    admin.ensure(own.labels, 1, {**TOPIC_CONFIG, **any_time})

    said = words(refused(own))

    assert f"topic '{own.labels}' takes any record timestamp" in said
    assert "set message.timestamp.type=LogAppendTime" in said


def test_two_streams_of_one_topic_are_refused(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, features=LABEL_FEATURE, labels=LABELS)
    text = own.definition.read_text()
    own.definition.write_text(text.replace(repr(own.labels), repr(own.topic)))

    said = words(refused(own))

    assert f"'payments' and 'labels' both read topic '{own.topic}'" in said


def test_dead_letters_get_as_many_partitions_as_the_widest_input(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(
        stack, tmp_path, topic_name, features=LABEL_FEATURE, labels=LABELS, label_partitions=5
    )
    finish(own)

    admin = Admin.connect(stack.brokers)
    wanted = {"scores": 3, "dead": 5, "alerts": 1, "control": 1, "journal": 1}
    found = {name: admin.topic(f"{own.name}.{name}") for name in wanted}
    assert {name: topic and topic.partitions for name, topic in found.items()} == wanted


def test_a_second_streams_topic_that_was_made_again_or_lost_records_stops_the_restart(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(
        stack, tmp_path, topic_name, features=LABEL_FEATURE, labels=LABELS, label_partitions=2
    )
    own.send_labels([Record(1, b"no label", 1_522_540_800_000) for _ in range(9)])
    finish(own)
    assert len(own.dead()) == 9
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    gone = ck.TopicPartition(own.labels, 1, 4)
    admin.delete_records([gone])[gone].result(10)

    said = unsafe(own)

    assert f"topic '{own.labels}' partition 1 holds offsets 4 to 8, the journal took 0 to 8" in said
    admin.delete_topics([own.labels])[own.labels].result(10)
    connected = Admin.connect(stack.brokers)
    until(lambda: connected.topic(own.labels) is None)
    connected.ensure(own.labels, 2, TOPIC_CONFIG)

    assert f"topic '{own.labels}' was deleted and made again" in unsafe(own)
