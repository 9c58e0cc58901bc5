"""The handbook's 1,754,155 payments, and what DuckDB says of each: window frames over integers.

Times in the file never fall and are whole seconds, so the canonical order is (time, partition,
offset), and an event's place among those of its entity at the same second can stand in the
microseconds.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import duckdb
import numpy as np
import pyarrow as pa
from strategies import DAY, SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROWS: Final = 1_754_155
FILE: Final = "data/handbook_transactions.parquet"
SPANS: Final = {"1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "0s": 0}
STATS: Final = ("count", "sum", "mean", "min", "max", "distinct", "var")


def written_features(entity: str, window: str, delay: str) -> str:
    """Return lines of a definition's list: every statistic of one window and delay."""
    by = "card" if entity == "customer_id" else "terminal"
    over = f'over="{window}", delay="{delay}"'
    lines = [f"    {by}.count({over}),"]
    lines += [f'    {by}.{stat}("amount_cents", {over}),' for stat in STATS[1:]]
    return "\n".join([*lines, ""])


def feature(entity: str, stat: str, window: str, delay: str) -> str:
    """Return a feature's name (DESIGN section 4)."""
    column = "" if stat == "count" else "amount_cents_"
    return f"{entity}_{column}{stat}_{window}" + (f"_delay_{delay}" if SPANS[delay] else "")


def bits(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return float64 values as their bit patterns."""
    return np.ascontiguousarray(values).view(np.int64)


@contextmanager
def database(
    events: pa.Table, entity: str, time_us: NDArray[np.int64], rank: NDArray[np.int64]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database with the table ``e``: row, amount a, fraud f, key k, time t, tie.

    rank  int64[n]  each row's number in the canonical order
    tie   the place among the entity's events of the same second
    """
    assert not (time_us % SECOND).any()
    with duckdb.connect() as db:
        db.register(
            "events",
            events.select([entity, "amount_cents", "is_fraud"])
            .append_column("time_us", pa.array(time_us))
            .append_column("rank", pa.array(rank))
            .append_column("row", pa.array(np.arange(len(time_us)))),
        )
        db.execute(
            "CREATE TABLE e AS SELECT row, amount_cents::BIGINT AS a, is_fraud::BIGINT AS f, "
            f"{entity} AS k, time_us AS t, row_number() OVER "
            f"(PARTITION BY {entity}, time_us ORDER BY rank) - 1 AS tie FROM events"
        )
        yield db


def range_of(window_us: int, delay_us: int) -> str:
    """Return the frame T - d - W < t <= T - d over the table ``e`` as SQL.

    Rows are ordered by u = t + tie. Times being whole seconds, t' > T - d - W is the same as
    u' >= T - d - W + 1 s. Without a delay the frame ends with the row itself: of its second, those
    processed earlier are in it; with one, u' <= T - d + 1 s - 1 takes in the whole second.
    """
    begin = f"{delay_us + window_us - SECOND} + tie"
    end = f"{delay_us - SECOND + 1} + tie PRECEDING" if delay_us else "CURRENT ROW"
    return f"(PARTITION BY k ORDER BY t + tie RANGE BETWEEN {begin} PRECEDING AND {end})"


def frame(db: duckdb.DuckDBPyConnection, window: str, delay: str) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of every row over one window and delay, by row.

    All are made of exact integers with one rounding.
    """
    got = db.execute(
        "SELECT count(*) OVER w AS count, coalesce(sum(a) OVER w, 0)::BIGINT AS sum, "
        "coalesce(sum(a * a) OVER w, 0)::BIGINT AS squares, min(a) OVER w AS min, "
        "max(a) OVER w AS max, count(DISTINCT a) OVER w AS distinct FROM e "
        f"WINDOW w AS {range_of(SPANS[window], SPANS[delay])} ORDER BY row"
    ).fetchnumpy()
    n, total, squares = got["count"], got["sum"], got["squares"]
    assert n.max() * squares.max() < 2**63
    empty = n == 0
    low, high = (np.where(empty, np.nan, np.ma.getdata(got[name])) for name in ("min", "max"))
    return {
        "count": n.astype(np.float64),
        "sum": total.astype(np.float64),
        "mean": quotient(total, n),
        "min": low,
        "max": high,
        "distinct": got["distinct"].astype(np.float64),
        "var": quotient(n * squares - total * total, n * (n - 1)),
    }


def quotient(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the exact quotients, each rounded once; NaN where the denominator is 0."""
    found = np.full(len(numerator), np.nan)
    # Both are exact float64, but for a few: Python's division of integers rounds once always.
    np.divide(numerator, denominator, out=found, where=denominator > 0)
    assert denominator.max() < 2**53
    for row in np.flatnonzero((np.abs(numerator) >= 2**53) & (denominator > 0)).tolist():
        found[row] = int(numerator[row]) / int(denominator[row])
    return found
