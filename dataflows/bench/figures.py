"""What was measured: figures, the checks that make them worth reading, and the README's table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from noskew.dataflows.errors import NoskewError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COSTS: Final = ("µs/event", "µs/record", "µs/row", "MB", "s")
"""Units of which less is better; of all others more is."""


class WrongResultError(NoskewError):
    """Two ways of computing the same thing differ, so neither of their speeds means anything."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and the obvious alternative's.

    n, beside_n  over how many events, records or rows each was measured
    beside       None where there is no alternative;  beside_what says what it is
    """

    part: str
    what: str
    unit: str
    ours: float
    n: int
    beside: float | None = None
    beside_n: int | None = None
    beside_what: str = ""

    @property
    def times(self) -> float | None:
        """Return how many times better ours is."""
        if self.beside is None or not (self.ours and self.beside):
            return None
        return self.beside / self.ours if self.unit in COSTS else self.ours / self.beside

    def to_json(self) -> dict[str, Any]:
        """Return the figure as JSON values, numbers with four significant digits."""
        value = asdict(self)
        for name in ("ours", "beside"):
            value[name] = _rounded(value[name])
        return {**value, "times": _rounded(self.times)}


def same_bits(
    what: str,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    names: Sequence[str] = (),
) -> None:
    """Compare float64[columns, n] (or [n]) bit for bit, any NaN being equal to any NaN.

    Raises WrongResultError naming the first difference.
    """
    ours, theirs = np.atleast_2d(ours), np.atleast_2d(theirs)
    if ours.shape != theirs.shape:
        raise WrongResultError(f"{what}: shape {ours.shape} beside {theirs.shape}")
    left = np.ascontiguousarray(ours).view(np.int64)
    right = np.ascontiguousarray(theirs).view(np.int64)
    differs = (left != right) & ~(np.isnan(ours) & np.isnan(theirs))
    if not differs.any():
        return
    place = int(np.flatnonzero(differs.any(axis=0))[0])
    column = int(np.flatnonzero(differs[:, place])[0])
    raise WrongResultError(
        f"{what}: {int(differs.any(axis=0).sum())} of {ours.shape[1]} differ, first number {place}"
        f"{f', {names[column]}' if names else ''}: {float(ours[column, place])!r} beside "
        f"{float(theirs[column, place])!r}; no speed is reported"
    )


def same(what: str, ours: object, theirs: object) -> None:
    """Raise WrongResultError where two values differ."""
    if ours != theirs:
        raise WrongResultError(f"{what}: {ours!r} beside {theirs!r}; no speed is reported")


def table(measured: dict[str, Any]) -> str:
    """Render what ``noskew bench --json`` printed as Markdown: the README's table."""
    lines = [
        f"{headline(measured)}.",
        "Alternatives ran in the same run, and results were compared bit for bit.",
        "",
        "| what | noskew | beside it | times | n |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [f"| {' | '.join(_cells(one))} |" for one in measured["figures"]]
    return "\n".join([*lines, "", *(f"- {note}" for note in measured["notes"])]) + "\n"


def cells(figure: dict[str, Any]) -> list[str]:
    """Return a figure's JSON as the texts of a table's row."""
    return _cells(figure)


def headline(measured: dict[str, Any]) -> str:
    """Return one sentence about the machine, the versions and the input."""
    machine = measured["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, "
        f"{machine['system']}, Python {machine['python']} ({versions}); input: "
        f"{measured['input']}"
    )


def _cells(figure: dict[str, Any]) -> list[str]:
    n = f"{figure['n']:,}"
    if figure["beside_n"] not in {None, figure["n"]}:
        n += f" / {figure['beside_n']:,}"
    beside, times = figure["beside"], figure["times"]
    return [
        figure["what"],
        f"{_number(figure['ours'])} {figure['unit']}",
        "" if beside is None else f"{figure['beside_what']}: {_number(beside)}",
        "" if times is None else f"{_number(times)} ×",
        n,
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
