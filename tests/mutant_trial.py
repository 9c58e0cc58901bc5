"""Tries mutants on cases, each in a fork of this process, and says how each trial ended.

A trial proves something only where the same fork without a mutant is sound. So that is tried first,
within the same memory, and once more where a mutant ended otherwise than by a failed assertion: it
might have been the machine. If the sound kernels fail a case, nothing it says counts, and all stops
with a ``HarnessError``.
"""

from __future__ import annotations

import functools
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

from noskew.kernels import jit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence
    from types import FrameType

_KERNELS: Final = os.path.dirname(jit.__file__)  # noqa: PTH120  # compared with paths as text
_MORE_MEMORY: Final = 1 << 28
_LONGEST_SOUND_S: Final = 120.0
_SLOWER: Final = 3.0
"""How many times as long as sound kernels a mutant may take, and a second more."""
_FEW: Final = 8
"""So many are tried at once: to find out first which of them a case reaches takes longer."""
_WAITING: Final = 20.0
"""How many times its processor time a trial may last: others use the processors too."""


class HarnessError(Exception):
    """A case fails with sound kernels: what it says of broken ones is worth nothing."""


class Outcome(IntEnum):
    """How a trial ended; the first five are a child's own exit status."""

    SURVIVED = 0
    ASSERTION = 10
    ERROR = 11
    MEMORY = 12
    NOT_INSTALLED = 13
    HANG = 20
    SIGNAL = 21
    ODD = 22


class Breaks(Protocol):
    """What breaks something, in the process that calls it."""

    @property
    def name(self) -> str:
        """What it breaks."""
        ...

    @property
    def places(self) -> Iterable[Hashable]:
        """The lines of which a case must reach one, as ``Prepared.reached`` has them."""
        ...

    def install(self) -> None:
        """Break it."""
        ...


@dataclass
class Prepared:
    """A case that sound kernels pass.

    most_s   seconds of processor time a mutant may take
    """

    name: str
    run: Callable[[], None]
    most_s: float

    @functools.cached_property
    def reached(self) -> set[Hashable]:
        """(module, line) of the kernels it comes to; to know it takes several times as long."""
        return _lines_of(self.run)


@dataclass
class Trials:
    """What came of some mutants.

    ends    how many ended in each way
    number  of trials;  seconds: that they took, without preparing cases
    """

    alive: list[Any]
    ends: Counter[Outcome] = field(default_factory=Counter)
    number: int = 0
    seconds: float = 0.0


@functools.cache
def prepared(prepare: Callable[[], Callable[[], None]]) -> Prepared:
    """Return a case made ready, once. Raises ``HarnessError`` unless sound kernels pass it."""
    name = prepare.__name__
    try:
        run = prepare()
    except Exception as error:
        raise HarnessError(f"case {name} cannot be prepared: {error!r}") from error
    used_s = control(name, run, _LONGEST_SOUND_S)
    return Prepared(name, run, 1 + _SLOWER * used_s)


def control(name: str, run: Callable[[], None], most_s: float) -> float:
    """Return the seconds that sound kernels take for a case, in a fork as a mutant's is.

    Raises ``HarnessError`` if it does not end well.
    """
    with tempfile.TemporaryFile() as said:
        child = _started(run, None, most_s, said.fileno())
        _, status, usage = os.wait4(child, 0)
        end = _outcome(status)
        if end is not Outcome.SURVIVED:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            raise HarnessError(
                f"case {name} fails with sound kernels: {end.name} (wait status {status}), within "
                f"{most_s:.0f} s and {_MORE_MEMORY >> 20} MiB more. Mend the case, the kernels or "
                f"the memory first: as it is, every mutant would seem to be caught.\n{text}"
            )
    return usage.ru_utime + usage.ru_stime


def tried(case: Prepared, chosen: Sequence[Any], until_s: float, jobs: int) -> Trials:
    """Try mutants on a case; those it does not reach, or that come too late, stay alive.

    until_s  of the monotonic clock
    """
    found = Trials([])
    reached = case.reached if len(chosen) > _FEW else None
    began_s = time.monotonic()
    waiting, running = list(reversed(chosen)), dict[int, Any]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            missed = reached is not None and reached.isdisjoint(mutant.places)
            if missed or time.monotonic() > until_s:
                found.alive.append(mutant)
            else:
                running[_started(case.run, mutant, case.most_s)] = mutant
        if not running:
            continue
        child, status = os.wait()
        mutant, end = running.pop(child), _outcome(status)
        if end in {Outcome.NOT_INSTALLED, Outcome.ODD}:
            raise HarnessError(
                f"case {case.name}: mutant {mutant.name} was not tried: {end.name}, wait status "
                f"{status}. See that it can be put in."
            )
        found.number += 1
        found.ends[end] += 1
        if end is Outcome.SURVIVED:
            found.alive.append(mutant)
    if found.ends.keys() - {Outcome.SURVIVED, Outcome.ASSERTION}:
        control(case.name, case.run, case.most_s)
    found.seconds = time.monotonic() - began_s
    return found


def _outcome(status: int) -> Outcome:
    if os.WIFSIGNALED(status):
        slow = os.WTERMSIG(status) in {signal.SIGPROF, signal.SIGALRM}
        return Outcome.HANG if slow else Outcome.SIGNAL
    code = os.WEXITSTATUS(status)
    return Outcome(code) if code in set(Outcome) and code < Outcome.HANG else Outcome.ODD


def _started(
    run: Callable[[], None], mutant: Breaks | None, most_s: float, says: int | None = None
) -> int:
    """Start a trial in a process of its own and return its number.

    says  a file for what it says of itself; without one, nowhere
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child != 0:
        return child
    end = Outcome.NOT_INSTALLED
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere if says is None else says, 2)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, most_s)
        signal.setitimer(signal.ITIMER_REAL, _WAITING * most_s)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MORE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if mutant is not None:
            mutant.install()
        end = Outcome.ERROR
        run()
        end = Outcome.SURVIVED
    except (AssertionError, pytest.fail.Exception):
        end = Outcome.ASSERTION
        traceback.print_exc()
    except MemoryError:
        end = Outcome.MEMORY
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(end)


@functools.cache
def _stem(path: str) -> str:
    return Path(path).stem


def _lines_of(case: Callable[[], None]) -> set[Hashable]:
    """Run a case with sound kernels; return the (module, line) of them that it comes to."""
    reached: set[Hashable] = set()

    def line(frame: FrameType, _event: str, _argument: object) -> Any:
        reached.add((_stem(frame.f_code.co_filename), frame.f_lineno))
        return line

    def call(frame: FrameType, _event: str, _argument: object) -> Any:
        return line if frame.f_code.co_filename.startswith(_KERNELS) else None

    sys.settrace(call)
    try:
        case()
    finally:
        sys.settrace(None)
    return reached
