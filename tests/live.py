"""A pipeline of a test's own on the real stack: its definition, its events, its runs, its outputs.

    own = Live.make(stack, tmp_path, topic_name)           # definition file, name, topic, state dir
    own.produce(events)                                    # partition and times as the events say
    report = own.run_until_end(align_wait_s="none")        # in this process
    with own.start() as running: ...                       # as a user starts it: a subprocess
    own.scores(), own.dead(), own.journal(), own.rows()

Nothing waits without a bound, and nothing here knows what a feature means.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import redis
from kafka_io import (
    Found,
    Record,
    ends,
    produce,
    read_messages,
    read_topic,
    read_values,
    send,
)
from running import COMMAND, Running

from noskew.dataflows.commands import run as run_command
from noskew.dataflows.core.journal import Entry, runs
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.settings import settings
from noskew.dataflows.simulation.topics import TOPIC_CONFIG, register
from noskew.dataflows.store import keys as row_keys
from noskew.dataflows.store.rows import unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from meaning import Event, Key

    from noskew.dataflows.commands.run import Report
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.definition.stream import Pipeline
    from noskew.dataflows.store.rows import Row
    from noskew.infra.stack import Stack

__all__ = [
    "COMMAND",
    "FEATURES",
    "PARTITIONS",
    "Found",
    "Live",
    "Record",
    "Running",
    "ends",
    "produce",
    "read_messages",
    "read_rows",
    "read_topic",
    "read_values",
    "run_until_end",
    "send",
]

PARTITIONS: Final = 3

FEATURES: Final = """\
    amount,
    payments.hour(),
    card.count(over=["1h", "1d"]),
    card.sum("amount_cents", over=["1h", "1d"]),
    card.mean("amount_cents", over="1d"),
    card.min("amount_cents", over="1d"),
    card.max("amount_cents", over="1d"),
    (amount / card.mean("amount_cents", over="1d")).named("amount_vs_mean"),
    card.since_last(),
    terminal.count(over=["1h", "1d"], delay="1d"),
    terminal.mean("amount_cents", over="1d", delay="1d"),
    terminal.sum("amount_cents", over="1h"),
    terminal.min("amount_cents", over="1h"),
    terminal.max("amount_cents", over="1d"),
"""

DEFINITION: Final = """\
from noskew.dataflows import Model, Pipeline, Stream

payments = Stream(
    "payments", topic={topic!r}, schema="transaction.avsc",
    id="transaction_id", key="customer_id", time="event_time", {stream}
)
card = payments.by("customer_id")
terminal = payments.by("terminal_id")
amount = payments.column("amount_cents")
{labels}

