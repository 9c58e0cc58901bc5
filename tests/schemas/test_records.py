"""Records of our own topics come back as they were, and misfits are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from noskew.schemas import files, records

SOURCE = {"stream": "payments", "topic": "transactions", "partition": 3, "offset": 12}
FULL: dict[str, dict[str, Any]] = {
    "dead_letter": {
        "reason": "time_too_old",
        "detail": "before 2000",
        "stage": "rule",
        "pipeline": "card_fraud",
        "source": {**SOURCE, "topic_id": bytes(16), "record_time": 1_700_000_000_000_001},
        "schema_id": 7,
        "key": b"\0\1",
        "value": None,
        "headers": [{"name": "a", "value": b"\xff"}, {"name": "a", "value": None}],
        "seq": 2**40,
    },
    "alert": {
        "kind": "split_key",
        "severity": "warning",
        "subject": "customer_id=5",
        "before": "partition 1",
        "after": "partition 2",
        "features": ["customer_id_count_1h"],
        "models": ["card_fraud"],
        "source": SOURCE,
        "remedy": "produce every customer to one partition",
        "pipeline": "card_fraud",
        "seq": 9,
        "time": 1_700_000_000_000_001,
    },
    "journal": {
        "layout": 1,
        "origin": "progress",
        "shard": 0,
        "owner": "host-1",
        "generation": 1,
        "fingerprint": bytes(range(32)),
        "seq": 100,
        "count": 5,
        "runs": b"\0\0\n\n",
        "inputs": [
            {
                "stream": "payments",
                "topic": "transactions",
                "topic_id": None,
                "partition": 0,
                "next_offset": 105,
                "position_clock": 1_700_000_000_000_001,
                "event_clock": None,
            }
        ],
        "without_score": [
            {"reason": "dead", "stream": "payments", "partition": 0, "first": 101, "next": 102}
        ],
        "horizon": None,
        "model": {"name": "card_fraud", "sha256": bytes(32)},
        "schemas": [{"id": 1, "sha256": bytes(32), "subject": "transactions-value"}],
        "decisions": [{"kind": "model", "seq": 100, "subject": "card_fraud", "detail": "{}"}],
    },
    "control": {
        "id": "c1",
        "command": "promote",
        "author": "anna",
        "reason": "better recall",
        "arguments": {"model": "v2"},
        "time": 1_700_000_000_000_001,
    },
}


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_record_comes_back_as_it_was(name: str) -> None:
    value = records.encode(name, FULL[name], 42)
    assert records.decode(name, value) == FULL[name]
    assert records.schema_id(value) == 42


def test_fields_with_a_default_may_be_left_out() -> None:
    names = {"before", "after", "features", "models", "source", "time"}
    short = {key: value for key, value in FULL["alert"].items() if key not in names}
    found = records.decode("alert", records.encode("alert", short, 1))
    assert found["features"] == []
    assert found["source"] is None


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_field_without_a_default_must_be_there(name: str) -> None:
    needed = next(one["name"] for one in files.load(name)["fields"] if "default" not in one)
    record = {key: value for key, value in FULL[name].items() if key != needed}
    with pytest.raises(ValueError, match=needed):
        records.encode(name, record, 1)


def test_a_symbol_that_is_not_in_the_enum_is_refused() -> None:
    with pytest.raises(ValueError, match="dead_letter"):
        records.encode("dead_letter", {**FULL["dead_letter"], "reason": "bad"}, 1)


@pytest.mark.parametrize("damage", [b"", b"{}", records.encode("control", FULL["control"], 1)[:-1]])
def test_a_damaged_record_is_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="control"):
        records.decode("control", damage)


def test_bytes_left_over_are_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes are left"):
        records.decode("control", records.encode("control", FULL["control"], 1) + b"\0")
