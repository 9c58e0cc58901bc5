"""What a start says of topics that forget records or take too small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported, not declared
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from live import Live

from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka import preflight
from noskew.dataflows.kafka.topics import deletions
from noskew.dataflows.settings import settings

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({}, []),
        (FOR_EVER, []),
        ({**FOR_EVER, "retention.ms": "604800000"}, ["retention.ms=604800000 (7 days)"]),
        ({**FOR_EVER, "retention.bytes": "5"}, ["retention.bytes=5"]),
        ({**FOR_EVER, "cleanup.policy": "compact"}, ["cleanup.policy=compact"]),
        ({"cleanup.policy": "", "retention.ms": "1"}, []),
        ({"cleanup.policy": "compact", "retention.ms": "1"}, ["cleanup.policy=compact"]),
        (
            {"cleanup.policy": "compact,delete", "retention.ms": "3600000", "retention.bytes": "9"},
            [
                "retention.ms=3600000 (0.0417 days)",
                "retention.bytes=9",
                "cleanup.policy=compact,delete",
            ],
        ),
    ],
)
def test_what_makes_records_vanish(config: dict[str, str], found: list[str]) -> None:
    assert deletions(config) == found


@pytest.mark.stack
def test_topics_that_keep_everything_are_not_warned_of(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)

    assert checked(own) == []
    assert checked(own) == [], "nor are ours, once they are there"


@pytest.mark.stack
def test_an_input_that_forgets_is_warned_of_with_the_consequence_and_the_fix(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    alter(stack, own.topic, {"retention.ms": "259200000", "retention.bytes": "1000000"})

    (said,) = checked(own)

    assert f"{own.topic!r} has retention.ms=259200000 (3 days), retention.bytes=1000000" in said
    assert "exits with 4" in said
    assert "retention.ms=-1" in said


@pytest.mark.stack
@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"retention.ms": "259200000"}, r"retention\.ms=259200000 \(3 days\)"),
        ({"retention.bytes": "1000000"}, r"retention\.bytes=1000000"),
        ({"cleanup.policy": "compact"}, r"cleanup\.policy=compact"),
    ],
)
def test_a_journal_that_forgets_is_refused_with_the_fix(
    stack: Stack, tmp_path: Path, topic_name: str, config: dict[str, str], told: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    assert checked(own) == []
    alter(stack, f"{own.name}.journal", config)

    with pytest.raises(UsageError, match=rf"\.journal' has {told}: .*; set cleanup\.policy=delete"):
        checked(own)

    alter(stack, f"{own.name}.journal", FOR_EVER)
    assert checked(own) == []


@pytest.mark.stack
def test_outputs_too_small_for_the_inputs_largest_record_are_warned_of(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    assert checked(own) == []
    alter(stack, own.topic, {"max.message.bytes": "5000000"})

    warnings = checked(own)

    for topic, said in zip(("scores", "dead", "alerts", "journal"), warnings, strict=True):
        assert f"{own.name}.{topic}' takes records of max.message.bytes=" in said
        assert "set max.message.bytes=11048576 on it" in said
        alter(stack, f"{own.name}.{topic}", {"max.message.bytes": "11048576"})
    assert checked(own) == []


# -- helpers -----------------------------------------------------------------------------------


def checked(own: Live) -> list[str]:
    """Return the warnings of a start, which goes no further."""
    found = preflight.check(own.plan, settings(**own.flags), [])
    found.resolver.close()
    found.registry.close()
    return found.warnings


def alter(stack: Stack, topic: str, config: dict[str, str]) -> None:
    """Set a topic's configuration, the rest of which stays."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    client = AdminClient({"bootstrap.servers": stack.brokers})
    client.incremental_alter_configs([resource])[resource].result(10)
