"""Features as a definition writes them: an expression with a name, groups of them, arithmetic.

A name is derived from what is computed unless ``named`` gives another. Comparing a column makes a
condition for ``where=``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from noskew.dataflows.definition import checks, condition
from noskew.dataflows.definition.expression import (
    SIGNS,
    Arithmetic,
    Number,
    RowFunction,
    derived_name,
    describe,
)
from noskew.dataflows.definition.literals import plain
from noskew.dataflows.definition.plan import Is, Row
from noskew.dataflows.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.definition.condition import Condition
    from noskew.dataflows.definition.expression import Expression

MOST_OPERATIONS: Final = 256
"""Operations in one arithmetic expression: what anyone needs, and no recursion is too deep."""

LONGEST_NAME: Final = 200


class Operand(ABC):
    """What features and groups of features share: iteration, naming, arithmetic, comparison."""

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

    def isin(self, values: object) -> Condition:
        """Return the condition that the column has one of ``values``, an iterable of literals."""
        return self._compared(Is.IN, values)

    def is_null(self) -> Condition:
        """Return the condition that the column is null, or NaN."""
        return self._compared(Is.NULL, None)

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

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # a condition, not a bool
        return self._compared(Is.EQUAL, other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # a condition, not a bool
        return self._compared(Is.NOT_EQUAL, other)

    def __lt__(self, other: object) -> Condition:
        return self._compared(Is.LESS, other)

    def __le__(self, other: object) -> Condition:
        return self._compared(Is.LESS_EQUAL, other)

    def __gt__(self, other: object) -> Condition:
        return self._compared(Is.GREATER, other)

    def __ge__(self, other: object) -> Condition:
        return self._compared(Is.GREATER_EQUAL, other)

    # Two objects are never told apart by ``==``: each is itself, in sets and dictionaries too.
    __hash__ = object.__hash__

    def __neg__(self) -> NoReturn:
        message = f"-({self}) is no feature; write -1 * ({self})"
        raise DefinitionError(message)

    def __bool__(self) -> NoReturn:
        message = (
            f"{self} has no truth value: it is computed per event, not while the definition is "
            "read; write it into features=[...] without if, and, or, not"
        )
        raise DefinitionError(message)

    def _condition(self, _other: object = None) -> NoReturn:
        message = (
            f"{self} is no condition; compare it, in brackets: (column > 100) & (other == 1), "
            "or column == True for a boolean"
        )
        raise DefinitionError(message)

    __and__ = __rand__ = __or__ = __ror__ = __invert__ = _condition

    def _compared(self, op: Is, literals: object) -> Condition:
        one = self.features[0].expression
        if len(self.features) > 1 or not isinstance(one, RowFunction) or one.row is not Row.COLUMN:
            message = (
                f"{self} is compared, but only a column can be: stream.column('name') > 100, for "
                "where=; to the model give the feature itself: a tree compares"
            )
            raise DefinitionError(message)
        if isinstance(literals, Operand):
            message = (
                f"{self} is compared with {literals}; compare a column with a literal, such as a "
                "number; give the model the difference of two columns"
            )
            raise DefinitionError(message)
        return condition.compared(one.stream, one.stream.record.fields[one.column], op, literals)

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

    __repr__ = __str__


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

    __repr__ = __str__


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
        one = value._single(f"'{SIGNS[row]}'").expression  # noqa: SLF001 -- same module
        if isinstance(one, RowFunction):
            checks.readable(one, f"'{SIGNS[row]}'")
        return one
    value = plain(value)
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
