"""Cases for the hash tables of kernels, small and nearly full, beside dictionaries and lists.

Each function prepares what is right, the slow way, and returns what compares the kernels with it.
What is drawn is drawn from a fixed seed: a mutant is caught in every run or in none.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from noskew.kernels import ids, keys, layout, values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Run = Callable[[], None]


def multisets() -> Run:
    """Return the case of ``values``: a small table, nearly full, beside a counter."""
    rng = random.Random(4)
    pool = [(owner, value) for owner in range(3) for value in (0, 1, -1, 2**40, 2**62)][:12]
    steps = [(*rng.choice(pool), rng.choice([1, 1, -1])) for _ in range(250)]
    forgotten = {number: rng.choice(pool) for number in range(40, 250, 17)}

    def run() -> None:
        rows, used = _free_rows(16), np.zeros(layout.COUNTER_END, np.int64)
        counts: Counter[tuple[int, int]] = Counter()
        for number, (owner, value, by) in enumerate(steps):
            before = counts[owner, value] > 0
            counts[owner, value] += by
            step = int(counts[owner, value] > 0) - int(before)
            assert values.change(rows, used, owner, value, by) == step
            if number in forgotten:
                values.forget(rows, used, *forgotten[number])
                del counts[forgotten[number]]
            held = {place: count for place, count in counts.items() if count}
            assert used[layout.COUNTER_USED] == len(held)
            assert _held(rows) == held
            for place in pool:
                assert values.has(rows, *place) == int(counts[place] > 0)
        larger = _free_rows(64)
        values.rehash(rows, larger)
        assert _held(larger) == _held(rows)
        assert all(values.has(larger, *place) == int(counts[place] > 0) for place in pool)

    return run


def _free_rows(size: int) -> NDArray[np.int64]:
    rows = np.zeros((size, values.WIDTH), np.int64)
    rows[:, values.OWNER] = values.FREE
    return rows


def _held(rows: NDArray[np.int64]) -> dict[tuple[int, int], int]:
    used = rows[rows[:, values.OWNER] != values.FREE].tolist()
    assert len({(owner, value) for owner, value, _ in used}) == len(used)
    return {(owner, value): count for owner, value, count in used}


def hashes() -> Run:
    """Return the case of the hashes: FNV-1a of 32 bits, and the mixing said once more."""
    rng = random.Random(5)
    numbers = [0, 1, -1, 2**32, 2**63 - 1, -(2**63), *(rng.getrandbits(62) for _ in range(50))]
    # Published vectors of FNV-1a.
    known = {b"": 0x811C9DC5, b"a": 0xE40C292C, b"foobar": 0xBF9CF968}

    def mixed(number: int) -> int:
        low, high = number % 2**32, (number >> 32) % 2**32
        once = (low * 0x5BD1E995) ^ (high * 0x27D4EB2F)
        once ^= once >> 31
        once = once % 2**32 * 0x045D9F3B + once // 2**32
        return once ^ (once >> 29)

    def run() -> None:
        for number in numbers:
            assert keys.hash_int(number) == mixed(number)
            assert ids.hash_of(0, _bytes(""), number, 0) == mixed(number)
        for text, right in known.items():
            heap = np.frombuffer(b"xy" + text + b"z", np.uint8)
            assert keys.hash_bytes(heap, 2, len(text)) == mixed(right)
            assert ids.hash_of(1, heap, 2, len(text)) == mixed(right)

    return run


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8).copy()


def _texts(texts: Sequence[str]) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Return a heap with a byte before each text, and where each starts and its length."""
    places, start = [], 0
    for text in texts:
        places.append((start + 1, len(text)))
        start += 1 + len(text)
    return _bytes("".join("." + text for text in texts) + "."), places


TEXTS: Final = ("a", "b", "ab", "ac", "aca", "aab", "", "acb", "zz", "zy", "yz", "abcdef")
NUMBERS: Final = (0, 1, 2, 3, -1, 2**40, -(2**62), 11, 12, 13, 14, 15)


