"""A run of a world's records through the real order, engine and journal, in many shapes.

``run_reads`` has the shapes: in which pieces, and when, records are read. A ``Run`` lives once or,
if it is killed, several times, rebuilding from the journal's bytes each time, and keeps what became
of every record.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import xxhash
from run_worlds import OFFSET, Source

from noskew.dataflows.core.engine import Engine
from noskew.dataflows.core.journal import Entry, Gap, Ledger, Topic, runs
from noskew.dataflows.core.order import Journaled, Merged, Waiting
from noskew.dataflows.core.steps import Order, features
from noskew.dataflows.store.rows import pack
from noskew.kernels.digest import digest_rows
from noskew.kernels.layout import (
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_INCOMPLETE,
    FLAG_LATE,
    NO_TIME,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from run_worlds import World

    from noskew.dataflows.core.batch import Turn
    from noskew.dataflows.core.engine import Features
    from noskew.dataflows.core.steps import Decoded, Work

    Shape = Callable[[Source, random.Random], Iterator[Decoded]]

ROW: Final = np.dtype(
    [("seq", "<i8"), ("number", "<i8"), ("input", "<i4"), ("offset", "<i8"), ("fate", "<i4"),
     ("flags", "<i4"), ("digest", "<u8"), ("local", "<u8")]
)  # fmt: skip
"""What became of a record; ``digest`` of its vector, ``local`` of its local features, 0: none."""

SCHEMA_ID: Final = 7
_REASONS: Final = {FATE_DEAD: "dead", FATE_DUPLICATE: "duplicate", FATE_LATE: "late"}
_STEPS_MAX: Final = 2000


@dataclass
class Run:
    """What became of a world's records.

    settle, flush, sweep  how likely the sinks settle, then drain rows, or only sweep keys, at each
                          of their chances
    rows       ROW of every record that was settled, in processing order
    vectors    record -> its vector
    journal    the journal's records, as bytes
    stored     (entity, key) -> its row's blob, as a store holds it
    lost       ROWs that were put out and not settled before a death
    letters    dead letters that were put out and settled, in order: (input, offset)
    ran_out    how often the last life gave up waiting for an input
    rebuilt    records taken again from the journal;  gone: keys that went
    """

    world: World
    seed: int
    align_wait_s: float | None = None
    settle: float = 0.4
    flush: float = 0.4
    sweep: float = 0.2
    rows: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, ROW))
    vectors: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    journal: list[bytes] = field(default_factory=list)
    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    lost: list[NDArray[np.void]] = field(default_factory=list)
    letters: list[tuple[int, int]] = field(default_factory=list)
    ran_out: int = 0
    rebuilt: int = 0
    gone: int = 0

    def through(self, shape: Shape, deaths: tuple[int, ...] = (), arrived: int = -1) -> Run:
        """Take all records; be killed after so many steps of a life, one number a life.

        arrived  records there at the beginning; -1: all
        """
        rng = random.Random(self.seed)
        there = len(self.world) if arrived < 0 else arrived
        for steps in (*deaths, _STEPS_MAX):
            life = Life(self, there, rng)
            reads = shape(life.source, rng)
            for _ in range(steps):
                read = next(reads, None)
                if read is None:
                    break
                life.step(read)
            there = life.source.arrived
            if steps < _STEPS_MAX:
                self.lost += life.pending
        life.finish()
        return self

    @property
    def digest(self) -> str:
        """Return the XXH64 of all records' fates, flags and vectors, in processing order."""
        return xxhash.xxh64(self.rows.tobytes()).hexdigest()

    @property
    def order(self) -> list[int]:
        """Return the records' numbers in the order in which they were taken."""
        numbers: list[int] = self.rows["number"].tolist()
        return numbers

    @property
    def scored(self) -> NDArray[np.void]:
        """Return the ROWs of the scored stream's records, by number."""
        mine = self.rows[self.rows["input"] < self.world.first[1]]
        found: NDArray[np.void] = mine[np.argsort(mine["number"])]
        return found

    @property
    def incomplete(self) -> set[int]:
        """Return the records flagged incomplete."""
        return set(self.rows["number"][(self.rows["flags"] & FLAG_INCOMPLETE) != 0].tolist())

    def local(self, leave_out: set[int] | frozenset[int] = frozenset()) -> str:
        """Return the XXH64 of the scored records' fates, lateness and local features."""
        mine = self.scored[~np.isin(self.scored["number"], list(leave_out))]
        late = mine["flags"] & FLAG_LATE
        columns = [mine["number"], mine["fate"].astype("<i8"), late.astype("<i8"), mine["local"]]
        return xxhash.xxh64(b"".join(column.tobytes() for column in columns)).hexdigest()


