"""Accounts: every record delivered is counted once, under what became of it."""

from __future__ import annotations

import numpy as np

from noskew.dataflows.core.batch import Batch, Turn
from noskew.dataflows.core.engine import Features
from noskew.dataflows.core.tally import Latency, Tally
from noskew.kernels.layout import (
    FATE_APPLIED,
    FATE_DEAD,
    FATE_DUPLICATE,
    FATE_LATE,
    FLAG_CAPPED,
    FLAG_INCOMPLETE,
    FLAG_LATE,
    FLAG_WARMING,
)
from noskew.schemas.columns import NULL
from noskew.schemas.reason import Reason


def batch(stream: int, reasons: list[int]) -> Batch:
    zeros = np.zeros(len(reasons), np.int64)
    return Batch(
        stream=stream,
        partition=zeros.astype(np.int32),
        offset=zeros,
        record_time_us=zeros,
        time_us=zeros,
        available_us=zeros,
        reason=np.array(reasons, np.uint8),
        columns={},
    )


def test_each_streams_terms_add_up_to_what_was_delivered() -> None:
    fates = (
        [FATE_APPLIED, FATE_LATE, FATE_DEAD, FATE_DUPLICATE, FATE_APPLIED, FATE_DEAD],
        [FATE_LATE, FATE_APPLIED, FATE_DUPLICATE, FATE_DEAD, FATE_LATE],
    )
    payments = batch(0, [0, 0, Reason.RANGE, 0, 0, Reason.NO_VALUE])
    labels = batch(1, [0, 0, 0, Reason.RANGE, 0])
    dead = np.isin(fates[0], [FATE_DEAD, FATE_DUPLICATE])
    flags = np.array(
        [FLAG_WARMING | FLAG_CAPPED, FLAG_LATE | FLAG_INCOMPLETE, 0, 0, FLAG_WARMING, 0], np.int32
    )
    vectors = np.zeros((1, 6))
    taken = tuple(np.array(one, np.uint8) for one in fates)
    features = Features(payments, vectors, vectors, flags, dead, taken)
    none = np.zeros(11, np.int32)
    turn = Turn(0, (payments, labels), none, none, none.astype(np.int64))
    tally = Tally(["payments", "labels"])

    # The first applied one comes before the point from which scores are made.
    emitted = np.array([False, True, False, False, True, False])
    for _ in range(2):
        tally.add(turn, features, emitted)

    found = tally.to_json()
    assert found["streams"] == {
        "payments": {
            "delivered": 12,
            "scored": 4,
            "unscored": 2,
            "late": 2,
            "duplicate": 2,
            "dead": {"no_value": 2, "range": 2},
        },
        "labels": {
            "delivered": 10,
            "applied": 2,
            "late": 4,
            "duplicate": 2,
            "dead": {"range": 2},
        },
    }
    assert {name: found[name] for name in found["streams"]["payments"]} == found["streams"][
        "payments"
    ]
    assert (found["warming"], found["incomplete"], found["capped"]) == (4, 2, 2)
    assert (tally.delivered, tally.scored, tally.dead) == (22, 4, 6)


def test_latency_is_the_upper_edge_of_a_bucket_nine_per_cent_wide() -> None:
    latency = Latency()
    assert latency.quantile_ms(0.5) is None
    now_us = 10**15
    waited_us = np.array([1_000] * 98 + [400_000] * 2)

    latency.add(np.concatenate([now_us - waited_us, [NULL, now_us - 10**12]]), now_us)

    assert int(latency.counts.sum()) == 100, "neither without a time nor a day old"
    for share, wanted_ms in ((0.5, 1), (0.99, 400)):
        found = latency.quantile_ms(share)
        assert found is not None
        assert wanted_ms <= found < 1.1 * wanted_ms
