"""What the simulator hands out: payments and labels as columns, and both as framed Avro."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from noskew.kernels.payments import LABEL_MAX, PAYMENT_MAX
from noskew.kernels.payments import encode_labels as encode_labels_kernel
from noskew.kernels.payments import encode_payments as encode_payments_kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

CURRENCIES: Final = ("EUR",)
COUNTRIES: Final = ("", "FR", "BE", "NL")
CHANNELS: Final = ("pos", "atm", "web", "app")
ENTRY_MODES: Final = ("UNKNOWN", "CHIP", "CONTACTLESS", "MAGSTRIPE", "MANUAL", "ONLINE")
"""The symbols of transaction.avsc's enum, in its order."""


@dataclass(frozen=True, slots=True)
class Words:
    """n texts out of few: ``vocabulary[code[i]]``; code is int32[n]."""

    code: NDArray[np.int32]
    vocabulary: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.code)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Words:
        return Words(self.code[index], self.vocabulary)


class _Columns:
    """Columns of equal length that are cut together."""

    __slots__ = ()

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Self:
        values = {each.name: getattr(self, each.name)[index] for each in fields(self)}  # type: ignore[arg-type] # subclasses are dataclasses
        return type(self)(**values)

    def __len__(self) -> int:
        return len(getattr(self, "transaction_id"))  # noqa: B009 - declared by the subclasses


@dataclass(frozen=True, slots=True)
class PaymentColumns(_Columns):
    """n payments in the order of their arrival; the fields of transaction.avsc, and three more.

    transaction_id     int64[n]
    event_time         int64[n] µs, whole seconds
    customer_id        int64[n]
    terminal_id        int64[n]  NULL for a payment without a terminal
    amount_cents       int64[n]
    currency           Words
    entry_mode         int64[n]  position in ENTRY_MODES
    merchant_category  int64[n]
    country            Words
    card_present       int64[n]  0 or 1
    channel            Words
    partition          int32[n]  by customer, see ``partition_of``
    record_time_us     int64[n]  µs; when the payment arrives, never before its event time
    scenario           int64[n]  the truth, see ``Scenario``; in no record of the stream
    """

    transaction_id: NDArray[np.int64]
    event_time: NDArray[np.int64]
    customer_id: NDArray[np.int64]
    terminal_id: NDArray[np.int64]
    amount_cents: NDArray[np.int64]
    currency: Words
    entry_mode: NDArray[np.int64]
    merchant_category: NDArray[np.int64]
    country: Words
    card_present: NDArray[np.int64]
    channel: Words
    partition: NDArray[np.int32]
    record_time_us: NDArray[np.int64]
    scenario: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelColumns(_Columns):
    """n labels by (labelled_at, transaction_id); the fields of label.avsc, and the partition.

    transaction_id customer_id terminal_id event_time is_fraud scenario labelled_at  int64[n],
    times in µs; terminal_id is NULL where the payment's is; partition int32[n] by customer.
    """

    transaction_id: NDArray[np.int64]
    customer_id: NDArray[np.int64]
    terminal_id: NDArray[np.int64]
    event_time: NDArray[np.int64]
    is_fraud: NDArray[np.int64]
    scenario: NDArray[np.int64]
    labelled_at: NDArray[np.int64]
    partition: NDArray[np.int32]


def encode_payments(
    columns: PaymentColumns, schema_id: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encode payments as Avro in classic framing; return (buffer uint8, start int64[n + 1]).

    Record i is ``buffer[start[i] : start[i + 1]]``. Raises ValueError for a schema id that is not
    a positive 31-bit integer.
    """
    n = len(columns)
    words = (columns.currency, columns.country, columns.channel)
    text, text_length, first = _table([word.vocabulary for word in words])
    code = np.empty((3, n), np.int32)
    for k, word in enumerate(words):
        code[k] = word.code + first[k]
    longs = (
        columns.transaction_id,
        columns.event_time,
        columns.customer_id,
        columns.terminal_id,
        columns.amount_cents,
        columns.entry_mode,
        columns.merchant_category,
        columns.card_present,
    )
    start = np.empty(n + 1, np.int64)
    out = np.empty(n * (PAYMENT_MAX + 3 * text.shape[1]), np.uint8)
    end = encode_payments_kernel(
        _checked(schema_id), np.stack(longs), code, text, text_length, out, start
    )
    return out[:end], start


def encode_labels(
    columns: LabelColumns, schema_id: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encode labels as Avro in classic framing; see ``encode_payments``."""
    n = len(columns)
    longs = (
        columns.transaction_id,
        columns.customer_id,
        columns.terminal_id,
        columns.event_time,
        columns.is_fraud,
        columns.scenario,
        columns.labelled_at,
    )
    start = np.empty(n + 1, np.int64)
    out = np.empty(n * LABEL_MAX, np.uint8)
    end = encode_labels_kernel(_checked(schema_id), np.stack(longs), out, start)
    return out[:end], start


def _checked(schema_id: int) -> int:
    if not 0 < schema_id < 2**31:
        message = f"schema id {schema_id} does not fit the framing; ids are 1 to {2**31 - 1}"
        raise ValueError(message)
    return schema_id


def _table(
    vocabularies: list[tuple[str, ...]],
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[int]]:
    """Return the texts as rows, their lengths, and the row at which each vocabulary begins."""
    encoded = [[text.encode() for text in vocabulary] for vocabulary in vocabularies]
    every = [text for texts in encoded for text in texts]
    length = np.array([len(text) for text in every], np.int64)
    table = np.zeros((len(every), max(1, int(length.max()))), np.uint8)
    for row, text in enumerate(every):
        table[row, : len(text)] = np.frombuffer(text, np.uint8)
    first = np.cumsum([0, *(len(texts) for texts in encoded)])[:-1]
    return table, length, [int(row) for row in first]
