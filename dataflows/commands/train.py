"""``noskew train``: from replayed features and labels to a bundle, and what it learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.durations import duration_us, show
from noskew.dataflows.definition.load import load
from noskew.dataflows.errors import DefinitionError, UsageError
from noskew.dataflows.model.dataset import LabelFields
from noskew.dataflows.model.training import train as train_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from noskew.dataflows.model.manifest import Manifest
    from noskew.dataflows.model.training import Parameters


@dataclass(frozen=True, slots=True)
class Report:
    """What was trained, on which rows, and how well it does on later ones."""

    out: Path
    manifest: Manifest

    @property
    def notes(self) -> list[str]:
        """Return what a reader of the numbers should know, one sentence each."""
        rows, metrics = self.manifest.rows, self.manifest.metrics
        split = self.manifest.sources["split"]
        notes = []
        if rows.unlabelled:
            notes.append(f"{rows.unlabelled} of {rows.in_files} rows have no label: left out")
        if rows.dropped_warming:
            notes.append(f"{rows.dropped_warming} warming rows left out")
        elif rows.warming:
            notes.append(
                f"{rows.warming} rows are warming (their windows reach before the history's "
                "start) and were kept; --drop-warming leaves them out"
            )
        if rows.gap:
            notes.append(
                f"{rows.gap} rows of the {show(split['gap_us'])} before validation left out: "
                "their labels would not have been known"
            )
        elif not split["gap_us"]:
            notes.append("no gap before validation: the history is too short for the label delay")
        if metrics.auc is None:
            notes.append(
                f"validation has one class only ({rows.validation_positive} positive of "
                f"{rows.validation} rows): no metrics"
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values: the manifest, the bundle's path, the notes."""
        return {"out": str(self.out), **self.manifest.model_dump(), "notes": self.notes}


def train(
    definition: Path,
    inputs: Sequence[Path],
    labels: Path,
    out: Path,
    *,
    parameters: Parameters | None = None,
    label_id: str | None = None,
    label: str = "is_fraud",
    label_time: str = "labelled_at",
    label_delay: str = "7d",
    drop_warming: bool = False,
    threads: int = 1,
    console: Console | None = None,
) -> Report:
    """Train the definition's model and save it as a bundle.

    inputs       files made by ``noskew replay`` with this definition
    labels       Parquet: ``label_id`` (default: the scored stream's id), ``label`` (0/1),
                 ``label_time``
    label_delay  how late labels come: so much before validation is left out
    threads      of LightGBM; more than idle cores make it several times slower
    console      where a progress bar is shown, if it is a terminal

    Raises NoskewError: for a wrong definition, files of another definition, unfit labels, too few
    examples, or an ``out`` that holds anything but a bundle.
    """
    plan = compile_plan(load(definition))
    try:
        delay_us = duration_us(label_delay, "--label-delay", zero=True)
    except DefinitionError as error:  # it is an option here, not part of a definition
        raise UsageError(str(error)) from error
    console = console or Console(quiet=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("trees", total=None)
        manifest = train_plan(
            plan,
            inputs,
            labels,
            out,
            parameters=parameters,
            fields=LabelFields(label_id or plan.scored.id, label, label_time),
            label_delay_us=delay_us,
            drop_warming=drop_warming,
            threads=threads,
            progress=lambda made, trees: progress.update(task, completed=made, total=trees),
        )
    return Report(out, manifest)


def render(report: Report, console: Console) -> None:
    """Print counts and metrics as a table, then the notes."""
    manifest = report.manifest
    rows, metrics = manifest.rows, manifest.metrics
    table = Table(title=f"{manifest.model}: {report.out}", show_header=False)
    table.add_row("model", manifest.model_sha256[:16])
    table.add_row("fingerprint", manifest.fingerprint[:16])
    table.add_row("features", str(len(manifest.features)))
    table.add_row("training", f"{rows.training:,} rows, {rows.training_positive:,} positive")
    table.add_row("validation", f"{rows.validation:,} rows, {rows.validation_positive:,} positive")
    for name, value in (
        ("AUC", metrics.auc),
        ("average precision", metrics.average_precision),
        ("log loss", metrics.binary_logloss),
        ("precision at top 100", metrics.precision_at_100),
    ):
        table.add_row(name, "-" if value is None else f"{value:.4f}")
    console.print(table)
    for note in report.notes:
        console.print(note, markup=False, highlight=False)
