"""Features as a definition writes them: what is computed, its name, and arithmetic on it.

An *expression* is a value that says what to compute; equal expressions are the same feature. A
*feature* is an expression with a name, derived from it unless ``named`` gives another.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn, TypeAlias

from noskew.dataflows.definition.durations import show, show_offset
from noskew.dataflows.definition.plan import Row, Stat
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.definition.stream import Stream

MOST_OPERATIONS: Final = 256
"""Operations in one arithmetic expression: what anyone needs, and no recursion is too deep."""

LONGEST_NAME: Final = 200

NAMES: Final = {
    Stat.COUNT: "count",
    Stat.COUNT_VALUES: "count",
    Stat.SUM: "sum",
    Stat.MEAN: "mean",
    Stat.MIN: "min",
    Stat.MAX: "max",
    Stat.SINCE_LAST: "since_last",
}
"""How a statistic is written in definitions and derived names."""

SIGNS: Final = {Row.ADD: "+", Row.SUBTRACT: "-", Row.MULTIPLY: "*", Row.DIVIDE: "/"}


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of an entity's earlier events.

    column    the column aggregated, "" for COUNT and SINCE_LAST
    over_us   the window's width W, 0 for SINCE_LAST;  delay_us  the delay d
    """

    stream: Stream
    entity: str
    stat: Stat
    column: str
    over_us: int
    delay_us: int


@dataclass(frozen=True, slots=True)
class RowFunction:
    """A function of the scored record alone: COLUMN of ``column``, HOUR or WEEKDAY of its time."""

    stream: Stream
    row: Row
    column: str
    utc_offset_s: int


@dataclass(frozen=True, slots=True)
class Number:
    """A constant in arithmetic."""

    value: float


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``left`` and ``right`` joined by ADD, SUBTRACT, MULTIPLY or DIVIDE."""

    row: Row
    left: Expression
    right: Expression
    operations: int = field(compare=False)


Expression: TypeAlias = "Statistic | RowFunction | Number | Arithmetic"


class Operand(ABC):
    """What features and groups of features share: iteration, naming, arithmetic."""

    __slots__ = ()
    __array_ufunc__: ClassVar[None] = None  # numpy's numbers leave arithmetic to us

    @property
    @abstractmethod
    def features(self) -> tuple[Feature, ...]:
        """Return the single features."""

    def named(self, name: str) -> Feature:
        """Return this feature under another name; raises DefinitionError for a group."""
        feature = self._single("named")
        return Feature(feature.expression, feature_name(name, f"named({name!r})"))

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, place: int) -> Feature:
        return self.features[place]

    def __add__(self, other: Operand | float) -> Feature:
        return _join(Row.ADD, self, other)

    def __radd__(self, other: float) -> Feature:
        return _join(Row.ADD, other, self)

    def __sub__(self, other: Operand | float) -> Feature:
        return _join(Row.SUBTRACT, self, other)

    def __rsub__(self, other: float) -> Feature:
        return _join(Row.SUBTRACT, other, self)

    def __mul__(self, other: Operand | float) -> Feature:
        return _join(Row.MULTIPLY, self, other)

    def __rmul__(self, other: float) -> Feature:
        return _join(Row.MULTIPLY, other, self)

    def __truediv__(self, other: Operand | float) -> Feature:
        return _join(Row.DIVIDE, self, other)

    def __rtruediv__(self, other: float) -> Feature:
        return _join(Row.DIVIDE, other, self)

    def __neg__(self) -> NoReturn:
        message = f"-({self}) is no feature; write -1 * ({self})"
        raise DefinitionError(message)

    def __bool__(self) -> NoReturn:
        message = (
            f"{self} has no truth value: it is computed per event, not while the definition is "
            "read; write it into features=[...] without if, and, or, not"
        )
        raise DefinitionError(message)

    def _compare(self, _other: object) -> NoReturn:
        message = (
            f"{self} is compared, but a comparison is no feature yet; give the model the feature "
            "itself: a tree compares"
        )
        raise DefinitionError(message)

    __lt__ = __le__ = __gt__ = __ge__ = _compare

    def _single(self, use: str) -> Feature:
        if len(self.features) != 1:
            names = ", ".join(str(one) for one in self.features)
            message = (
                f"{use} takes one feature, and this is a group of {len(self.features)}: {names}; "
                'write one window, such as over="30d", or take one: group[0]'
            )
            raise DefinitionError(message)
        return self.features[0]


@dataclass(frozen=True, slots=True, eq=False)
class Feature(Operand):
    """One feature; ``given`` is the name that ``named`` gave it."""

    expression: Expression
    given: str = ""

    @property
    def features(self) -> tuple[Feature, ...]:
        """Return the feature itself, as the only one."""
        return (self,)

    @property
    def name(self) -> str:
        """Return the feature's name; "" for arithmetic without one."""
        return self.given or derived_name(self.expression)

    def __str__(self) -> str:
        return self.name or describe(self.expression)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureGroup(Operand):
    """The features that one call with several windows gives, in the order of its windows."""

    members: tuple[Feature, ...]

    @property
    def features(self) -> tuple[Feature, ...]:
        """Return the single features."""
        return self.members

    def __str__(self) -> str:
        return "[" + ", ".join(str(one) for one in self.members) + "]"


