"""Bodies of one writer's schema to columns: the part of decoding that runs once per record."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import fastavro
import numpy as np

from noskew.schemas.columns import NULL, Strings
from noskew.schemas.reason import Reason
from noskew.schemas.resolve import show_wanted
from noskew.schemas.safety import walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.schemas.decode import Decoded
    from noskew.schemas.resolve import Lane, Route, Wanted

DETAIL: Final = 1000
"""Most characters of a detail."""

_INT32: Final = 2**31


class Work:
    """Columns in the making.

    values   field -> int64[n], float64[n] or a list of n strings;  nulls: field -> bool[n]
    """

    def __init__(
        self,
        out: Decoded,
        heap: bytes,
        stop: NDArray[np.int64],
        body: NDArray[np.int64],
        wanted: list[Wanted],
    ) -> None:
        n = len(out.reason)
        self.out = out
        self.heap = heap
        self.stop = stop
        self.body = body
        self.suspects: set[int] = set()
        self.nulls = {want.name: np.ones(n, np.bool_) for want in wanted}
        self.numbers: dict[str, NDArray[Any]] = {}
        self.texts: dict[str, list[str | None]] = {}
        for want in wanted:
            if want.kind == "string":
                self.texts[want.name] = [None] * n
            elif want.kind == "int":
                self.numbers[want.name] = np.full(n, NULL, np.int64)
            else:
                self.numbers[want.name] = np.full(n, np.nan, np.float64)

    def fail(self, i: int, reason: Reason, detail: str) -> None:
        """Mark record i, unless it has a reason that goes first."""
        if not 0 < self.out.reason[i] <= reason:
            self.out.reason[i] = reason
            self.out.details[i] = detail[:DETAIL]

    def finish(self) -> None:
        """Hand the columns over."""
        for name in self.nulls:
            texts = self.texts.get(name)
            column = self.numbers[name] if texts is None else Strings.from_list(texts)
            self.out.columns[name] = column


def read(found: Route, places: NDArray[np.int64], work: Work, schema_id: int) -> None:
    """Read every record of one schema. Slow path: one call of fastavro per record."""
    blank = dict.fromkeys(found.keys)
    rows: list[dict[str, Any]] = []
    reader: Any = fastavro.schemaless_reader
    writer, resolved = found.writer, found.reader
    heap, suspects = work.heap, work.suspects
    body, stop = work.body[places].tolist(), work.stop[places].tolist()
    for i, first, last in zip(places.tolist(), body, stop, strict=True):
        # A stream of its own: a length that lies cannot reach into the neighbours.
        stream = BytesIO(heap[first:last])
        try:
            row = reader(stream, writer, resolved)
        except Exception as error:  # noqa: BLE001 -- any failure is this record's, whatever it is
            _explain(found, work, i, heap[first:last], error=error, schema_id=schema_id)
            rows.append(blank)
            continue
        left = last - first - stream.tell()
        if left:
            _trailing(work, i, left, schema_id)
        if i in suspects:
            _walk_strictly(found, work, i, heap[first:last])
        rows.append(row)
    for name, symbols in found.judged.items():
        values, null = _ints([row[name] for row in rows])
        _judge(work, places, name, values, null, symbols=symbols)
    if found.problem is not None:
        for i in places.tolist():
            work.fail(i, *found.problem)
        return
    for lane in found.lanes:
        _fill(lane, rows, places, work)


def _fill(lane: Lane, rows: list[dict[str, Any]], places: NDArray[np.int64], work: Work) -> None:
    """Put one field of one schema's records into its column."""
    want = lane.wanted
    key = lane.key
    raw = [want.default] * len(rows) if key is None else [row[key] for row in rows]
    if want.kind == "string":
        column = work.texts[want.name]
        null = np.zeros(len(raw), np.bool_)
        for at, (i, value) in enumerate(zip(places.tolist(), raw, strict=True)):
            column[i] = value
            null[at] = value is None
    elif want.kind == "float":
        floats = np.array(raw, np.float64)
        if want.type == "float":
            floats = floats.astype(np.float32).astype(np.float64)
        work.numbers[want.name][places] = floats
        null = np.array([value is None for value in raw], np.bool_)
    else:
        values, null = _ints(raw)
        if lane.translate is not None and key is not None:
            values = _translate(lane, values, null, places, work)
        elif lane.narrow:
            for at in np.flatnonzero(~null & ((values < -_INT32) | (values >= _INT32))).tolist():
                detail = (
                    f"field {key!r}: {values[at]} does not fit the int the writer's schema says"
                )
                work.fail(int(places[at]), Reason.UNDECODABLE, detail)
        work.numbers[want.name][places] = values
    work.nulls[want.name][places] = null


