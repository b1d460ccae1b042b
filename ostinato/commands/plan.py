"""``ostinato plan``: how many replicas, how much memory and how large a Redis a number of sessions takes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape

from ostinato.commands.options import AsJson
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import CommandError
from ostinato.extras import require
from ostinato.tools.sizing import (
    GIB,
    Capacity,
    Demand,
    Margins,
    SessionBytes,
    StoreKind,
    cost_of,
    read_count,
    read_rate,
    size_of,
)

NUM_ATTEMPTS = 4
NUM_MEASURED = 256


def plan(
    sessions: Annotated[str, typer.Option(help="Live sessions, as 250000, 10M or 2.5k.")],
    rate: Annotated[str, typer.Option(help="Steps of each session, as 4/s, 1/min or 0.5/h.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model that they run.")],
    repository: Annotated[Path, typer.Option(help="The folder with the model.")] = Path("repository"),
    store: Annotated[StoreKind, typer.Option(help="The store of the sessions.")] = "redis",
    bench: Annotated[
        Path | None,
        typer.Option(
            help="Output of 'ostinato bench --json' for one worker with such a store.",
            show_default="a server is started and measured",
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="The store to measure with; the sessions of the measurement are closed at its end.",
            show_default="files that are deleted afterwards; redis: a redis-server on this machine",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of the measurement.")] = 5.0,
    busy: Annotated[
        float,
        typer.Option(min=0.05, max=1.0, help="Part of their highest load that workers and shards are planned for."),
    ] = Margins().busy,
    spare: Annotated[int, typer.Option(min=0, help="More replicas than needed, in case one fails.")] = Margins().spare,
    memory_budget: Annotated[
        float, typer.Option(min=0.01, help="GiB in each worker for the sessions that were used last.")
    ] = Margins().memory_budget / GIB,
    shard_memory: Annotated[float, typer.Option(min=0.1, help="GiB of one Redis server.")] = Margins().shard_bytes
    / GIB,
    shard_changes: Annotated[
        float,
        typer.Option(min=1, help="The most changes and look-ups a second of one Redis server; see docs/scale.md."),
    ] = Margins().shard_changes,
    copies: Annotated[int, typer.Option(min=1, help="Redis servers that have a copy of each key.")] = Margins().copies,
    core_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of a core for an hour.", show_default="no cost")
    ] = None,
    gib_hour: Annotated[float, typer.Option(min=0, help="Price of a GiB of memory for an hour.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Calculate what a number of live sessions needs: replicas, memory, Redis, disk, and the cost of a million steps.

    The speed of a worker is measured on this machine, with that model and store, in the way of 'ostinato bench'. The
    size of a session follows from the model's manifest. docs/scale.md explains the rest of the calculation.

    [bold]Examples[/]

    ostinato plan --sessions 10M --rate 1/min --model beijing-lstm

    ostinato plan --sessions 50k --rate 1/s --model beijing-lstm --store lmdb

    ostinato plan --sessions 10M --rate 1/s --model beijing-lstm --bench bench.jsonl --core-hour 0.04 --gib-hour 0.005
    """
    require("onnxruntime", __name__)
    console = table_console(stderr=as_json)
    count, each = _read("--sessions", read_count, sessions), _read("--rate", read_rate, rate)
    demand = Demand(count, count * each)
    size_of_model = model_size(repository, model)
    measured = _rate_of(bench) if bench else _measure(repository, model, store, state, seconds, console)
    limits = Margins(busy, spare, int(memory_budget * GIB), int(shard_memory * GIB), shard_changes, copies)
    size = size_of(demand, size_of_model, store, measured, limits)
    cost = None if core_hour is None else cost_of(size, demand, core_hour, gib_hour)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    **demand._asdict(),
                    "worker_steps_per_second": measured,
                    **size._asdict(),
                    "cost_per_million_steps": cost,
                }
            )
        )
        return
    title = f"{count:,} sessions of {model}, {demand.steps_per_second:,.0f} steps/s, in {store}"
    console.print(_table(title, size, store, cost, size_of_model, measured, limits))
    for note in _notes(size, store):
        console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)


def model_size(repository: Path, model: str) -> SessionBytes:
    """What a session of a model takes, by the newest version that lies in the repository.

    Raises:
        CommandError: it is not there, or has no sessions.
    """
    from ostinato.service.artifact.manifest import MANIFEST_FILE, Manifest
    from ostinato.service.catalogue.catalogue import version_key
    from ostinato.service.state.arena import Arena, session_bytes
    from ostinato.service.state.records import Layout

    versions = sorted(repository.glob(f"{model}/*/{MANIFEST_FILE}"), key=lambda file: version_key(file.parent.name))
    if not versions or "/" in model:
        there = sorted({file.parents[1].name for file in repository.glob(f"*/*/{MANIFEST_FILE}")})
        names = ", ".join(there) or "none; 'ostinato export' writes one"
        raise CommandError(f"{repository} has no model {model!r}; there are: {names}")
    manifest = Manifest.read(versions[-1].parent)
    if manifest.task != "recurrent":
        raise CommandError(f"model {model!r} is of the task {manifest.task!r} and has no sessions")
    return SessionBytes(Layout(Arena(manifest, 1)).num_bytes, session_bytes(manifest))


