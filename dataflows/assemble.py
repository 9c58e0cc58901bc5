"""Opens a shard: its parts, put together from what preflight found and what the journal says."""

from __future__ import annotations

import os
import socket
import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.core.decode import Decode
from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.journal import Decision, Entry, Ledger, runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.core.scores import ScoreEncoder
from noskew.dataflows.core.steps import Order
from noskew.dataflows.errors import UnsafeResumeError
from noskew.dataflows.kafka.deliver import Deliver
from noskew.dataflows.kafka.journal_log import SHARD, JournalLog
from noskew.dataflows.kafka.ownership import Ownership
from noskew.dataflows.kafka.reader import Reader
from noskew.dataflows.kafka.tail import none_beyond
from noskew.dataflows.kafka.throttle import ThrottledReader
from noskew.dataflows.kafka.topics import when
from noskew.dataflows.kafka.transactions import Transactions
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

    Raises UnsafeResumeError where the journal is of another definition, topic or version. Whatever
    it raises, what it had opened is closed, the last first; what it was given stays open.
    """
    topics = checked.topics
    log = JournalLog(settings.brokers, checked.outputs.journal, SHARD, waits=waits)
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    ownership = Ownership(plan.name, name, log)
    # Whoever is at work goes on where this start is refused anyway.
    _resumable(plan, checked, log)
    with ExitStack() as opened:
        outbox = Transactions(settings.brokers, f"{plan.name}.{SHARD}", ownership.lost, waits=waits)
        opened.callback(outbox.close)
        # In this order: from here on no other instance can commit, so what is read is the last.
        outbox.begin()
        log.settle()
        ownership.entered()
        first, last = _resumable(plan, checked, log)
        none_beyond(settings.brokers, checked.outputs, checked.topics, last)
        start, score_from = _beginning(settings, checked, first)
        model = None if bundle is None else (plan.model or "", bundle.sha256)
        owner = _owner(name, plan, topics, last, start, score_from, model)
        partitions = tuple(topic.partitions for topic in topics)
        outbox.send_one(checked.outputs.journal, SHARD, owner.encode(checked.outputs.journal_id))
        outbox.commit()
        reader = Reader(settings.brokers, topics, start, group=f"{plan.name}.{SHARD}")
        opened.callback(reader.close)
        waiting = Waiting(plan.streams, partitions)
        throttled = ThrottledReader(reader, waiting)
        engine = Engine(plan, partitions)
        decoders = [Decoder(stream, checked.resolver) for stream in plan.streams]
        entries = log.entries()
        opened.callback(entries.close)
        shard = Shard(
            name=plan.name,
            reader=throttled,
            decodes=tuple(
                Decode(decoder, throttled, checked.resolver, one)
                for decoder, one in zip(decoders, owner.first_inputs, strict=True)
            ),
            order=Order(
                waiting,
                Journaled(iter(()) if last is None else runs(entries)),
                Merged(sum(partitions), settings.align_wait_s, time.monotonic),
            ),
            engine=engine,
            scorer=scorer,
            deliver=Deliver(
                plan,
                checked.outputs,
                outbox,
                _encoder(plan, settings, checked, bundle),
                Ledger(owner),
                engine,
                waiting,
                reader,
                decoders,
                store,
                score_from,
            ),
        )
        # From here on it is the shard that closes.
        opened.pop_all()
    return shard


def _beginning(
    settings: Settings, checked: Checked, first: Entry | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the inputs begin, int64[inputs], and from where the scored stream's are scored.

    Resolved at the first start, and from then on as the journal's first entry has it.
    """
    if first is not None:
        return first.next_offset, _offsets(first)
    start = _origin(settings, checked)
    return start, _score_from(settings, checked, start[: checked.topics[0].partitions])


def _encoder(
    plan: Plan, settings: Settings, checked: Checked, bundle: Bundle | None
) -> ScoreEncoder:
    return ScoreEncoder(
        plan,
        checked.outputs.score_id,
        checked.topics[0].id or bytes(16),
        generation=GENERATION,
        model_sha=None if bundle is None else bundle.sha256,
        include_vector=settings.vectors,
    )


def _resumable(
    plan: Plan, checked: Checked, log: JournalLog
) -> tuple[Entry, Entry] | tuple[None, None]:
    """Return the journal's first and last entry, None where there are none.

    Raises UnsafeResumeError where going on from them could change results.
    """
    last = log.last()
    if last is None:
        return None, None
    first = log.first()
    _check(plan, checked.topics, last)
    _require(checked, first, last)
    return first, last


