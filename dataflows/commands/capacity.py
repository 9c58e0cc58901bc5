"""``noskew check --at``: what a pipeline takes at given rates, and whether this machine has it."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from noskew.dataflows.core import sizes
from noskew.dataflows.core.sizes import Load
from noskew.dataflows.definition.durations import show
from noskew.dataflows.errors import NoskewError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from noskew.dataflows.core.sizes import IdsNeed, Need, TableNeed
    from noskew.dataflows.definition.plan import Plan

KEYS: Final = 1_000_000
"""Keys an entity is taken to have where ``--keys`` does not say."""
MOST_RATE: Final = 1e9
MOST_PROCESSES: Final = 1 << 20

_RATE: Final = re.compile(r"(?:([^=]+)=)?([0-9][0-9_,]*(?:\.[0-9]+)?)(?:/([smhd]))?")
_UNIT_S: Final = {None: 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_KEYS: Final = re.compile(r"([^=]+)=([0-9][0-9_,]*)")
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)B?")
_POWER: Final = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_DAY_US: Final = 86_400_000_000


class DoesNotFitError(NoskewError):
    """A pipeline takes more memory than there is: the answer "no"."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class CapacityReport:
    """What a pipeline takes, and what there is.

    rates          stream -> records a second;  keys: entity -> how many
    assumed        streams and entities whose number was not given
    limit          bytes of memory there are;  limit_of: who says so
    journal_day    bytes a day, about;  snapshots: bytes of all that are kept
    advice         None where it fits, else what does not and what to do
    """

    rates: dict[str, float]
    keys: dict[str, int]
    assumed: tuple[str, ...]
    tables: tuple[TableNeed, ...]
    ids: tuple[IdsNeed, ...]
    rows_bytes: int
    process_bytes: int
    held: int
    memory: int
    limit: int
    limit_of: str
    journal_day: int
    snapshots: int
    advice: str | None


def capacity(
    plan: Plan, at: Sequence[str], keys: Sequence[str], memory: str | None
) -> CapacityReport:
    """Return what a plan takes at rates as ``12000/s`` or ``labels=40/s``, see ``CapacityReport``.

    keys    as ``customer_id=1000000``;  memory: as ``16GB``; None: what this machine has

    Raises UsageError for what cannot be read, and for streams and entities that are not there.
    """
    rates, guessed_rates = _rates(plan, at)
    counts, guessed_keys = _keys(plan, keys)
    load = Load(tuple(rates.values()), counts)
    need = sizes.predict(plan, load)
    limit = machine_bytes() if memory is None else _size(memory)
    limit_of = "this machine has" if memory is None else "--memory is"
    fits = need.memory <= limit
    return CapacityReport(
        rates=rates,
        keys=counts,
        assumed=(*guessed_rates, *guessed_keys),
        tables=need.tables,
        ids=need.ids,
        rows_bytes=need.written,
        process_bytes=sizes.PROCESS,
        held=need.held,
        memory=need.memory,
        limit=limit,
        limit_of=limit_of,
        journal_day=need.journal,
        snapshots=need.snapshots,
        advice=None if fits else _advice(plan, load, need, limit, limit_of),
    )


def machine_bytes(root: Path = Path("/")) -> int:
    """Return the memory this process may use: the machine's, or less where its group is limited."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    groups = root / "sys/fs/cgroup"
    for path in (*_own_groups(root, groups), groups / "memory/memory.limit_in_bytes"):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such limit: "max", or another version of groups
    return min(found)


def amount(size: float) -> str:
    """Return bytes for a person: 4 GB is 4 x 10^9."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return (
                f"{size:,.0f} {unit}" if size >= 99.5 or unit == "bytes" else f"{size:.2g} {unit}"
            )
        size /= 1_000
    raise AssertionError("the last unit takes every size")


