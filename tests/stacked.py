"""Real servers of a test's own: Kafka, Redis and a registry on free ports, while it lasts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from noskew.infra import stack as stacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def stacked(directory: Path) -> Iterator[stacks.Stack]:
    """Start a stack and stop it in the end; without Maven to fetch the registry, skip the test."""
    try:
        started = stacks.up(directory, ports="free")
    except stacks.MavenMissingError as missing:
        pytest.skip(str(missing))
    try:
        yield started
    finally:
        stacks.down(directory)
