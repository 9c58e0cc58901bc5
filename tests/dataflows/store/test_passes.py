"""The mirrors and their passes against a dictionary that obeys the calls as Redis would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from stored import CUSTOMER, FINGERPRINT, TERMINAL, customers, plan, terminals

from noskew.dataflows.store.keys import Names
from noskew.dataflows.store.passes import Mirrors
from noskew.dataflows.store.rows import pack

if TYPE_CHECKING:
    from noskew.dataflows.core.rows import Rows

NAMES = Names("n", "pay", 0)


@dataclass
class Table:
    """Gives slots as an engine's table does: freed ones are taken again, smallest first."""

    slot_of: dict[int, int] = field(default_factory=dict)

    def step(self, alive: set[int], changed: set[int]) -> tuple[dict[int, int], set[int]]:
        gone = {key for key in self.slot_of if key not in alive}
        for key in gone | (changed & self.slot_of.keys() & {min(changed, default=0)}):
            del self.slot_of[key]  # the last is freed and born again, perhaps elsewhere
        for key in sorted(alive - self.slot_of.keys()):
            free = set(range(len(self.slot_of) + 1)) - set(self.slot_of.values())
            self.slot_of[key] = min(free)
        return {key: self.slot_of[key] for key in alive}, gone


class Case:
    """Mirrors fed with both entities, a model of Redis, and what Redis should hold."""

    def __init__(self) -> None:
        self.mirrors = Mirrors(plan(), NAMES, 1)
        self.tables = {CUSTOMER: Table(), TERMINAL: Table()}
        self.redis: dict[bytes, bytes] = {}
        self.wanted: dict[bytes, bytes] = {}
        self.alive: set[int] = set()
        self.seq = 0

    def commit(self, alive: set[int]) -> None:
        self.seq += 1
        changed = alive - self.alive or set(list(alive)[:1])
        for entity, table in self.tables.items():
            before = dict(table.slot_of)
            slots, gone = table.step(alive, changed)
            rewritten = sorted(key for key in alive if key in changed or slots[key] != before[key])
            self._take(entity, rewritten, [slots[key] for key in rewritten], sorted(gone))
        self.alive = alive

    def write(self, chunk: int, failing_call: int | None = None) -> bool:
        under_way = self.mirrors.begin(self.seq)
        for number, start in enumerate(range(0, max(1, len(under_way)), chunk)):
            parts = self.mirrors.gather(under_way, start, start + chunk)
            call = self.mirrors.call(under_way, start, start + chunk, parts)
            assert len(call.deletes) + len(call.sets) <= chunk
            if number == failing_call:
                self.mirrors.restore(under_way, start)
                return False
            for name in call.deletes:
                self.redis.pop(name, None)
            self.redis.update(zip(call.sets, call.blobs, strict=True))
        self.mirrors.settle()
        return True

    def _take(self, entity: str, keys: list[int], slots: list[int], gone: list[int]) -> None:
        rows: Rows
        if entity == CUSTOMER:
            rows = customers(keys, seq=self.seq, slots=slots, gone=gone)
        else:
            ids = [f"T{key}" for key in keys]
            rows = terminals(ids, seq=self.seq, slots=slots, gone=[f"T{key}" for key in gone])
        self.mirrors.take([rows])
        for key, row in zip(keys, pack(rows, FINGERPRINT), strict=True):
            self.wanted[self._name(entity, key)] = row.tobytes()
        for key in gone:
            del self.wanted[self._name(entity, key)]

    def _name(self, entity: str, key: int) -> bytes:
        return NAMES.row(1, entity, key if entity == CUSTOMER else f"T{key}".encode())


KEYS = st.sets(st.integers(0, 6))
STEPS = st.lists(
    st.one_of(
        KEYS.map(lambda alive: ("commit", alive)),
        st.tuples(st.just("write"), st.integers(1, 4), st.none() | st.integers(0, 3)),
        st.just(("lose",)),
    ),
    max_size=30,
)


@given(STEPS)
def test_redis_holds_exactly_the_live_rows_after_a_pass(steps: list[tuple[object, ...]]) -> None:
    case = Case()
    for step in steps:
        match step:
            case ("commit", set() as alive):
                case.commit(alive)
            case ("write", int() as chunk, failing):
                if case.write(chunk, failing if isinstance(failing, int) else None):
                    assert case.redis == case.wanted
                    assert case.mirrors.dirty == 0
            case _:
                case.redis.clear()
                case.mirrors.mark_all()
    case.write(3)
    assert case.redis == case.wanted


def test_rows_of_an_earlier_process_are_deleted_though_never_written_here() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.take([customers([], gone=[4])])

    under_way = mirrors.begin(1)
    call = mirrors.call(under_way, 0, 10, mirrors.gather(under_way, 0, 10))

    assert call.deletes == [NAMES.row(1, CUSTOMER, 4)]


def test_keys_that_come_and_go_unwritten_leave_nothing_behind() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.settle()
    for seq in range(50):
        mirrors.take([customers([seq], seq=seq, slots=[0])])
        mirrors.take([customers([], seq=seq, gone=[seq])])

    assert mirrors.dirty == 0


def test_a_key_deleted_in_vain_and_born_again_is_deleted_when_it_goes() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.settle()
    mirrors.take([customers([1], slots=[0])])
    first = mirrors.begin(1)
    mirrors.gather(first, 0, 10)
    mirrors.take([customers([], gone=[1])])
    second = mirrors.begin(2)
    mirrors.take([customers([1], slots=[0])])
    mirrors.restore(second, 0)
    mirrors.take([customers([], gone=[1])])

    under_way = mirrors.begin(3)

    assert under_way.gone == [(0, 1)]


def test_a_pass_writes_each_row_once_and_as_it_is_then() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.take([customers([1, 2], seq=1, slots=[0, 1])])
    under_way = mirrors.begin(1)
    mirrors.gather(under_way, 0, 1)
    mirrors.take([customers([2], seq=2, slots=[1])])

    parts = mirrors.gather(under_way, 1, 2)

    assert parts[0].blobs == [pack(customers([2], seq=2), FINGERPRINT)[0].tobytes()]
    assert mirrors.dirty == 0


def test_orphans_are_rows_no_mirror_has() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.settle()
    mirrors.take([customers([1], slots=[0]), terminals(["a:b"], slots=[0])])
    mine = [NAMES.row(1, CUSTOMER, 1), NAMES.row(1, TERMINAL, b"a:b")]

    mirrors.delete_orphans([*mine, NAMES.row(1, CUSTOMER, 2), NAMES.row(1, "other", 3)])

    assert mirrors.begin(1).gone == [(0, 2)]


def test_a_key_born_again_before_its_deletion_is_not_deleted_until_it_goes() -> None:
    mirrors = Mirrors(plan(), NAMES, 1)
    mirrors.settle()
    mirrors.take([customers([1], slots=[0])])
    mirrors.gather(mirrors.begin(1), 0, 10)
    mirrors.take([customers([], gone=[1])])
    mirrors.take([customers([1], slots=[0])])
    assert mirrors.begin(2).gone == []

    mirrors.take([customers([], gone=[1])])
    assert mirrors.begin(3).gone == [(0, 1)]
