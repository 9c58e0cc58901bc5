"""What all tests share: Hypothesis's profiles, real servers, names of topics."""

from __future__ import annotations

import itertools
import os
import re
import signal
from typing import TYPE_CHECKING, Final

import hypothesis
import pytest
from stacked import stacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.infra.stack import Stack

# The first call of a kernel compiles, so no example has a deadline. A machine that checks every
# change wants the same answer twice; a person wants new examples.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "ci", deadline=None, print_blob=True, derandomize=True, max_examples=50
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")

_NUMBERS: Final = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """End in order on SIGTERM, so that the servers are stopped then too."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ended by SIGTERM", returncode=143))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real Kafka, Redis and registry on free ports, started once for the whole run.

    A test that stops or pauses a server brings it back.
    """
    with stacked(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A name for a topic that no other test of this run has."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", request.node.name).strip("_")[:80]
    return f"{words}_{next(_NUMBERS)}"
