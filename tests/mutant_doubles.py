"""Runs the mutants' harness with something wrong on purpose: ``python mutant_doubles.py WHAT OUT``.

It says of the harness what the harness says of the tests: that it notices. OUT is the result's
file, as ``mutate.py --json`` writes it. The process ends as ``mutate.py`` does.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # As in ``mutate``: before Numba is imported.
    os.environ["NUMBA_DISABLE_JIT"] = "1"

import importlib
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import hashing_cases
import mutant_trial
import mutate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def unchanged(
    made: Callable[[str], list[mutate.Mutant]],
) -> Callable[[str], list[mutate.Mutant]]:
    """Return what makes a module's mutants, each with the code of the sound function."""

    def mutants(module: str) -> list[mutate.Mutant]:
        home: Any = importlib.import_module(f"noskew.kernels.{module}")
        return [replace(one, code=getattr(home, one.function).__code__) for one in made(module)]

    return mutants


def raises() -> None:
    """Fail."""
    raise ValueError("a case that is broken")


def hangs() -> None:
    """Never end."""
    while True:
        pass


def dies() -> None:
    """End the process."""
    os.kill(os.getpid(), signal.SIGSEGV)


def fills() -> None:
    """Ask for more memory than a trial may have."""
    held = [bytearray(1 << 26)]
    while True:
        held.append(bytearray(1 << 26))


def case_that(does: Callable[[], None]) -> Callable[[], Callable[[], None]]:
    """Return a case whose run does this."""

    def broken_case() -> Callable[[], None]:
        return does

    return broken_case


def unprepared_case() -> Callable[[], None]:
    """Fail before there is anything to run."""
    raise ValueError("a case that cannot be made")


def wears_out(file: Path) -> Callable[[], Callable[[], None]]:
    """Return a case that passes twice (alone, and traced), and fills the memory from then on."""

    def worn_case() -> Callable[[], None]:
        def run() -> None:
            hashing_cases.copies()()
            with file.open("a") as times:
                times.write("x")
            if file.stat().st_size > 2:
                fills()

        return run

    return worn_case


@dataclass(frozen=True)
class Doing(mutate.Mutant):
    """A mutant that does something where others change code."""

    does: Callable[[], None]

    def install(self) -> None:
        """Do it."""
        self.does()


def doing(does: Callable[[], None]) -> Callable[[str], list[mutate.Mutant]]:
    """Return what makes a module's mutants, each of which does this."""
    made: Callable[[str], list[mutate.Mutant]] = mutate.mutants

    def mutants(module: str) -> list[mutate.Mutant]:
        return [
            Doing(one.module, one.function, one.line, one.last_line, one.name, one.code, does)
            for one in made(module)
        ]

    return mutants


DEEDS: Final = {"raises": raises, "hangs": hangs, "dies": dies, "fills": fills}


def main(what: str, out: Path) -> int:
    """Run the harness over one small module.

    what  ``unchanged``: all mutants are sound; ``case-`` or ``mutant-`` and one of ``DEEDS``: such
          a case, after a sound one, or such mutants; ``case-unprepared``; ``case-wears-out``
    """
    cases: Sequence[Callable[[], Callable[[], None]]] = (hashing_cases.copies,)
    made: Callable[[str], list[mutate.Mutant]] = mutate.mutants
    kind, _, deed = what.partition("-")
    if what == "unchanged":
        made, cases = unchanged(mutate.mutants), hashing_cases.HASHING_CASES
    elif what == "case-unprepared":
        cases = (*cases, unprepared_case)
    elif what == "case-wears-out":
        made, cases = doing(hangs), (wears_out(out.with_suffix(".times")),)
    elif kind == "case":
        cases = (*cases, case_that(DEEDS[deed]))
    else:
        made = doing(DEEDS[deed])
    with (
        mock.patch.object(mutate, "CASES", cases),
        mock.patch.object(mutate, "mutants", made),
        mock.patch.object(mutant_trial, "_LONGEST_SOUND_S", 2.0),
    ):
        return mutate.main(["keys", "--json", str(out)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
