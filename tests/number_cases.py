"""Cases for the kernels that compute with numbers alone, beside fractions.

Each function prepares what is right, the slow way, and returns what compares the kernels with it.
What is drawn is drawn from a fixed seed: a mutant is caught in every run or in none.
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from naive_statistics import half_power as naive_half_power

from noskew.kernels import admission, decay, exact, layout, wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[], None]
    Words = tuple[NDArray[np.uint8], int, int]

EXACT: Final = 2**53


def quotients() -> Run:
    """Return the case of ``exact``: its whole domain, and next to each of its borders."""
    rng = random.Random(1)
    borders = [n + off for n in (0, EXACT, 2**54, 2**62 - 2) for off in (-2, -1, 0, 1, 2)]
    below = [1, 2, 3, 7, 255, 256, 257, 2**31, EXACT - 2, EXACT - 1, EXACT]
    pairs = [(sign * n, d) for n in borders for d in below for sign in (1, -1)]
    for _ in range(300):
        numerator = rng.randrange(2 ** rng.randint(1, 62))
        pairs.append((rng.choice([1, -1]) * numerator, 1 + rng.randrange(2 ** rng.randint(0, 53))))
        # Next to a tie between two floats, where the last bit decides.
        mantissa, below_it = rng.randrange(EXACT // 2, EXACT), rng.randint(1, 2**8)
        pairs.append(((2 * mantissa + 1) * below_it + rng.choice([-1, 0, 1]), below_it))
    expected = [float(Fraction(*pair)) for pair in pairs]

    def run() -> None:
        for pair, right in zip(pairs, expected, strict=True):
            assert exact.quotient(*pair) == right, pair

    return run


def wide_quotients() -> Run:
    """Return the case of ``wide``'s quotients: numerators of up to 100 bits."""
    rng = random.Random(2)
    pairs = [
        (sign * n + off, below)
        for n in (2**40, 2**61, 2**62, 2**100)
        for sign, off, below in itertools.product((1, -1), (-1, 0, 1), (3, EXACT))
    ]
    pairs += [
        (n, d) for n in (0, 1, -3, EXACT - 1, 2**61 - 1) for d in (EXACT + 1, 2**62 - 1, 2**62)
    ]
    for _ in range(20):
        numerator = rng.choice([1, -1]) * rng.randrange(2 ** rng.randint(60, 100))
        pairs.append((numerator, 1 + rng.randrange(2 ** rng.randint(0, 62))))
    expected = [float(Fraction(*pair)) for pair in pairs]

    def run() -> None:
        big = np.zeros((wide.ROWS, wide.LIMBS), np.int64)
        for (numerator, below), right in zip(pairs, expected, strict=True):
            assert wide.wide_quotient(*_words(numerator), below, big) == right, (numerator, below)

    return run


def variances() -> Run:
    """Return the case of the variances: few values and very many, small ones and large."""
    rng = random.Random(12)
    given = [_spread(rng, size, bits) for size in (2, 5, 20) for bits in (1, 10, 25, 40)]
    given += [[2**25, 2**25], [-(2**25), -(2**25) + 1], [0, 0], [7, 7, 7], [2**40, -(2**40)]]
    moments = []
    for numbers, times in itertools.product(given, (1, 2**14, 2**34)):
        total, squares = sum(numbers) * times, sum(n * n for n in numbers) * times
        count, ddof = len(numbers) * times, rng.choice([0, 1])
        # Unscaled where the total is 0 and the squares are not: no short cut may be taken.
        scale = 10 ** rng.choice([0, 0, 2, 9]) if total else 1
        mean = Fraction(total, count)
        around = (squares - count * mean * mean) / (count - ddof) / scale**2
        moments.append((count, total, squares, ddof, scale, float(around)))

    def run() -> None:
        big = np.zeros((wide.ROWS, wide.LIMBS), np.int64)
        for count, total, squares, ddof, scale, right in moments:
            # Within a window the words are plain totals.
            words = (0, 0, squares)
            if squares >= 2**62:
                words = (squares >> 80, *_words(squares & (2**80 - 1)))
            found = wide.variance(count, *_words(total), *words, ddof, scale, big)
            assert found == right, (count, total, squares, ddof, scale)

    return run


def shifts() -> Run:
    """Return the case of ``wide``'s shifts: rows that are full afterwards."""
    rng = random.Random(13)
    room = 30 * wide.LIMBS
    pairs = [(rng.getrandbits(room - by) | 1, by) for by in (0, 1, 29, 30, 31, 60, 65, 300, 419)]
    pairs += [(2 ** (room - by) - 1, by) for by in (0, 1, 30, 59, 90, 391)]

    def limbs(value: int) -> list[int]:
        return [value >> (30 * limb) & (2**30 - 1) for limb in range(wide.LIMBS)]

    def run() -> None:
        for value, by in pairs:
            big = np.array([limbs(value)] * wide.ROWS)
            wide._shift_left(big, 1, by)
            assert big[1].tolist() == limbs(value << by), (value, by)
            assert big[0].tolist() == big[2].tolist() == limbs(value)

    return run


def _spread(rng: random.Random, size: int, bits: int) -> list[int]:
    return [rng.randint(-(2**bits), 2**bits) for _ in range(size)]


def _words(value: int) -> tuple[int, int]:
    return value >> 40, value & (2**40 - 1)


def decays() -> Run:
    """Return the case of ``decay``: the bits that the definition's own words give."""
    rng = random.Random(3)
    pairs = [(n, 1) for n in (0, 1, 2, 1000, 1074, 1075, 1099, 1100, 1101, 2**62)]
    pairs += [(n, 32 * h) for h in (1, 7) for n in range(0, 70 * h, 1)]
    for _ in range(300):
        half_life = 1 + rng.randrange(2 ** rng.randint(1, 52))
        pairs.append((rng.randrange(1 + half_life * rng.choice([1, 1, 3, 40])), half_life))
    expected = [naive_half_power(*pair).hex() for pair in pairs]

    def run() -> None:
        for pair, right in zip(pairs, expected, strict=True):
            assert decay.half_power(*pair).hex() == right, pair

    return run


def rooms() -> Run:
    """Return the case of a table's room: the least of all that a record with a new key needs."""
    rng = random.Random(14)
    shapes = [tuple(rng.choice([1, 2, 8, 9, 64]) for _ in range(4)) for _ in range(200)]
    counters = (
        layout.COUNTER_FREED_CHUNKS, layout.COUNTER_CHUNKS, layout.COUNTER_KEYS,
        layout.COUNTER_REPORTS,
    )  # fmt: skip
    held = [[rng.choice([0, 0, 1, 3, 20]) for _ in counters] for _ in shapes]

    def run() -> None:
        aux = np.zeros((layout.AUX_ROWS, layout.COUNTER_END), np.int64)
        for (slots, chunks, lookup, reports), used in zip(shapes, held, strict=True):
            aux[layout.COUNTERS, counters] = used
            freed, taken, present, reported = used
            # Slot 0 is nobody's; half of the hash table stays free; a record may say two things.
            needs = (slots - 1 - present, chunks - taken + freed, lookup // 2 - present)
            right = max(min(*needs, (reports - reported) // 2), 0)
            found = admission.room_of(
                np.zeros((slots, 1), np.int64),
                np.zeros((chunks, 1), np.int64),
                np.zeros(lookup, np.int32),
                np.zeros((reports, 1), np.int64),
                aux,
            )
            assert found == right, (slots, chunks, lookup, reports, used)

    return run


NUMBER_CASES: Final = (quotients, decays, shifts, rooms, variances, wide_quotients)