def remembered_ids(strings: int) -> Callable[[], Run]:
    """Return the case of ``ids``: rows of one hash beside a list."""

    def prepare() -> Run:
        rng = random.Random(6 + strings)
        heap, places = _texts(TEXTS)
        numbers = [(n, 0) for n in (0, 1, 2, 5, -7, 2**40)]
        pool = places if strings else numbers
        # Hashes that many share, at the end of the table too, where probing goes round.
        hashed = [rng.choice([31, 31, 30, 95, 3]) for _ in pool]
        adds = [
            (
                rng.randrange(len(pool)) * (number > 0),
                rng.randint(0, 1),
                rng.randrange(0, 60, 5),
                number,
            )
            for number in range(20)
        ]
        asks = [(at, p, t) for at in range(len(pool)) for p in (0, 1) for t in (-1, 10, 29, 30)]

        def run() -> None:
            table, own = np.zeros((32, ids.ID_WIDTH), np.int64), np.zeros(200, np.uint8)
            counters, known = np.zeros(3, np.int64), list[tuple[int, int, int, int]]()

            def look(rows: NDArray[np.int64], texts: NDArray[np.uint8]) -> None:
                for at, partition, time_us in asks:
                    given = (rows, texts, strings, hashed[at], heap, *pool[at])
                    times = [t for i, p, t, _ in known if (i, p) == (at, partition)]
                    for span in (0, 4, 5, 20):
                        right = any(abs(t - time_us) <= span for t in times)
                        assert ids.near(*given, partition, time_us, span) == right
                    row, mine = ids.open_row(*given), [h for i, _, _, h in known if i == at]
                    assert (row >= 0) == bool(mine)
                    assert row < 0 or rows[row, ids.ID_HANDLE] == mine[0]

            for at, partition, time_us, handle in adds:
                more = (*pool[at], partition, time_us, handle)
                ids.remember(table, own, counters, strings, hashed[at], heap, *more)
                known.append((at, partition, time_us, handle))
                if handle % 5 == 4:
                    look(table, own)
            sizes = sum(pool[at][1] for at, *_ in known) if strings else 0
            assert counters.tolist() == [len(known), sizes, 0]
            gone = ids.open_row(table, own, strings, hashed[0], heap, *pool[0])
            table[gone, ids.ID_STATE] = 2
            look(table, own)
            chosen = table[:, ids.ID_HANDLE] % 3 != 1
            kept, kept_own = np.zeros((64, ids.ID_WIDTH), np.int64), np.zeros(200, np.uint8)
            again = np.zeros(3, np.int64)
            ids.keep(table, chosen, own, kept, kept_own, again, strings)
            lost = table[gone, ids.ID_HANDLE]
            known[:] = [one for one in known if one[3] % 3 != 1 and one[3] != lost]
            assert again[0] == len(known) == (kept[:, ids.ID_STATE] == 1).sum()
            by_row = {int(row[ids.ID_HANDLE]): row for row in kept if row[ids.ID_STATE]}
            for at, partition, time_us, handle in known:
                row = by_row[handle]
                assert (row[ids.ID_INPUT], row[ids.ID_TIME]) == (partition, time_us)
                assert row[ids.ID_HASH] == hashed[at]

        return run

    prepare.__name__ = f"remembered_ids_{strings}"
    return prepare


