"""Payments and labels into topics: paced as they happen, or a Parquet file as fast as it goes."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noskew.dataflows.errors import UsageError
from noskew.dataflows.kafka import subjects
from noskew.dataflows.kafka.outbox import Outbox
from noskew.dataflows.kafka.topics import Admin
from noskew.dataflows.simulation.columns import (
    COUNTRIES,
    CURRENCIES,
    ENTRY_MODES,
    LabelColumns,
    PaymentColumns,
    Words,
    encode_labels,
    encode_payments,
)
from noskew.dataflows.simulation.labels import concatenated
from noskew.dataflows.simulation.population import partition_of
from noskew.schemas import files
from noskew.schemas.columns import NULL
from noskew.schemas.writer import RegistryAwayError, RegistryRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

TRANSACTIONS: Final = "transactions"
FRAUD_LABELS: Final = "fraud_labels"
PARTITIONS: Final = 8

TOPIC_CONFIG: Final = {
    "retention.ms": "-1",  # records may carry old timestamps; a broker's default would drop them
    "message.timestamp.type": "CreateTime",
}

BATCH: Final = 65_536

_QUIET: Final = {"log_level": 0}
"""librdkafka says nothing on standard error: what fails is told by an exception."""

TIMEOUT_S: Final = 60.0
"""How long a broker may be away before its records have failed: no one must wait for ever here."""

PATIENCE_S: Final = 10.0
"""How long the registry may take: just started it is slow, and nothing waits behind us."""

_REQUIRED: Final = ("transaction_id", "event_time", "customer_id", "amount_cents")
_LABEL_FIELDS: Final = tuple(
    field.name for field in dataclasses.fields(LabelColumns) if field.name != "partition"
)


@dataclass(slots=True)
class Feed:
    """The two topics of the simulation, open for writing; leaving the context flushes them."""

    _outbox: Outbox
    _payment_id: int
    _label_id: int

    @classmethod
    def open(cls, brokers: str, registry: str, partitions: int = PARTITIONS) -> Feed:
        """Make topics and register schemas where absent.

        Raises UsageError where a server does not answer or a topic has other partitions.
        """
        admin = Admin.connect(brokers)
        for topic in (TRANSACTIONS, FRAUD_LABELS):
            admin.ensure(topic, partitions, TOPIC_CONFIG)
        payment_id = register(registry, TRANSACTIONS, "transaction")
        label_id = register(registry, FRAUD_LABELS, "label")
        return cls(Outbox(brokers, _QUIET, timeout_s=TIMEOUT_S), payment_id, label_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._outbox.__exit__(kind, error, trace)

    def payments(self, columns: PaymentColumns) -> None:
        """Queue payments; Kafka's timestamp is the time of sending."""
        keys = keys_of(columns.customer_id)
        payload = encode_payments(columns, self._payment_id)
        self._outbox.send(TRANSACTIONS, *payload, columns.partition, keys=keys)

    def labels(self, columns: LabelColumns) -> None:
        """Queue labels; Kafka's timestamp is the time of sending."""
        keys = keys_of(columns.customer_id)
        payload = encode_labels(columns, self._label_id)
        self._outbox.send(FRAUD_LABELS, *payload, columns.partition, keys=keys)

    def flush(self) -> None:
        """Wait until everything is acknowledged; raises DeliveryError where something is not."""
        self._outbox.flush()


class Pace:
    """How many records may have been sent by now, at a steady rate; ``began_us`` is the start."""

    TICK_S: Final = 0.01

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self.began_us = time.time_ns() // 1_000
        self._began_s = time.monotonic()

    def due(self, sent: int, most: int) -> int:
        """Wait until a record is due after ``sent`` ones; return how many are, at most ``most``."""
        while True:
            now = int((time.monotonic() - self._began_s) * self._rate)
            if now > sent:
                return min(now - sent, most)
            time.sleep(self.TICK_S)


def register(registry: str, topic: str, schema: str) -> int:
    """Register a shipped schema as the topic's value schema, if it is not; return its id.

    Raises UsageError where the registry does not answer or refuses.
    """
    client = subjects.connect(registry, None, PATIENCE_S)
    try:
        return client.register(f"{topic}-value", files.text(schema))
    except (RegistryAwayError, RegistryRefusedError) as error:
        message = f"schema {schema}.avsc of topic {topic!r}: {error}"
        raise UsageError(message) from error
    finally:
        client.close()


def keys_of(customer_id: NDArray[np.int64]) -> list[bytes]:
    """Return message keys: each customer's id in decimal, made once per customer."""
    ids, position = np.unique(customer_id, return_inverse=True)
    texts = [b"%d" % number for number in ids.tolist()]
    return [texts[i] for i in position.tolist()]


