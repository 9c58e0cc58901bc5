"""Opens a shard: its parts, put together from what preflight found and what the journal says."""

from __future__ import annotations

import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.journal import Decision, Entry, Ledger, runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.core.scores import ScoreEncoder
from noskew.dataflows.core.steps import Order
from noskew.dataflows.errors import AlreadyRunningError, NoskewError, UnsafeResumeError
from noskew.dataflows.kafka import topics
from noskew.dataflows.kafka.deliver import Deliver
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.outbox import Outbox
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.throttle import ThrottledReader
from noskew.dataflows.pipeline import Shard
from noskew.kernels.layout import NO_TIME
from noskew.schemas.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from noskew.dataflows.core.journal import Topic
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.kafka.preflight import Checked
    from noskew.dataflows.model.bundle import Bundle
    from noskew.dataflows.model.scoring import Scorer
    from noskew.dataflows.settings import Settings
    from noskew.dataflows.store.writer import Store

GENERATION = 1
"""Generation of the stored rows; grows when their meaning changes."""


def assemble(
    plan: Plan,
    settings: Settings,
    checked: Checked,
    bundle: Bundle | None,
    scorer: Scorer | None,
    store: Store | None,
    waits: Callable[[float], None],
) -> Shard:
    """Return a shard ready to run: it rebuilds from the journal first, if there is one.

    waits   called while a broker keeps the outbox waiting; may raise to give up

    Raises UnsafeResumeError where the journal is of another definition, topic or version.
    """
    topic = checked.topic
    log = JournalLog(settings.brokers, checked.outputs.journal, SHARD, waits=waits)
    last = log.last()
    first = None if last is None else log.first()
    if first is not None and last is not None:
        _check(plan, checked, last)
        checked.admin.require(topic, first.next_offset, last.next_offset)
    start = _origin(plan, settings, checked) if first is None else first.next_offset
    score_from = _score_from(plan, settings, checked, start) if first is None else _offsets(first)
    model = None if bundle is None else (plan.model or "", bundle.sha256)
    owner = _owner(plan, topic, last, start, score_from, model)
    outbox = Outbox(settings.brokers, waits=waits)
    try:
        outbox.send_one(checked.outputs.journal, SHARD, owner.encode(checked.outputs.journal_id))
        outbox.flush()
        _alone(log, owner)
    except NoskewError:
        outbox.close()
        raise
    reader = Reader(settings.brokers, topic.name, 0, start, group=f"{plan.name}.{SHARD}")
    waiting = Waiting(plan.scored, topic.partitions)
    throttled = ThrottledReader(reader, waiting)
    engine = Engine(plan, topic.partitions)
    decoder = Decoder(plan.scored, checked.resolver)
    return Shard(
        name=plan.name,
        reader=throttled,
        decode=Decode(decoder, throttled, checked.resolver),
        order=Order(
            waiting,
            Journaled(iter(()) if last is None else runs(log.entries())),
            Merged(topic.partitions, settings.align_wait_s, time.monotonic),
        ),
        engine=engine,
        scorer=scorer,
        deliver=Deliver(
            plan,
            checked.outputs,
            outbox,
            ScoreEncoder(
                plan,
                checked.outputs.score_id,
                topic.id or bytes(16),
                generation=GENERATION,
                model_sha=None if bundle is None else bundle.sha256,
                include_vector=settings.vectors,
            ),
            Ledger(owner),
            engine,
            waiting,
            reader,
            decoder,
            store,
            score_from,
        ),
    )


def _alone(log: JournalLog, owner: Entry) -> None:
    """Raise AlreadyRunningError where another instance has journaled since we looked."""
    for entry in log.tail():
        if entry.owner != owner.owner and entry.end > owner.seq:
            raise AlreadyRunningError(
                f"another instance ({entry.owner}) runs this pipeline: it journaled up to seq "
                f"{entry.end} while {owner.owner} took over at {owner.seq}; stop that one first: "
                "one pipeline is run once, and a second one needs another name"
            )


def _owner(
    plan: Plan,
    topic: Topic,
    last: Entry | None,
    start: NDArray[np.int64],
    score_from: NDArray[np.int64],
    model: tuple[str, bytes] | None,
) -> Entry:
    """Return the owner entry: who goes on from here, with which model, and where it all began."""
    seq = 0 if last is None else last.end
    decisions = []
    if last is None:
        decisions.append(Decision("origin", 0, topic.name, _words(start)))
        decisions.append(Decision("score_from", 0, topic.name, _words(score_from)))
    if model != (None if last is None else last.model):
        name, sha256 = ("none", b"") if model is None else model
        decisions.append(Decision("model", seq, name, sha256.hex()))
    no_times = np.full(topic.partitions, NO_TIME, np.int64)
    return Entry(
        origin="owner",
        shard=SHARD,
        owner=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        generation=GENERATION,
        fingerprint=plan.fingerprint,
        seq=seq,
        count=0,
        runs=b"",
        stream=plan.scored.name,
        topic=topic,
        next_offset=start if last is None else last.next_offset,
        position_us=no_times if last is None else last.position_us,
        event_us=no_times if last is None else last.event_us,
        horizon_us=NO_TIME if last is None else last.horizon_us,
        model=model,
        decisions=tuple(decisions),
    )


def _check(plan: Plan, checked: Checked, last: Entry) -> None:
    topic = checked.topic
    anew = "or start anew under another pipeline name"
    if last.fingerprint != plan.fingerprint:
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written by definition "
            f"{last.fingerprint.hex()[:12]}, this one is {plan.fingerprint.hex()[:12]}: its "
            f"features mean something else; go back to the definition that wrote it, {anew}"
        )
    if last.topic.name != topic.name or last.topic.partitions != topic.partitions:
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written over {last.topic.partitions} partitions of "
            f"{last.topic.name!r}, now it would read {topic.partitions} of {topic.name!r}: keys "
            f"have moved between partitions; restore the topic, {anew}"
        )
    if None not in (last.topic.id, topic.id) and last.topic.id != topic.id:
        raise UnsafeResumeError(
            f"topic {topic.name!r} was deleted and made again since the journal was written (its "
            f"id was {(last.topic.id or b'').hex()}, now it is {(topic.id or b'').hex()}): offsets "
            f"mean other records; restore the topic, {anew}"
        )


def _origin(plan: Plan, settings: Settings, checked: Checked) -> NDArray[np.int64]:
    when = topics.when(settings.origin, "origin", {"earliest"})
    return checked.admin.offsets(plan.scored.topic, checked.topic.partitions, when)


def _score_from(
    plan: Plan, settings: Settings, checked: Checked, origin: NDArray[np.int64]
) -> NDArray[np.int64]:
    when = topics.when(settings.score_from, "score-from", {"origin", "now"})
    if when == "origin":
        return origin
    point = "latest" if when == "now" else when
    found = checked.admin.offsets(plan.scored.topic, checked.topic.partitions, point)
    return np.maximum(found, origin)


def _words(offsets: NDArray[np.int64]) -> str:
    return " ".join(map(str, offsets.tolist()))


def _offsets(first: Entry) -> NDArray[np.int64]:
    for decision in first.decisions:
        if decision.kind == "score_from":
            return np.array(decision.detail.split(), np.int64)
    raise UnsafeResumeError(
        f"the journal's first entry (owner {first.owner}) does not say from where events are "
        "scored: it is damaged; start anew under another pipeline name"
    )
