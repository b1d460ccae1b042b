"""``ostinato bench``: how fast a running server steps sequences of a model, and whether its answers are right."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape

from ostinato.commands.options import URL, AsJson, Url
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import CommandError
from ostinato.extras import require
from ostinato.tools.load import Load, Script
from ostinato.tools.sequences.course import Course
from ostinato.tools.sequences.drawn import DrawnSequence, draw_sequences
from ostinato.tools.sequences.expected import Compared, OfflineReference, Reference, RepeatedReference, compare
from ostinato.tools.sequences.oip import Ids, OipProtocol, Tensors
from ostinato.tools.sequences.protocol import SequenceProtocol
from ostinato.tools.sequences.v1 import V1Protocol

KEPT_ANSWERS = 200_000
"""Answers that are kept to be compared, of all sequences together."""
BUSY_FRACTION = 0.9
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
NUM_SHOWN_REFUSALS = 10
COLUMNS = {
    "sequences": "sequences",
    "steps_per_second": "steps/s",
    **{name: name for name in PERCENTILES},
    "longest_pause": "pause",
    "refused": "refused",
    "not_sent": "not sent",
    "onnxruntime_alone": "onnxruntime",
    "ratio": "ratio",
}
"""Figures of a row, and how their column is called. ``pause``: the longest without any answer;
``onnxruntime``: steps a second of the graph alone, all sequences in one batch.
"""


def bench(
    model: Annotated[str, typer.Option("--model", "-m", help="The model whose sequences are stepped.")],
    url: Url = URL,
    protocol: Annotated[
        Literal["v1", "oip"],
        typer.Option(
            help="The service's own protocol under /v1, or the Open Inference Protocol, which Triton speaks too."
        ),
    ] = "v1",
    sessions: Annotated[
        int,
        typer.Option(
            "--sessions",
            "--sequences",
            min=1,
            max=10_000,
            help="Sequences at the same time, after a measurement with one; a service takes --max-queue-rows, 4096.",
        ),
    ] = 256,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of each measurement.")] = 10.0,
    steps: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="Steps in a request; a service takes --max-chunk-steps, 10000."),
    ] = 1,
    length: Annotated[
        int,
        typer.Option(
            min=0,
            max=100_000,
            help="Steps of a sequence, after which another begins; 0 = one sequence for the whole measurement.",
        ),
    ] = 0,
    rate: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Requests a second, sent at their time even if earlier ones are not answered (a Poisson process). "
            "0 = each client sends when it has its answer.",
        ),
    ] = 0.0,
    tensors: Annotated[
        Tensors | None,
        typer.Option(help="How tensors are sent.", show_default="binary with oip, otherwise json"),
    ] = None,
    transport: Annotated[
        Literal["http", "grpc", "grpc-stream"],
        typer.Option(
            help="With the protocol oip: http; grpc, a call for each request; or grpc-stream, all in one stream.",
            metavar="WAY",
        ),
    ] = "http",
    ids: Annotated[
        Ids, typer.Option(help="With the protocol oip: name sequences by numbers or strings.", metavar="KIND")
    ] = "numbers",
    repository: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the models, or the directory of one version. Its graph is run here too, and answers "
            "are compared with it.",
            show_default="none",
        ),
    ] = None,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check",
            help="Do not compare answers. Otherwise they are compared with an offline run of --repository, or "
            "without it with a second run of the same steps, one sequence at a time.",
        ),
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="How much a compared answer may differ; 0 = equal to the bit.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Measure how many steps a second a running server applies, with one sequence and with many. The server is this
    service, Triton, or any other with the sequence extension of the Open Inference Protocol. The command asks it
    what the model takes. Inputs are drawn at random, the same in every run.

    An answer that is fast and wrong is a failure. With --repository, answers are compared to the bit with an offline
    run ('ostinato run'), and the speed of onnxruntime alone with the same graph is shown. Without it, answers are
    compared with those of a second run of the same steps, one sequence at a time, which finds a server that swaps
    states. The exit status is 1 if an answer differs or a request was refused. The sequences are ended.

    [bold]Examples[/]

    ostinato bench --model beijing-lstm

    ostinato bench -m beijing-lstm --url http://127.0.0.1:3000 --sessions 64 --seconds 30

    ostinato bench -m beijing-lstm --repository repository

    ostinato bench -m beijing-lstm --protocol oip --url 127.0.0.1:3000 --repository repository

    ostinato bench -m my-lstm --protocol oip --url triton:8000 --sequences 64 --length 100 --tolerance 1e-5

    ostinato bench -m my-lstm --protocol oip --url triton:8000 --rate 2000 --tensors json

    ostinato bench -m my-lstm --protocol oip --url triton:8001 --transport grpc-stream
    """
    if repository:
        require("onnxruntime", __name__)
    if protocol == "v1" and (tensors == "binary" or transport != "http"):
        raise typer.BadParameter("/v1 is stepped in JSON over HTTP; --protocol oip has more", param_hint="--protocol")
    console = table_console(stderr=as_json)
    spoken: SequenceProtocol
    if protocol == "v1":
        spoken = asyncio.run(V1Protocol.connect(url, model))
    elif transport != "http":
        from ostinato.tools.sequences.oip_grpc import GrpcProtocol  # its libraries are an extra

        if rate or tensors == "json":
            raise typer.BadParameter("by gRPC tensors are binary, and there is no --rate", param_hint="--transport")
        spoken = GrpcProtocol(url, model, ids=ids, is_stream=transport == "grpc-stream")
    else:
        spoken = OipProtocol(url, model, tensors=tensors or "binary", ids=ids)
    offline = OfflineReference.of(repository, spoken.model) if repository else None
    if offline and isinstance(spoken, OipProtocol):
        spoken.draw_by(part.model_dump() for part in offline.manifest.inputs)
    if steps > 1 and not spoken.has_steps:
        raise typer.BadParameter(f"a request to {spoken.model.name} holds one step", param_hint="--steps")
    course = Course.of(steps, length or None)
    rows: list[dict[str, Any]] = []
    loads: list[Load] = []
    compared = Compared(0, 0)
    refusals: Counter[str] = Counter()
    # An open loop over one connection would wait for its own answers.
    for number in dict.fromkeys((sessions,) if rate else (1, sessions)):
        counted = _counted(number, "sequence")
        sequences = draw_sequences(spoken.model, number)
        scripts = [spoken.script(place, each, course) for place, each in enumerate(sequences)]
        with late_progress(console, counted, "s", seconds=seconds):
            load = _load(spoken, sequences, scripts, seconds, rate)
        loads.append(load)
        for answer, count in load.refusals.items():
            refusals[f"{answer.status} {spoken.refusal(answer)}"] += count
        raw_rate = offline.rate(number) if offline else None
        rows.append(_row(number, load, raw_rate))
        if as_json:
            typer.echo(json.dumps(rows[-1]))
        if not (no_check or refusals):
            reference: Reference = offline or RepeatedReference(spoken, course, number)
            with late_progress(console, f"{counted}, answers are compared", "sequences") as report:
                done = compare(spoken, sequences, scripts, load, reference, tolerance, report)
            compared = Compared(*(before + more for before, more in zip(compared, done, strict=True)))
    if not as_json:
        title = f"{spoken.model.name}/{spoken.model.version} at {url}: {spoken.title}, "
        console.print(_table(rows, f"{title}{_counted(steps, 'step')} a request, {seconds:g} s each"))
    _tell(console, compared, offline, tolerance)
    busiest = max(load.cpu_fraction for load in loads)
    if busiest > BUSY_FRACTION:
        console.print(f"[yellow]this client used {busiest:.0%} of a core, and may have been what was slow[/]")
    if refusals:
        raise CommandError(_refused(refusals))


