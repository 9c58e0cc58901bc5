"""What is measured on: payments, their labels, features of a part, and a model, made when needed.

Payments are those of ``--input``, or the simulator's own, as many as the handbook's: at its rate,
of 5,000 customers at 10,000 terminals, none late (the plain-Python flow could not take late ones).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noskew.dataflows.bench.meter import noskew
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import UsageError
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.dataset import LabelFields
from noskew.dataflows.model.training import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from noskew.dataflows.bench.meter import Run
    from noskew.dataflows.definition.plan import Plan

EVENTS: Final = 1_754_155
"""The handbook's payments: as many are simulated where no input and no number is given."""

EVENTS_A_DAY: Final = 9_585
LATENESS: Final = pa.scalar(7 * 86_400_000_000, pa.duration("us"))
"""After how long a payment's label is taken as known, where the input does not say."""

TRAINED_ON: Final = 200_000
DEFINITION: Final = Path(__file__).with_name("payments.py")


@dataclass
class Material:
    """Files in ``folder``, each made at its first use.

    given   a Parquet file of payments with ``is_fraud``, None: simulate
    events  how many payments are used at most
    """

    folder: Path
    given: Path | None
    events: int | None
    say: Callable[[str], None]
    simulated: Run | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Return what the payments are called in the report."""
        if self.given is None:
            return f"{self.count:,} simulated payments"
        return f"{self.count:,} payments of {self.given.name}"

    @cached_property
    def plan(self) -> Plan:
        """Return the plan of payments.py."""
        return compile_plan(load(DEFINITION))

    @cached_property
    def payments(self) -> Path:
        """Return the file of payments."""
        if self.given is None:
            return self._simulate()
        return _first(self.given, self.folder / "payments.parquet", self.events)

    @cached_property
    def count(self) -> int:
        """Return the number of payments."""
        return int(pq.ParquetFile(self.payments).metadata.num_rows)

    @cached_property
    def features(self) -> Path:
        """Return the features of the first payments, to train on and to score."""
        self.say("features of a part are replayed")
        part = _first(self.payments, self.folder / "part.parquet", TRAINED_ON)
        out = self.folder / "part_features.parquet"
        noskew("replay", DEFINITION, "--input", part, "--out", out)
        return out

    @cached_property
    def bundle(self) -> Path:
        """Return the directory of a model of 200 trees of 31 leaves, as ``noskew train`` makes."""
        out = self.folder / "bundle"
        self.say("a model of 200 trees is trained on a replayed part")
        train(self.plan, [self.features], self._labels(), out, fields=LabelFields("transaction_id"))
        return out

    @cached_property
    def model(self) -> Bundle:
        """Return the bundle, loaded."""
        return Bundle.load(self.bundle, self.plan)

    def vectors(self, count: int) -> NDArray[np.float64]:
        """Return float64[features, n] of the newest ``count`` of the replayed payments."""
        table = pq.read_table(self.features, columns=list(self.plan.names))
        table = table.slice(max(0, table.num_rows - count))
        return np.ascontiguousarray([column.to_numpy() for column in table.columns])

    def _simulate(self) -> Path:
        count = self.events or EVENTS
        out = self.folder / "payments.parquet"
        self.say(f"{count:,} payments are simulated")
        self.simulated = noskew(
            *("simulate", "--rate", str(count), "--seconds", "1", "--late", "0"),
            *("--days", str(max(count / EVENTS_A_DAY, 1.0)), "--end", "2018-10-01"),
            *("--out", out, "--labels-out", self.folder / "labels.parquet", "--json"),
        )
        return out

    def _labels(self) -> Path:
        path = self.folder / "labels.parquet"
        if self.given is None:
            return path
        names = pq.read_schema(self.given).names
        if "is_fraud" not in names:
            raise UsageError(
                f"{self.given} has no column 'is_fraud' to train a model on; it has "
                f"{', '.join(names)}: give a file that has, or no --input"
            )
        labels = pq.read_table(self.payments, columns=["transaction_id", "is_fraud", "event_time"])
        known = pc.add(labels["event_time"], LATENESS)
        pq.write_table(labels.drop(["event_time"]).append_column("labelled_at", known), path)
        return path


def _first(path: Path, part: Path, rows: int | None) -> Path:
    """Return a file of the first ``rows`` rows: the file itself where it has no more."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"--input {path} cannot be read as Parquet ({error}); give a file of payments"
        ) from error
    if rows is None or file.metadata.num_rows <= rows:
        return path
    pq.write_table(pq.read_table(path).slice(0, rows), part)
    return part
