"""Classic framing is split off column-wise, and what is not framed is described."""

from __future__ import annotations

import numpy as np
import pytest

from noskew.schemas import framing
from noskew.schemas.reason import Reason


def test_ids_and_bodies_are_found_at_every_place_in_the_buffer() -> None:
    values = [
        framing.framed(1, b"abc"),
        b"",
        framing.framed(2**31 - 1, b""),
        b"\x05abcdef",
        b"\0abc",
    ]
    payload = np.frombuffer(b"".join(values), np.uint8)
    start = np.cumsum([0, *map(len, values)], dtype=np.int64)
    absent = np.array([False, True, False, False, False])
    schema_id, body, reason = framing.frame(payload, start, absent)
    assert schema_id.dtype == np.int32
    assert schema_id.tolist() == [1, -1, 2**31 - 1, -1, -1]
    assert reason.tolist() == [0, Reason.NO_VALUE, 0, Reason.NOT_FRAMED, Reason.NOT_FRAMED]
    assert body.tolist() == [5, 8, 13, 13, 20]


def test_no_records_are_no_ids() -> None:
    empty = np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.bool_)
    assert [len(one) for one in framing.frame(*empty)] == [0, 0, 0]


@pytest.mark.parametrize("schema_id", [0, -1, 2**31])
def test_an_id_no_registry_gives_is_not_framed(schema_id: int) -> None:
    with pytest.raises(ValueError, match=str(schema_id)):
        framing.framed(schema_id, b"")