def load_parquet(
    path: Path | str,
    brokers: str,
    topic: str,
    registry: str,
    *,
    partitions: int = PARTITIONS,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Put a file of payments into a topic, in file order; return the number of records.

    The file has the columns transaction_id, event_time, customer_id, amount_cents; it may have
    the other fields of transaction.avsc, which otherwise take the schema's defaults (terminal_id:
    null). A record's partition is ``partition_of`` its customer; Kafka's timestamp is the
    column record_timestamp if there is one, else the event time. The topic is made if absent.
    Raises UsageError for a missing column, a null where there may be none, and for servers that
    do not answer, DeliveryError for records that the broker did not take; ``progress`` gets the
    number sent so far.
    """
    known = (*PaymentColumns.__slots__, "record_timestamp")
    file = _opened(path, "payments", _REQUIRED)
    Admin.connect(brokers).ensure(topic, partitions, TOPIC_CONFIG)
    schema_id = register(registry, topic, "transaction")
    done = 0
    with Outbox(brokers, _QUIET, timeout_s=TIMEOUT_S) as outbox:
        for batch in file.iter_batches(BATCH, columns=_among(file, known)):
            columns = read_payments(batch, partitions)
            outbox.send(
                topic,
                *encode_payments(columns, schema_id),
                columns.partition,
                record_time_us=columns.record_time_us,
                keys=keys_of(columns.customer_id),
            )
            done += len(columns)
            if progress is not None:
                progress(done)
    return done


def load_labels(
    path: Path | str,
    brokers: str,
    topic: str,
    registry: str,
    *,
    until_us: int | None = None,
    partitions: int = PARTITIONS,
) -> LabelColumns:
    """Put a file of labels into a topic, in file order; return those that are still to come.

    The file is as ``noskew simulate`` writes it: the fields of label.avsc by labelled_at, which
    also is Kafka's timestamp. Labels known after ``until_us`` (None: none) are not sent. Raises
    as ``load_parquet`` does.
    """
    file = _opened(path, "labels", _LABEL_FIELDS)
    Admin.connect(brokers).ensure(topic, partitions, TOPIC_CONFIG)
    schema_id = register(registry, topic, "label")
    rest = []
    with Outbox(brokers, _QUIET, timeout_s=TIMEOUT_S) as outbox:
        for batch in file.iter_batches(BATCH, columns=list(_LABEL_FIELDS)):
            columns = read_labels(batch, partitions)
            known = len(columns)
            if until_us is not None:
                known = int(np.searchsorted(columns.labelled_at, until_us, side="right"))
            rest.append(columns[known:])
            columns = columns[:known]
            outbox.send(
                topic,
                *encode_labels(columns, schema_id),
                columns.partition,
                record_time_us=columns.labelled_at,
                keys=keys_of(columns.customer_id),
            )
    return concatenated(rest)


def read_labels(batch: pa.RecordBatch, partitions: int) -> LabelColumns:
    """Return rows of a Parquet file as labels, see ``load_labels``."""
    optional = {"terminal_id": NULL, "scenario": 0}
    fields = {name: _longs(batch, name, optional.get(name)) for name in _LABEL_FIELDS}
    return LabelColumns(**fields, partition=partition_of(fields["customer_id"], partitions))


def read_payments(batch: pa.RecordBatch, partitions: int) -> PaymentColumns:
    """Return rows of a Parquet file as payments, see ``load_parquet``; scenario is 0."""
    n = batch.num_rows
    customer_id = _longs(batch, "customer_id")
    event_time = _longs(batch, "event_time")
    entry_mode = _words(batch, "entry_mode", ENTRY_MODES[0])
    unknown = sorted(set(entry_mode.vocabulary) - set(ENTRY_MODES))
    if unknown:
        message = f"entry_mode {unknown[0]!r} is none of {', '.join(ENTRY_MODES)}"
        raise UsageError(message)
    symbol = np.array([ENTRY_MODES.index(text) for text in entry_mode.vocabulary], np.int64)
    has_time = "record_timestamp" in batch.schema.names
    return PaymentColumns(
        transaction_id=_longs(batch, "transaction_id"),
        event_time=event_time,
        customer_id=customer_id,
        terminal_id=_longs(batch, "terminal_id", NULL),
        amount_cents=_longs(batch, "amount_cents"),
        currency=_words(batch, "currency", CURRENCIES[0]),
        entry_mode=symbol[entry_mode.code],
        merchant_category=_longs(batch, "merchant_category", 0),
        country=_words(batch, "country", COUNTRIES[0]),
        card_present=_longs(batch, "card_present", 1),
        channel=_words(batch, "channel", "pos"),
        partition=partition_of(customer_id, partitions),
        record_time_us=_longs(batch, "record_timestamp") if has_time else event_time,
        scenario=np.zeros(n, np.int64),
    )


def _opened(path: Path | str, what: str, required: tuple[str, ...]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        message = f"{path} cannot be read as Parquet ({error}); give a file of {what}"
        raise UsageError(message) from error
    names = file.schema_arrow.names
    missing = [name for name in required if name not in names]
    if missing:
        message = f"{path}: no column {', '.join(missing)}; it has {', '.join(names)}"
        raise UsageError(message)
    return file


def _among(file: pq.ParquetFile, known: tuple[str, ...]) -> list[str]:
    return [name for name in file.schema_arrow.names if name in known]


def _longs(batch: pa.RecordBatch, name: str, default: int | None = None) -> NDArray[np.int64]:
    """Return a column as int64; nulls are refused where there is no default."""
    if name not in batch.schema.names:
        return np.full(batch.num_rows, default, np.int64)
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz)).view(pa.int64())
    column = column.cast(pa.int64())
    if column.null_count:
        if default is None:
            message = f"column {name} has {column.null_count} nulls; each row needs a {name}"
            raise UsageError(message)
        column = column.fill_null(default)
    values: NDArray[np.int64] = column.to_numpy(zero_copy_only=False)
    return values


def _words(batch: pa.RecordBatch, name: str, default: str) -> Words:
    if name not in batch.schema.names:
        return Words(np.zeros(batch.num_rows, np.int32), (default,))
    coded = batch.column(name).cast(pa.string()).fill_null(default).dictionary_encode()
    return Words(coded.indices.to_numpy(), tuple(coded.dictionary.to_pylist()) or (default,))