def codes() -> Run:
    """Return the case of the texts' numbers: a dictionary, numbers that are free, and no room."""
    rng = random.Random(8)
    mixed = [rng.choice([*TEXTS, None]) for _ in range(25)]
    asked = [
        (mixed, rows, size, free)
        for rows in (4, 16, 64)
        for size in (0, 1, 3, 8, *range(15, 28), 60)
        for free in ([0], [1, 90], [2, 91, 92, 93])
    ]
    # One text in two rows stands in the first or the last of them.
    asked += [([text, None, text], 2, 9, [0]) for text in TEXTS]
    expected = [_right_codes(*one) for one in asked]

    def run() -> None:
        for (texts, rows, size, free), right in zip(asked, expected, strict=True):
            heap, places = _texts([text or "" for text in texts])
            start = np.array([place for place, _ in places], np.int64)
            length = np.array([-1 if t is None else len(t) for t in texts], np.int64)
            table, own = np.zeros((rows, ids.ID_WIDTH), np.int64), np.zeros(size, np.uint8)
            counters, numbers = np.zeros(3, np.int64), np.array(free, np.int64)
            out = np.full(len(texts), -5, np.int64)
            done = ids.codes_of(table, own, counters, numbers, heap, start, length, out)
            found = (out[:done].tolist(), counters.tolist(), int(numbers[0]))
            assert found == right, (texts, rows, size, free)

    return run


def _right_codes(
    texts: Sequence[str | None], rows: int, size: int, free: Sequence[int]
) -> tuple[list[int], list[int], int]:
    """Return the numbers of the texts that find room, the counters and how many are free."""
    found, known, used, new = list[int](), dict[str, int](), 0, 0
    left = list(free[1 : 1 + free[0]])
    for text in texts:
        if text is None:
            found.append(layout.NULL)
            continue
        if text not in known:
            if 2 * (len(known) + 1) > rows or used + len(text) > size:
                break
            new += not left
            known[text] = left.pop() if left else new - 1
            used += len(text)
        found.append(known[text])
    return found, [len(known), used, new], len(left)


class Slots:
    """A small table of keys, its state made by hand, beside a dictionary from keys to slots.

    key    a number, or a text
    """

    def __init__(self, strings: int, lookup: int) -> None:
        self.strings = strings
        self.known: dict[int | str, int] = {}
        self.free: list[int] = []
        self.taken, self.heap_used = 1, 0
        width = layout.SLOT_MARKS + 3
        none = np.zeros((1, 1), np.int64)
        self.state = layout.State(
            lookup=np.full(lookup, -1, np.int32),
            slots=np.full((40, width), 77, np.int64),
            chunks=none, entries=none,
            heap=np.zeros(400, np.uint8),
            values=none, changed=np.zeros(1, np.int32), reports=none,
            aux=np.zeros((layout.AUX_ROWS, layout.COUNTER_END), np.int64),
            big=none, blank=np.arange(100, 100 + width),
        )  # fmt: skip
        self.state.slots[:, layout.SLOT_LIVE] = 0
        self.state.slots[:, layout.SLOT_LENGTH] = 0
        self.counters = self.state.aux[layout.COUNTERS]
        self.counters[layout.COUNTER_FREE_SLOT] = layout.END
        self.counters[layout.COUNTER_SLOTS] = 1

    def columns(self, given: Sequence[int | str | None]) -> tuple[NDArray[Any], ...]:
        """Return heap, key and length of some keys."""
        if not self.strings:
            numbers = [layout.NULL if key is None else key for key in given]
            return _bytes(""), np.array(numbers, np.int64), np.zeros(len(given), np.int64)
        heap, places = _texts([str(key or "") for key in given])
        length = [-1 if key is None else size for key, (_, size) in zip(given, places, strict=True)]
        return heap, np.array([at for at, _ in places], np.int64), np.array(length, np.int64)

    def look(self, given: Sequence[int | str | None]) -> None:
        """Look some keys up and compare with the dictionary."""
        heap, key, length = self.columns(given)
        hashed, found = np.full(len(given), -9, np.int64), np.full(len(given), -9, np.int64)
        keys.locate(self.strings, self.state, heap, key, length, hashed, found)
        assert found.tolist() == [self.known.get(one, -1) for one in given]  # type: ignore[arg-type]  # None is in no dictionary
        for row, one in enumerate(given):
            right = -1 if one is None else ids.hash_of(self.strings, heap, key[row], length[row])
            assert hashed[row] == right

    def add(self, key: int | str) -> None:
        """Add a key that is not there."""
        heap, start, length = self.columns([key])
        at, size = int(start[0]), int(length[0])
        hashed = ids.hash_of(self.strings, heap, at, size)
        state, strings = self.state, self.strings
        parts = (state.lookup, state.slots, state.heap, self.counters, state.blank)
        right = self.free.pop() if self.free else self.taken
        self.taken = max(self.taken, right + 1)
        before = state.slots[right, layout.SLOT_MARKS] & layout.MARK_LISTED
        slot = keys.add(*parts, strings, hashed, heap, at, size)
        assert slot == right
        self.known[key] = slot
        row = state.slots[slot]
        assert row[layout.SLOT_LIVE] == 1
        assert row[layout.SLOT_KEY] == (self.heap_used if strings else key)
        assert row[layout.SLOT_MARKS] == before
        rest = [n for n in range(layout.SLOT_FIRST, len(row)) if n != layout.SLOT_MARKS]
        assert row[rest].tolist() == state.blank[rest].tolist()
        self.heap_used += size * strings
        self.check()

    def remove(self, key: int | str) -> None:
        """Remove a key that is there."""
        slot = self.known.pop(key)
        self.state.slots[slot, layout.SLOT_MARKS] = slot % 4
        keys.remove(self.state, slot)
        self.free.append(slot)
        row = self.state.slots[slot]
        assert (row[layout.SLOT_LIVE], row[layout.SLOT_MARKS]) == (0, slot % 4 & layout.MARK_LISTED)
        self.check()

    def check(self) -> None:
        """Compare the counters, and the slots that are in the index."""
        counters = self.counters
        assert counters[layout.COUNTER_KEYS] == len(self.known)
        assert counters[layout.COUNTER_SLOTS] == self.taken
        assert counters[layout.COUNTER_HEAP] == self.heap_used
        self.check_index(self.state.lookup)

    def check_index(self, index: NDArray[np.int32]) -> None:
        """Compare the slots in an index."""
        assert sorted(index[index >= 0].tolist()) == sorted(self.known.values())


