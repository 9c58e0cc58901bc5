"""The order of records: merging inputs canonically, or following a journal's runs.

Rows wait in an arena, linked per input: ``head[i]`` is the oldest waiting row of input i, or -1,
and ``following[row]`` the next row of the same input, or -1. Inputs are numbered by (place of the
stream, partition), so the smaller number wins a tie of position clocks (DESIGN section 3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noskew.kernels.jit import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@kernel
def link(
    inputs: NDArray[np.int32],
    first: int,
    rows: int,
    head: NDArray[np.int64],
    tail: NDArray[np.int64],
    following: NDArray[np.int64],
) -> None:
    """Append rows ``first .. rows - 1`` to their inputs' queues.

    inputs     int32[capacity]  the input of each row
    head, tail int64[inputs]    oldest and newest waiting row, -1 where none; mutated
    following  int64[capacity]  mutated
    """
    for row in range(first, rows):
        i = inputs[row]
        following[row] = -1
        if head[i] < 0:
            head[i] = row
        else:
            following[tail[i]] = row
        tail[i] = row


@kernel
def position_clocks(
    inputs: NDArray[np.int32],
    available_us: NDArray[np.int64],
    reason: NDArray[np.uint8],
    first: int,
    rows: int,
    clock_us: NDArray[np.int64],
    out: NDArray[np.int64],
) -> None:
    """Write each row's position clock: the running maximum of availability times of its input.

    A dead letter (``reason`` set) moves no clock and takes its place at the clock it finds.
    clock_us  int64[inputs]  the clocks so far; mutated
    out       int64[capacity]  rows ``first .. rows - 1`` are written
    """
    for row in range(first, rows):
        i = inputs[row]
        if reason[row] == 0 and available_us[row] > clock_us[i]:
            clock_us[i] = available_us[row]
        out[row] = clock_us[i]


@kernel
def merge(
    head: NDArray[np.int64],
    following: NDArray[np.int64],
    clock_us: NDArray[np.int64],
    awaited: NDArray[np.bool_],
    out: NDArray[np.int64],
) -> int:
    """Take rows in canonical order until ``out`` is full or an awaited input has none.

    head     int64[inputs]    mutated: rows taken are unlinked
    clock_us int64[capacity]  position clock of each row
    awaited  bool[inputs]     inputs that must have a row for the order to be known
    out      int64[limit]     the rows taken

    Returns how many rows were taken.
    """
    taken = 0
    while taken < len(out):
        best = -1
        for i in range(len(head)):
            row = head[i]
            if row < 0:
                if awaited[i]:
                    return taken
            elif best < 0 or clock_us[row] < clock_us[head[best]]:
                best = i
        if best < 0:
            return taken
        out[taken] = head[best]
        head[best] = following[head[best]]
        taken += 1
    return taken


@kernel
def follow(
    run_input: NDArray[np.int64],
    run_first: NDArray[np.int64],
    run_next: NDArray[np.int64],
    run_count: NDArray[np.int64],
    cursor: NDArray[np.int64],
    head: NDArray[np.int64],
    following: NDArray[np.int64],
    offset: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """Take rows in the order of journaled runs until ``out`` is full or a row is not there yet.

    run_*    int64[runs]   input, first offset, next offset, records delivered
    cursor   int64[3]      run, records of it already taken, and 1 where the log contradicts the
                           run (a record missing or one too many); mutated
    head     int64[inputs]  mutated
    offset   int64[capacity]  offset of each row

    Returns how many rows were taken.
    """
    taken = 0
    while taken < len(out) and cursor[0] < len(run_input):
        run = cursor[0]
        if cursor[1] == run_count[run]:
            cursor[0] += 1
            cursor[1] = 0
            continue
        row = head[run_input[run]]
        if row < 0:
            break
        if offset[row] < run_first[run] or offset[row] >= run_next[run]:
            cursor[2] = 1
            break
        out[taken] = row
        head[run_input[run]] = following[row]
        cursor[1] += 1
        taken += 1
    while cursor[0] < len(run_input) and cursor[1] == run_count[cursor[0]]:
        cursor[0] += 1
        cursor[1] = 0
    return taken