def _read(option: str, read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _rate_of(file: Path) -> float:
    """The most steps a second that 'ostinato bench --json' has printed."""
    try:
        rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        return max(float(row["steps_per_second"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} is not what 'ostinato bench --json' prints: {error}") from error


def _measure(
    repository: Path, model: str, store: StoreKind, state: str | None, seconds: float, console: Console
) -> float:
    """Steps a second of one worker that is started for it."""
    from ostinato.commands.bench import measure
    from ostinato.tools.sequences.v1 import V1Protocol
    from ostinato.tools.server_process import ServerProcess

    with (
        tempfile.TemporaryDirectory(prefix="ostinato-plan-") as folder,
        _store(store, state, Path(folder)) as address,
        ServerProcess(repository, Path(folder) / "server.log", settings={"state": address, "workers": 1}) as server,
    ):
        with console.status("starting a server"):
            server.wait_until_ready()
        for attempt in range(1, NUM_ATTEMPTS + 1):  # a machine that is busy may leave it no time at all
            with late_progress(console, f"{NUM_MEASURED} sessions", "s", seconds=attempt * seconds):
                load = measure(asyncio.run(V1Protocol.connect(server.url, model)), NUM_MEASURED, attempt * seconds)
            if load.rate or load.num_failed:
                break
    if not (load.rate or load.num_failed):
        raise CommandError(f"no step was answered in {attempt * seconds:g} s: the machine is busy; try --seconds 30")
    if load.num_failed:
        said = [answer.body[:200].decode(errors="replace") for answer in load.refusals]
        raise CommandError(f"requests were refused: {', '.join(said)}")
    return load.rate


@contextmanager
def _store(store: StoreKind, state: str | None, folder: Path) -> Iterator[str]:
    """The address of the store that is measured with."""
    if state is not None:
        if not state.startswith(store):
            raise typer.BadParameter(
                f"{state.partition('://')[0]}:// is no store of --store {store}", param_hint="--state"
            )
        yield state
    elif store == "memory":
        yield "memory://"
    elif store == "lmdb":
        yield f"lmdb://{folder}/state"
    else:
        program = shutil.which("redis-server")
        if program is None:
            raise CommandError(
                "there is no redis-server on this machine to measure with; name a Redis by --state, or give --bench"
            )
        from ostinato.tools.redis_process import redis_process

        with redis_process(program, folder) as address:
            yield address


def _table(
    title: str,
    size: Capacity,
    store: StoreKind,
    cost: float | None,
    model: SessionBytes,
    measured: float,
    limits: Margins,
) -> WholeTable:
    table = WholeTable(title=escape(title), box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.title_justify = "left"
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")

    def row(name: str, value: str, why: str = "") -> None:
        table.add_row(name, value, why)

    row("one worker", f"{measured:,.0f} steps/s", "measured; planned for " + f"{limits.busy:.0%} of it")
    name = "replicas" if store == "redis" else "workers of one machine"
    row(
        name,
        f"{size.replicas:,}",
        f"one core each; {limits.spare} of them spare" if store == "redis" else "one core each",
    )
    row("memory of each", _bytes(size.replica_bytes), f"holds {size.resident:.0%} of the sessions, all together")
    if store == "redis":
        row("Redis shards", f"{size.shards:,}", f"{size.redis_servers:,} servers, {limits.copies} of each shard")
        row("Redis memory", _bytes(size.redis_bytes), f"with the copies; a record of {model.record:,} bytes")
        row("Redis changes", f"{size.changes_per_second:,.0f}/s", "compare-and-set, one a step")
        row("Redis look-ups", f"{size.reads_per_second:,.0f}/s", "of sessions that no memory holds")
    if store == "lmdb":
        row("disk", _bytes(size.disk_bytes), f"a record of {model.record:,} bytes, and the journal")
    row("processor", f"{size.core_seconds:,.1f} core-s", "for a million steps, all cores that are planned")
    if cost is not None:
        row("cost", f"{cost:,.4f}", "of a million steps")
    return table


def _notes(size: Capacity, store: StoreKind) -> Iterator[str]:
    if store == "memory":
        yield "memory:// has one worker and is lost when it ends"
    if store != "redis" and size.replicas > (1 if store == "memory" else 32):
        yield "that is more than one machine has: --store redis shares the sessions between replicas"


def _bytes(number: int) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024  # type: ignore[assignment]
    return f"{number:,.1f} {unit}" if unit != "B" else f"{number} B"
