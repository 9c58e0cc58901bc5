"""Every shipped schema is whole: parsed by fastavro, documented, and safe for our own decoder."""

from __future__ import annotations

from typing import Any

import fastavro
import pytest

from noskew.schemas import files
from noskew.schemas.reason import STAGE, Reason
from noskew.schemas.safety import screen


@pytest.mark.parametrize("name", files.NAMES)
def test_a_shipped_schema_is_valid_safe_and_documents_every_part(name: str) -> None:
    schema = files.load(name)
    fastavro.parse_schema(files.load(name))
    assert screen(schema) is None
    assert schema["namespace"] == "noskew"
    assert not list(_undocumented(schema, name))


def test_the_reasons_of_dead_letters_are_the_enum_in_order() -> None:
    symbols = files.load("dead_letter")["fields"][0]["type"]["symbols"]
    assert symbols == ["unknown", *(one.name.lower() for one in Reason if one)]


def test_every_reason_has_a_stage_of_dead_letters() -> None:
    stage = next(f for f in files.load("dead_letter")["fields"] if f["name"] == "stage")
    assert set(STAGE) == set(Reason) - {Reason.OK}
    assert set(STAGE.values()) <= set(stage["type"][1]["symbols"])


def test_an_unknown_schema_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="transaction"):
        files.text("payments")


def _undocumented(schema: Any, path: str) -> Any:
    if isinstance(schema, list):
        for one in schema:
            yield from _undocumented(one, path)
    elif isinstance(schema, dict):
        if "name" in schema and not schema.get("doc"):
            yield f"{path}.{schema['name']}"
        for key in ("type", "items", "values"):
            if key in schema:
                yield from _undocumented(schema[key], path)
        for one in schema.get("fields", ()):
            yield from _undocumented(one, f"{path}.{schema['name']}")
