"""Statistics: what was found of keys, made into float64 with one rounding, a kernel each.

To add a statistic: a kernel here and its row in ``fill``, a ``Stat`` in the plan, its row in
``core.shape.NEEDS``, a method of ``Entity``, and what it means in ``tests/naive.py``. Each kernel
takes an op and, of n records, int64 or float64:

op        its row of the plan
words     [NUMBER_WORDS, n]  what was found of each key
member    [n]  1 where the event itself counts
own       [n]  its value then; 0 where it is no member, or there is no column
as_of_us  [n]  its time
big       scratch of ``wide``
out       [n]  written
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.bits import real
from noskew.kernels.decay import half_power
from noskew.kernels.edges import WORD_LOW, WORD_SHIFT
from noskew.kernels.exact import quotient
from noskew.kernels.jit import kernel
from noskew.kernels.layout import (
    FOREVER,
    LOWEST,
    NO_TIME,
    NULL,
    OP_COUNT,
    OP_COUNT_VALUES,
    OP_DECAYED_COUNT,
    OP_DECAYED_SUM,
    OP_DISTINCT,
    OP_EWMA,
    OP_FIRST,
    OP_LAST,
    OP_MAX,
    OP_MEAN,
    OP_MIN,
    OP_RATE,
    OP_SINCE_LAST,
    OP_STD,
    OP_SUM,
    OP_VAR,
    PLAN_OP_COLUMN,
    PLAN_OP_COUNT,
    PLAN_OP_DDOF,
    PLAN_OP_EMPTY,
    PLAN_OP_HISTORY,
    PLAN_OP_KIND,
    PLAN_OP_SCALE,
    PLAN_OP_SIGN,
    PLAN_OP_SPAN,
    PLAN_OP_SQUARES,
    PLAN_OP_SUM,
    PLAN_OP_WEIGHTS,
    PLAN_OP_WORD,
    WORD_NEWEST,
)
from noskew.kernels.wide import variance, wide_quotient

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def fill(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    big: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Compute one op of ``count`` records: one row a statistic."""
    kind = op[PLAN_OP_KIND]
    if kind in (OP_COUNT, OP_COUNT_VALUES):
        _count(op, count, words, member, 1.0, out)
    elif kind == OP_RATE:
        _count(op, count, words, member, float(op[PLAN_OP_SPAN] // 1_000_000), out)
    elif kind == OP_SUM:
        _sum(op, count, words, member, own, 0, big, out)
    elif kind == OP_MEAN:
        _sum(op, count, words, member, own, 1, big, out)
    elif kind in (OP_MIN, OP_MAX):
        _extreme(op, count, words, member, own, out)
    elif kind == OP_SINCE_LAST:
        _since_last(count, words, as_of_us, out)
    elif kind == OP_VAR:
        _variance(op, count, words, member, own, big, out)
    elif kind == OP_STD:
        _variance(op, count, words, member, own, big, out)
        for row in range(count):
            if _members(op, words, row, member[row]) > op[PLAN_OP_DDOF]:
                out[row] = math.sqrt(out[row])
    elif kind == OP_FIRST:
        _end(op, count, words, member, own, 0, out)
    elif kind == OP_LAST:
        _end(op, count, words, member, own, 1, out)
    elif kind == OP_DISTINCT:
        _distinct(op, count, words, member, out)
    elif kind in (OP_DECAYED_SUM, OP_DECAYED_COUNT):
        _decayed(op, count, words, member, own, as_of_us, out)
    elif kind == OP_EWMA:
        _ewma(op, count, words, member, own, as_of_us, out)


@kernel(inline=True)
def _members(op: NDArray[np.int64], words: NDArray[np.int64], row: int, member: int) -> int:
    word = op[PLAN_OP_COUNT]
    if op[PLAN_OP_HISTORY]:
        return int((words[word, row] << WORD_SHIFT) + words[word + 1, row] + member)
    return int(words[word, row] + member)


@kernel
def _count(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    seconds: float,
    out: NDArray[np.float64],
) -> None:
    """Count members, per so many seconds."""
    empty = real(op[PLAN_OP_EMPTY])
    for row in range(count):
        members = _members(op, words, row, member[row])
        out[row] = empty if members == 0 else float(members) / seconds


@kernel
def _sum(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    mean: int,
    big: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Add up a column, or (``mean`` 1) divide that by how many values there are; one rounding."""
    empty, word, scale = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_SUM], op[PLAN_OP_SCALE]
    for row in range(count):
        members = _members(op, words, row, member[row])
        denominator = members * scale if mean else scale
        if members == 0:
            out[row] = empty
        elif op[PLAN_OP_HISTORY]:
            rest = words[word + 1, row] + own[row]
            high = words[word, row] + (rest >> WORD_SHIFT)
            out[row] = wide_quotient(high, rest & WORD_LOW, denominator, big)
        else:
            out[row] = quotient(words[word, row] + own[row], denominator)


@kernel
def _variance(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    big: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    empty, word, squares = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_SUM], op[PLAN_OP_SQUARES]
    for row in range(count):
        value = own[row]
        members = _members(op, words, row, member[row])
        if members <= op[PLAN_OP_DDOF]:
            out[row] = empty
            continue
        high, low = 0, words[word, row]
        top, middle, rest = 0, words[squares, row], words[squares + 1, row]
        if op[PLAN_OP_HISTORY]:
            high, low = words[word, row], words[word + 1, row]
            # Two totals of two words: the squares' high and low parts.
            top = words[squares, row]
            middle = words[squares + 1, row] + words[squares + 2, row]
            rest = words[squares + 3, row]
        low += value
        upper, lower = abs(value) >> 20, abs(value) & 0xFFFFF
        cross = 2 * upper * lower
        middle += upper * upper + (cross >> 20)
        rest += ((cross & 0xFFFFF) << 20) + lower * lower
        high += low >> WORD_SHIFT
        low = low & WORD_LOW
        scale = op[PLAN_OP_SCALE]
        out[row] = variance(members, high, low, top, middle, rest, op[PLAN_OP_DDOF], scale, big)


@kernel
def _extreme(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    empty, word, sign = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_WORD], op[PLAN_OP_SIGN]
    for row in range(count):
        best = words[word, row]
        if member[row]:
            best = max(best, sign * own[row])
        out[row] = empty if best == LOWEST else quotient(sign * best, op[PLAN_OP_SCALE])


@kernel
def _end(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    last: int,
    out: NDArray[np.float64],
) -> None:
    """Return the first or last value; the event itself is the latest member."""
    empty, word = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_WORD]
    for row in range(count):
        value = words[word, row]
        if member[row] and (last or value == NULL):
            value = own[row]
        out[row] = empty if value == NULL else quotient(value, op[PLAN_OP_SCALE])


@kernel
def _distinct(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    empty, word = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_WORD]
    for row in range(count):
        values = words[word, row]
        if member[row]:
            values += words[word + 1, row]
        out[row] = empty if values == 0 else float(values)


@kernel
def _since_last(
    count: int,
    words: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    for row in range(count):
        newest_us = words[WORD_NEWEST, row]
        out[row] = np.nan if newest_us == NO_TIME else float(as_of_us[row] - newest_us) / 1e6


@kernel
def _decayed(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    empty, word, scale = real(op[PLAN_OP_EMPTY]), op[PLAN_OP_WORD], float(op[PLAN_OP_SCALE])
    for row in range(count):
        if words[word + 1, row] == NO_TIME and not member[row]:
            out[row] = empty
        else:
            amount = 1.0 if op[PLAN_OP_COLUMN] < 0 else float(own[row]) / scale
            out[row] = _as_of(op, words, word, row, member[row], amount, as_of_us[row])


@kernel
def _ewma(
    op: NDArray[np.int64],
    count: int,
    words: NDArray[np.int64],
    member: NDArray[np.int64],
    own: NDArray[np.int64],
    as_of_us: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    above, below = op[PLAN_OP_WORD], op[PLAN_OP_WEIGHTS]
    for row in range(count):
        if member[row]:
            amount = float(own[row]) / float(op[PLAN_OP_SCALE])
            values = _as_of(op, words, above, row, 1, amount, as_of_us[row])
            out[row] = values / _as_of(op, words, below, row, 1, 1.0, as_of_us[row])
        elif words[above + 1, row] == NO_TIME:
            out[row] = real(op[PLAN_OP_EMPTY])
        elif words[above + 1, row] == FOREVER:
            out[row] = np.nan
        else:
            # What both have lost since is the same factor.
            out[row] = real(words[above, row]) / real(words[below, row])


@kernel
def _as_of(
    op: NDArray[np.int64],
    words: NDArray[np.int64],
    word: int,
    row: int,
    member: int,
    amount: float,
    as_of_us: int,
) -> float:
    """Return a decay as of T, with the event itself where it is a member."""
    if words[word + 1, row] == FOREVER:
        return np.nan
    if words[word + 1, row] == NO_TIME:
        return amount if member else 0.0
    value = real(words[word, row]) * half_power(as_of_us - words[word + 1, row], op[PLAN_OP_SPAN])
    return value + amount if member else value
