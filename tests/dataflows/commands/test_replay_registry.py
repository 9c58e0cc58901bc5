"""`noskew replay` of a topic asks the registry first, changes nothing there, can do without it."""

from __future__ import annotations

from contextlib import closing
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from live import Live
from rich.console import Console

from noskew.dataflows.commands.replay import replay
from noskew.dataflows.settings import settings
from noskew.schemas.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.infra.stack import Stack

pytestmark = pytest.mark.stack


def test_the_versions_of_a_topic_are_read_before_its_records(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)
    schema_id = own.schema_id()

    assert replayed(own, tmp_path) == ""

    # The topic is empty: no record has asked for it.
    assert [path.name for path in tmp_path.rglob("schemas/*/*")] == [f"{schema_id}.json"]


def test_a_subject_that_does_not_exist_is_not_made(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name)

    assert replayed(own, tmp_path) == ""

    with closing(Registry(stack.registry, None)) as registry:
        assert not registry.subjects_has(f"{own.topic}-value")


def test_a_registry_that_is_away_is_a_warning(
    stack: Stack, tmp_path: Path, topic_name: str
) -> None:
    own = Live.make(stack, tmp_path, topic_name, registry="http://127.0.0.1:1")

    said = replayed(own, tmp_path)

    assert said.startswith(f"warning: the versions of subject '{own.topic}-value' cannot be read")
    assert said.count("\n") == 1


def replayed(own: Live, folder: Path) -> str:
    """Replay the empty topic; return what was said meanwhile."""
    console = Console(file=StringIO(), width=80)
    out = folder / "out.parquet"
    report = replay(own.definition, ["kafka"], out, settings(**own.flags), console=console)
    assert report.read == 0
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
