"""Labels in a topic: at their time, days after their payment, in no order, some corrected."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kafka_io import read_topic

from noskew.dataflows.commands.simulate import simulate
from noskew.dataflows.errors import UsageError
from noskew.dataflows.simulation.timeline import DAY_US, HOUR_US
from noskew.dataflows.simulation.topics import (
    FRAUD_LABELS,
    TRANSACTIONS,
    load_labels,
    read_labels,
)
from noskew.infra.mock import MockBroker
from noskew.infra.mock_registry import MockRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kafka_io import Found

    from noskew.dataflows.simulation.columns import LabelColumns

PARTITIONS = 3
DAYS = 30
SECONDS = 2.0
END = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    broker = MockBroker()
    for topic in (TRANSACTIONS, FRAUD_LABELS, "history"):
        broker.create_topic(topic, PARTITIONS)
    with MockRegistry() as registry:
        yield broker.brokers, registry.url
    broker.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    payments, labels = folder / "payments.parquet", folder / "labels.parquet"
    simulate(
        2_000, 1, days=DAYS, customers=200, out=payments, labels_out=labels, end=END,
        partitions=PARTITIONS,
    )  # fmt: skip
    return payments, labels


@pytest.fixture(scope="module")
def pending(files: tuple[Path, Path]) -> LabelColumns:
    """Labels of earlier payments: three that are known by now, two that are not."""
    batch = pq.read_table(files[1]).combine_chunks().to_batches()[0]
    now_us = int(datetime.now(UTC).timestamp() * 1_000_000)
    known_us = now_us + np.array([-DAY_US, -DAY_US, -HOUR_US, DAY_US, DAY_US])
    return replace(read_labels(batch, PARTITIONS)[:5], labelled_at=known_us)


@pytest.fixture(scope="module")
def sent(servers: tuple[str, str], pending: LabelColumns) -> tuple[list[Found], list[Found]]:
    """Payments and labels of a run in which thirty days take two seconds."""
    brokers, registry = servers
    summary = simulate(
        1_500, SECONDS, days=DAYS, customers=200, brokers=brokers, registry=registry,
        partitions=PARTITIONS, seed=5, pending=pending, progress=False,
    )  # fmt: skip
    payments = read_topic(brokers, TRANSACTIONS, "transaction")
    labels = read_topic(brokers, FRAUD_LABELS, "label")
    assert len(payments) == summary.payments == 3_000
    assert len(labels) == summary.labels
    return payments, labels


@pytest.fixture(scope="module")
def live(
    sent: tuple[list[Found], list[Found]], pending: LabelColumns
) -> tuple[list[Found], list[Found]]:
    """The run's payments, and the labels of these."""
    payments, labels = sent
    earlier = set(pending.transaction_id.tolist())
    return payments, [label for label in labels if label.value["transaction_id"] not in earlier]


def test_a_label_comes_days_of_simulated_time_after_its_payment(
    live: tuple[list[Found], list[Found]],
) -> None:
    payments, labels = live
    paid = {found.value["transaction_id"]: found for found in payments}
    waits = []
    for label in labels:
        payment = paid[label.value["transaction_id"]]
        waits.append(label.value["labelled_at"] - payment.value["event_time"])
        assert label.value["event_time"] == payment.value["event_time"]
        assert label.value["terminal_id"] == payment.value["terminal_id"]
        assert (label.partition, label.key) == (payment.partition, payment.key)

    # Those of the last days are not known yet.
    assert 0.5 < len(labels) / len(payments) < 0.95
    assert min(waits) >= DAY_US - 1_000_000
    assert max(waits) > 10 * DAY_US