def feature_name(name: object, what: str) -> str:
    """Return a name that is an identifier; raises DefinitionError, ``what`` says where."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        usable = re.sub(r"\W", "_", str(name), flags=re.ASCII)
        usable = f"_{usable}" if not usable or usable[0].isdigit() else usable
        message = (
            f"{what}: {name!r} is no name; write letters, digits and _ and no digit first, "
            f"for example {usable!r}"
        )
        raise DefinitionError(message)
    if len(name) > LONGEST_NAME:
        message = f"{what}: the name has {len(name)} characters; write at most {LONGEST_NAME}"
        raise DefinitionError(message)
    return name


def derived_name(expression: Expression) -> str:
    """Return the name an expression gives itself, "" for arithmetic and numbers."""
    match expression:
        case Statistic(entity=entity, stat=stat, column=column, over_us=over, delay_us=delay):
            parts = [entity, column, NAMES[stat], show(over) if over else ""]
            parts += ["delay", show(delay)] if delay else []
            return "_".join(part for part in parts if part)
        case RowFunction(row=Row.COLUMN, column=column):
            return column
        case RowFunction(row=row, utc_offset_s=offset):
            sign = "minus" if offset < 0 else "plus"
            suffix = f"_utc_{sign}_{show_offset(offset)[1:].replace(':', '')}" if offset else ""
            return f"{row.name.lower()}{suffix}"
        case _:
            return ""


def describe(expression: Expression, *, inner: bool = False) -> str:
    """Return what is computed, in words; arithmetic as a formula, in brackets if ``inner``."""
    match expression:
        case Number(value=value):
            return repr(int(value) if value.is_integer() else value)
        case Arithmetic(row=row, left=left, right=right):
            text = f"{describe(left, inner=True)} {SIGNS[row]} {describe(right, inner=True)}"
            return f"({text})" if inner else text
        case RowFunction(row=Row.COLUMN, column=column):
            return column
        case RowFunction(row=row, stream=stream, utc_offset_s=offset):
            zone = f"UTC{show_offset(offset)}" if offset else "UTC"
            return f"{row.name.lower()} of {stream.time} ({zone})"
        case Statistic(stat=Stat.SINCE_LAST, entity=entity):
            return f"seconds since the last event per {entity}"
        case Statistic(entity=entity, stat=stat, column=column, over_us=over, delay_us=delay):
            what = f"{NAMES[stat]} of {column}" if column else "count of events"
            late = f", delayed {show(delay)}" if delay else ""
            return f"{what} per {entity} over {show(over)}{late}"


def leaves(expression: Expression) -> Iterator[Statistic | RowFunction]:
    """Yield what an expression is made of, left to right, without numbers."""
    match expression:
        case Arithmetic(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)
        case Statistic() | RowFunction():
            yield expression


def _join(row: Row, left: Operand | float, right: Operand | float) -> Feature:
    sides = [_operand(row, left), _operand(row, right)]
    count = 1 + sum(side.operations for side in sides if isinstance(side, Arithmetic))
    if count > MOST_OPERATIONS:
        message = (
            f"an expression of {count} operations; write at most {MOST_OPERATIONS}, and give "
            "its parts to the model as features of their own"
        )
        raise DefinitionError(message)
    return Feature(Arithmetic(row, sides[0], sides[1], count))


def _operand(row: Row, value: object) -> Expression:
    if isinstance(value, Operand):
        return value._single(f"'{SIGNS[row]}'").expression  # noqa: SLF001 -- same module
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = (
            f"'{SIGNS[row]}' with {value!r}; write arithmetic between features and numbers only"
        )
        raise DefinitionError(message)
    if abs(value) > 2**53 and isinstance(value, int):
        message = f"{value} is beyond 2^53, where float64 has gaps; write a smaller number"
        raise DefinitionError(message)
    if not math.isfinite(value):
        message = f"'{SIGNS[row]}' with {value!r}; write a finite number"
        raise DefinitionError(message)
    return Number(value + 0.0)  # -0.0 becomes 0.0: they are equal, and equal is the same feature
