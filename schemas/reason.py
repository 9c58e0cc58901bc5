"""Why a record is a dead letter: the closed list behind ``dead_letter.avsc``."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reason(IntEnum):
    """Append only, never renumber; a record with several reasons has the smallest.

    The names in ``dead_letter.avsc`` are these in lower case.
    """

    OK = 0
    NO_VALUE = 1
    NOT_FRAMED = 2
    UNKNOWN_SCHEMA = 3
    UNSAFE_SCHEMA = 4
    UNDECODABLE = 5
    TRAILING_BYTES = 6
    WRONG_TYPE = 7
    NULL_VALUE = 8
    RANGE = 9
    TIME_TOO_OLD = 10
    TIME_IN_FUTURE = 11


STAGE: Final = {
    Reason.NO_VALUE: "framing",
    Reason.NOT_FRAMED: "framing",
    Reason.UNKNOWN_SCHEMA: "lookup",
    Reason.UNSAFE_SCHEMA: "lookup",
    Reason.UNDECODABLE: "body",
    Reason.TRAILING_BYTES: "body",
    Reason.WRONG_TYPE: "resolve",
    Reason.NULL_VALUE: "resolve",
    Reason.RANGE: "rule",
    Reason.TIME_TOO_OLD: "rule",
    Reason.TIME_IN_FUTURE: "rule",
}
"""The stage of the decoder at which each reason arises, as ``dead_letter.avsc`` names it."""
