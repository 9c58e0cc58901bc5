"""Row functions and arithmetic: float64 columns computed from columns, one rounding each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noskew.dataflows.definition.plan import Row
from noskew.kernels.calendar import hour, weekday
from noskew.schemas.columns import NULL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from noskew.dataflows.core.batch import Batch
    from noskew.dataflows.definition.plan import RowNode


def evaluate(rows: tuple[RowNode, ...], batch: Batch, nodes: NDArray[np.float64]) -> None:
    """Write each row node of ``nodes`` (float64[nodes, n]), in the order of ``rows``.

    A null is NaN, and so is everything computed from it; a division by zero is NaN.
    """
    # Overflow to an infinity and NaN out of infinities are IEEE's values here, not mistakes.
    with np.errstate(all="ignore"):
        for row in rows:
            _evaluate_one(row, batch, nodes, nodes[row.node])


def _evaluate_one(
    row: RowNode, batch: Batch, nodes: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    if row.op is Row.COLUMN:
        column = batch.columns[row.field]
        assert isinstance(column, np.ndarray), f"column({row.field}) is text"
        out[:] = column
        if column.dtype == np.int64:
            out[column == NULL] = np.nan
    elif row.op is Row.HOUR:
        out[:] = hour(batch.time_us, int(row.value))
    elif row.op is Row.WEEKDAY:
        out[:] = weekday(batch.time_us, int(row.value))
    elif row.op is Row.LITERAL:
        out[:] = row.value
    elif row.op is Row.ADD:
        np.add(nodes[row.left], nodes[row.right], out=out)
    elif row.op is Row.SUBTRACT:
        np.subtract(nodes[row.left], nodes[row.right], out=out)
    elif row.op is Row.MULTIPLY:
        np.multiply(nodes[row.left], nodes[row.right], out=out)
    else:
        zero = nodes[row.right] == 0.0
        np.divide(nodes[row.left], nodes[row.right], out=out)
        out[zero] = np.nan
