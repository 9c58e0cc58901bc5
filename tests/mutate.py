"""Breaks the window kernels one sign at a time and sees whether the tests notice: ``make mutants``.

Each comparison gets its neighbour (``<`` and ``<=``, ``>`` and ``>=``, ``==`` and ``!=``, ``in``
and ``not in``), each ``+`` becomes ``-`` and back. Kernels run uncompiled, as plain functions, so a
mutant is a fork of this process in which one function has the changed code: nothing is written,
nothing is started anew. The cases of ``mutant_cases`` go through one by one; each is tried on all
mutants that have survived those before it, so a mutant is done with at the first that catches it.
A mutant that hangs or fills the memory is caught too, if sound kernels do not (``mutant_trial``).

``mutants.json`` lists those that cannot be caught, and why; ``--stale`` names what is in it of code
that is not there any more.
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
import time
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mutant_cases import CASES
from mutant_trial import HarnessError, Outcome, prepared, tried

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from types import CodeType

    from mutant_trial import Trials

MODULES: Final = (
    "admission", "chunks", "compaction", "decay", "edges", "exact", "finishing", "folds", "ids",
    "judge", "judging", "keys", "reading", "slabs", "standing", "statistics", "tallies", "values",
    "wide", "windows",
)  # fmt: skip
"""The window kernels and what they compute with."""

LISTED: Final = Path(__file__).with_name("mutants.json")
REQUIRED: Final = 0.95
MEASURED: Final = 20
"""How many are tried first, to tell how long all will take."""

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

    @property
    def places(self) -> list[Hashable]:
        """Its lines, as a case's ``reached`` has them."""
        return [(self.module, line) for line in range(self.line, self.last_line + 1)]

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


@dataclass
class Found:
    """What came of the mutants so far.

    ends     how their trials ended, survived ones too;  trials_s: the seconds these took
    cases    how many cases were tried
    """

    alive: list[Mutant]
    ends: Counter[str]
    trials_s: float = 0.0
    cases: int = 0


def survivors(
    chosen: Sequence[Mutant],
    until_s: float,
    jobs: int,
    keep: Path | None = None,
) -> Found:
    """Try the cases one by one on the mutants that are left. Raises ``HarnessError``.

    keep  a file for the names of those alive after each case
    """
    found, began_s = Found(list(chosen), Counter()), time.monotonic()
    for prepare in CASES:
        if not found.alive or time.monotonic() > until_s:
            break
        case = prepared(prepare)
        trials = tried(case, found.alive, until_s, jobs)
        found.alive = trials.alive
        found.ends.update({end.name: count for end, count in trials.ends.items()})
        found.trials_s += trials.seconds
        found.cases += 1
        if trials.number:
            _say(case.name, trials, len(found.alive), time.monotonic() - began_s)
        if keep is not None:
            keep.write_text(json.dumps([one.name for one in found.alive], indent=1) + "\n")
    return found


def _say(name: str, trials: Trials, left: int, so_far_s: float) -> None:
    caught = trials.number - trials.ends[Outcome.SURVIVED]
    ends = ", ".join(f"{count} {end.name}" for end, count in sorted(trials.ends.items()))
    sys.stderr.write(
        f"{so_far_s:5.0f} s  {name}: {caught} of {trials.number} caught in {trials.seconds:.1f} s "
        f"({ends}), {left} left\n"
    )


def measured(chosen: Sequence[Mutant], until_s: float, jobs: int, keep: Path | None) -> Found:
    """Try a few, say how long the others will take, and try these. Raises ``HarnessError``."""
    few, others = chosen[:MEASURED], chosen[MEASURED:]
    first = survivors(few, until_s, jobs, keep)
    mean_s = first.trials_s / max(len(few), 1)
    sys.stderr.write(
        f"{mean_s:.2f} s a mutant with jobs: {jobs}, without preparing cases; the other "
        f"{len(others)} will take about {mean_s * len(others):.0f} s\n"
    )
    rest = survivors(others, until_s, jobs, keep)
    return Found(
        first.alive + rest.alive,
        first.ends + rest.ends,
        first.trials_s + rest.trials_s,
        max(first.cases, rest.cases),
    )


def stale_names(modules: Sequence[str], known: set[str]) -> list[str]:
    """Return what ``mutants.json`` lists of some modules that is not there any more."""
    listed: dict[str, str] = json.loads(LISTED.read_text())
    return [n for n in listed if n.split(".")[0] not in MODULES] + [
        n for n in listed if n.split(".")[0] in modules and n not in known
    ]


def say_stale(stale: Sequence[str]) -> None:
    for name in stale:
        sys.stdout.write(f"NOT THERE ANY MORE, but in {LISTED.name}: {name}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Break what was asked for, print the survivors.

    Returns 1 where too many are not explained or a listed one is not there, 2 where the harness is
    broken.
    """
    parser = argparse.ArgumentParser(description="mutants of the window kernels")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--stale", action="store_true", help="only name what is listed and gone")
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
    stale = stale_names(given.modules, {one.name for one in chosen})
    if given.stale:
        say_stale(stale)
        return int(bool(stale))
    equivalent = sum(one.name in listed for one in chosen)
    chosen = [one for one in chosen if one.name not in listed]
    if given.only is not None:
        names = set(json.loads(given.only.read_text()))
        chosen = [one for one in chosen if one.name in names]
    # By name, so that a change elsewhere does not draw another sample.
    chosen.sort(key=lambda one: sha256(f"{given.seed} {one.name}".encode()).digest())
    chosen = chosen[: given.sample]
    try:
        found = measured(chosen, began_s + given.longest_s, given.jobs, given.alive)
    except HarnessError as error:
        sys.stderr.write(f"the mutants prove nothing: {error}\n")
        return 2
    alive = sorted(found.alive, key=lambda one: (one.module, one.line))
    share = 1 - len(alive) / max(len(chosen), 1)
    for one in alive:
        sys.stdout.write(f"NOT CAUGHT kernels/{one.module}.py:{one.line} {one.name}\n")
    say_stale(stale)
    caught = {end: count for end, count in found.ends.items() if end != Outcome.SURVIVED.name}
    sys.stdout.write(
        f"{len(chosen)} mutants: {len(chosen) - len(alive)} caught ({share:.1%}), "
        f"{len(alive)} not; {equivalent} more cannot be; {found.cases} of {len(CASES)} cases in "
        f"{time.monotonic() - began_s:.0f} s ({sum(os.times()[:4]):.0f} s of processor time), "
        f"{found.trials_s / max(len(chosen), 1):.2f} s a mutant; caught by {caught}\n"
    )
    if given.json is not None:
        result = {
            "mutants": len(chosen),
            "caught": len(chosen) - len(alive),
            "caught_by": caught,
            "equivalent": equivalent,
            "stale": stale,
            "survivors": [one.name for one in alive],
        }
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(share < REQUIRED or bool(stale))


if __name__ == "__main__":
    sys.exit(main())
