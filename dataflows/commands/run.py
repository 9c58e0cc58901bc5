"""``noskew run``: the always-on processor, from preflight to a clean stop."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bytewax.run import cli_main
from rich.markup import escape
from rich.table import Table

from noskew.dataflows.assemble import GENERATION, assemble
from noskew.dataflows.definition.compile import compile_plan
from noskew.dataflows.definition.load import load
from noskew.dataflows.definition.semantics import refuse_live
from noskew.dataflows.kafka import preflight
from noskew.dataflows.kafka.journal_log import SHARD
from noskew.dataflows.model.bundle import Bundle
from noskew.dataflows.model.scoring import Scorer
from noskew.dataflows.pipeline import Failure, build
from noskew.dataflows.stop import Stop
from noskew.dataflows.store.writer import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from noskew.dataflows.core.engine import Engine
    from noskew.dataflows.core.tally import Tally
    from noskew.dataflows.definition.plan import Plan
    from noskew.dataflows.pipeline import Shard
    from noskew.dataflows.settings import Settings

REPORT_S = 5.0
"""Time between two lines of progress."""

LATE_SHARE = 0.1
"""More late events than this share are told of: something is wrong with the times."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Held:
    """What one table holds: state of one entity by one stream's records.

    memory   bytes of all its arrays
    """

    stream: str
    entity: str
    keys: int
    entries: int
    memory: int


@dataclass(slots=True)
class Report:
    """What a run did, since this process started, and what it holds.

    ids_memory    bytes of the ids that are remembered
    peak_memory   bytes: the most that was resident of this process
    """

    pipeline: str
    seconds: float
    tally: Tally
    align_wait_ran_out: int
    rows_written: int
    rows_behind: int
    tables: list[Held]
    ids_memory: int
    peak_memory: int

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "pipeline": self.pipeline,
            "seconds": round(self.seconds, 3),
            "events_per_s": round(self.tally.delivered / max(self.seconds, 1e-9)),
            **self.tally.to_json(),
            "align_wait_ran_out": self.align_wait_ran_out,
            "rows_written": self.rows_written,
            "rows_behind": self.rows_behind,
            **_total(self.tables, self.ids_memory),
            "ids_memory_bytes": self.ids_memory,
            "peak_memory_bytes": self.peak_memory,
            "tables": [
                {
                    "stream": one.stream,
                    "entity": one.entity,
                    "keys": one.keys,
                    "held_entries": one.entries,
                    "memory_bytes": one.memory,
                }
                for one in self.tables
            ],
        }


def held(engine: Engine) -> list[Held]:
    """Return what each table holds now."""
    return [
        Held(
            engine.plan.streams[table.plan.stream].name,
            table.plan.entity,
            table.keys,
            table.entries,
            table.memory,
        )
        for table in engine.tables
    ]


def _total(tables: list[Held], ids_memory: int) -> dict[str, int]:
    return {
        "keys": sum(one.keys for one in tables),
        "held_entries": sum(one.entries for one in tables),
        "memory_bytes": sum(one.memory for one in tables) + ids_memory,
    }


def run(
    definition: Path,
    settings: Settings,
    stop: Stop | None = None,
    *,
    until_end: bool = False,
    console: Console | None = None,
) -> Report:
    """Run a pipeline until ``stop`` is asked for; with ``until_end``, until the topic is done.

    Raises NoskewError of the kind whose exit code says what to do (README, Operations).
    """
    stop = stop or Stop()
    plan = compile_plan(load(definition))
    refuse_live(plan)
    with preflight.lock(settings.state_dir):
        return _run(definition, plan, settings, stop, until_end=until_end, console=console)


def render(report: Report, console: Console) -> None:
    """Print a run's report as a table."""
    table = Table(title=f"{report.pipeline}: stopped", show_header=False)
    found = report.to_json()
    rows = [*found.pop("streams").items()]
    rows += [(f"{one.pop('stream')} by {one.pop('entity')}", one) for one in found.pop("tables")]
    for name, value in found.items():
        table.add_row(name.replace("_", " "), str(value))
    for name, counts in rows:
        shown = ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in counts.items())
        table.add_row(escape(name), escape(shown))
    console.print(table)


