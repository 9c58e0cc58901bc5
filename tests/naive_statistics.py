"""What each statistic is of its members: one short function each, in one table.

Integers and fractions throughout; a float is made once, at the end. Decays are the exception, as
the contract has it: float64 by recursion, from the oldest member on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import TYPE_CHECKING, Final, TypeAlias

from noskew.dataflows.definition.plan import Stat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meaning import Statistic

Exact: TypeAlias = int | Fraction | str


@dataclass(frozen=True)
class Member:
    """An event as a statistic sees it; ``value`` is its column's, None for a null or no column."""

    time_us: int
    value: Exact | None = None


@dataclass(frozen=True)
class Members:
    """Whom a statistic is computed of: by (time, seq), the event itself last.

    of a decay   first the folded ones in the order they were folded in, then the rest
    as_of_us     T
    own          the event itself is among them
    """

    stat: Statistic
    members: Sequence[Member]
    as_of_us: int
    own: bool = False

    @property
    def values(self) -> list[Exact]:
        """Return the values there are: a null is skipped."""
        return [member.value for member in self.members if member.value is not None]

    @property
    def numbers(self) -> list[Fraction]:
        """Return the values of a column of numbers."""
        return [Fraction(value) for value in self.values]


def count(of: Members) -> float:
    """Members."""
    return float(len(of.members)) if of.members else empty(of, 0.0)


def count_values(of: Members) -> float:
    """Members whose column is not null."""
    return float(len(of.values)) if of.values else empty(of, 0.0)


def total(of: Members) -> float:
    """One rounding of the exact sum."""
    return float(sum(of.numbers)) if of.values else empty(of, 0.0)


def mean(of: Members) -> float:
    """One rounding of the exact quotient."""
    return float(sum(of.numbers) / len(of.values)) if of.values else empty(of, math.nan)


def least(of: Members) -> float:
    """The smallest value."""
    return float(min(of.numbers)) if of.values else empty(of, math.nan)


def greatest(of: Members) -> float:
    """The largest value."""
    return float(max(of.numbers)) if of.values else empty(of, math.nan)


def variance(of: Members) -> float:
    """One rounding of the squares about the exact mean, over n - ddof."""
    numbers, n = of.numbers, len(of.values)
    if n == 0 or n <= of.stat.ddof:
        return empty(of, math.nan)
    middle = sum(numbers) / n
    return float(sum((x - middle) ** 2 for x in numbers) / (n - of.stat.ddof))


def deviation(of: Members) -> float:
    """The float64 square root of the variance; an empty one is no variance."""
    n = len(of.values)
    return empty(of, math.nan) if n == 0 or n <= of.stat.ddof else math.sqrt(variance(of))


def first(of: Members) -> float:
    """The value of the earliest member that has one."""
    return float(of.numbers[0]) if of.values else empty(of, math.nan)


def last(of: Members) -> float:
    """The value of the latest member that has one."""
    return float(of.numbers[-1]) if of.values else empty(of, math.nan)


def distinct(of: Members) -> float:
    """How many different values."""
    return float(len(set(of.values))) if of.values else empty(of, 0.0)


def rate(of: Members) -> float:
    """Members a second of the window."""
    assert of.stat.over_us is not None
    seconds = of.stat.over_us // 1_000_000
    return len(of.members) / seconds if of.members else empty(of, 0.0)


def since_last(of: Members) -> float:
    """Seconds from the newest other event at or before T to T."""
    newest = max((member.time_us for member in of.members), default=None)
    return math.nan if newest is None else (of.as_of_us - newest) / 1_000_000


def decayed_sum(of: Members) -> float:
    """Each x halved once a half-life, from its time to T."""
    anchor = decay(of)
    return empty(of, 0.0) if anchor is None else _halved(anchor, of)


def decayed_count(of: Members) -> float:
    """A decayed sum of ones."""
    return decayed_sum(of)


def ewma(of: Members) -> float:
    """The decayed sum over the decayed count of the same members.

    What both lose between the last member and T is one factor, and is left out.
    """
    above, below = decay(of), decay(of, counted=True)
    if above is None or below is None:
        return empty(of, math.nan)
    return above[1] / below[1]


NAIVE: Final[dict[Stat, Callable[[Members], float]]] = {
    Stat.COUNT: count,
    Stat.COUNT_VALUES: count_values,
    Stat.SUM: total,
    Stat.MEAN: mean,
    Stat.MIN: least,
    Stat.MAX: greatest,
    Stat.SINCE_LAST: since_last,
    Stat.VAR: variance,
    Stat.STD: deviation,
    Stat.FIRST: first,
    Stat.LAST: last,
    Stat.DISTINCT: distinct,
    Stat.RATE: rate,
    Stat.DECAYED_SUM: decayed_sum,
    Stat.DECAYED_COUNT: decayed_count,
    Stat.EWMA: ewma,
}
"""Every statistic there is: a new one adds a function and its line here."""


def empty(of: Members, otherwise: float) -> float:
    """Return what the definition says of no member, else the contract's value."""
    return otherwise if of.stat.empty is None else of.stat.empty


def decay(of: Members, *, counted: bool = False) -> tuple[int, float] | None:
    """Return the recursion's last time and its value there; None without a member that counts.

    counted  every member that has a value counts 1
    """
    at: tuple[int, float] | None = None
    for member in of.members:
        if of.stat.column and member.value is None:
            continue
        ones = counted or not of.stat.column
        x = 1.0 if ones else float(Fraction(member.value or 0))
        at = (member.time_us, x) if at is None else _carried(at, member.time_us, x, of.stat)
    return at


def _carried(at: tuple[int, float], time_us: int, x: float, stat: Statistic) -> tuple[int, float]:
    """Take one more member in; one older than the last time is halved up to that time."""
    last_us, value = at
    if time_us < last_us:
        return last_us, value + x * half_power(last_us - time_us, stat.half_life_us)
    return time_us, value * half_power(time_us - last_us, stat.half_life_us) + x


def _halved(at: tuple[int, float], of: Members) -> float:
    last_us, value = at
    return value * half_power(of.as_of_us - last_us, of.stat.half_life_us)


LN2: Final = 0.6931471805599453


@cache
def half_power(elapsed_us: int, half_life_us: int) -> float:
    """Return 2^(-elapsed/half-life), of IEEE operations only.

    elapsed = (q + k/32 + g) half-lives. Halvings q are exact, 2^(-k/32) is correctly rounded, and
    2^(-g) = exp(-g ln 2) is its Taylor series to the seventh power by Horner's rule. At most 1,100
    halvings leave anything.
    """
    halvings = elapsed_us // half_life_us
    if halvings > 1100:
        return 0.0
    left = Fraction(elapsed_us, half_life_us) - halvings
    step = left * 32 // 1
    value = _root(int(step))
    rest = (left - step / Fraction(32)) * half_life_us * 32
    if rest:
        x = -(float(rest) / float(half_life_us) / 32.0 * LN2)
        series = x * (1.0 / 5040.0) + 1.0 / 720.0
        for coefficient in (1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0):
            series = series * x + coefficient
        value = value * series
    return math.ldexp(value, -int(halvings))


@cache
def _root(step: int) -> float:
    """Return 2^(-step/32), correctly rounded: five square roots of an integer of 4,096 bits."""
    whole = 1 << (32 * 128 - step)
    for _ in range(5):
        whole = isqrt(whole)
    return float(Fraction(whole, 1 << 128))