def slots(strings: int) -> Callable[[], Run]:
    """Return the case of ``keys``: keys that come and go, beside a dictionary."""

    def prepare() -> Run:
        rng = random.Random(9 + strings)
        pool: Sequence[int | str] = (
            TEXTS if strings else [0, 1, 2, 3, -1, 2**40, -(2**62), 11, 12, 13, 14, 15]
        )
        steps = [rng.choice(pool) for _ in range(150)]

        def run() -> None:
            table = Slots(strings, 16)
            for number, key in enumerate(steps):
                if key in table.known:
                    table.remove(key)
                else:
                    table.add(key)
                table.look([*pool, None, key] if number % 10 else [])
            larger = np.full(64, -1, np.int32)
            keys.rehash(table.state, larger)
            table.check_index(larger)
            table.state = table.state._replace(lookup=larger)
            table.look([*pool, None])
            table.look([None, pool[0]])

        return run

    prepare.__name__ = f"slots_{strings}"
    return prepare


def copies() -> Run:
    """Return the case of strings that are put one after another."""
    rng = random.Random(11)
    texts = [rng.choice(TEXTS) for _ in range(30)]
    heap, places = _texts(texts)
    joined = "".join(texts)
    ends = list(itertools.accumulate(map(len, texts), initial=0))

    def run() -> None:
        start = np.array([at for at, _ in places], np.int64)
        length, out = np.array([len(t) for t in texts], np.int64), np.zeros(len(joined), np.uint8)
        keys.copy_keys(heap, start, length, out)
        assert out.tobytes().decode() == joined
        assert start.tolist() == ends[:-1]

    return run


HASHING_CASES: Final = (
    hashes, copies, codes, multisets, remembered_ids(0), remembered_ids(1), slots(0), slots(1),
)  # fmt: skip
