"""What cannot be started: all problems are named with their fixes, and the exit code says more.

2: something is missing or wrong; 3: another instance; 4: going on from the journal is not safe.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

import confluent_kafka as ck
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from live import FEATURES, Live
from outages import Ends, Payments, assert_clean, assert_each_scored_once, finish, start
from redis_server import RedisServer
from refusals import REFUSED_S, refused, unsafe, words
from waiting import until

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.model.training import Parameters, train
from noskew.dataflows.settings import settings
from noskew.dataflows.simulation.topics import TOPIC_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack

NOWHERE: Final = "127.0.0.1:1"
MODEL: Final = 'model=Model("fraud")'


# -- exit 2 ------------------------------------------------------------------------------------


def test_a_missing_topic_is_named_with_its_fix(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, topic=False)

    said = refused(own)

    assert re.search(rf"topic '{own.topic}' \(stream 'payments'\) does not exist at", said)
    assert "create it" in said
    assert "topic= in the definition" in said
    assert "problems:" not in said
    assert Admin.connect(stack.brokers).topic(own.topic) is None


def test_semantics_that_only_a_replay_has_are_refused_with_the_reason(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, features='    card.count(over="1h"),\n')
    text = own.definition.read_text()
    own.definition.write_text(
        text.replace("    score=payments,", '    score=payments, semantics="flink",')
    )
    assert own.plan.peers

    said = words(refused(own))

    assert "under which events of one time see each other" in said
    assert "such values exist in `noskew replay`" in said


def test_a_wrong_broker_is_named_with_its_fix(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, topic=False, brokers=NOWHERE)

    said = refused(own)

    assert f"no Kafka broker answers at '{NOWHERE}'" in said
    assert "--brokers or NOSKEW_BROKERS" in said
    assert "problems:" not in said


def test_a_missing_bundle_is_named_with_its_fix(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, model=MODEL)

    said = refused(own, model=tmp_path / "nowhere")

    assert str(tmp_path / "nowhere") in said
    assert "noskew train" in said
    assert "problems:" not in said


def test_a_bundle_of_another_plan_is_refused_with_the_difference(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    first = Live.make(stack, tmp_path, f"{topic_name}_a", features=FEATURES, model=MODEL)
    bundle = trained(first, tmp_path)
    more = FEATURES + '    payments.weekday().named("day_of_week"),\n'
    own = Live.make(stack, tmp_path, f"{topic_name}_b", features=more, model=MODEL)

    said = refused(own, model=bundle)

    assert str(bundle) in said
    assert "day_of_week" in said
    assert "noskew train" in said
    assert "problems:" not in said


def test_redis_with_a_wrong_password_is_refused_without_showing_it(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    with RedisServer(tmp_path, password="right") as server:
        url = f"redis://:wr0ng-secret@127.0.0.1:{server.port}/0"

        said = refused(own, redis=url)

    assert f"Redis at redis://:***@127.0.0.1:{server.port}/0 refuses the password" in said
    assert "--redis" in said
    assert "wr0ng-secret" not in said
    assert "problems:" not in said


def test_a_registry_that_is_away_with_nothing_remembered_is_named_with_its_fix(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    registry = f"http://{NOWHERE}/apis/ccompat/v7"
    own = Live.make(stack, tmp_path, topic_name, registry=registry)

    said = refused(own)

    assert registry in said
    assert f"{own.name}.journal-value" in said
    assert "--registry or NOSKEW_REGISTRY" in said
    assert "problems:" not in said


def test_several_problems_are_told_at_once_one_line_each(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    registry = f"http://{NOWHERE}/apis/ccompat/v7"
    own = Live.make(
        stack, tmp_path, topic_name, model=MODEL, topic=False, registry=registry, brokers=NOWHERE
    )
    with RedisServer(tmp_path, password="right") as server:
        url = f"redis://:wrong@127.0.0.1:{server.port}/0"

        said = refused(own, redis=url, model=tmp_path / "nowhere")

    told = problems(said)
    assert told[0] == "noskew: 4 problems:"
    told = [line for line in told if line.startswith("- ")]
    assert len(told) == 4
    for resource in (tmp_path / "nowhere", f"127.0.0.1:{server.port}/0", registry, f"'{NOWHERE}'"):
        assert sum(str(resource) in line for line in told) == 1, resource


# -- exit 3 ------------------------------------------------------------------------------------


def test_a_second_instance_on_the_same_state_directory_exits_with_3(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    payments = Payments(random.Random(1), own.partitions)
    own.produce(payments.take(50))
    ends = Ends(own)
    with start(own) as first:
        first.until(lambda: ends.scored() == 50)
        with start(own) as second:
            code = second.wait(REFUSED_S)
            assert code == 3, second.said
            assert f"is in use by pid {first.pid} " in words(second.said)
            assert "--state-dir" in second.said
            assert_clean(second.said)
        own.produce(payments.take(50))
        first.until(lambda: ends.scored() == 100)
        assert first.stop() == 0, first.said

    assert_each_scored_once(own, payments.made)


# -- exit 4 ------------------------------------------------------------------------------------


def test_the_journal_of_another_definition_is_not_gone_on_from(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = begun(stack, tmp_path, topic_name)
    before = own.plan.fingerprint.hex()
    text = own.definition.read_text()
    own.definition.write_text(text.replace('over=["1h", "1d"]', 'over=["2h", "1d"]', 1))

    said = unsafe(own)

    assert before[:12] in said
    assert own.plan.fingerprint.hex()[:12] in said
    assert "go back to the definition that wrote it" in said
    own.definition.write_text(text)
    finish(own)


def test_a_topic_that_was_made_again_is_not_gone_on_from(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = begun(stack, tmp_path, topic_name)
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    admin.delete_topics([own.topic])[own.topic].result(10)
    connected = Admin.connect(stack.brokers)
    until(lambda: connected.topic(own.topic) is None)
    connected.ensure(own.topic, own.partitions, TOPIC_CONFIG)
    own.produce(Payments(random.Random(2), own.partitions).take(200))

    said = unsafe(own)

    assert f"topic '{own.topic}' was deleted and made again" in said
    assert "restore the topic, or start anew under another pipeline name" in said


def test_partitions_that_were_added_stop_the_restart(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = begun(stack, tmp_path, topic_name)
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    admin.create_partitions([NewPartitions(own.topic, 5)])[own.topic].result(10)
    connected = Admin.connect(stack.brokers)
    until(lambda: getattr(connected.topic(own.topic), "partitions", 0) == 5)

    said = unsafe(own)

    assert "has 5 partitions" in said
    assert "have 3: partitions were added" in said
    assert "start anew under another pipeline name" in said


def test_retention_that_passed_what_is_still_to_be_read_stops_the_restart(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = begun(stack, tmp_path, topic_name)
    admin = AdminClient({"bootstrap.servers": stack.brokers})
    gone = ck.TopicPartition(own.topic, 1, 7)
    admin.delete_records([gone])[gone].result(10)

    said = unsafe(own)

    assert f"topic '{own.topic}' partition 1 holds offsets 7 to" in said
    assert "the journal took 0 to" in said
    assert "retention" in said
    assert "start anew under another pipeline name" in said


# -- helpers -----------------------------------------------------------------------------------


def begun(stack: Stack, tmp_path: Path, name: str) -> Live:
    """Return a pipeline that has run over 100 payments."""
    own = Live.make(stack, tmp_path, name)
    own.produce(Payments(random.Random(1), own.partitions).take(100))
    finish(own)
    return own


def trained(own: Live, folder: Path) -> Path:
    """Return a bundle for a pipeline, trained on a few payments."""
    own.produce(Payments(random.Random(1), own.partitions).take(400))
    features, labels = folder / "features.parquet", folder / "labels.parquet"
    replay(own.definition, ["kafka"], features, settings(**own.flags))
    known = pq.read_table(features, columns=["transaction_id", "event_time"])
    draw = random.Random(3)
    fraud = pa.array([draw.random() < 0.3 for _ in range(len(known))])
    times = known["event_time"].combine_chunks()
    pq.write_table(
        pa.table(
            {
                "transaction_id": known["transaction_id"],
                "is_fraud": fraud,
                "labelled_at": times,
            }
        ),
        labels,
    )
    out = folder / "bundle"
    train(own.plan, [features], labels, out, parameters=Parameters(trees=2), label_delay_us=0)
    return out


def problems(said: str) -> list[str]:
    """Return the lines that tell problems."""
    lines = said.strip().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("noskew: "))
    return lines[at:]
