"""Plans and Parquet files of payments and labels: what the tests of history share."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from noskew.dataflows import Pipeline, Stream
from noskew.dataflows.core import history
from noskew.dataflows.definition.compile import compile_plan

if TYPE_CHECKING:
    from pathlib import Path

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import Plan

T0: Final = 1_700_000_000_000_000
SECOND: Final = 1_000_000
TIME: Final = pa.timestamp("us")

SCHEMA: Final = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "payment_id", "type": "string"},
        {"name": "customer_id", "type": "string"},
        {"name": "terminal_id", "type": ["null", "long"]},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "amount_cents", "type": "long"},
        {"name": "ratio", "type": ["null", "double"]},
        {"name": "country", "type": ["null", "string"]},
        {"name": "online", "type": "boolean"},
        {"name": "mode", "type": {"type": "enum", "name": "M", "symbols": ["A", "B", "C"]}},
        {"name": "other", "type": {"type": "enum", "name": "O", "symbols": ["X", "Y"],
                                   "default": "Y"}},
    ],
}  # fmt: skip


LABEL: Final = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment_id", "type": "string"},
        {"name": "customer_id", "type": "string"},
        {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "fraud", "type": "boolean"},
    ],
}


def plan_of(folder: Path) -> Plan:
    """Return a plan of a stream that reads a field of every kind a column can be."""
    path = folder / "payment.avsc"
    path.write_text(json.dumps(SCHEMA))
    payments = Stream(
        "payments",
        topic="payments",
        schema=path,
        id="payment_id",
        key="customer_id",
        time="event_time",
    )
    columns = [payments.column(name) for name in ("ratio", "online", "mode", "other")]
    sums = [
        payments.by(key).sum("amount_cents", over="1h")
        for key in ("customer_id", "terminal_id", "country")
    ]
    return compile_plan(Pipeline(name="p", score=payments, features=[*columns, *sums]))


def two_streams(folder: Path) -> Plan:
    """Return a plan of payments, and of labels that are available at Kafka's own time."""
    first = plan_of(folder)
    path = folder / "label.avsc"
    path.write_text(json.dumps(LABEL))
    labels = Stream(
        "labels", topic="labels", schema=path, id="payment_id", key="customer_id", time="event_time"
    )
    one = compile_plan(Pipeline(name="p", score=labels, features=[labels.column("fraud")])).scored
    second = replace(one, place=1, available="record_timestamp")
    return replace(first, streams=(first.scored, second))


def rows(n: int, **columns: Any) -> dict[str, Any]:
    """Return n plain rows; ``columns`` replace or add, None leaves one out."""
    table = {
        "payment_id": [f"p{i}" for i in range(n)],
        "customer_id": [f"c{i % 3}" for i in range(n)],
        "terminal_id": pa.array([None if i % 2 else i for i in range(n)], pa.int64()),
        "event_time": pa.array([T0 + i * SECOND for i in range(n)], TIME),
        "amount_cents": list(range(100, 100 + n)),
        "ratio": [i / 7 for i in range(n)],
        "country": [["DE", None, ""][i % 3] for i in range(n)],
        "online": [i % 2 == 0 for i in range(n)],
        "mode": ["ABC"[i % 3] for i in range(n)],
        "other": ["X"] * n,
        **columns,
    }
    return {name: values for name, values in table.items() if values is not None}


def placed(n: int, **columns: Any) -> dict[str, Any]:
    """Return rows of two partitions, with their places in the topic."""
    return rows(
        n,
        **{
            "stream_partition": pa.array([i % 2 for i in range(n)], pa.int32()),
            "stream_offset": [i // 2 for i in range(n)],
            "record_timestamp": pa.array([T0 + i * SECOND for i in range(n)], TIME),
            **columns,
        },
    )


def write(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    file = path / "history.parquet"
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), file, row_group_size=7)
    return file


def read(file: Path, plan: Plan) -> history.History:
    """Read a file of a pipeline of one stream."""
    return history.read([("", file)], plan)


def only(found: history.History) -> Batch:
    """Return the records of a file that is one batch."""
    (turn,) = found.turns()
    (batch,) = turn.batches
    return batch


def payments(n: int = 40, seed: int = 3, **columns: Any) -> dict[str, Any]:
    draw = random.Random(seed)
    times = [T0 + draw.randrange(20) * SECOND for _ in range(n)]
    stamps = pa.array([T0 + 60 * SECOND] * n, TIME)
    return placed(n, event_time=pa.array(times, TIME), record_timestamp=stamps, **columns)


def labels(n: int = 30, **columns: Any) -> dict[str, Any]:
    """Return labels of three partitions, known at times that payments have too."""
    draw = random.Random(5)
    known = pa.array([T0 + draw.randrange(20) * SECOND for _ in range(n)], TIME)
    table = {
        "stream_partition": pa.array([i % 3 for i in range(n)], pa.int32()),
        "stream_offset": [i // 3 for i in range(n)],
        "record_timestamp": known,
        "payment_id": [f"p{i}" for i in range(n)],
        "customer_id": [f"c{i % 3}" for i in range(n)],
        "event_time": pa.array([T0] * n, TIME),
        "fraud": [i % 5 == 0 for i in range(n)],
        **columns,
    }
    return {name: values for name, values in table.items() if values is not None}
