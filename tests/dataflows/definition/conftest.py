"""A schema of payments and streams of it, which the definition's tests share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from payment_schema import schema

from noskew.dataflows import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def schema_path(tmp_path: Path) -> Path:
    path = tmp_path / "payment.avsc"
    path.write_text(json.dumps(schema()))
    return path


@pytest.fixture
def stream(schema_path: Path) -> Callable[..., Stream]:
    """Make a stream of the schema above; arguments replace its settings."""

    def make(**changes: Any) -> Stream:
        settings: dict[str, Any] = {
            "topic": "payments",
            "schema": schema_path,
            "id": "payment_id",
            "key": "customer_id",
            "time": "event_time",
            "quantum": {"ratio": "1e-2"},
        }
        return Stream(changes.pop("name", "payments"), **(settings | changes))

    return make


@pytest.fixture
def payments(stream: Callable[..., Stream]) -> Stream:
    return stream()
