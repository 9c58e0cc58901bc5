"""How two lists of feature names differ, in words an error message can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def difference(wanted: Sequence[str], found: Sequence[str], *, renamed: bool = False) -> list[str]:
    """Return one line per feature that ``found`` has otherwise than ``wanted``; empty if equal.

    ``renamed``: the two lists are known to mean the same, place by place (equal fingerprints),
    so a name that differs is a new name and nothing else.
    """
    if renamed and len(wanted) == len(found):
        return [
            f"  renamed  {old} -> {new} (place {place})"
            for place, (old, new) in enumerate(zip(found, wanted, strict=True))
            if old != new
        ]
    wanted_place = {name: place for place, name in enumerate(wanted)}
    found_place = {name: place for place, name in enumerate(found)}
    missing = [f"  missing  {name} (place {wanted_place[name]})" for name in _only(wanted, found)]
    added = [f"  added    {name} (place {found_place[name]})" for name in _only(found, wanted)]
    return missing + added + _moved(wanted_place, found_place)


def _only(names: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [name for name in names if name not in known]


def _moved(wanted: dict[str, int], found: dict[str, int]) -> list[str]:
    """List names both have whose order among the common ones differs, with both places."""
    common_wanted = [name for name in wanted if name in found]
    common_found = [name for name in found if name in wanted]
    return [
        f"  moved    {name} (place {wanted[name]}, there {found[name]})"
        for name, other in zip(common_wanted, common_found, strict=True)
        if name != other
    ]
