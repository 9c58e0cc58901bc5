"""The training set: what ``noskew replay`` wrote, joined with labels, in time order.

Columns are read one at a time, so memory holds the matrix once and one column beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noskew.dataflows.errors import UsageError
from noskew.dataflows.model.names import difference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from noskew.dataflows.definition.plan import Plan

_PLACE: Final = ("stream_partition", "stream_offset")
_BESIDE: Final = frozenset({*_PLACE, "flags", "margin", "score"})


@dataclass(frozen=True, slots=True)
class LabelFields:
    """The label file's columns: the event's id, 0/1 or boolean, and when it was known."""

    id: str
    value: str = "is_fraud"
    time: str = "labelled_at"


class FeatureFiles:
    """Files made by ``noskew replay``, one after another; columns by name."""

    def __init__(self, files: list[pq.ParquetFile], paths: list[Path]) -> None:
        """Take open files; use ``open``."""
        self._files = files
        self.paths = paths

    @classmethod
    def open(cls, paths: Sequence[Path], plan: Plan) -> Self:
        """Open files and check that each has this plan's features. Raises ``UsageError``."""
        files = []
        for path in paths:
            file = open_parquet(path)
            _check_fingerprint(path, file, plan)
            _check_columns(path, file, plan)
            files.append(file)
        return cls(files, list(paths))

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column of all files."""
        parts = [file.read(columns=[name]).column(0) for file in self._files]
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return one feature of all files as float64[n]; a null is NaN."""
        column = self.column(name)
        filled = pc.fill_null(column, float("nan")) if column.null_count else column
        return np.asarray(filled.to_numpy(), np.float64)

    def metadata(self) -> list[dict[str, Any]]:
        """Return per file its name, order and sources as replay recorded them."""
        return [
            {
                "file": path.name,
                "order": _text(file, "noskew.order"),
                "sources": json.loads(_text(file, "noskew.sources") or "null"),
            }
            for path, file in zip(self.paths, self._files, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Examples:
    """The files' rows that have a label, by (time, partition, offset).

    row      int64[n]  the row's position in the files
    time_us  int64[n]
    label    bool[n]
    flags    int32[n]
    in_files, unlabelled  row counts
    """

    row: NDArray[np.int64]
    time_us: NDArray[np.int64]
    label: NDArray[np.bool_]
    flags: NDArray[np.int32]
    in_files: int
    unlabelled: int


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises ``UsageError`` if it is missing or damaged."""
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        message = f"{path} cannot be read as Parquet: {error}"
        raise UsageError(message) from error


def join(features: FeatureFiles, labels: Path, fields: LabelFields, plan: Plan) -> Examples:
    """Give each row of the features its label, the one known last; leave out rows without.

    Of several labels of an id the one with the greatest time wins, of equal times the last row.
    A null label is no label. Raises ``UsageError`` for missing columns or unfit types.
    """
    ids, values = _last_labels(labels, fields)
    event_ids = features.column(plan.scored.id)
    try:
        ids = ids.cast(event_ids.type)
    except pa.ArrowException as error:
        message = (
            f"{labels}: column {fields.id!r} ({ids.type}) cannot be compared with the features' "
            f"{plan.scored.id!r} ({event_ids.type}): write it with that type"
        )
        raise UsageError(message) from error
    found = pc.fill_null(pc.index_in(event_ids, value_set=ids), -1).to_numpy().astype(np.int64)
    has_label = found >= 0
    partition, offset = (features.column(name).to_numpy() for name in _PLACE)
    time_us = _micros(features.column(plan.scored.time))
    row = np.flatnonzero(has_label)
    row = row[np.lexsort((offset[row], partition[row], time_us[row]))]
    return Examples(
        row=row,
        time_us=time_us[row],
        label=values[found[row]],
        flags=features.column("flags").to_numpy().astype(np.int32)[row],
        in_files=len(found),
        unlabelled=len(found) - len(row),
    )


def _last_labels(path: Path, fields: LabelFields) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """Return distinct ids and their labels."""
    file = open_parquet(path)
    names = file.schema_arrow.names
    for name in (fields.id, fields.value, fields.time):
        if name not in names:
            message = f"{path} has no column {name!r}; it has {', '.join(names)}"
            raise UsageError(message)
    table = file.read(columns=[fields.id, fields.value, fields.time])
    table = table.filter(pc.and_(table[fields.id].is_valid(), table[fields.value].is_valid()))
    labels = table[fields.value]
    if not (pa.types.is_boolean(labels.type) or pa.types.is_integer(labels.type)):
        message = f"{path}: column {fields.value!r} is {labels.type}; a label is boolean, or 0 or 1"
        raise UsageError(message)
    numbers = labels.cast(pa.int64()).to_numpy()
    wrong = np.flatnonzero((numbers != 0) & (numbers != 1))
    if len(wrong):
        message = f"{path}: column {fields.value!r} holds {numbers[wrong[0]]}; a label is 0 or 1"
        raise UsageError(message)
    known_us = _micros(table[fields.time])
    order = np.argsort(known_us, kind="stable")
    ranked = pa.table({"id": table[fields.id].take(order), "rank": np.arange(len(order))})
    last = ranked.group_by("id", use_threads=False).aggregate([("rank", "max")])
    return last["id"], numbers[order][last["rank_max"].to_numpy()].astype(np.bool_)


def _micros(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return timestamps (or integers, taken as microseconds) as int64; a null sorts first."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return np.asarray(pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy())


def _check_fingerprint(path: Path, file: pq.ParquetFile, plan: Plan) -> None:
    found = _text(file, "noskew.fingerprint")
    wanted = plan.fingerprint.hex()
    if found is None:
        message = (
            f"{path} has no fingerprint in its metadata: it was not made by `noskew replay`, and "
            "features computed elsewhere cannot be trusted to equal those of `noskew run`; make "
            "the file with `noskew replay DEFINITION.py --input PAYMENTS.parquet --out ...`"
        )
        raise UsageError(message)
    if found == wanted:
        return
    lines = difference(plan.names, _feature_names(file, plan)) or [
        "  none: the names agree, but windows, columns, types or other settings differ"
    ]
    message = (
        f"{path} holds the features of another plan: fingerprint {found}, the definition has "
        f"{wanted}.\nIts feature names, compared with the definition's:\n"
        + "\n".join(lines)
        + "\nReplay the history again with this definition: `noskew replay`"
    )
    raise UsageError(message)


def _check_columns(path: Path, file: pq.ParquetFile, plan: Plan) -> None:
    schema = file.schema_arrow
    for name in (*_PLACE, plan.scored.id, plan.scored.time, "flags", *plan.names):
        if name not in schema.names:
            message = (
                f"{path} has no column {name!r}, though its fingerprint is the definition's: "
                "replay the history again with this definition: `noskew replay`"
            )
            raise UsageError(message)
    for name in plan.names:
        if schema.field(name).type != pa.float64():
            message = (
                f"{path}: column {name!r} is {schema.field(name).type}, a feature is double: "
                "the file was changed after `noskew replay` made it; replay again"
            )
            raise UsageError(message)


def _feature_names(file: pq.ParquetFile, plan: Plan) -> list[str]:
    """Return the float64 columns that are not beside the features: a guess for a message."""
    beside = _BESIDE | {plan.scored.id, plan.scored.key, plan.scored.time}
    return [
        field.name
        for field in file.schema_arrow
        if field.type == pa.float64() and field.name not in beside
    ]


def _text(file: pq.ParquetFile, key: str) -> str | None:
    value = (file.schema_arrow.metadata or {}).get(key.encode())
    return None if value is None else value.decode()