def span(us: int) -> str:
    """Return how long something is held, in days and the rest: "30d 1h"."""
    days, rest = divmod(us, _DAY_US)
    rest -= rest % 1_000_000
    parts = [f"{days}d"] if days else []
    return " ".join([*parts, show(rest)] if rest or not days else parts)


def rate_text(rate: float) -> str:
    """Return a rate for a person, a second."""
    return f"{rate:,.0f}/s" if rate >= 10 or rate == int(rate) else f"{rate:.3g}/s"


def _own_groups(root: Path, groups: Path) -> list[Path]:
    """Return where the limits of this process's group and those around it would stand."""
    try:
        line = next(
            one for one in (root / "proc/self/cgroup").read_text().splitlines() if one[:3] == "0::"
        )
    except (OSError, StopIteration):
        return [groups / "memory.max"]
    own = Path(line[3:].lstrip("/"))
    return [groups / part / "memory.max" for part in (own, *own.parents)]


def _rates(plan: Plan, at: Iterable[str]) -> tuple[dict[str, float], list[str]]:
    """Return every stream's rate, and which were not given: those are as the scored one's."""
    names = [stream.name for stream in plan.streams]
    given: dict[str, float] = {}
    for text in at:
        found = _RATE.fullmatch(text.strip())
        if found is None:
            message = f"--at {text}: write a rate such as 12000/s, or labels=40/s for a stream"
            raise UsageError(message)
        name = found[1] or names[0]
        _known(name, names, f"--at {text}", "stream")
        rate = float(re.sub("[_,]", "", found[2])) / _UNIT_S[found[3]]
        if not 0 < rate <= MOST_RATE:
            message = f"--at {text}: {rate:g} a second; give more than 0 and at most {MOST_RATE:g}"
            raise UsageError(message)
        if name in given:
            message = f"--at gives the rate of stream {name} twice; give it once"
            raise UsageError(message)
        given[name] = rate
    if names[0] not in given:
        message = f"--at: the rate of {names[0]}, the scored stream, is missing; give --at 12000/s"
        raise UsageError(message)
    rates = {name: given.get(name, given[names[0]]) for name in names}
    return rates, [name for name in names if name not in given]


def _keys(plan: Plan, keys: Iterable[str]) -> tuple[dict[str, int], list[str]]:
    """Return every entity's number of keys, and which were not given."""
    names = list(dict.fromkeys(table.entity for table in plan.tables))
    given: dict[str, int] = {}
    for text in keys:
        found = _KEYS.fullmatch(text.strip())
        if found is None:
            message = f"--keys {text}: write an entity and a number, such as customer_id=1000000"
            raise UsageError(message)
        _known(found[1], names, f"--keys {text}", "entity")
        if found[1] in given:
            message = f"--keys gives the number of {found[1]} twice; give it once"
            raise UsageError(message)
        given[found[1]] = int(re.sub("[_,]", "", found[2]))
    return {name: given.get(name, KEYS) for name in names}, [n for n in names if n not in given]


def _known(name: str, names: list[str], what: str, kind: str) -> None:
    if name not in names:
        message = f"{what}: {name!r} is no {kind} of this pipeline; it has {', '.join(names)}"
        raise UsageError(message)


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = (
        0 if found is None else float(found[1]) * (1024 if found[3] else 1000) ** _POWER[found[2]]
    )
    if size < 1:
        message = f"--memory {text}: write a size such as 16GB or 512MiB"
        raise UsageError(message)
    return int(size)


def _advice(plan: Plan, load: Load, need: Need, limit: int, limit_of: str) -> str:
    """Say what does not fit, which part is the largest, and what would."""
    head = (
        f"{plan.name} takes {amount(need.memory)} of memory at {_shown(plan, load)}; "
        f"{limit_of} {amount(limit)}"
    )
    if limit < sizes.PROCESS:
        return f"{head}, and a process takes {amount(sizes.PROCESS)} before it holds any event"
    what, how = _largest(plan, load, need)
    part = _part_that_fits(plan, load, limit)
    most = f"{rate_text(part * load.rates[0])} of {plan.scored.name}" if part else "no rate"
    return (
        f"{head}. The largest part is {what}. {how}; or give more memory (--memory says how much "
        f"there is elsewhere); or more processes: one takes {most}, so it needs "
        f"{_processes(plan, load, limit)}, each with its share of the keys"
    )


