"""The bytes of a row, one by one."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from stored import FINGERPRINT, customers, plan, terminals

from noskew.dataflows.store.rows import NEVER, evaluate, pack, unpack, width

# Written by hand from DESIGN section 5: 17 * 1000 + 5 = 17005.0 is 0x40D09B4000000000.
BLOB = bytes.fromhex(
    "0100"
    "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    "0500000000000000"
    "40420f0000000000"
    "80841e0000000000"
    "00000000409bd040"  # sum
    "40420f0000000000"  # since_last: anchor ...
    "0000000000000000"  # ... and value
    "0000000000001640"  # mean 5.5
)


def test_a_row_has_the_bytes_of_the_contract() -> None:
    rows = customers([17], seq=5, time_us=1_000_000, until_us=2_000_000)

    assert pack(rows, FINGERPRINT)[0].tobytes() == BLOB


def test_reading_a_row_gives_what_was_written() -> None:
    row = unpack(BLOB)

    assert (row.layout, row.fingerprint, row.seq) == (1, FINGERPRINT, 5)
    assert (row.time_us, row.until_us) == (1_000_000, 2_000_000)
    assert struct.unpack("<d", struct.pack("<q", row.words[0])) == (17005.0,)


def test_never_is_the_largest_time() -> None:
    blob = pack(customers([1], until_us=NEVER), FINGERPRINT)[0].tobytes()

    assert blob[50:58] == b"\xff\xff\xff\xff\xff\xff\xff\x7f"


def test_rows_of_a_batch_stand_one_after_another() -> None:
    packed = pack(terminals(["a", "b"], seq=3), FINGERPRINT)

    assert packed.dtype.itemsize == 58 + 8
    assert packed.tobytes() == packed[0].tobytes() + packed[1].tobytes()


def test_an_anchored_statistic_takes_two_words() -> None:
    customer, terminal = plan().tables

    assert (width(customer), width(terminal)) == (4, 1)


def test_since_last_is_evaluated_at_the_readers_time() -> None:
    customer = plan().tables[0]
    words = unpack(BLOB).words

    assert evaluate(customer, words, 1_000_001) == {"sum_1h": 17005.0, "since": 1e-6, "m": 5.5}
    assert evaluate(customer, words, 1_000_000)["since"] == 0.0
    assert math.isnan(evaluate(customer, words, 999_999)["since"])


def test_nan_keeps_its_bits() -> None:
    table = plan().tables[1]
    words = np.array([math.nan]).view(np.int64)

    assert math.isnan(evaluate(table, words, 0)["n_1d"])


@pytest.mark.parametrize("blob", [b"", BLOB[:-1], b"\x02\x00" + BLOB[2:], BLOB[:57]])
def test_a_row_of_another_layout_or_cut_off_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="layout"):
        unpack(blob)
