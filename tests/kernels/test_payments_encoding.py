"""The columnar encoders give fastavro's bytes."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import fastavro
import numpy as np
import pytest

from noskew.dataflows.simulation.columns import (
    ENTRY_MODES,
    LabelColumns,
    PaymentColumns,
    Words,
    encode_labels,
    encode_payments,
)
from noskew.dataflows.simulation.labels import labels_of
from noskew.dataflows.simulation.payments import Simulation
from noskew.dataflows.simulation.timeline import DAY_US, Timeline
from noskew.schemas import files
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


EDGES = [0, 1, -1, 63, 64, -64, -65, 8_191, 8_192, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, 1 - 2**63]


def longs(values: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def edge_payments() -> PaymentColumns:
    n = len(EDGES)
    words = ("", "EUR", "a long text that takes more than sixty-four bytes of UTF-8, déjà vu €")
    code = np.arange(n, dtype=np.int32) % len(words)
    return PaymentColumns(
        transaction_id=longs(EDGES),
        event_time=longs(EDGES[::-1]),
        customer_id=longs(EDGES),
        terminal_id=longs([NULL, *EDGES[1:]]),
        amount_cents=longs(EDGES),
        currency=Words(code, words),
        entry_mode=longs(np.arange(n) % len(ENTRY_MODES)),
        merchant_category=longs(np.clip(EDGES, -(2**31), 2**31 - 1)),
        country=Words(np.zeros(n, np.int32), ("FR",)),
        card_present=longs(np.arange(n) % 2),
        channel=Words(code[::-1].copy(), words),
        partition=np.zeros(n, np.int32),
        record_time_us=longs(EDGES),
        scenario=longs(EDGES),
    )


def drawn_payments() -> PaymentColumns:
    timeline = Timeline(20_000 * DAY_US, 20_001 * DAY_US, 500)
    return next(Simulation(1).payments(timeline))


def records(columns: PaymentColumns | LabelColumns, names: list[str]) -> list[dict[str, Any]]:
    """Return one dictionary a row, as fastavro takes them."""

    def values(name: str) -> list[Any]:
        column = getattr(columns, name)
        if isinstance(column, Words):
            return [column.vocabulary[code] for code in column.code.tolist()]
        if name == "entry_mode":
            return [ENTRY_MODES[number] for number in column.tolist()]
        if name in ("card_present", "is_fraud"):
            return [bool(value) for value in column.tolist()]
        return [None if value == NULL else value for value in column.tolist()]

    return [dict(zip(names, row, strict=True)) for row in zip(*map(values, names), strict=True)]


def by_fastavro(columns: PaymentColumns | LabelColumns, name: str, schema_id: int) -> list[bytes]:
    schema = fastavro.parse_schema(files.load(name))
    framed = []
    for record in records(columns, [each["name"] for each in files.load(name)["fields"]]):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, record)
        framed.append(b"\x00" + schema_id.to_bytes(4, "big") + out.getvalue())
    return framed


def cut(buffer: NDArray[np.uint8], start: NDArray[np.int64]) -> list[bytes]:
    data = buffer.tobytes()
    assert start[0] == 0
    assert start[-1] == len(data)
    return [data[a:b] for a, b in pairwise(start.tolist())]


@pytest.mark.parametrize("schema_id", [1, 0x01020304, 2**31 - 1])
@pytest.mark.parametrize("columns", [edge_payments(), drawn_payments()], ids=["edges", "drawn"])
def test_payments_are_fastavros_bytes(columns: PaymentColumns, schema_id: int) -> None:
    expected = by_fastavro(columns, "transaction", schema_id)
    assert cut(*encode_payments(columns, schema_id)) == expected


def test_labels_are_fastavros_bytes() -> None:
    edges = LabelColumns(
        transaction_id=longs(EDGES),
        customer_id=longs(EDGES),
        terminal_id=longs([NULL, *EDGES[1:]]),
        event_time=longs(EDGES),
        is_fraud=longs(np.arange(len(EDGES)) % 2),
        scenario=longs(np.arange(len(EDGES)) % 4),
        labelled_at=longs(EDGES[::-1]),
        partition=np.zeros(len(EDGES), np.int32),
    )
    for columns in (edges, labels_of(drawn_payments(), 1)):
        assert cut(*encode_labels(columns, 77)) == by_fastavro(columns, "label", 77)


def test_no_rows_give_no_bytes() -> None:
    buffer, start = encode_payments(drawn_payments()[:0], 1)
    assert len(buffer) == 0
    assert start.tolist() == [0]


@pytest.mark.parametrize("schema_id", [0, -1, 2**31])
def test_an_id_that_does_not_fit_the_framing_is_refused(schema_id: int) -> None:
    with pytest.raises(ValueError, match=str(schema_id)):
        encode_payments(drawn_payments(), schema_id)
