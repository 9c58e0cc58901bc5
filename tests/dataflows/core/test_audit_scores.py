"""Sources of scores read side by side: equal to the reference decoder, whatever the bytes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from noskew.dataflows.core.audit_scores import sources
from noskew.schemas import records

if TYPE_CHECKING:
    from noskew.dataflows.core.audit_scores import Sources

TOPIC_ID: Final = bytes(range(16))


def score(draw: random.Random, **changed: object) -> dict[str, Any]:
    """Return a score, each of its unions on a branch of its own."""
    keys: list[Any] = [
        None,
        draw.randrange(-(2**63), 2**63),
        "k" * draw.choice([0, 1, 63, 64, 200]),
    ]
    model = draw.random() < 0.5
    return {
        "event_id": draw.choice([draw.randrange(2**63), "", "é" * draw.randrange(100)]),
        "entity_keys": {f"entity_{i}": draw.choice(keys) for i in range(draw.randrange(4))},
        "event_time": draw.choice([0, -1, 2**62, draw.randrange(2**51)]),
        "margin": draw.random() if model else None,
        "score": draw.random() if model else None,
        "model": draw.randbytes(32) if model else None,
        "fingerprint": draw.randbytes(32),
        "digest": draw.randbytes(8),
        "vector": draw.choice([None, b"", draw.randbytes(8 * draw.randrange(30))]),
        "source": {
            "topic_id": draw.randbytes(16),
            "partition": draw.randrange(2**31),
            "offset": draw.choice([0, 63, 64, 2**63 - 1, draw.randrange(2**40)]),
        },
        "seq": draw.choice([0, 2**63 - 1, draw.randrange(2**40)]),
        "generation": draw.randrange(2**31),
        "flags": draw.randrange(64),
        **changed,
    }


def encoded(record: dict[str, Any]) -> bytes:
    return records.encode("score", record, 9)


def rows(found: Sources) -> list[tuple[bytes, int, int, int]]:
    ids = [one.tobytes() for one in found.topic_id]
    columns = (found.partition, found.offset, found.seq)
    return list(zip(ids, *(column.tolist() for column in columns), strict=True))


def wanted(record: dict[str, Any]) -> tuple[bytes, int, int, int]:
    source = record["source"]
    return source["topic_id"], source["partition"], source["offset"], record["seq"]


@pytest.mark.parametrize("size", [0, 1, 2, 500])
def test_sources_are_those_of_the_reference_decoder(size: int) -> None:
    draw = random.Random(size)
    made = [score(draw) for _ in range(size)]

    found = sources([encoded(one) for one in made])

    assert rows(found) == [wanted(one) for one in made]
    assert found.bad == {}


def test_the_walk_itself_follows_what_the_pipeline_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    made = [encoded(score(draw)) for _ in range(300)]
    asked: list[bytes] = []
    monkeypatch.setattr(records, "decode", lambda _, value: asked.append(value))

    sources(made)

    assert asked == [], "these were decoded one by one, which is twenty times slower"


def test_a_map_in_other_blocks_is_read_too() -> None:
    draw = random.Random(3)
    plain = score(draw, event_id=5, entity_keys={})
    value = encoded(plain)
    at = 5 + 2  # frame, branch and id
    assert value[at] == 0
    one = bytes([2, ord("a"), 2, 14])  # "a": long 7
    none = bytes([2, ord("b"), 0])  # "b": null
    sized = bytes([1, 2 * len(one)]) + one  # a block of -1 entries says its bytes first
    many = bytes([2 * 100 & 127 | 128, 1]) + none * 100
    for blocks in (sized, bytes([2]) + none + sized, many):
        found = sources([value[:at] + blocks + value[at:]])
        assert rows(found) == [wanted(plain)]


def test_what_is_no_score_is_told_and_its_neighbours_are_read() -> None:
    draw = random.Random(1)
    made = [score(draw) for _ in range(200)]
    values = [encoded(one) for one in made]
    broken: dict[int, bytes] = {}
    for at in range(0, 200, 2):
        value = bytearray(values[at])
        kind = at % 10
        if kind == 0:
            broken[at] = bytes(value[: draw.randrange(len(value))])
        elif kind == 2:
            broken[at] = bytes(value) + b"\0"
        elif kind == 4:
            broken[at] = b"\1" + bytes(value[1:])
        elif kind == 6:
            broken[at] = bytes(value[:5]) + b"\x04" + bytes(value[6:])
        else:
            broken[at] = bytes(value[:5]) + b"\xff" * 40
    broken[0] = b""

    found = sources([broken.get(at, value) for at, value in enumerate(values)])

    assert set(found.bad) == set(broken)
    assert all(why.startswith("score: ") for why in found.bad.values())
    good = [at for at in range(200) if at not in broken]
    assert [rows(found)[at] for at in good] == [wanted(made[at]) for at in good]


def test_random_bytes_end_the_walk_and_nothing_else() -> None:
    draw = random.Random(2)
    values = [b"\0\0\0\0\1" + draw.randbytes(draw.randrange(300)) for _ in range(2000)]

    found = sources(values)

    for at, value in enumerate(values):
        try:
            record = records.decode("score", value)
        except ValueError:
            assert at in found.bad
        else:
            assert at not in found.bad
            assert rows(found)[at] == wanted(record)
    assert len(found.bad) > 1900
    assert found.offset.dtype == np.int64