pipeline = Pipeline(
    name={name!r},
    score=payments,
    features=[
{features}    ],
    {model}
)
"""


LABELS: Final = """\
labels = Stream(
    "labels", topic={topic!r}, schema="label.avsc", id="transaction_id", key="customer_id",
    time="event_time", available="labelled_at", {stream}
)
"""


@dataclass(frozen=True)
class Live:
    """One pipeline on one stack. ``flags`` are settings that each of its runs is given.

    labels   the topic of its second stream, "" where it has none
    """

    stack: Stack
    folder: Path
    name: str
    topic: str
    definition: Path
    flags: dict[str, Any]
    partitions: int
    labels: str = ""
    label_partitions: int = 0

    @classmethod
    def make(
        cls,
        stack: Stack,
        folder: Path,
        name: str,
        *,
        partitions: int = PARTITIONS,
        features: str = FEATURES,
        stream: str = "",
        labels: str | None = None,
        label_partitions: int = PARTITIONS,
        model: str = "",
        topic: bool = True,
        **flags: Any,
    ) -> Self:
        """Write a definition of this name over a topic of its own, and make the topic.

        features  lines of the list, over ``payments``, ``card``, ``terminal`` and ``amount``
        stream    more arguments of Stream, such as 'allowed_lateness="2h"'
        labels    more arguments of a second stream ``labels`` (label.avsc); None: there is none
        model     'model=Model("...")'; empty: features only
        topic     False: do not make the topic
        flags     settings, as ``noskew.dataflows.settings`` names them; "none" switches one off
        """
        folder.mkdir(parents=True, exist_ok=True)
        definition = folder / f"{name}.py"
        label_topic = "" if labels is None else f"{name}.labels"
        second = "" if labels is None else LABELS.format(topic=label_topic, stream=labels)
        definition.write_text(
            DEFINITION.format(
                name=name,
                topic=f"{name}.in",
                features=features,
                stream=stream,
                labels=second,
                model=model,
            )
        )
        made = {
            "brokers": stack.brokers,
            "registry": stack.registry,
            "redis": stack.redis,
            "state_dir": folder / f"{name}.state",
            **flags,
        }
        if topic:
            admin = Admin.connect(stack.brokers)
            admin.ensure(f"{name}.in", partitions, TOPIC_CONFIG)
            if label_topic:
                admin.ensure(label_topic, label_partitions, TOPIC_CONFIG)
        second_partitions = label_partitions if label_topic else 0
        return cls(
            stack, folder, name, f"{name}.in", definition, made, partitions, label_topic,
            second_partitions,
        )  # fmt: skip

    @property
    def pipeline(self) -> Pipeline:
        """The definition, loaded anew."""
        return load(self.definition)

    @property
    def plan(self) -> Plan:
        """The definition, compiled anew."""
        return compile_plan(self.pipeline)

    def with_flags(self, **flags: Any) -> Self:
        """Return the same pipeline with other settings."""
        return dataclasses.replace(self, flags={**self.flags, **flags})

    # -- in ------------------------------------------------------------------------------------

    def schema_id(self) -> int:
        """Return the id of the topic's schema, registered if it is not."""
        return register(self.stack.registry, self.topic, "transaction")

    def label_schema_id(self) -> int:
        """Return the id of the labels' schema, registered if it is not."""
        return register(self.stack.registry, self.labels, "label")

    def produce(self, events: Sequence[Event], *, times_ms: Sequence[int] | None = None) -> None:
        """Send payments in the order given, each to its partition, and wait until they are in.

        times_ms  Kafka's timestamps; None: each event's own time
        """
        produce(self.stack, self.topic, events, times_ms=times_ms, schema_id=self.schema_id())

    def send(self, sent: Iterable[Record]) -> None:
        """Send any bytes."""
        send(self.stack, self.topic, sent)

    def send_labels(self, sent: Iterable[Record]) -> None:
        """Send any bytes to the labels' topic."""
        send(self.stack, self.labels, sent)

    # -- running -------------------------------------------------------------------------------

    def run_until_end(self, **flags: Any) -> Report:
        """Run in this process until all that is in the topic is done."""
        return run_until_end(self.definition, **{**self.flags, **flags})

    def start(self, *arguments: str, **flags: Any) -> Running:
        """Return ``noskew run`` as a subprocess, to be used in ``with``."""
        return Running([str(self.definition), *arguments, *_as_flags({**self.flags, **flags})])

    # -- out -----------------------------------------------------------------------------------

    def scores(self) -> list[Found]:
        """Return the score records, by partition and offset."""
        return read_topic(self.stack.brokers, f"{self.name}.scores", "score")

    def dead(self) -> list[Found]:
        """Return the dead letters, by partition and offset."""
        return read_topic(self.stack.brokers, f"{self.name}.dead", "dead_letter")

    def alerts(self) -> list[Found]:
        """Return the alerts."""
        return read_topic(self.stack.brokers, f"{self.name}.alerts", "alert")

    def journal(self) -> list[Entry]:
        """Return the journal, decoded as a restart does."""
        return [Entry.decode(value) for value in read_values(self.stack.brokers, self._journal)]

    def taken(self) -> list[tuple[int, int]]:
        """Return (input, offset) of every record in the order that the journal says.

        The inputs are the partitions of the payments, then those of the labels.
        """
        return [
            (source, offset)
            for one in runs(self.journal())
            for source, first, following, count in zip(
                *(column.tolist() for column in one.columns), strict=True
            )
            for offset in _whole(first, following, count)
        ]

    def journaled(self) -> int:
        """Return how many records the journal covers now: cheap enough to wait for."""
        return sum(entry.count for entry in self.journal())

    def rows(self, namespace: str = "noskew") -> dict[tuple[str, Key], Row]:
        """Return every entity row in Redis."""
        return read_rows(self.stack.redis, self.plan, namespace)

    def watermark(self, namespace: str = "noskew") -> int:
        """Return the seq that the rows stand at, -1 where nothing has been written."""
        with _redis(self.stack.redis) as client:
            found = client.hget(row_keys.Names(namespace, self.name, 0).watermark, "seq")
        return -1 if found is None else int(found)

    @property
    def _journal(self) -> str:
        return f"{self.name}.journal"


def run_until_end(definition: Path, **flags: Any) -> Report:
    """Run a definition in this process until its topic is done; the settings are as given."""
    return run_command.run(definition, settings(**flags), until_end=True)


def read_rows(url: str, plan: Plan, namespace: str = "noskew") -> dict[tuple[str, Key], Row]:
    """Return every entity row of a pipeline that Redis holds, by (entity, key).

    Asserts that each was written by this definition and that there are no others.
    """
    names = row_keys.Names(namespace, plan.name, 0)
    found: dict[tuple[str, Key], Row] = {}
    with _redis(url) as client:
        generation = int(client.get(names.pointer) or 1)
        keys = list(client.scan_iter(match=names.pattern(generation), count=10_000))
        for at in range(0, len(keys), 10_000):
            some = keys[at : at + 10_000]
            for key, blob in zip(some, client.mget(some), strict=True):
                entity, key_of = _place(plan, names, generation, key)
                row = unpack(blob)
                assert row.fingerprint == plan.fingerprint, key
                found[entity, key_of] = row
    return found


def _place(plan: Plan, names: row_keys.Names, generation: int, key: bytes) -> tuple[str, Key]:
    for table in plan.tables:
        prefix = names.entity(generation, table.entity)
        if key.startswith(prefix):
            value = row_keys.decoded(key.removeprefix(prefix), table.key_type)
            return table.entity, value.decode() if isinstance(value, bytes) else value
    raise AssertionError(f"{key!r} is of no entity of {plan.name}")


@contextmanager
def _redis(url: str) -> Iterator[Any]:
    # Any: redis-py types an answer as sync or async at once.
    client: Any = redis.Redis.from_url(url, protocol=2, socket_timeout=10)
    try:
        yield client
    finally:
        client.close()


def _whole(first: int, following: int, count: int) -> range:
    """Return a run's offsets; the topics of tests have no gaps."""
    assert following - first == count, (first, following, count)
    return range(first, following)


def _as_flags(flags: dict[str, Any]) -> list[str]:
    """Return settings as the command line has them."""
    out = []
    for name, value in flags.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            out.append(f"--{'' if value else 'no-'}{option}")
        else:
            out += [f"--{option}", str(value)]
    return out