class Life:
    """One process of a run: its parts put together as ``assemble`` does, its sinks as ``Deliver``.

    Both are said anew here, since theirs need brokers and clocks.
    """

    def __init__(self, run: Run, arrived: int, rng: random.Random) -> None:
        self._run, self._rng = run, rng
        world = run.world
        self._plan = world.plan
        self.source = Source(world, arrived)
        self.waiting = Waiting(self._plan.streams, world.partitions)
        self.engine = Engine(self._plan, world.partitions)
        entries = [Entry.decode(record) for record in run.journal]
        owner = _owner(world, entries[-1] if entries else None)
        run.journal.append(owner.encode(SCHEMA_ID))
        self._ledger = Ledger(owner)
        self._merged = Merged(world.inputs, run.align_wait_s, lambda: self.source.now_s)
        self._order = Order(self.waiting, Journaled(runs(entries)), self._merged)
        self._live = owner.seq == 0
        self._letters: list[tuple[int, int]] = []
        self.pending: list[NDArray[np.void]] = []
        self.rebuilt: list[NDArray[np.void]] = []

    def step(self, decoded: Decoded) -> None:
        """Take one read through all steps."""
        for ordered in self._order(decoded):
            work = features(self.engine, ordered)
            if work.turn is None:
                self._chance(work)
            elif work.features is not None:
                self._put_out(work.turn, work.features, silent=work.silent)

    def finish(self) -> None:
        """Read until nothing is left, then stop in order."""
        for _ in range(_STEPS_MAX):
            if self._live and not self.waiting.rows and not self.source.unread.any():
                break
            self.step(self.source.read(*self.source.unread))
        self.step(self.source.read(stop=True))
        assert not self.pending
        assert self._ledger.last.end == len(self._run.world)
        self._run.ran_out = self._merged.ran_out

    def _put_out(self, turn: Turn, found: Features, *, silent: bool) -> None:
        rows = _rows(turn, found, np.array(self._plan.ordered))
        if silent:
            self.rebuilt.append(rows)
            return
        self.pending.append(rows)
        numbers = found.batch.columns["number"]
        assert isinstance(numbers, np.ndarray)
        for at in np.flatnonzero(~found.dead).tolist():
            self._run.vectors[int(numbers[at])] = found.vectors[:, at].copy()
        for place, batch in enumerate(turn.batches):
            first = int(self._run.world.first[place])
            self._letters += [(first + partition, offset) for partition, offset in batch.letters]
        self._ledger.take(turn, _gaps(self._run.world, turn, found))

    def _chance(self, work: Work) -> None:
        """Go live where the journal has been followed to its end; settle now and then."""
        if not (work.silent or self._live):
            self._begin(work.end)
        run, draw = self._run, self._rng.random
        if not self._live or not (work.stop or draw() < run.settle):
            return
        ledger, clocks = self._ledger, self.engine.clocks
        assert ledger.seq == work.end
        assert self.engine.splits() == []
        if ledger.pending:
            entries = ledger.close(self.waiting.taken_us, clocks.event_clock, clocks.horizon_us)
            run.journal += [entry.encode(SCHEMA_ID) for entry in entries]
            run.rows = np.concatenate([run.rows, *self.pending])
            run.letters = sorted([*run.letters, *self._letters])
            self.pending, self._letters = [], []
        if work.stop or draw() < run.flush:
            self._flush()
        elif draw() < run.sweep:
            self.engine.sweep()

    def _begin(self, end: int) -> None:
        """State must stand where the journal does, and every vector must have come again."""
        entry, clocks = self._ledger.last, self.engine.clocks
        assert (end, clocks.horizon_us) == (entry.end, entry.horizon_us)
        assert clocks.event_clock.tolist() == entry.event_us.tolist()
        again = np.concatenate([self._run.rows[:0], *self.rebuilt])
        assert again.tobytes() == self._run.rows.tobytes()
        self._run.rebuilt += len(again)
        self.waiting.resume(entry.position_us)
        self._flush()
        self._live = True

    def _flush(self) -> None:
        """Have the store hold what changed, and drop what is gone."""
        self.engine.sweep()
        for rows in self.engine.rows():
            assert isinstance(rows.key, np.ndarray)
            assert isinstance(rows.gone, np.ndarray)
            blobs = pack(rows, self._plan.fingerprint)
            for key, blob in zip(rows.key.tolist(), blobs, strict=True):
                self._run.stored[rows.entity, key] = blob.tobytes()
            self._run.gone += len(rows.gone)
            for key in rows.gone.tolist():
                self._run.stored.pop((rows.entity, key), None)