def _ints(raw: list[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        return np.array(raw, np.int64), np.zeros(len(raw), np.bool_)
    except TypeError:  # a null somewhere
        null = np.array([value is None for value in raw], np.bool_)
        return np.array([NULL if value is None else value for value in raw], np.int64), null


def _judge(
    work: Work,
    places: NDArray[np.int64],
    name: str,
    values: NDArray[np.int64],
    null: NDArray[np.bool_],
    *,
    symbols: int,
) -> None:
    """Refuse enum indexes that stand for no symbol."""
    for at in np.flatnonzero(~null & ((values < 0) | (values >= symbols))).tolist():
        detail = f"field {name!r}: enum index {values[at]} of {symbols} symbols"
        work.fail(int(places[at]), Reason.UNDECODABLE, detail)


def _translate(
    lane: Lane,
    values: NDArray[np.int64],
    null: NDArray[np.bool_],
    places: NDArray[np.int64],
    work: Work,
) -> NDArray[np.int64]:
    """Return the reader's enum indexes for the writer's; NULL stays."""
    table = lane.translate
    assert table is not None
    name = lane.wanted.name
    _judge(work, places, name, values, null, symbols=len(table))
    known = ~null & (values >= 0) & (values < len(table))
    out = np.full(len(values), NULL, np.int64)
    out[known] = table[values[known]]
    for at in np.flatnonzero(known & (out < 0)).tolist():
        detail = (
            f"field {name!r}: the writer's enum symbol number {values[at]} is not among the "
            f"reader's, {', '.join(lane.wanted.symbols)}, and that enum has no default"
        )
        work.fail(int(places[at]), Reason.WRONG_TYPE, detail)
    return out


def _walk_strictly(found: Route, work: Work, i: int, body: bytes) -> None:
    fault = walk(found.plain, body)
    if fault is not None:
        work.fail(i, Reason.UNDECODABLE, fault)


def _trailing(work: Work, i: int, left: int, schema_id: int) -> None:
    detail = (
        f"{left} bytes are left after the record of schema {schema_id}: the id may be stale or "
        "of another registry"
    )
    work.fail(i, Reason.TRAILING_BYTES, detail)


def _explain(
    found: Route, work: Work, i: int, body: bytes, *, error: Exception, schema_id: int
) -> None:
    """Tell a malformed body from a well-formed one whose values cannot be resolved."""
    stream = BytesIO(body)
    try:
        row: Any = fastavro.schemaless_reader(stream, found.writer, None)
    except Exception as again:  # noqa: BLE001 -- as above
        text = f"{type(again).__name__}: {again}".rstrip(": ")
        detail = f"the body of {len(body)} bytes does not follow schema {schema_id} ({text})"
        work.fail(i, Reason.UNDECODABLE, detail)
        return
    if stream.tell() != len(body):
        _trailing(work, i, len(body) - stream.tell(), schema_id)
        return
    for lane in found.lanes:
        if lane.key is not None and not _fits(row[lane.key], lane.wanted):
            detail = (
                f"field {lane.key!r} is {lane.writer_type} in the writer's schema {schema_id} and "
                f"holds a {type(row[lane.key]).__name__} here, this pipeline reads "
                f"{show_wanted(lane.wanted)}"
            )
            work.fail(i, Reason.WRONG_TYPE, detail)
            return
    work.fail(i, Reason.WRONG_TYPE, f"{type(error).__name__}: {error}")


def _fits(value: object, want: Wanted) -> bool:
    if value is None:
        return True
    if want.type == "boolean":
        return isinstance(value, bool)
    if want.kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if want.kind == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str)
