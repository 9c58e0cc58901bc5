"""Errors a user can cause or must handle: each says what, both values, and the next step.

The exit code of a command is its error's ``exit_code`` (DESIGN section 6).
"""

from __future__ import annotations

from typing import ClassVar


class NoskewError(Exception):
    """Base of every error whose message is meant for a person; printed without a traceback."""

    exit_code: ClassVar[int] = 2


class DefinitionError(NoskewError):
    """A definition says something that has no meaning; the message says what to write instead."""


class UsageError(NoskewError):
    """Wrong usage or settings: a missing topic, an unreachable server, an unfit bundle."""


class AlreadyRunningError(NoskewError):
    """Another instance owns the state directory or has fenced this one."""

    exit_code: ClassVar[int] = 3


class UnsafeResumeError(NoskewError):
    """Going on could lose, repeat or change results; the message names the remedy."""

    exit_code: ClassVar[int] = 4


class DeliveryError(NoskewError):
    """Servers did not take or give a record; nothing is lost: the next start does it again."""

    exit_code: ClassVar[int] = 75  # EX_TEMPFAIL of sysexits.h


class PoisonedStateError(NoskewError):
    """State disagrees with the journal: rebuilt values differ from what was recorded."""

    exit_code: ClassVar[int] = 5
