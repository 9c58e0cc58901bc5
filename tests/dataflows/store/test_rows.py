"""The bytes of a row, one by one."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from stored import CUSTOMER, FINGERPRINT, HOUR_US, TERMINAL, customers, plan, terminals

from noskew.dataflows.store.rows import NEVER, entity_rows, evaluate, pack, unpack
from noskew.kernels.decay import half_power

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
    "40420f0000000000"  # decayed_sum: anchor ...
    "0000000000002040"  # ... and value 8.0
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

    assert packed.dtype.itemsize == 58 + 4 * 8
    assert packed.tobytes() == packed[0].tobytes() + packed[1].tobytes()


def test_a_moving_statistic_takes_two_words() -> None:
    customer, terminal = entity_rows(plan()).values()

    assert [field.words for field in customer.fields] == [1, 2, 1, 2]
    assert (customer.words, customer.row_bytes) == (6, 58 + 6 * 8)
    assert (terminal.words, terminal.row_bytes) == (4, 58 + 4 * 8)


def test_an_entity_has_one_row_of_all_its_tables_in_vector_order() -> None:
    rows = entity_rows(plan())

    assert list(rows) == [CUSTOMER, TERMINAL]
    assert [field.name for field in rows[TERMINAL].fields] == ["frauds", "n_1d", "faded_frauds"]
    assert (rows[CUSTOMER].key_type, rows[TERMINAL].key_type) == ("int", "string")


def test_moving_statistics_are_evaluated_at_the_readers_time() -> None:
    fields = entity_rows(plan())[CUSTOMER].fields
    words = unpack(BLOB).words

    after = evaluate(fields, words, 1_000_001)
    assert after == {
        "sum_1h": 17005.0, "since": 1e-6, "m": 5.5, "faded": 8.0 * half_power(1, HOUR_US),
    }  # fmt: skip
    now = evaluate(fields, words, 1_000_000)
    assert (now["since"], now["faded"]) == (0.0, 8.0)
    assert evaluate(fields, words, 1_000_000 + 2 * HOUR_US)["faded"] == 2.0
    assert evaluate(fields, words, 2**62)["faded"] == 0.0


def test_before_its_anchor_a_moving_statistic_is_not_known() -> None:
    fields = entity_rows(plan())[CUSTOMER].fields

    before = evaluate(fields, unpack(BLOB).words, 999_999)

    assert math.isnan(before["since"])
    assert math.isnan(before["faded"])
    assert (before["sum_1h"], before["m"]) == (17005.0, 5.5)


def test_a_decay_has_the_bits_of_the_engine() -> None:
    fields = entity_rows(plan())[CUSTOMER].fields
    words = unpack(BLOB).words
    words[5] = np.float64(1 / 3).view(np.int64)

    for passed_us in (1, 7, 999_999_937, HOUR_US - 1, HOUR_US + 1, 40 * HOUR_US + 12_345):
        read = evaluate(fields, words, 1_000_000 + passed_us)["faded"]
        assert read == 1 / 3 * half_power(passed_us, HOUR_US)


def test_an_event_that_never_was_stays_nan() -> None:
    fields = entity_rows(plan())[CUSTOMER].fields
    words = unpack(BLOB).words
    words[[2, 5]] = np.array([math.nan]).view(np.int64)

    read = evaluate(fields, words, 5_000_000)

    assert math.isnan(read["since"])
    assert math.isnan(read["faded"])


def test_nan_keeps_its_bits() -> None:
    fields = entity_rows(plan())[TERMINAL].fields
    words = np.zeros(4, np.int64)
    words[1] = np.float64(math.nan).view(np.int64)

    assert math.isnan(evaluate(fields, words, 0)["n_1d"])


@pytest.mark.parametrize("blob", [b"", BLOB[:-1], b"\x02\x00" + BLOB[2:], BLOB[:57]])
def test_a_row_of_another_layout_or_cut_off_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match="layout"):
        unpack(blob)
