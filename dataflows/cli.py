"""The ``noskew`` command: each subcommand is one library function of the same name."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from noskew.dataflows.errors import NoskewError
from noskew.dataflows.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from noskew.dataflows.settings import Settings

app = typer.Typer(
    name="noskew",
    help="Exact streaming features and scores from Kafka, replayed bit for bit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

stack_app = typer.Typer(
    help="Kafka, Redis and a schema registry on this host, without Docker.", no_args_is_help=True
)
app.add_typer(stack_app, name="stack")

BUG = 70
"""Exit code of a failure that is ours (EX_SOFTWARE of sysexits.h); 1 is an answer: "no"."""

Definition = Annotated[
    Path, typer.Argument(metavar="DEF", help="Definition: a .py file with one Pipeline.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Brokers = Annotated[str | None, typer.Option(help="Kafka bootstrap servers.")]
Registry = Annotated[str | None, typer.Option(help="Schema registry address.")]
Redis = Annotated[str | None, typer.Option(help="Redis address; 'none' writes no rows.")]
StateDir = Annotated[Path | None, typer.Option(help="Lock and schema cache of this process.")]
ModelDir = Annotated[
    str | None, typer.Option("--model", help="Model bundle directory; 'none' computes no scores.")
]


@app.command()
def check(
    definition: Definition,
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Records a second: RATE of the scored stream, STREAM=RATE of others."),
    ] = None,
    keys: Annotated[
        list[str] | None, typer.Option(help="With --at: ENTITY=N, values that have state at once.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="With --at: memory there is; else this machine's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a definition, tell its features and, with --at, what it takes; asks no server."""
    from noskew.dataflows.commands import check as command  # noqa: PLC0415  # start fast
    from noskew.dataflows.commands import check_text as text  # noqa: PLC0415  # start fast

    report = command.check(definition, at=at or (), keys=keys or (), memory=memory)
    _show(report.to_json(), lambda console: text.render(report, console), as_json=as_json)
    report.require_fit()


