"""Payments and their labels as framed Avro: columns in, one buffer of records out.

The layouts are those of ``transaction.avsc`` and ``label.avsc``, field by field; the tests hold
each record against fastavro, byte for byte. Framing is Confluent's: a zero byte, then the
schema's id as four bytes, big-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.kernels.jit import kernel
from noskew.kernels.layout import NULL
from noskew.kernels.runs import VARINT_MAX, write_varint

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME = 5
PAYMENT_MAX = FRAME + 10 * VARINT_MAX + 3
"""Most bytes of a payment without its three texts: ten varints, a branch, a boolean, spare."""

LABEL_MAX = FRAME + 6 * VARINT_MAX + 2


@kernel
def encode_payments(
    schema_id: int,
    long_values: NDArray[np.int64],
    code: NDArray[np.int32],
    text: NDArray[np.uint8],
    text_length: NDArray[np.int64],
    out: NDArray[np.uint8],
    start: NDArray[np.int64],
) -> int:
    """Write n payments; return the bytes written.

    long_values  int64[8, n]    transaction_id, event_time, customer_id, terminal_id (NULL is
                                null), amount_cents, entry_mode, merchant_category, card_present
    code         int32[3, n]    row of ``text`` of currency, country, channel
    text         uint8[k, w]    UTF-8, each text at the beginning of its row
    text_length  int64[k]       bytes of each text
    out          uint8[>= n (PAYMENT_MAX + 3 w)]
    start        int64[n + 1]   positions of the records in ``out``; every element is written
    """
    at = 0
    for i in range(long_values.shape[1]):
        start[i] = at
        at = _write_frame(schema_id, out, at)
        at = write_varint(long_values[0, i], out, at)
        at = write_varint(long_values[1, i], out, at)
        at = write_varint(long_values[2, i], out, at)
        at = _write_nullable(long_values[3, i], out, at)
        at = write_varint(long_values[4, i], out, at)
        at = _write_text(code[0, i], text, text_length, out, at)
        at = write_varint(long_values[5, i], out, at)
        at = write_varint(long_values[6, i], out, at)
        at = _write_text(code[1, i], text, text_length, out, at)
        out[at] = np.uint8(long_values[7, i] != 0)
        at = _write_text(code[2, i], text, text_length, out, at + 1)
    start[long_values.shape[1]] = at
    return at


@kernel
def encode_labels(
    schema_id: int,
    long_values: NDArray[np.int64],
    out: NDArray[np.uint8],
    start: NDArray[np.int64],
) -> int:
    """Write n labels; return the bytes written.

    long_values  int64[7, n]   transaction_id, customer_id, terminal_id (NULL is null), event_time,
                               is_fraud, scenario, labelled_at
    out          uint8[>= n LABEL_MAX]
    start        int64[n + 1]  positions of the records in ``out``; every element is written
    """
    at = 0
    for i in range(long_values.shape[1]):
        start[i] = at
        at = _write_frame(schema_id, out, at)
        at = write_varint(long_values[0, i], out, at)
        at = write_varint(long_values[1, i], out, at)
        at = _write_nullable(long_values[2, i], out, at)
        at = write_varint(long_values[3, i], out, at)
        out[at] = np.uint8(long_values[4, i] != 0)
        at = write_varint(long_values[5, i], out, at + 1)
        at = write_varint(long_values[6, i], out, at)
    start[long_values.shape[1]] = at
    return at


@kernel
def _write_frame(schema_id: int, out: NDArray[np.uint8], at: int) -> int:
    out[at] = 0
    for k in range(4):
        out[at + 1 + k] = np.uint8((schema_id >> (24 - 8 * k)) & 255)
    return at + FRAME


@kernel
def _write_nullable(value: int, out: NDArray[np.uint8], at: int) -> int:
    if value == NULL:
        out[at] = 0  # branch 0 of ["null", "long"]
        return at + 1
    out[at] = 2  # branch 1, as a zigzag varint
    return write_varint(value, out, at + 1)


@kernel
def _write_text(
    row: int,
    text: NDArray[np.uint8],
    text_length: NDArray[np.int64],
    out: NDArray[np.uint8],
    at: int,
) -> int:
    length = int(text_length[row])
    at = write_varint(length, out, at)
    for k in range(length):
        out[at + k] = text[row, k]
    return at + length
