"""Definitions drawn for property tests: one or two streams, every statistic and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meaning import (
    And,
    Arithmetic,
    Calendar,
    Compare,
    Field,
    Literal,
    Meaning,
    Not,
    Or,
    Source,
    Statistic,
)

from noskew.dataflows.definition.plan import WINDOWLESS, Stat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meaning import Condition, Expression

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND
DAY: Final = 24 * HOUR
START_US: Final = 1_522_540_800 * SECOND
"""2018-04-01, a Sunday."""
EARLIEST_US: Final = 946_684_800 * SECOND
"""2000-01-01: decoders let nothing older through."""
MAX_ABS: Final = 2**40

CUSTOMER: Final = "customer_id"
TERMINAL: Final = "terminal_id"
PAYMENT: Final = "payment_id"
AMOUNT: Final = "amount_cents"
ONLINE: Final = "is_online"
PRICE: Final = "price"
KIND: Final = "kind"
COUNTRY: Final = "country"
FIELDS: Final = (CUSTOMER, TERMINAL, PAYMENT, AMOUNT, ONLINE, PRICE, KIND, COUNTRY)
NULLABLE: Final = frozenset({CUSTOMER, TERMINAL, AMOUNT, PRICE, KIND, COUNTRY})
NUMBERS: Final = (AMOUNT, PRICE, ONLINE, KIND)

INT_KEYS: Final = (7, 0, -1, 2**62)
STRING_KEYS: Final = ("c-7", "", "c-77", "ключ:100%")
AMOUNTS: Final = (1, 0, None, -1, 2, 3, 7, 10, MAX_ABS, -MAX_ABS, MAX_ABS - 1, 1 - MAX_ABS)
PRICES: Final = (0.0, None, float("nan"), -0.0, 0.125, 0.375, 2.675, 0.1, -0.005, 1e10, -1e10)
COUNTRIES: Final = ("se", "", "S", "sé", None, "se ")
WINDOWS: Final = (SECOND, HOUR, DAY, 7 * DAY, None)
DELAYS: Final = (0, SECOND, HOUR, 7 * DAY)
TILES: Final = (SECOND, 7 * SECOND, HOUR)
WINDOWED: Final = (
    Stat.COUNT_VALUES, Stat.SUM, Stat.MEAN, Stat.MIN, Stat.MAX, Stat.VAR, Stat.STD, Stat.FIRST,
    Stat.LAST, Stat.DISTINCT,
)  # fmt: skip


class Draw:
    """Choices out of few numbers: one of Hypothesis's costs as much as all choices of a record.

    number   number(n) is 0 .. n - 1. Of more than 2^24 Hypothesis draws mostly small ones, so a
             number is used up digit by digit, then the next one is drawn. The first choice is what
             shrinking leads to.
    """

    def __init__(self, number: Callable[[int], int]) -> None:
        self._number = number
        self._left, self._room = 0, 1

    def pick(self, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        if self._room < len(choices):
            self._left, self._room = self._number(2**24), 2**24
        self._room //= len(choices)
        self._left, digit = divmod(self._left, len(choices))
        return choices[digit]

    def some(self, choices: Sequence[Any], least: int, most: int) -> list[Any]:
        """Return some of the choices, each at most once."""
        found: dict[Any, None] = {}
        for _ in range(self.pick(range(least, most + 1))):
            found[self.pick(choices)] = None
        return list(found)


# -- definitions -------------------------------------------------------------------------------

_SIGNS: Final = ("==", "!=", "<", "<=", ">", ">=")
CONDITIONS: Final[tuple[Condition, ...]] = (
    Compare(ONLINE, "==", (1,)),
    *(Compare(AMOUNT, sign, (2,)) for sign in _SIGNS),
    *(Compare(PRICE, sign, (0.125,)) for sign in _SIGNS),
    *(Compare(COUNTRY, sign, ("se",)) for sign in _SIGNS),
    Compare(KIND, "isin", (0, 2)),
    Compare(AMOUNT, "isin", (-1, 1, MAX_ABS)),
    Compare(COUNTRY, "isin", ("", "sé")),
    *(Compare(column, "is_null") for column in (AMOUNT, PRICE, COUNTRY, KIND)),
)
"""What a ``where`` is made of, over all kinds of columns."""

_ROW_FUNCTIONS: Final[tuple[Expression, ...]] = (
    *(Field(column) for column in NUMBERS),
    *(Calendar(part, offset_s) for part in ("hour", "weekday") for offset_s in (0, 20700, -12600)),
)
_LITERALS: Final = tuple(Literal(value) for value in (0.0, -1.0, 0.1, 1e308))


def _condition(draw: Draw) -> Condition | None:
    kind = draw.pick([None] * 4 + ["one", "and", "or", "not"])
    if kind is None:
        return None
    one, other = draw.pick(CONDITIONS), draw.pick(CONDITIONS)
    found: dict[str, Condition] = {
        "one": one,
        "and": And(one, Not(other)),
        "or": Or(one, other),
        "not": Not(one),
    }
    return found[kind]


def draw_statistic(draw: Draw, entity: str, stream: int, over: Sequence[int | None]) -> Statistic:
    """Draw a statistic of an entity over one of a few windows."""
    stat = draw.pick([Stat.COUNT, *WINDOWED, *Stat])
    column = ""
    if stat not in {Stat.COUNT, Stat.RATE, Stat.SINCE_LAST, Stat.DECAYED_COUNT}:
        texts = [COUNTRY] if stat in {Stat.COUNT_VALUES, Stat.DISTINCT} else []
        column = draw.pick([AMOUNT, *NUMBERS, *texts])
    if stat is Stat.SINCE_LAST:
        return Statistic(stat, entity, stream=stream)
    if stat in WINDOWLESS:
        half_life_us = draw.pick([HOUR, SECOND, 7 * DAY])
        return Statistic(stat, entity, column=column, half_life_us=half_life_us, stream=stream)
    over_us = draw.pick([one for one in over if one or stat is not Stat.RATE] or [HOUR])
    # All of history has no old end that could be closed.
    ends = ["right"] * 3 + (["neither"] if over_us is None else ["left", "both", "neither"])
    return Statistic(
        stat,
        entity,
        over_us=over_us,
        column=column,
        delay_us=draw.pick(DELAYS[:1] * 4 + DELAYS),
        closed=draw.pick(ends),
        resolution_us=draw.pick([0, 0, 0, *(tile for tile in TILES if tile <= (over_us or 0))]),
        include_self=draw.pick([True] * 3 + [False]),
        where=_condition(draw),
        empty=draw.pick([None] * 4 + [-1.5]),
        ddof=draw.pick([1, 1, 0, 2]) if stat in {Stat.VAR, Stat.STD} else 1,
        stream=stream,
    )


def draw_source(draw: Draw, place: int) -> Source:
    """Draw how a stream's records are judged; labels are often revised."""
    revise = place == 1 and draw.pick([True, True, False])
    return Source(
        id=PAYMENT,
        key=CUSTOMER,
        allowed_lateness_us=draw.pick([0, SECOND, HOUR, 2 * HOUR, *[DAY] * place]),
        max_skew_us=draw.pick([SECOND, HOUR, DAY]),
        dedupe_us=0 if revise else draw.pick([0, SECOND, HOUR]),
        revise=revise,
        quantum={PRICE: draw.pick([2, 0])},
    )


