"""The whole pipeline on real servers, beside the same job in plain-Python Bytewax.

Both read the same topic of the same broker, one after the other, each in its own process measured
from outside; what they put out is compared record by record, byte for byte.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow.parquet as pq

from noskew.dataflows.bench import baseline
from noskew.dataflows.bench.figures import Figure, WrongResultError, same, same_bits
from noskew.dataflows.bench.material import DEFINITION
from noskew.dataflows.bench.meter import cpu, measured, noskew
from noskew.dataflows.core.journal import Topic
from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.simulation.topics import TOPIC_CONFIG, load_parquet, register
from noskew.infra import stack as servers
from noskew.schemas import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.bench.material import Material
    from noskew.dataflows.bench.meter import Run

PARTITIONS: Final = 8
PLAIN_EVENTS: Final = 200_000
"""Events of the plain flow: enough for a steady rate; its cost per event hardly grows."""

FLUSH_S: Final = "1"
SCORES: Final = "card_fraud.scores"
PLAIN_SCORES: Final = "plain.scores"
DIGEST: Final = 8
DECODED: Final = 10_000
"""Scores whose vectors are compared with what replay gives."""

PLAIN: Final = "plain-Python Bytewax"


@dataclass(frozen=True, slots=True)
class Cost:
    """A run and what the servers spent on it, CPU seconds each."""

    run: Run
    kafka_s: float
    redis_s: float


def measure(material: Material) -> Iterator[Figure]:
    """Measure the payments end to end, then the replay of their topic.

    Raises WrongResultError where a score, vector or count is not what it must be; UsageError where
    the servers cannot be had.
    """
    plan, bundle = material.plan, material.model
    same("features the plain flow computes", baseline.FEATURES, len(plan.names))
    folder = material.folder / "stack"
    material.say("Kafka, Redis and a schema registry are started")
    try:
        stack = servers.up(folder, ports="free")
    except servers.StackError as error:
        raise UsageError(f"{error}; or measure other parts with --only") from error
    try:
        topic = plan.scored.topic
        material.say(f"{material.count:,} payments go into the topic")
        load_parquet(material.payments, stack.brokers, topic, stack.registry, partitions=PARTITIONS)
        material.say("noskew run")
        ours = _ours(material, stack)
        plain_events = min(material.count, PLAIN_EVENTS)
        admin = Admin.connect(stack.brokers)
        found = admin.topic(topic)
        admin.ensure(PLAIN_SCORES, PARTITIONS, TOPIC_CONFIG)
        job = baseline.Job(
            brokers=stack.brokers,
            redis=stack.redis,
            topic=topic,
            partitions=PARTITIONS,
            out=PLAIN_SCORES,
            model=str(material.bundle / "model.txt"),
            schema_id=register(stack.registry, PLAIN_SCORES, "score"),
            model_sha=bundle.sha256.hex(),
            fingerprint=plan.fingerprint.hex(),
            topic_id=(bytes(16) if found is None else found.id or bytes(16)).hex(),
            events=plain_events,
        )
        material.say(f"{PLAIN}, {plain_events:,} events")
        plain = _plain(job, stack, material)
        material.say("their scores are compared")
        vectors = _compare(stack.brokers, plan.fingerprint, plain_events)
        yield from _figures(ours, plain, material.count, plain_events)
        yield from _replay(material, stack, vectors)
    finally:
        servers.down(folder)


def _ours(material: Material, stack: servers.Stack) -> Cost:
    state = material.folder / "state"
    before = _servers(stack)
    run = noskew(
        *("run", DEFINITION, "--until-end", "--json", "--align-wait-s", "none"),
        *("--brokers", stack.brokers, "--registry", stack.registry, "--redis", stack.redis),
        *("--redis-flush-s", FLUSH_S, "--state-dir", state, "--model", material.bundle),
        say=material.say,
    )
    cost = _cost(run, before, stack)
    report = json.loads(run.out)
    same("live: events scored", report["scored"], material.count)
    same("live: events delivered", report["delivered"], material.count)
    same("live: rows that Redis does not have yet", report["rows_behind"], 0)
    return cost


def _plain(job: baseline.Job, stack: servers.Stack, material: Material) -> Cost:
    before = _servers(stack)
    module = "noskew.dataflows.bench.baseline"
    run = measured([sys.executable, "-m", module, json.dumps(asdict(job))], material.say)
    cost = _cost(run, before, stack)
    same(f"{PLAIN}: events scored", json.loads(run.out)["scored"], job.events)
    return cost


def _servers(stack: servers.Stack) -> tuple[float, float]:
    return cpu(stack.pids["kafka"]), cpu(stack.pids["redis"])


def _cost(run: Run, before: tuple[float, float], stack: servers.Stack) -> Cost:
    if run.live_s is None or run.live_cpu_s is None:
        raise WrongResultError(f"a run never caught up; it printed {run.out!r}")
    after = _servers(stack)
    return Cost(run, after[0] - before[0], after[1] - before[1])


def _compare(brokers: str, fingerprint: bytes, events: int) -> dict[tuple[int, int], bytes]:
    """Compare all scores the plain flow made with ours; return vectors by source, of a part.

    Each partition of both topics has one score per payment, in the payments' order.
    """
    plain = _values(brokers, PLAIN_SCORES, None)
    same(f"{PLAIN}: scores in the topic", sum(map(len, plain)), events)
    ours = _values(brokers, SCORES, [len(one) for one in plain])
    for partition, (left, right) in enumerate(zip(ours, plain, strict=True)):
        same(f"scores of partition {partition}", len(left), len(right))
        for one, other in zip(left, right, strict=True):
            if _but_digest(one, fingerprint) != _but_digest(other, fingerprint):
                _differ(partition, one, other)
    vectors: dict[tuple[int, int], bytes] = {}
    for value in ours[0][:DECODED]:
        score = records.decode("score", value)
        vectors[0, score["source"]["offset"]] = score["vector"]
    return vectors


def _differ(partition: int, one: bytes, other: bytes) -> None:
    left, right = records.decode("score", one), records.decode("score", other)
    for name in left:
        if name != "digest" and left[name] != right[name]:
            shown = left[name], right[name]
            if name == "vector":
                shown = records.vector(left[name]), records.vector(right[name])
            raise WrongResultError(
                f"score of event {left['event_id']} in partition {partition}: {name} is "
                f"{shown[0]!r}, {PLAIN} has {shown[1]!r}; no speed is reported"
            )
    raise WrongResultError(f"scores of event {left['event_id']} are written differently")


def _but_digest(value: bytes, fingerprint: bytes) -> bytes:
    """Return a score's bytes without the digest, which the plain flow does not compute."""
    at = value.index(fingerprint) + len(fingerprint)
    return value[:at] + value[at + DIGEST :]


