"""``noskew bench``: each part beside the obvious alternative, in one run, results compared."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from noskew.dataflows.bench import (
    decode,
    history,
    kernel,
    labels,
    live,
    machine,
    memory,
    reference,
    score,
    start,
)
from noskew.dataflows.bench.figures import cells, headline
from noskew.dataflows.bench.material import Material
from noskew.dataflows.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rich.console import Console

    from noskew.dataflows.bench.figures import Figure

KERNELS: Final = ((10_000, 2_000_000), (100_000, 2_000_000), (1_000_000, 8_000_000))
"""Keys, and events of them."""
KERNEL_SAMPLE: Final = 500_000
DISORDER: Final = (100, 1_000_000)
"""Keys, and events of them out of order."""
LABELS: Final = 500_000
DECODED: Final = 200_000
SCORED: Final = 16_384

NOTES: Final = (
    (
        "live: Kafka, Redis and a registry on the same machine; 22 features, 200 trees, "
        "rows at most once a second; from the first read until all is acknowledged and journaled, "
        "where start-up is not named. CPU is of the process, unless another is named."
    ),
    (
        "The plain-Python flow does the same job without late events, dead letters, digests and "
        "the journal; its scores, vectors included, equal ours byte for byte. n: ours / its."
    ),
    (
        "Kernels, the reference definition, decoding and scoring: CPU time of one thread, the best "
        "of three; labels, and what stands beside kernels and definition, ran once, DuckDB in one "
        "thread."
    ),
)


def bench(
    console: Console | None = None,
    *,
    given: Path | None = None,
    events: int | None = None,
    only: str | None = None,
) -> dict[str, Any]:
    """Measure, and return machine, input, figures and notes as JSON values.

    given   a Parquet file of payments with ``is_fraud``; None: the simulator's own
    events  how many payments at most; the micro-benchmarks are cut to it as well
    only    one part: a name of PARTS

    Raises WrongResultError (exit code 1) where results differ: then no speed is reported.
    UsageError for an unknown part, an unfit file, or servers that cannot be had.
    """
    if events is not None and events < 1:
        raise UsageError(f"--events is {events}; give at least 1")
    if only is not None and only not in PARTS:
        raise UsageError(f"--only {only!r} is no part; there are {', '.join(PARTS)}")

    def say(text: str) -> None:
        if console is not None:
            console.print(text, markup=False, highlight=False)

    described = machine.describe()
    found: list[Figure] = []
    with _stoppable(), tempfile.TemporaryDirectory(prefix="noskew_bench_") as folder:
        material = Material(Path(folder), given, events, say)
        for name in PARTS if only is None else (only,):
            say(f"{name}:")
            found += PARTS[name](material)
        is_used = only not in {"kernel", "reference", "memory", "start", "decode"}
        return {
            "machine": described,
            "input": material.name if is_used else "made by the benchmark",
            "figures": [figure.to_json() for figure in found],
            "notes": list(NOTES),
        }


def render(measured: dict[str, Any], console: Console) -> None:
    """Print the figures as a table, under what they were measured on."""
    console.print(headline(measured), markup=False, highlight=False)
    table = Table("what")
    for name in ("noskew", "beside it", "times", "n"):
        table.add_column(name, justify="right")
    for figure in measured["figures"]:
        table.add_row(*cells(figure))
    console.print(table)
    for note in measured["notes"]:
        console.print(note, markup=False, highlight=False)


@contextmanager
def _stoppable() -> Iterator[None]:
    """End in order on SIGTERM too: the servers would outlive this process."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _size(material: Material, most: int) -> int:
    return most if material.events is None else min(most, material.events)


def _kernel(material: Material) -> Iterator[Figure]:
    for keys, events in KERNELS:
        size = _size(material, events)
        yield from kernel.measure(size, _size(material, KERNEL_SAMPLE), keys)
    keys, events = DISORDER
    yield from kernel.disorder(_size(material, events), keys)
    size = _size(material, LABELS)
    yield from labels.measure(size, min(labels.HELD, size))


def _reference(material: Material) -> Iterator[Figure]:
    payments = _size(material, reference.PAYMENTS)
    sample = _size(material, reference.SAMPLE)
    yield from reference.measure(material.folder, payments, sample)


def _memory(material: Material) -> Iterator[Figure]:
    events = _size(material, memory.EVENTS)
    yield from memory.measure(min(memory.KEYS, events), events)


def _decode(material: Material) -> Iterator[Figure]:
    yield decode.measure(material.plan.scored, _size(material, DECODED))


def _score(material: Material) -> Iterator[Figure]:
    bundle = material.model
    yield from score.measure(bundle, material.vectors(_size(material, SCORED)))


PARTS: Final[Mapping[str, Callable[[Material], Iterator[Figure]]]] = {
    "live": live.measure,
    "kernel": _kernel,
    "reference": _reference,
    "memory": _memory,
    "start": lambda _: start.measure(),
    "decode": _decode,
    "score": _score,
    "replay": history.replay,
    "simulate": history.simulate,
}
"""What ``--only`` takes, in the order it is measured."""
