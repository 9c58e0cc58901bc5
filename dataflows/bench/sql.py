"""DuckDB in one thread: the batch engine that kernels and whole definitions are measured beside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NAME = "DuckDB, as a batch"


def query(
    events: Mapping[str, Any], wanted: Sequence[str], windows: Sequence[str]
) -> tuple[float, list[NDArray[np.float64]]] | None:
    """Compute expressions over all events in order of their column ``t``.

    events   columns of the table ``events``, of one length
    wanted   SQL expressions
    windows  ``name AS (...)``, which they may use

    Returns the CPU seconds of the process, and float64[n] of each expression, NaN for NULL; None
    where DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415  # for comparison only: no dependency of noskew
    except ImportError:
        return None
    names = [f"{one} AS f{place}" for place, one in enumerate(wanted)]
    with duckdb.connect() as db:
        db.execute("SET threads = 1")
        db.register("events", pa.table(dict(events)))
        began_s = time.process_time()
        # Sorted in the query: a stream's values come in the order of its events too.
        found = db.execute(
            f"SELECT {', '.join(names)} FROM events WINDOW {', '.join(windows)} ORDER BY t"  # noqa: S608  # nothing here comes from outside
        ).fetchnumpy()
        took_s = time.process_time() - began_s
    columns = [np.ma.asarray(found[f"f{place}"]).astype(np.float64) for place in range(len(names))]
    return took_s, [np.ma.filled(column, np.nan) for column in columns]


def window(name: str, key: str, over_us: int, delay_us: int = 0) -> str:
    """Return the window of a key's events with T - delay - over < t <= T - delay.

    Times must differ, or an event sees its peers that came later.
    """
    end = f"{delay_us} PRECEDING" if delay_us else "CURRENT ROW"
    frame = f"RANGE BETWEEN {delay_us + over_us - 1} PRECEDING AND {end}"
    return f"{name} AS (PARTITION BY {key} ORDER BY t {frame})"