def replayed(run: Run, world: World, shape: Shape, seed: int) -> NDArray[np.void]:
    """Return the ROWs of a world taken as a run's journal says, read in the shape given."""
    rng = random.Random(seed)
    again = Run(world, seed, journal=list(run.journal), rows=run.rows)
    life = Life(again, len(world), rng)
    for read in shape(life.source, rng):
        life.step(read)
    life.finish()
    return np.concatenate(life.rebuilt)


def differing(a: Run, b: Run) -> dict[str, set[int]]:
    """Return the features whose bits differ between two runs, and of which records."""
    found: dict[str, set[int]] = {}
    for number in sorted(a.vectors.keys() & b.vectors.keys()):
        left, right = a.vectors[number], b.vectors[number]
        unequal = ~((left == right) | (np.isnan(left) & np.isnan(right)))
        for at in np.flatnonzero(unequal).tolist():
            found.setdefault(a.world.plan.names[at], set()).add(number)
    return found


def _rows(turn: Turn, found: Features, ordered: NDArray[np.bool_]) -> NDArray[np.void]:
    rows = np.zeros(len(turn), ROW)
    rows["seq"] = np.arange(turn.seq, turn.end)
    rows["input"], rows["offset"] = turn.input, turn.offset
    for place, batch in enumerate(turn.batches):
        at = np.flatnonzero(turn.stream == place)
        assert batch.seq.tolist() == rows["seq"][at].tolist()
        rows["number"][at] = batch.columns["number"]
        rows["fate"][at] = found.fates[place]
    at = np.flatnonzero(turn.stream == 0)
    rows["flags"][at] = found.flags
    rows["digest"][at] = np.where(found.dead, 0, digest_rows(found.vectors))
    rows["local"][at] = np.where(found.dead, 0, digest_rows(found.vectors[~ordered]))
    return rows


def _gaps(world: World, turn: Turn, found: Features) -> Iterator[Gap]:
    """Yield each record that was not used by itself: a late payment has a score."""
    for place, (batch, fate) in enumerate(zip(turn.batches, found.fates, strict=True)):
        for at in np.flatnonzero(fate).tolist():
            reason = _REASONS[int(fate[at])]
            if place > 0 or reason != "late":
                partition, offset = int(batch.partition[at]), int(batch.offset[at])
                yield Gap(reason, world.plan.streams[place].name, partition, offset, offset + 1)


def _owner(world: World, last: Entry | None) -> Entry:
    """Return the entry a life begins with: where the journal stands, or where it all begins."""
    if last is not None:
        nothing = replace(last, count=0, runs=b"", gaps=(), schemas=(), decisions=())
        return replace(nothing, origin="owner", seq=last.end)
    none = np.full(world.inputs, NO_TIME, np.int64)
    return Entry(
        origin="owner", shard=0, owner="shapes", generation=1, fingerprint=world.plan.fingerprint,
        seq=0, count=0, runs=b"", streams=tuple(one.name for one in world.plan.streams),
        topics=tuple(
            Topic(one.topic, bytes(16), partitions)
            for one, partitions in zip(world.plan.streams, world.partitions, strict=True)
        ),
        next_offset=np.full(world.inputs, OFFSET, np.int64), position_us=none, event_us=none,
        horizon_us=NO_TIME, model=None,
    )  # fmt: skip