def _values(brokers: str, topic: str, counts: list[int] | None) -> list[list[bytes]]:
    """Return the values of each partition of a topic: the first ``counts`` of each, or all."""
    start = np.zeros(PARTITIONS, np.int64)
    reader = Reader(brokers, [Topic(topic, None, PARTITIONS)], start, group="bench")
    found: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    full = np.zeros(PARTITIONS, np.bool_)
    try:
        while not full.all():
            read = reader.read()
            (raw,) = read.raws
            for place, partition in enumerate(raw.partition.tolist()):
                if counts is None or len(found[partition]) < counts[partition]:
                    found[partition].append(raw.value(place))
            full |= read.ended
            if counts is not None:
                full |= np.array(
                    list(starmap(int.__ge__, zip(map(len, found), counts, strict=True)))
                )
    finally:
        reader.close()
    return found


def _figures(ours: Cost, plain: Cost, n: int, plain_n: int) -> Iterator[Figure]:
    def figure(what: str, unit: str, left: float, right: float) -> Figure:
        return Figure("live", what, unit, left, n, right, plain_n, PLAIN)

    def live(cost: Cost) -> tuple[float, float]:
        return cost.run.live_s or 0.0, cost.run.live_cpu_s or 0.0

    (ours_s, ours_cpu_s), (plain_s, plain_cpu_s) = live(ours), live(plain)
    whole = "whole pipeline live"
    yield figure(whole, "events/s", n / ours_s, plain_n / plain_s)
    yield figure(
        f"{whole}, CPU of the process",
        "µs/event",
        1e6 * ours_cpu_s / n,
        1e6 * plain_cpu_s / plain_n,
    )
    # Over other numbers of events a start-up cannot be compared.
    rate, cost = n / ours.run.wall_s, 1e6 * ours.run.cpu_s / n
    yield Figure("live", f"{whole}, start-up included", "events/s", rate, n)
    yield Figure("live", f"{whole}, CPU with start-up", "µs/event", cost, n)
    yield figure(f"{whole}, peak memory", "MB", ours.run.peak_mb, plain.run.peak_mb)
    yield figure(
        f"{whole}, CPU of the broker", "µs/event",
        1e6 * ours.kafka_s / n, 1e6 * plain.kafka_s / plain_n,
    )  # fmt: skip
    yield figure(
        f"{whole}, CPU of Redis", "µs/event", 1e6 * ours.redis_s / n, 1e6 * plain.redis_s / plain_n
    )  # fmt: skip


def _replay(
    material: Material, stack: servers.Stack, vectors: dict[tuple[int, int], bytes]
) -> Iterator[Figure]:
    """Measure the replay of the topic in the order the run journaled; compare its vectors."""
    out = material.folder / "from_topic.parquet"
    material.say("the topic is replayed in the order the run journaled")
    run = noskew(
        *("replay", DEFINITION, "--input", "kafka", "--order", "journal", "--out", out, "--json"),
        *("--brokers", stack.brokers, "--registry", stack.registry),
        *("--state-dir", material.folder / "state"),
    )
    report = json.loads(run.out)
    same("replay of the topic: rows written", report["written"], material.count)
    columns = ["stream_offset", *material.plan.names]
    table = pq.read_table(out, columns=columns, filters=[("stream_partition", "=", 0)])
    table = table.sort_by("stream_offset").slice(0, len(vectors))
    offsets = table["stream_offset"].to_pylist()
    emitted = np.array([np.frombuffer(vectors[0, offset], "<f8") for offset in offsets])
    replayed = np.array([table[name].to_numpy() for name in material.plan.names])
    same_bits("replay of the topic", replayed, emitted.T, material.plan.names)
    what = "replay, topic in the journal's order to features in Parquet"
    yield Figure("replay", what, "rows/s", material.count / report["seconds"], material.count)
