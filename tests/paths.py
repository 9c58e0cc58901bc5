"""Where tests find the repository and the project's shared vectors and data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
"""The repository."""


def _shared() -> Path | None:
    named = os.environ.get("NOSKEW_SHARED")
    candidates = [Path(named)] if named else [ROOT.parent / "shared"]
    return next((path for path in candidates if path.is_dir()), None)


SHARED: Final[Path | None] = _shared()
"""The folder of shared data: ``NOSKEW_SHARED``, else ``../shared``; None where there is none."""


def shared(name: str) -> Path:
    """Return a shared file; skips the test, with the reason, where it is absent."""
    if SHARED is None or not (SHARED / name).exists():
        pytest.skip(f"{name} is not here: it lies in the project's shared folder (NOSKEW_SHARED)")
    return SHARED / name
