"""Files: replay of Parquet to features, and simulated payments to Parquet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from noskew.dataflows.bench.figures import Figure, same
from noskew.dataflows.bench.material import DEFINITION
from noskew.dataflows.bench.meter import noskew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noskew.dataflows.bench.material import Material


def replay(material: Material) -> Iterator[Figure]:
    """Measure ``noskew replay`` of the payments' file; see ``live`` for a topic's."""
    out = material.folder / "features.parquet"
    out.unlink(missing_ok=True)
    material.say(f"{material.count:,} payments are replayed from Parquet")
    run = noskew("replay", DEFINITION, "--input", material.payments, "--out", out, "--json")
    report = json.loads(run.out)
    same("replay: rows written", report["written"], material.count)
    same("replay: rows in the file", pq.ParquetFile(out).metadata.num_rows, material.count)
    what = "replay, Parquet to features in Parquet"
    yield Figure("replay", what, "rows/s", material.count / report["seconds"], material.count)
    yield Figure("replay", f"{what}, peak memory", "MB", run.peak_mb, material.count)


def simulate(material: Material) -> Iterator[Figure]:
    """Measure ``noskew simulate`` to Parquet, payments and labels; start-up left out."""
    count = material.count
    run = material.simulated
    if run is None:
        material.say(f"{count:,} payments are simulated")
        run = noskew(
            *("simulate", "--rate", str(count), "--seconds", "1", "--end", "2018-10-01"),
            *("--out", material.folder / "simulated.parquet"),
            *("--labels-out", material.folder / "simulated_labels.parquet", "--json"),
        )
    report = json.loads(run.out)
    same("simulate: payments", report["payments"], count)
    what = "simulate, payments and labels to Parquet"
    yield Figure("simulate", what, "events/s", report["per_second"], count)