def _tell(console: Console, compared: Compared, offline: OfflineReference | None, tolerance: float) -> None:
    """Say how the answers compare with what they should be."""
    if compared.num_answers:
        how = "an offline run" if offline else "those to the same steps repeated alone"
        exactly = f"within {tolerance:g}" if tolerance else "to the bit"
        told = f"{compared.num_answers:,} answers of {_counted(compared.num_sequences, 'sequence')}"
        console.print(f"[green]right:[/] {told} equal {how}, {exactly}", highlight=False, soft_wrap=True)
    if offline:
        console.print(f"promise {offline.promise}: {offline.promise.sentence}", highlight=False, soft_wrap=True)


def _refused(refusals: Counter[str]) -> str:
    """What was refused, and in which words."""
    shown = [f"{count:,} x {words}" for words, count in refusals.most_common(NUM_SHOWN_REFUSALS)]
    more = len(refusals) - len(shown)
    return "\n".join(
        ["requests were refused, so no answers were compared:", *shown, *([f"and {more} others"] if more else [])]
    )


def measure(protocol: SequenceProtocol, number: int, seconds: float) -> Load:
    """The load of so many sequences, a step a request, which are ended behind it."""
    sequences = draw_sequences(protocol.model, number)
    course = Course.of(1, None)
    scripts = [protocol.script(place, each, course) for place, each in enumerate(sequences)]
    return _load(protocol, sequences, scripts, seconds, 0.0)


def _load(
    protocol: SequenceProtocol,
    sequences: Sequence[DrawnSequence],
    scripts: Sequence[Script],
    seconds: float,
    rate: float,
) -> Load:
    """Step sequences for some seconds, and end them."""
    keep = max(1, KEPT_ANSWERS // len(scripts))
    load = None
    try:
        load = protocol.load(scripts, seconds, rate, keep)
    finally:
        _end(protocol, sequences, scripts, load)
    return load


def _end(
    protocol: SequenceProtocol, sequences: Sequence[DrawnSequence], scripts: Sequence[Script], load: Load | None
) -> None:
    """End the sequences that are under way, or may be: what stopped a load is the error to tell of."""
    with contextlib.suppress(CommandError, OSError), protocol.asking() as ask:
        for number, (sequence, script) in enumerate(zip(sequences, scripts, strict=True)):
            has_ended = script.again_from == 0 and load and load.turns[number] == len(script.requests) - 1
            if not has_ended:
                ask(protocol.end(number, sequence))


def _row(number: int, load: Load, raw_rate: float | None) -> dict[str, Any]:
    """The figures of a load; times in milliseconds."""
    row: dict[str, Any] = {"sequences": number, "steps_per_second": load.rate}
    row |= {name: load.percentile(percent) * 1000 for name, percent in PERCENTILES.items()}
    row["longest_pause"] = load.longest_pause * 1000
    row |= {"refused": load.num_failed} if load.num_failed else {}
    row |= {"not_sent": load.num_unsent} if load.num_unsent else {}
    return row if raw_rate is None else {**row, "onnxruntime_alone": raw_rate, "ratio": load.rate / raw_rate}


def _table(rows: Sequence[dict[str, Any]], title: str) -> WholeTable:
    """The rows, with a column for each figure that one of them has."""
    table = WholeTable(title=escape(title), caption="times in ms", box=SIMPLE_HEAD, pad_edge=False)
    table.title_justify = table.caption_justify = "left"
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    for name in names:
        table.add_column(COLUMNS[name], justify="right")
    for row in rows:
        table.add_row(*(_shown(row[name]) if name in row else "" for name in names))
    return table


def _shown(value: float) -> str:
    """A figure in three digits, or as many as it has before the point."""
    digits = 0 if isinstance(value, int) or value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:,.{digits}f}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
