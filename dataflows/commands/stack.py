"""``noskew stack``: Kafka, Redis and a schema registry on this host, without Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from noskew.dataflows.errors import UsageError
from noskew.dataflows.settings import STACK_DIR
from noskew.infra import stack as servers

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def up(directory: Path = STACK_DIR) -> servers.Stack:
    """Start the servers, on their usual ports where free. Raises UsageError saying what to do."""
    try:
        return servers.up(directory, ports="default")
    except servers.StackError as error:
        raise UsageError(str(error)) from error


def down(directory: Path = STACK_DIR, *, keep_data: bool = False) -> bool:
    """Stop the servers; return whether there were any."""
    try:
        return servers.down(directory, keep_data=keep_data)
    except servers.StackError as error:
        raise UsageError(str(error)) from error


def status(directory: Path = STACK_DIR) -> servers.Stack | None:
    """Return the stack of a folder, None where none was started."""
    try:
        return servers.status(directory)
    except servers.StackError as error:
        raise UsageError(str(error)) from error


def to_json(stack: servers.Stack | None) -> dict[str, Any]:
    """Return a stack as JSON values."""
    return {} if stack is None else {**stack.describe(), "notes": list(stack.notes)}


def render(stack: servers.Stack | None, console: Console) -> None:
    """Print where the servers are."""
    if stack is None:
        console.print("no stack was started here: noskew stack up")
        return
    table = Table("server", "address", "pid", "log")
    for name, server in stack.describe().items():
        values: dict[str, Any] = dict(server)  # type: ignore[call-overload]  # plain values
        pid = str(values["pid"]) if values["alive"] else "not running"
        table.add_row(name, str(values["address"]), pid, str(values["log"]))
    console.print(table)
    for note in stack.notes:
        console.print(note, markup=False, highlight=False)