def draw_meaning(draw: Draw) -> Meaning:
    """Draw a definition: one or two streams and entities, statistics over shared windows."""
    over = draw.some(WINDOWS, 1, 2)
    streams = [draw_source(draw, place) for place in range(draw.pick([1, 2]))]
    entities = draw.pick([[CUSTOMER], [CUSTOMER, TERMINAL], [TERMINAL]])
    features: dict[Expression, None] = {}
    for entity in entities:
        for stream in range(len(streams)):
            # The last stream has a feature; an entity may have none of the scored one.
            least = int(entity == entities[0] and stream == len(streams) - 1)
            for _ in range(draw.pick(range(least, 6))):
                features[draw_statistic(draw, entity, stream, over)] = None
    stats = list(features)
    for _ in range(draw.pick(range(3))):
        features[_row_function(draw, stats)] = None
    return Meaning({f"f{i}": feature for i, feature in enumerate(features)}, tuple(streams))


def _row_function(draw: Draw, stats: list[Expression]) -> Expression:
    """Draw a column, a calendar part, or arithmetic with these, literals and ``stats``."""
    one, other = draw.pick([*_ROW_FUNCTIONS, *stats]), draw.pick([*_ROW_FUNCTIONS, *stats])
    literal, sign, again = draw.pick(_LITERALS), draw.pick("+-*/"), draw.pick("/*-+")
    found: Expression = draw.pick(
        [
            draw.pick(_ROW_FUNCTIONS),
            Arithmetic(sign, one, other),
            Arithmetic(sign, literal, other),
            Arithmetic(sign, Arithmetic(again, one, literal), Arithmetic(again, other, one)),
        ]
    )
    return found
