"""Everything a run needs, looked at before it starts: every problem is found and told at once."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noskew.dataflows.core.resolver import Resolver
from noskew.dataflows.errors import (
    AlreadyRunningError,
    NoskewError,
    UnsafeResumeError,
    UsageError,
)
from noskew.dataflows.kafka import subjects
from noskew.dataflows.kafka.letters import Outputs
from noskew.dataflows.kafka.topics import Admin, deletions, each_once, trustworthy_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from noskew.dataflows.core.journal import Topic
    from noskew.dataflows.definition.plan import Plan, StreamPlan
    from noskew.dataflows.settings import Settings
    from noskew.schemas.registry import Registry

FOREVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
"""The journal is the only record of the order: it must not be deleted by age or compacted."""

RECORD_MAX = 1 << 20
"""Largest record of a topic where nothing else is said (Kafka's default, about)."""


@dataclass(slots=True)
class Checked:
    """What the checks found: all that is needed to start.

    topics   one per stream, in the plan's order
    """

    topics: tuple[Topic, ...]
    admin: Admin
    outputs: Outputs
    registry: Registry
    resolver: Resolver
    warnings: list[str] = field(default_factory=list)


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Own a state directory while the process lives; the kernel frees it even after a kill.

    Raises AlreadyRunningError where another process owns it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / "lock").open("a+")
    except OSError as error:
        raise UsageError(
            f"state directory {directory} cannot be used ({error.strerror}); make it writable, or "
            "give --state-dir"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise AlreadyRunningError(
                f"state directory {directory} is in use by {handle.read().strip() or 'another'}: "
                "stop that instance first; another pipeline needs its own --state-dir, and one "
                "pipeline must not be run twice"
            ) from error
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        yield


def check(plan: Plan, settings: Settings, more: list[Callable[[], object]]) -> Checked:
    """Look at brokers, topics, registry and whatever ``more`` checks; tell every problem at once.

    Raises UsageError with every problem; UnsafeResumeError where one of them is of that kind.
    """
    problems: list[NoskewError] = []
    for one in more:
        try:
            one()
        except NoskewError as error:
            problems.append(error)
    warnings: list[str] = []
    topics: tuple[Topic, ...] = ()
    schemas: tuple[Registry, Resolver, dict[str, int]] | None = None
    try:
        schemas = _schemas(plan, settings, warnings)
    except NoskewError as error:
        problems.append(error)
    try:
        admin = Admin.connect(settings.brokers)
        topics = _topics(plan, admin, warnings, problems)
    except NoskewError as error:
        problems.append(error)
    if problems or schemas is None:
        if schemas is not None:
            schemas[1].close()
            schemas[0].close()
        raise _all(problems)
    registry, resolver, ids = schemas
    outputs = Outputs(
        scores=f"{plan.name}.scores",
        dead=f"{plan.name}.dead",
        alerts=f"{plan.name}.alerts",
        journal=f"{plan.name}.journal",
        score_id=ids["scores"],
        dead_id=ids["dead"],
        alert_id=ids["alerts"],
        journal_id=ids["journal"],
    )
    return Checked(topics, admin, outputs, registry, resolver, warnings)


def _all(problems: list[NoskewError]) -> NoskewError:
    """Return one error that tells all problems."""
    unsafe = any(isinstance(one, UnsafeResumeError) for one in problems)
    kind = UnsafeResumeError if unsafe else UsageError
    if len(problems) == 1:
        return kind(str(problems[0]))
    told = "\n".join(f"- {one}" for one in problems)
    return kind(f"{len(problems)} problems:\n{told}")


def _schemas(
    plan: Plan, settings: Settings, warnings: list[str]
) -> tuple[Registry, Resolver, dict[str, int]]:
    """Return the registry, what looks ids up in it, and the ids of our own schemas."""
    with ExitStack() as opened:
        registry = subjects.connect(settings.registry, settings.state_dir / "schemas")
        opened.callback(registry.close)
        ids = subjects.register(plan, registry, settings.state_dir / "subjects.json", warnings)
        resolver = Resolver(registry)
        opened.callback(resolver.close)
        subjects.learn(plan, registry, resolver, warnings, declare=True)
        opened.pop_all()
    return registry, resolver, ids


def _topics(
    plan: Plan, admin: Admin, warnings: list[str], problems: list[NoskewError]
) -> tuple[Topic, ...]:
    """Look at every input and make our own topics; problems of inputs are told together."""
    each_once(plan)
    found, configs = [], []
    for stream in plan.streams:
        try:
            topic, config = _input(stream, admin, warnings)
        except NoskewError as error:
            problems.append(error)
        else:
            found.append(topic)
            configs.append(config)
    if len(found) == len(plan.streams):
        _ours(plan, admin, found, configs, warnings)
    return tuple(found)


def _input(
    stream: StreamPlan, admin: Admin, warnings: list[str]
) -> tuple[Topic, Mapping[str, str]]:
    """Return a stream's topic and its configuration."""
    topic = admin.topic(stream.topic)
    if topic is None:
        raise UsageError(
            f"topic {stream.topic!r} (stream {stream.name!r}) does not exist at {admin.brokers}: "
            "create it, let its producer do so ('noskew simulate' does), or mend topic= in the "
            "definition"
        )
    config = admin.config(stream.topic)
    if config and not trustworthy_times(config):
        raise UsageError(
            f"topic {stream.topic!r} takes any record timestamp (message.timestamp.type="
            f"{config.get('message.timestamp.type')}, message.timestamp.after.max.ms="
            f"{config.get('message.timestamp.after.max.ms')}), so a producer could move the clock "
            "into the future: set message.timestamp.type=LogAppendTime, or "
            "message.timestamp.after.max.ms to at most 3600000"
        )
    passing = deletions(config)
    if passing:
        warnings.append(
            f"topic {topic.name!r} has {', '.join(passing)}: a restart reads it again from the "
            "origin, and exits with 4 once a record is gone; set cleanup.policy=delete, "
            "retention.ms=-1 and retention.bytes=-1, or start anew then under another name"
        )
    return topic, config


def _ours(
    plan: Plan,
    admin: Admin,
    inputs: Sequence[Topic],
    configs: Sequence[Mapping[str, str]],
    warnings: list[str],
) -> None:
    """Make our topics where they are absent, and look at those that are there."""
    scored = inputs[0]
    scores = admin.topic(f"{plan.name}.scores")
    if scores is not None and scores.partitions != scored.partitions:
        # Not ``ensure``'s advice: scores that exist are not to be deleted.
        raise UnsafeResumeError(
            f"topic {scored.name!r} has {scored.partitions} partitions, its scores in "
            f"{scores.name!r} have {scores.partitions}: partitions were added since, and keys have "
            "moved between them; restore the topic, or start anew under another pipeline name"
        )
    room = _room(configs)
    for name, partitions, extra in (
        ("scores", scored.partitions, {}),
        # A dead letter of any stream goes to its own partition number.
        ("dead", max(topic.partitions for topic in inputs), {}),
        ("alerts", 1, {}),
        ("control", 1, {}),
        ("journal", 1, FOREVER),
    ):
        ours = f"{plan.name}.{name}"
        admin.ensure(ours, partitions, {**room, **extra})
        if any(configs) and name != "control":
            _fits(ours, admin.config(ours), room, warnings)
    _kept(f"{plan.name}.journal", admin.config(f"{plan.name}.journal"))


def _kept(journal: str, config: Mapping[str, str]) -> None:
    """Raise UsageError where a broker would delete parts of a journal."""
    passing = deletions(config)
    if passing:
        raise UsageError(
            f"topic {journal!r} has {', '.join(passing)}: it is the only record of the order, and "
            "without all of it no restart is possible; set cleanup.policy=delete, retention.ms=-1 "
            "and retention.bytes=-1 on it"
        )


def _fits(
    name: str, config: Mapping[str, str], room: Mapping[str, str], warnings: list[str]
) -> None:
    """Warn of a topic, made by another, that would refuse the largest record we may write."""
    taken, needed = config.get("max.message.bytes", ""), room["max.message.bytes"]
    if taken and int(taken) < int(needed):
        warnings.append(
            f"topic {name!r} takes records of max.message.bytes={taken}, what the input's largest "
            f"may lead to is {needed}: such a record would stop the run; set "
            f"max.message.bytes={needed} on it"
        )


def _room(configs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return how large a record of ours may be, so that none of the inputs' can stop the run.

    A dead letter is its record whole, its key twice, and the reason; a score has ids and keys.
    """
    taken = max(int(config.get("max.message.bytes", RECORD_MAX)) for config in configs)
    return {"max.message.bytes": str(min(2 * taken + RECORD_MAX, 2**31 - 1))}
