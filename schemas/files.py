"""The schemas of our own topics and of the example, as shipped beside this module."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, Final, cast

NAMES: Final = (
    "alert",
    "control",
    "dead_letter",
    "journal",
    "label",
    "score",
    "transaction",
)
"""Every shipped schema: ``<name>.avsc``."""


@cache
def text(name: str) -> str:
    """Return the text of ``<name>.avsc``; ValueError for a name that is not shipped."""
    if name not in NAMES:
        message = f"no schema {name!r} is shipped; there are {', '.join(NAMES)}"
        raise ValueError(message)
    return resources.files(__package__).joinpath(f"{name}.avsc").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """Return ``<name>.avsc`` as parsed JSON, a new copy each time; raises as ``text``."""
    return cast("dict[str, Any]", json.loads(text(name)))