def _shown(plan: Plan, load: Load) -> str:
    rates = zip(plan.streams, load.rates, strict=True)
    return ", ".join(f"{rate_text(rate)} of {stream.name}" for stream, rate in rates)


def _largest(plan: Plan, load: Load, need: Need) -> tuple[str, str]:
    """Return what the largest part is, and what to write so that it becomes smaller."""
    table = max(need.tables, key=lambda one: one.reserved, default=None)
    ids = max(need.ids, key=lambda one: one.reserved, default=None)
    if ids is not None and (table is None or ids.reserved > table.reserved):
        what = f"{ids.held:,} ids of {ids.stream}, remembered for {span(ids.held_us)}"
        stream = next(one for one in plan.streams if one.name == ids.stream)
        setting = "allowed_lateness=" if stream.revise else "dedupe="
        return f"{what}: {amount(ids.reserved)}", f"Shorten {setting} of {ids.stream}"
    assert table is not None, "a plan without tables takes no more than its process"
    what = (
        f"{table.held:,} events of {table.stream} held for {span(table.held_us)} by {table.entity}"
        f": {amount(table.reserved)}"
    )
    stream = next(one for one in plan.streams if one.name == table.stream)
    own = next(
        one for one in plan.tables if (one.stream, one.entity) == (stream.place, table.entity)
    )
    # Would its events go sooner if the stream's records came no later than the scored ones?
    sooner = replace(stream, allowed_lateness_us=plan.scored.allowed_lateness_us)
    streams = tuple(sooner if one is stream else one for one in plan.streams)
    if sizes.held_us(replace(plan, streams=streams), own) < table.held_us:
        return what, f"Shorten allowed_lateness= of {table.stream}: so long its records may change"
    longest = sizes.longest(plan, own)
    names = [plan.names[feature] for feature in longest[:3]]
    more = f" and {len(longest) - 3} more" if len(longest) > 3 else ""
    left = sizes.predict(sizes.without(plan, longest), load).memory
    return what, (
        f"Shorten over= and delay= of the longest windows, {', '.join(names)}{more} (without them "
        f"it takes {amount(left)})"
    )


def _scaled(plan: Plan, load: Load, rate: float, keys: float) -> int:
    """Return the memory at parts of the rates and of the keys."""
    part = Load(
        tuple(rate * one for one in load.rates),
        {name: math.ceil(keys * count) for name, count in load.keys.items()},
    )
    return sizes.predict(plan, part).memory


def _part_that_fits(plan: Plan, load: Load, limit: int) -> float:
    """Return which part of the rates fits, of the same keys: to a thousandth, rounded down."""
    low, high = 0.0, 1.0
    while high - low > 1e-3 * high and high > 1e-9:
        middle = (low + high) / 2
        if _scaled(plan, load, middle, 1.0) <= limit:
            low = middle
        else:
            high = middle
    return low


def _processes(plan: Plan, load: Load, limit: int) -> str:
    """Return how many processes it takes that share the records and the keys equally."""
    low, high = 1, 2
    while _scaled(plan, load, 1 / high, 1 / high) > limit:
        low, high = high, 2 * high
        if high > MOST_PROCESSES:
            return f"more than {MOST_PROCESSES:,}"
    while high - low > 1:
        middle = (low + high) // 2
        fits = _scaled(plan, load, 1 / middle, 1 / middle) <= limit
        low, high = (low, middle) if fits else (middle, high)
    return f"{high:,}"