def _run(
    definition: Path,
    plan: Plan,
    settings: Settings,
    stop: Stop,
    *,
    until_end: bool,
    console: Console | None,
) -> Report:
    bundles: list[Bundle] = []
    store = (
        None
        if settings.redis is None
        else Store(
            plan,
            url=settings.redis,
            namespace=settings.redis_namespace,
            shard=SHARD,
            generation=GENERATION,
            flush_s=settings.redis_flush_s,
        )
    )
    warnings: list[str] = []
    more: list[Callable[[], object]] = []
    if plan.model is not None and settings.model is not None:
        directory = settings.model
        more.append(
            lambda: bundles.append(Bundle.load(directory, plan, definition=str(definition)))
        )
    if store is not None:
        connected = store
        more.append(lambda: warnings.extend(connected.check_connection()))
    checked = preflight.check(plan, settings, more)
    _say(console, [f"warning: {one}" for one in [*warnings, *checked.warnings]])
    bundle = bundles[0] if bundles else None
    scorer = None if bundle is None else Scorer(bundle, settings.threads)
    began_s = time.monotonic()
    with ExitStack() as opened:
        opened.callback(checked.registry.close)
        opened.callback(checked.resolver.close)
        if store is not None:
            store.start()
            opened.callback(store.close)
        shard = assemble(plan, settings, checked, bundle, scorer, store, _Patience(stop, console))
        opened.callback(shard.close)
        _flow(shard, stop, _Progress(shard, store, stop, console, until_end=until_end))
        if store is not None and not store.flush(stop.left_s()):
            why = store.refused or "Redis does not answer; its rows are written at the next start"
            _say(console, [f"warning: {why}"])
        status = None if store is None else store.status()
    return Report(
        plan.name,
        time.monotonic() - began_s,
        shard.deliver.tally,
        shard.order.align_wait_ran_out,
        0 if status is None else status.written,
        0 if status is None else status.dirty,
        held(shard.engine),
        shard.engine.clocks.memory,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _flow(shard: Shard, stop: Stop, watch: Callable[[], None]) -> None:
    """Run the dataflow in this thread; raise the error that ended it, if one did."""
    failure = Failure()
    cli_main(build(shard, failure, stop, watch))  # type: ignore[no-untyped-call]  # Bytewax's
    if failure.error is not None:
        raise failure.error


def _say(console: Console | None, lines: list[str]) -> None:
    """Print lines. A reader that has gone away must not end the run (rich would exit)."""
    if console is not None:
        with suppress(OSError, SystemExit):
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)


def _events(tally: Tally) -> str:
    if not tally.rebuilt:
        return f"{tally.delivered:,} events"
    return f"{tally.rebuilt:,} events rebuilt from the journal, {tally.delivered:,} new"


def _place(shard: Shard, source: int) -> str:
    stream, partition = shard.order.waiting.place_of(source)
    return f"{stream.name} {partition}"


class _Patience:
    """Says now and then that the broker is waited for, and gives up when a stop has to."""

    def __init__(self, stop: Stop, console: Console | None) -> None:
        self._stop = stop
        self._console = console
        self._said_s = 0.0

    def __call__(self, waited_s: float) -> None:
        """Look on, ``waited_s`` into one wait."""
        self._said_s = min(self._said_s, waited_s)
        if waited_s - self._said_s >= REPORT_S:
            self._said_s = waited_s
            _say(self._console, [f"waiting for the broker for {waited_s:.0f} s; nothing is lost"])
        self._stop.waits(waited_s)


class _Progress:
    """Looks on after every read: says how it goes, and asks for the stop at the topic's end."""

    def __init__(
        self,
        shard: Shard,
        store: Store | None,
        stop: Stop,
        console: Console | None,
        *,
        until_end: bool,
    ) -> None:
        self._shard = shard
        self._store = store
        self._stop = stop
        self._console = console
        self._until_end = until_end
        self._said_s = time.monotonic()
        self._began_s = self._said_s
        self._done = 0
        self._caught_up = False

    def __call__(self) -> None:
        """Look on."""
        shard = self._shard
        if not self._caught_up and shard.idle():
            self._caught_up = True
            tally = shard.deliver.tally
            took_s = time.monotonic() - self._began_s
            _say(
                self._console,
                [f"caught up after {took_s:.2f} s: {_events(tally)}"],
            )
            self._said_s, self._done = time.monotonic(), tally.delivered + tally.rebuilt
        if self._until_end and self._caught_up and shard.idle():
            self._stop.ask()
        now_s = time.monotonic()
        if now_s - self._said_s < REPORT_S:
            return
        tally = shard.deliver.tally
        done = tally.delivered + tally.rebuilt
        rate = (done - self._done) / (now_s - self._said_s)
        self._said_s, self._done = now_s, done
        if self._console is None:
            return
        state = f"rebuilding, {tally.rebuilt:,} events" if not shard.deliver.live else "live"
        line = (
            f"{state}: {rate:,.0f} events/s, {tally.scored:,} scored, {tally.dead:,} dead letters"
        )
        total = _total(held(shard.engine), shard.engine.clocks.memory)
        line += (
            f"; {total['keys']:,} keys, {total['held_entries']:,} held entries, "
            f"{total['memory_bytes'] / MEGABYTE:,.0f} MB"
        )
        for name, account in tally.streams.items():
            if account.late > LATE_SHARE * max(account.delivered, 1):
                line += f"; {account.late:,} of {name} are late: not aggregated"
        waiting = shard.held
        if waiting:
            away = next((one.away for one in shard.decodes if one.away), "being looked up")
            shown = ", ".join(
                f"{_place(shard, i)} (schema {n})" for i, n in sorted(waiting.items())
            )
            line += f"; partitions held for the registry: {shown}: {away}"
        status = None if self._store is None else self._store.status()
        if status is not None and (status.refused or not status.connected):
            line += f"; {status.dirty:,} rows wait for Redis: {status.refused or status.error}"
        _say(self._console, [line])