@app.command()
def run(
    definition: Definition,
    *,
    brokers: Brokers = None,
    registry: Registry = None,
    redis: Redis = None,
    redis_namespace: Annotated[str | None, typer.Option(help="First part of every key.")] = None,
    redis_flush_s: Annotated[
        float | None, typer.Option(help="A row is written at most once in this time.")
    ] = None,
    state_dir: StateDir = None,
    model: ModelDir = None,
    align_wait_s: Annotated[
        str | None, typer.Option(help="Wait for a silent partition; 'none': without limit.")
    ] = None,
    origin: Annotated[
        str | None, typer.Option(help="First start: 'earliest' or an ISO time.")
    ] = None,
    score_from: Annotated[
        str | None, typer.Option(help="First start: 'origin', 'now' or an ISO time.")
    ] = None,
    vectors: Annotated[
        bool | None, typer.Option(help="Put the vector into each score record.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads LightGBM may use.")] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop once all that is in the topic is done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a pipeline: features and scores of every event, until it is told to stop."""
    stop = Stop()
    stop.on_signals()
    from noskew.dataflows.commands import run as command  # noqa: PLC0415  # start fast

    chosen = _settings(
        brokers=brokers,
        registry=registry,
        redis=redis,
        redis_namespace=redis_namespace,
        redis_flush_s=redis_flush_s,
        state_dir=state_dir,
        model=model,
        align_wait_s=align_wait_s,
        origin=origin,
        score_from=score_from,
        vectors=vectors,
        threads=threads,
    )
    console = Console(stderr=True)
    report = command.run(definition, chosen, stop, until_end=until_end, console=console)
    _show(report.to_json(), lambda out: command.render(report, out), as_json=as_json)


@app.command()
def replay(
    definition: Definition,
    *,
    inputs: Annotated[list[str], typer.Option("--input", help="[STREAM=]FILE.parquet, or kafka.")],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="First event time written (ISO).")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Event time before which rows are written (ISO).")
    ] = None,
    brokers: Brokers = None,
    registry: Registry = None,
    state_dir: StateDir = None,
    model: ModelDir = None,
    order: Annotated[
        str, typer.Option(help="From kafka: 'journal' if there is one ('auto'), or 'canonical'.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute the features of history, bit for bit as live, into a Parquet file."""
    from noskew.dataflows.commands import replay as command  # noqa: PLC0415  # start fast

    chosen = _settings(brokers=brokers, registry=registry, state_dir=state_dir, model=model)
    report = command.replay(
        definition,
        inputs,
        out,
        chosen,
        begin=begin,
        end=end,
        order=order,
        score=model is not None,
        console=Console(stderr=True),
    )
    _show(report.to_json(), lambda console: command.render(report, console), as_json=as_json)


@app.command()
def audit(
    definition: Definition,
    *,
    brokers: Brokers = None,
    retained: Annotated[
        bool, typer.Option("--retained", help="What retention deleted is no finding.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove that all that was taken came out, once and in order; exit 1 if it did not."""
    from noskew.dataflows.commands import audit as command  # noqa: PLC0415  # start fast

    report = command.audit(definition, _settings(brokers=brokers), retained=retained)
    _show(report.to_json(), lambda console: command.render(report, console), as_json=as_json)
    if not report.holds:
        raise typer.Exit(1)


@app.command()
def train(
    definition: Definition,
    *,
    inputs: Annotated[
        list[Path], typer.Option("--input", help="Features made by 'noskew replay'.")
    ],
    labels: Annotated[Path, typer.Option(help="Parquet: id, is_fraud, labelled_at.")],
    out: Annotated[Path, typer.Option(help="Directory of the bundle to write.")],
    label: Annotated[str, typer.Option(help="Column of the label (0 or 1).")] = "is_fraud",
    label_time: Annotated[
        str, typer.Option(help="Column of the time a label was given; the newest counts.")
    ] = "labelled_at",
    label_delay: Annotated[
        str, typer.Option(help="How late labels come: left out before validation.")
    ] = "7d",
    drop_warming: Annotated[
        bool, typer.Option("--drop-warming", help="Leave out rows whose windows are not full.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads LightGBM may use.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train the definition's model and save it as a bundle."""
    from noskew.dataflows.commands import train as command  # noqa: PLC0415  # start fast

    report = command.train(
        definition,
        inputs,
        labels,
        out,
        label=label,
        label_time=label_time,
        label_delay=label_delay,
        drop_warming=drop_warming,
        threads=threads,
        console=Console(stderr=True),
    )
    _show(report.to_json(), lambda console: command.render(report, console), as_json=as_json)


@app.command()
def simulate(
    *,
    rate: Annotated[float, typer.Option(help="Payments a second.")] = 2000.0,
    seconds: Annotated[float, typer.Option(help="How long; events = rate x seconds.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Same seed, same population and frauds.")] = 0,
    speed: Annotated[
        float | None, typer.Option(help="Simulated seconds per second, ending now.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="Simulated days in all, instead of --speed.")
    ] = None,
    customers: Annotated[int, typer.Option(help="Customers.")] = 5000,
    terminals: Annotated[int, typer.Option(help="Terminals.")] = 10_000,
    partitions: Annotated[int, typer.Option(help="Partitions of the topics.")] = 8,
    late: Annotated[float, typer.Option(help="Share of payments that come late.")] = 0.005,
    out: Annotated[
        Path | None, typer.Option(help="Write payments to this Parquet file, as history.")
    ] = None,
    labels_out: Annotated[
        Path | None, typer.Option(help="With --out: write their labels to this file.")
    ] = None,
    end: Annotated[
        dt.datetime | None, typer.Option(help="With --out: time of the last payment.")
    ] = None,
    brokers: Brokers = None,
    registry: Registry = None,
    as_json: AsJson = False,
) -> None:
    """Simulate payments and their labels, into the topics or into Parquet files."""
    from noskew.dataflows.commands import simulate as command  # noqa: PLC0415  # start fast

    chosen = _settings(brokers=brokers, registry=registry)
    summary = command.simulate(
        rate,
        seconds,
        seed=seed,
        speed=speed,
        days=days,
        customers=customers,
        terminals=terminals,
        partitions=partitions,
        late=late,
        brokers=chosen.brokers,
        registry=chosen.registry,
        out=out,
        labels_out=labels_out,
        end=end if end is None or end.tzinfo else end.replace(tzinfo=dt.UTC),
    )
    value = json.loads(summary.to_json())
    _show(value, lambda console: command.render(summary, console), as_json=as_json)


@stack_app.command("up")
def stack_up(*, as_json: AsJson = False) -> None:
    """Start Kafka, Redis and a schema registry on this host."""
    from noskew.dataflows.commands import stack as command  # noqa: PLC0415  # start fast

    found = command.up()
    _show(command.to_json(found), lambda console: command.render(found, console), as_json=as_json)


@stack_app.command("down")
def stack_down(
    *,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep topics and rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the servers by pid and delete their data; their logs stay."""
    from noskew.dataflows.commands import stack as command  # noqa: PLC0415  # start fast

    stopped = command.down(keep_data=keep_data)
    kept = "their data are kept" if keep_data else "their data are deleted"
    text = f"stopped; {kept}" if stopped else "no stack was running here"
    _show({"stopped": stopped}, lambda console: console.print(text), as_json=as_json)


@stack_app.command("status")
def stack_status(*, as_json: AsJson = False) -> None:
    """Show where the servers are; exit 1 if one of them is not running."""
    from noskew.dataflows.commands import stack as command  # noqa: PLC0415  # start fast

    found = command.status()
    _show(command.to_json(found), lambda console: command.render(found, console), as_json=as_json)
    if found is None or not all(found.alive.values()):
        raise typer.Exit(1)


@app.command()
def demo(
    *,
    seconds: Annotated[float, typer.Option(help="How long payments are sent live.")] = 45.0,
    as_json: AsJson = False,
) -> None:
    """Show the whole story on servers of its own, in about two minutes."""
    from noskew.dataflows.commands import demo as command  # noqa: PLC0415  # start fast

    report = command.demo(Console(stderr=as_json), seconds=seconds)
    if as_json:
        _show(report, lambda _console: None, as_json=True)


@app.command()
def bench(
    *,
    given: Annotated[
        Path | None,
        typer.Option("--input", help="Payments (Parquet, with is_fraud); else simulated ones."),
    ] = None,
    events: Annotated[int | None, typer.Option(help="How many payments at most.")] = None,
    only: Annotated[
        str | None,
        typer.Option(
            help=(
                "One part: live, kernel, reference, memory, start, decode, score, replay or "
                "simulate."
            )
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each part beside the obvious alternative; exit 1 if their results differ."""
    from noskew.dataflows.commands import bench as command  # noqa: PLC0415  # start fast

    found = command.bench(Console(stderr=True), given=given, events=events, only=only)
    _show(found, lambda console: command.render(found, console), as_json=as_json)


def main() -> None:
    """Run the command line; a user's mistake prints its message and exits with its code.

    What nobody foresaw prints its traceback, and exits with ``BUG``.
    """
    try:
        app(standalone_mode=True)
    except (SystemExit, KeyboardInterrupt):
        raise
    except NoskewError as error:
        _end(str(error), error.exit_code)
    except BaseException as error:  # noqa: BLE001 - panics of extensions are no Exception
        traceback.print_exception(error)
        _end("this is a fault of noskew: please report it, with the traceback above", BUG)


def _end(message: str, code: int) -> NoReturn:
    # Unwrapped: a message is one line to whoever searches a log for it.
    Console(stderr=True, soft_wrap=True).print(
        f"noskew: {message}", style="red", markup=False, highlight=False
    )
    sys.stderr.flush()
    sys.stdout.flush()
    # Threads of clients that cannot reach their server would keep the process for seconds.
    os._exit(code)


def _settings(**flags: Any) -> Settings:
    from noskew.dataflows.settings import settings  # noqa: PLC0415  # start fast

    return settings(**flags)


def _show(value: dict[str, Any], render: Callable[[Console], None], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value, indent=1) + "\n")
    else:
        render(Console())


if __name__ == "__main__":
    main()