def _owner(
    name: str,
    plan: Plan,
    topics: tuple[Topic, ...],
    last: Entry | None,
    start: NDArray[np.int64],
    score_from: NDArray[np.int64],
    model: tuple[str, bytes] | None,
) -> Entry:
    """Return the owner entry: who goes on from here, with which model, and where it all began."""
    seq = 0 if last is None else last.end
    decisions = []
    if last is None:
        ends = np.cumsum([topic.partitions for topic in topics])
        for topic, part in zip(topics, np.split(start, ends[:-1]), strict=True):
            decisions.append(Decision("origin", 0, topic.name, _words(part)))
        decisions.append(Decision("score_from", 0, topics[0].name, _words(score_from)))
    if model != (None if last is None else last.model):
        name, sha256 = ("none", b"") if model is None else model
        decisions.append(Decision("model", seq, name, sha256.hex()))
    no_times = np.full(len(start), NO_TIME, np.int64)
    return Entry(
        origin="owner",
        shard=SHARD,
        owner=name,
        generation=GENERATION,
        fingerprint=plan.fingerprint,
        seq=seq,
        count=0,
        runs=b"",
        streams=tuple(stream.name for stream in plan.streams),
        topics=topics,
        next_offset=start if last is None else last.next_offset,
        position_us=no_times if last is None else last.position_us,
        event_us=no_times if last is None else last.event_us,
        horizon_us=NO_TIME if last is None else last.horizon_us,
        model=model,
        decisions=tuple(decisions),
    )


def _check(plan: Plan, topics: tuple[Topic, ...], last: Entry) -> None:
    """Raise UnsafeResumeError where the journal's offsets or features mean something else."""
    anew = "or start anew under another pipeline name"
    if last.fingerprint != plan.fingerprint:
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written by definition "
            f"{last.fingerprint.hex()[:12]}, this one is {plan.fingerprint.hex()[:12]}: its "
            f"features mean something else; go back to the definition that wrote it, {anew}"
        )
    if len(last.topics) != len(topics):
        raise UnsafeResumeError(
            f"the journal of {plan.name!r} was written over {_named(last.topics)}, now it would "
            f"read {_named(topics)}: go back to the definition that wrote it, {anew}"
        )
    for topic, was in zip(topics, last.topics, strict=True):
        if was.name != topic.name or was.partitions != topic.partitions:
            raise UnsafeResumeError(
                f"the journal of {plan.name!r} was written over {was.partitions} partitions of "
                f"{was.name!r}, now it would read {topic.partitions} of {topic.name!r}: keys "
                f"have moved between partitions; restore the topic, {anew}"
            )
        if None not in (was.id, topic.id) and was.id != topic.id:
            raise UnsafeResumeError(
                f"topic {topic.name!r} was deleted and made again since the journal was written "
                f"(its id was {(was.id or b'').hex()}, now it is {(topic.id or b'').hex()}): "
                f"offsets mean other records; restore the topic, {anew}"
            )


def _require(checked: Checked, first: Entry, last: Entry) -> None:
    """Raise UnsafeResumeError unless every topic still holds what the journal took of it."""
    for topic, begin in zip(checked.topics, last.first_inputs, strict=True):
        own = slice(begin, begin + topic.partitions)
        checked.admin.require(topic, first.next_offset[own], last.next_offset[own])


def _named(topics: tuple[Topic, ...]) -> str:
    return ", ".join(repr(topic.name) for topic in topics)


def _origin(settings: Settings, checked: Checked) -> NDArray[np.int64]:
    """Return where each input begins, int64[inputs]: the origin is one time for all of them."""
    point = when(settings.origin, "origin", {"earliest"})
    found = [checked.admin.offsets(topic.name, topic.partitions, point) for topic in checked.topics]
    return np.concatenate(found)


def _score_from(
    settings: Settings, checked: Checked, origin: NDArray[np.int64]
) -> NDArray[np.int64]:
    point = when(settings.score_from, "score-from", {"origin", "now"})
    if point == "origin":
        return origin
    if point == "now":
        point = "latest"
    scored = checked.topics[0]
    found = checked.admin.offsets(scored.name, scored.partitions, point)
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
