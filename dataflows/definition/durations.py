"""Durations as people write them ("7d") and as kernels use them (microseconds).

A duration is a whole number and one of s, m, h, d, and means exactly that many seconds: ``1d`` is
86,400 s. Where a name is made of one, it is written in the largest unit that divides it, so
that "24h" and "1d" have one name as they have one meaning; there is no week, so "7d" stays.
"""

from __future__ import annotations

import re
from typing import Final

from noskew.dataflows.errors import DefinitionError

SECOND_US: Final = 1_000_000
LONGEST_US: Final = 36_500 * 86_400 * SECOND_US
"""A hundred years: a limit, so that no time less a duration can overflow."""

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_PATTERN: Final = re.compile(r"([0-9]{1,12})([smhd])", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})", re.ASCII)
_LONGEST_OFFSET_S: Final = 14 * 3_600


def duration_us(text: object, what: str, *, zero: bool = False) -> int:
    """Return a duration in microseconds.

    ``what`` names the setting in messages; ``zero`` allows "0s". Raises DefinitionError.
    """
    if isinstance(text, bool) or not isinstance(text, str):
        message = f"{what} is {text!r}, not a duration in quotes; write {_suggest(text)}"
        raise DefinitionError(message)
    found = _PATTERN.fullmatch(text)
    if found is None:
        message = (
            f"{what}: {text!r} is not a duration; write a whole number and s, m, h or d: "
            f"{_suggest(text)}"
        )
        raise DefinitionError(message)
    us = int(found[1]) * _UNITS_S[found[2]] * SECOND_US
    if us == 0 and not zero:
        message = f"{what}: {text!r} is empty; the shortest duration is '1s'"
        raise DefinitionError(message)
    if us > LONGEST_US:
        message = f"{what}: {text!r} is more than {show(LONGEST_US)}, the longest duration there is"
        raise DefinitionError(message)
    return us


def is_duration(text: str) -> bool:
    """Return whether text has a duration's form."""
    return _PATTERN.fullmatch(text) is not None


def show(us: int) -> str:
    """Return a duration in the largest unit that divides it: 86,400,000,000 us is "1d"."""
    seconds = us // SECOND_US
    unit = next(
        (unit for unit, size in reversed(_UNITS_S.items()) if seconds and seconds % size == 0), "s"
    )
    return f"{seconds // _UNITS_S[unit]}{unit}"


def utc_offset_s(text: object) -> int:
    """Return a fixed offset from UTC such as "+05:30" in seconds; raises DefinitionError."""
    found = _OFFSET.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        message = (
            f"utc_offset is {text!r}; write a fixed offset such as '+02:00' or '-05:30' (time "
            "zones with daylight saving are not offered: their rules change)"
        )
        raise DefinitionError(message)
    size = int(found[2]) * 3_600 + int(found[3]) * 60
    if size > _LONGEST_OFFSET_S or int(found[3]) > 59:
        message = f"utc_offset {text!r} is no offset in use; they lie between -14:00 and +14:00"
        raise DefinitionError(message)
    return -size if found[1] == "-" else size


def show_offset(offset_s: int) -> str:
    """Return an offset from UTC as "+05:30"."""
    minutes = abs(offset_s) // 60
    return f"{'-' if offset_s < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _suggest(value: object) -> str:
    """Return, in quotes, the duration that was probably meant, or an example."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = value
    else:
        loose = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)\s*", str(value))
        size = _LOOSE_S.get(loose[2].lower().removesuffix("s") or "s") if loose else None
        seconds = float(loose[1]) * size if loose and size else 0
    whole = 0 < seconds < LONGEST_US // SECOND_US and seconds == int(seconds)
    return repr(show(int(seconds) * SECOND_US)) if whole else "for example '1h' or '30d'"


_LOOSE_S: Final = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3_600, "hr": 3_600,
    "hour": 3_600, "d": 86_400, "day": 86_400, "w": 604_800, "week": 604_800,
}  # fmt: skip
