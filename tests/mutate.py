"""Breaks the window kernels one sign at a time and sees whether the tests notice: ``make mutants``.

Each comparison gets its neighbour (``<`` and ``<=``, ``>`` and ``>=``, ``==`` and ``!=``, ``in``
and ``not in``), each ``+`` becomes ``-`` and back. Kernels run uncompiled, as plain functions, so a
mutant is a fork of this process in which one function has the changed code: nothing is written,
nothing is started anew. The cases of ``mutant_cases`` go through one by one; each is tried on all
mutants that have survived those before it. A mutant that hangs or fills the memory is caught too.

``mutants.json`` lists those that cannot be caught, and why.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Before Numba is imported. Strings' hashes decide no result, and shall not.
    os.environ["NUMBA_DISABLE_JIT"] = "1"

import argparse
import ast
import functools
import importlib
import json
import resource
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mutant_cases import CASES

from noskew.kernels import jit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType, FrameType

MODULES: Final = (
    "admission", "chunks", "compaction", "edges", "finishing", "folds", "judge", "judging",
    "reading", "slabs", "standing", "statistics", "tallies", "windows",
)  # fmt: skip
"""The window kernels."""

LISTED: Final = Path(__file__).with_name("mutants.json")
REQUIRED: Final = 0.95
_KERNELS: Final = os.path.dirname(jit.__file__)  # noqa: PTH120  # compared with paths as text
_SLOWER: Final = 1.0
"""How many times as long as sound kernels that are traced a mutant may take, and a second more."""
_MORE_MEMORY: Final = 1 << 28

_FLIPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


@dataclass(frozen=True)
class Mutant:
    """One flip.

    name  module, function and what becomes of the expression, as ``mutants.json`` has it; of
          several alike in a function the second ends with ``#2``
    """

    module: str
    function: str
    line: int
    last_line: int
    name: str
    code: CodeType

    def install(self) -> None:
        """Give the function its changed code."""
        home = importlib.import_module(f"noskew.kernels.{self.module}")
        getattr(home, self.function).__code__ = self.code


def mutants(module: str) -> list[Mutant]:
    """Return every flip of a kernel module."""
    home = importlib.import_module(f"noskew.kernels.{module}")
    path = str(home.__file__)
    tree = ast.parse(Path(path).read_text())
    found: list[Mutant] = []
    alike: Counter[str] = Counter()
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for node, flip, unflip in _flips(function):
            added = node.right if isinstance(node, ast.BinOp) else None
            if isinstance(added, ast.Name) and getattr(home, added.id, None) == 0:
                continue  # a field's offset that is 0: no sign changes it
            before = ast.unparse(node)
            flip()
            code = _code_of(compile(tree, path, "exec"), function.name)
            name = f"{module}.{function.name}: {before}  ->  {ast.unparse(node)}"
            unflip()
            alike[name] += 1
            if alike[name] > 1:
                name += f" #{alike[name]}"
            found.append(
                Mutant(
                    module, function.name, node.lineno, node.end_lineno or node.lineno, name, code
                )
            )
    return found


def _flips(
    function: ast.FunctionDef,
) -> Iterator[tuple[ast.expr | ast.stmt, Callable[[], None], Callable[[], None]]]:
    """Yield each node with a sign, and what flips it and flips it back."""
    for part in function.body:
        for node in ast.walk(part):
            if isinstance(node, ast.Compare):
                for at, op in enumerate(node.ops):
                    if type(op) in _FLIPS:
                        other = _FLIPS[type(op)]()
                        yield (
                            node,
                            functools.partial(node.ops.__setitem__, at, other),
                            functools.partial(node.ops.__setitem__, at, op),
                        )
            elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _FLIPS:
                yield (
                    node,
                    functools.partial(setattr, node, "op", _FLIPS[type(node.op)]()),
                    functools.partial(setattr, node, "op", node.op),
                )


def _code_of(module: CodeType, function: str) -> CodeType:
    for one in module.co_consts:
        if getattr(one, "co_name", "") == function:
            code: CodeType = one
            return code
    raise LookupError(function)


def survivors(
    chosen: Sequence[Mutant], until_s: float, jobs: int, keep: Path | None = None
) -> tuple[list[Mutant], int]:
    """Return the mutants that no case catches, and how many cases were tried by then.

    keep  a file for the names of those alive after each case
    """
    alive = list(chosen)
    for number, prepare in enumerate(CASES):
        if not alive or time.monotonic() > until_s:
            return alive, number
        case = prepare()
        began_s = time.process_time()
        reached = _lines_of(case)
        longest_s = 1 + _SLOWER * (time.process_time() - began_s)
        tried = [
            one
            for one in alive
            if any((one.module, n) in reached for n in range(one.line, one.last_line + 1))
        ]
        left = set(_tried(case, tried, longest_s, until_s, jobs))
        sys.stderr.write(f"{prepare.__name__}: {len(tried) - len(left)} of {len(tried)} caught\n")
        caught = {one for one in tried if one not in left}
        alive = [one for one in alive if one not in caught]
        if keep is not None:
            keep.write_text(json.dumps([one.name for one in alive], indent=1) + "\n")
    return alive, len(CASES)


@functools.cache
def _stem(path: str) -> str:
    return Path(path).stem


def _lines_of(case: Callable[[], None]) -> set[tuple[str, int]]:
    """Run a case with sound kernels; return the lines of them that it comes to."""
    reached: set[tuple[str, int]] = set()

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


def _tried(
    case: Callable[[], None],
    chosen: Sequence[Mutant],
    longest_s: float,
    until_s: float,
    jobs: int,
) -> list[Mutant]:
    """Return which of the mutants survive a case; what could not be tried any more does."""
    alive: list[Mutant] = []
    waiting, running = list(reversed(chosen)), dict[int, Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            if time.monotonic() > until_s:
                alive.append(mutant)
                continue
            child = os.fork()
            if child == 0:
                _die_trying(case, mutant, longest_s)
            running[child] = mutant
        if running:
            child, status = os.wait()
            mutant = running.pop(child)
            if status == 0:
                alive.append(mutant)
    return alive


def _die_trying(case: Callable[[], None], mutant: Mutant, longest_s: float) -> None:
    """Run a case with a mutant in a process of its own; it ends with 0 if nothing is noticed."""
    caught = True
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        seconds = int(time.process_time() + longest_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _MORE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        mutant.install()
        case()
        caught = False
    finally:
        os._exit(int(caught))


def main(arguments: Sequence[str] | None = None) -> int:
    """Break what was asked for, print the survivors; 1 where too many are not explained."""
    parser = argparse.ArgumentParser(description="mutants of the window kernels")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--sample", type=int, help="draw so many of those that can be caught")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--longest-s", type=float, default=3600)
    parser.add_argument("--alive", type=Path, help="write those alive to this file as it goes on")
    parser.add_argument("--only", type=Path, help="such a file: try these only")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    given = parser.parse_args(arguments)
    began_s = time.monotonic()
    listed: dict[str, str] = json.loads(LISTED.read_text())
    chosen = [one for module in given.modules for one in mutants(module)]
    known = {one.name for one in chosen}
    stale = [name for name in listed if name.split(".")[0] in given.modules and name not in known]
    equivalent = [one for one in chosen if one.name in listed]
    chosen = [one for one in chosen if one.name not in listed]
    if given.only is not None:
        names = set(json.loads(given.only.read_text()))
        chosen = [one for one in chosen if one.name in names]
    if given.sample is not None:
        # By name, so that a change elsewhere does not draw another sample.
        chosen.sort(key=lambda one: sha256(f"{given.seed} {one.name}".encode()).digest())
        chosen = chosen[: given.sample]
    alive, tried = survivors(chosen, began_s + given.longest_s, given.jobs, given.alive)
    share = 1 - len(alive) / max(len(chosen), 1)
    for one in alive:
        sys.stdout.write(f"NOT CAUGHT kernels/{one.module}.py:{one.line} {one.name}\n")
    for name in stale:
        sys.stdout.write(f"NOT THERE ANY MORE, but in {LISTED.name}: {name}\n")
    sys.stdout.write(
        f"{len(chosen)} mutants: {len(chosen) - len(alive)} caught ({share:.1%}), "
        f"{len(alive)} not; {len(equivalent)} more cannot be; {tried} of {len(CASES)} cases in "
        f"{time.monotonic() - began_s:.0f} s\n"
    )
    if given.json is not None:
        result = {
            "mutants": len(chosen),
            "caught": len(chosen) - len(alive),
            "equivalent": len(equivalent),
            "stale": stale,
            "survivors": [one.name for one in alive],
        }
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(share < REQUIRED or bool(stale))


if __name__ == "__main__":
    sys.exit(main())