def test_labels_are_sent_when_their_time_has_come_and_not_before(
    live: tuple[list[Found], list[Found]],
) -> None:
    payments, labels = live
    # Payments arrive up to two hours after they were made, and before any later label.
    made_us = np.array([found.value["event_time"] for found in payments])
    order = np.argsort(made_us)
    sent_ms = np.maximum.accumulate(np.array([found.time_ms for found in payments])[order])
    for found in labels:
        known_us = found.value["labelled_at"]
        before = int(np.searchsorted(made_us[order], known_us - 3 * HOUR_US))
        assert found.time_ms >= sent_ms[before - 1]
        assert known_us <= 1_000 * (found.time_ms + 1)

    # A first label comes after at most 14 days.
    labelled = {found.value["transaction_id"] for found in labels}
    for found in payments:
        if found.value["event_time"] < made_us.max() - 15 * DAY_US:
            assert found.value["transaction_id"] in labelled


def test_labels_are_in_order_of_their_time_and_in_no_order_of_payments(
    live: tuple[list[Found], list[Found]],
) -> None:
    _, labels = live
    for partition in range(PARTITIONS):
        mine = [found.value for found in labels if found.partition == partition]
        known = [value["labelled_at"] for value in mine]
        made = [value["event_time"] for value in mine]
        assert known == sorted(known)
        earlier = sum(left > right for left, right in pairwise(made))
        assert earlier > len(made) / 4


def test_some_labels_are_corrected_under_the_same_id(
    live: tuple[list[Found], list[Found]],
) -> None:
    _, labels = live
    said = defaultdict(list)
    for found in sorted(labels, key=lambda found: found.value["labelled_at"]):
        said[found.value["transaction_id"]].append(found.value["is_fraud"])

    corrected = [verdicts for verdicts in said.values() if len(verdicts) > 1]
    assert 3 <= len(corrected) <= 40
    assert all(len(verdicts) == 2 for verdicts in corrected)
    assert all(first != second for first, second in corrected)


def test_labels_of_a_file_go_into_a_topic_up_to_a_time_and_the_rest_is_handed_back(
    files: tuple[Path, Path], servers: tuple[str, str]
) -> None:
    brokers, registry = servers
    table = pq.read_table(files[1])
    cut_us = int(END.timestamp() * 1_000_000)
    known = np.count_nonzero(table["labelled_at"].cast(pa.int64()).to_numpy() <= cut_us)
    assert 0 < known < len(table)

    rest = load_labels(
        files[1], brokers, "history", registry, until_us=cut_us, partitions=PARTITIONS
    )

    sent = read_topic(brokers, "history", "label")
    assert len(sent) == known
    assert len(rest) == len(table) - known
    assert rest.labelled_at.min() > cut_us
    for found in sent:
        assert found.value["labelled_at"] == 1_000 * found.time_ms <= cut_us
        assert found.key == str(found.value["customer_id"]).encode()


def test_labels_of_earlier_payments_are_sent_once_their_time_has_come(
    sent: tuple[list[Found], list[Found]], pending: LabelColumns
) -> None:
    found = {label.value["transaction_id"] for label in sent[1]}

    *known, _, _ = pending.transaction_id.tolist()
    assert found & set(pending.transaction_id.tolist()) == set(known)


def test_a_file_of_labels_read_back_gives_the_labels(files: tuple[Path, Path]) -> None:
    table = pq.read_table(files[1])

    back = read_labels(table.combine_chunks().to_batches()[0], PARTITIONS)

    assert np.array_equal(back.partition, table["stream_partition"].to_numpy())
    assert np.array_equal(back.is_fraud, table["is_fraud"].to_numpy().astype(np.int64))
    for name in ("event_time", "labelled_at", "transaction_id"):
        assert np.array_equal(getattr(back, name), table[name].cast(pa.int64()).to_numpy()), name


def test_a_file_that_has_no_labels_is_refused(
    files: tuple[Path, Path], servers: tuple[str, str]
) -> None:
    with pytest.raises(UsageError, match="no column is_fraud, scenario, labelled_at"):
        load_labels(files[0], servers[0], "history", servers[1])
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        load_labels(files[0].with_name("absent"), servers[0], "history", servers[1])
