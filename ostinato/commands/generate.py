"""``ostinato generate``: a model writes, and shows what it looked at."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.client.client import Client
from ostinato.client.generation import GenerateOptions, Generation, Source
from ostinato.commands.attention_picture import MAX_PANELS, Panel, draw
from ostinato.commands.generation_inputs import check_file, file_inputs, typed_inputs
from ostinato.commands.generation_view import JsonView, TableView, View, WriterShape, symbols_of
from ostinato.commands.options import (
    PATIENCE_SECONDS,
    URL,
    AsJson,
    FirstRow,
    GapsOption,
    Patience,
    RowLimit,
    TimeNames,
    Url,
    split_names,
)
from ostinato.commands.pictures import check_can_draw
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import table_console
from ostinato.errors import PictureError
from ostinato.tables.gaps import Gaps

LANES_PER_REQUEST = 256
"""Beams and outputs that one request asks for; more inputs go in further requests."""
DEFAULT_BEAMS = 5


class Method(StrEnum):
    """How outputs are chosen."""

    greedy = "greedy"
    beam = "beam"
    sample = "sample"


def generate(
    model: Annotated[str, typer.Argument(help="The model that writes.", metavar="MODEL")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to write from; '-' = the lines of standard input.", metavar="[TEXT]...", show_default="none"
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--input", "-i", help="A file instead of texts: .json, .npy, or a table.", show_default="none"),
    ] = None,
    first: FirstRow = "",
    limit: RowLimit = 0,
    time: TimeNames = "",
    gaps: GapsOption = None,
    method: Annotated[
        Method, typer.Option(help="Take the most likely symbol, the most likely output, or draw at random.")
    ] = (Method.greedy),
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="The most steps of an output.", show_default="the server's limit")
    ] = None,
    num_return: Annotated[int | None, typer.Option(min=1, help="Outputs for each input.", show_default="1")] = None,
    num_beams: Annotated[
        int | None,
        typer.Option(min=1, help="With beam: how many candidates are followed.", show_default=str(DEFAULT_BEAMS)),
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="With beam: above 0, longer outputs are preferred.", show_default="0")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0, help="With sample: below 1, likely symbols become more likely; above 1, less.", show_default="1"
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=0, help="With sample: draw from this many most likely symbols; 0 = all.", show_default="0"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With sample: draw from the most likely symbols that together have this probability.",
            show_default="1, all",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="With sample: the same seed gives the same output.", show_default="random")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="The model's version.", show_default="the latest")
    ] = None,
    log_probs: Annotated[bool, typer.Option("--log-probs", help="Show the log-probability of each symbol.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show outputs as they are made; with --json, each step as a line.")
    ] = False,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw what each symbol attended to, as .png, .svg or .pdf.", metavar="FILE", show_default="no picture"
        ),
    ] = None,
    url: Url = URL,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Write with a model of a running service: an output for each text, for each input of a file, or from nothing.

    Texts are spelled in the model's vocabulary. With --plot a picture of its attention is drawn, too, with a row for
    each symbol that was written and a column for each symbol of the source.

    [bold]Examples[/]

    ostinato generate g2p thought extraordinary --plot attention.png

    ostinato generate g2p ostinato --method beam --num-beams 5 --num-return 3 --log-probs

    ostinato generate g2p - --json < words.txt

    ostinato generate letters --method sample --num-return 8 --temperature 0.8 --seed 1 --stream
    """
    if plot is not None:
        check_can_draw(plot)
    if file is not None and texts:
        raise typer.BadParameter("give texts or a file, and not both", param_hint="--input")
    if file is not None:
        check_file(file)
    options = GenerateOptions(
        method=method.value,
        max_steps=max_steps,
        num_return=num_return,
        num_beams=num_beams,
        length_penalty=length_penalty,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        version=version,
        return_log_probs=log_probs or None,
        return_attention=(plot is not None) or None,
    )
    view: View
    with Client(url, patience_seconds=patience) as client:
        shape = WriterShape.of(client.model(model))
        inputs = _inputs(texts or [], file, shape, first, limit, split_names(time), gaps)
        view = JsonView() if as_json else TableView(table_console(), shape)
        if plot is not None and inputs is not None and len(inputs) > MAX_PANELS:
            raise PictureError(f"--plot has room for {MAX_PANELS} inputs, and there are {len(inputs)}: give fewer")
        panels: list[Panel] = []
        num_done = 0
        for part in _parts(inputs, options):
            shown: Sequence[Source | None] = part or [None]
            with late_progress(Console(stderr=True), f"{model} writes", "inputs", disable=stream) as report:
                report(num_done, len(inputs or shown))
                made = (_told if stream else _asked)(client, model, part, options, view, num_done)
            view.whole(made, shown, num_done)
            panels += _panels(made, shown, shape)
            num_done += len(shown)
            # What was drawn by chance for the first request holds for all, so that it can be had again.
            options["seed"] = made.seed
    if plot is not None:
        draw(plot, panels)
        Console(stderr=as_json).print(f"attention drawn to {escape(str(plot))}", highlight=False, soft_wrap=True)


def _inputs(
    texts: Sequence[str],
    file: Path | None,
    shape: WriterShape,
    first: str,
    limit: int,
    time: Sequence[str],
    gaps: Gaps | None,
) -> list[Source] | None:
    if file is not None:
        return file_inputs(file, shape.model_input, first=first, limit=limit or None, time=time, gaps=gaps, warn=_warn)
    reads_source = shape.model_input is not None
    return typed_inputs(texts, sys.stdin, reads_source=reads_source, is_piped=not sys.stdin.isatty())


def _warn(sentence: str) -> None:
    Console(stderr=True).print(f"[yellow]{escape(sentence)}[/]", highlight=False, soft_wrap=True)


def _parts(inputs: list[Source] | None, options: GenerateOptions) -> Iterator[list[Source] | None]:
    """The inputs of each request. A seed counts inputs from the first of its request."""
    if inputs is None:
        yield None
        return
    num_beams = options["num_beams"] or DEFAULT_BEAMS if options["method"] == "beam" else 1
    num_inputs = max(1, LANES_PER_REQUEST // max(num_beams, options["num_return"] or 1))
    for start in range(0, len(inputs), num_inputs):
        yield inputs[start : start + num_inputs]


def _asked(
    client: Client, model: str, inputs: list[Source] | None, options: GenerateOptions, _view: View, _num_done: int
) -> Generation:
    return client.generate(model, inputs, **options)


def _told(
    client: Client, model: str, inputs: list[Source] | None, options: GenerateOptions, view: View, num_done: int
) -> Generation:
    made = None
    with view.growing(inputs or [None], num_done) as tell:
        for item in client.generate_stream(model, inputs, **options):
            if isinstance(item, Generation):
                made = item
            else:
                tell(item)
    assert made is not None, "a stream ends with the whole answer, or raises"
    return made


def _panels(made: Generation, inputs: Sequence[Source | None], shape: WriterShape) -> list[Panel]:
    """What the first output of each input looked at; an empty output has looked at nothing."""
    panels = []
    for index, (output, source) in enumerate(zip(made.firsts, inputs, strict=True)):
        if output.attention is None or not output.attention.size:
            continue
        title = source if isinstance(source, str) else f"{made.model}, input {index + 1}"
        letters = symbols_of(source, shape.source_separator)
        written = symbols_of(output.value, shape.target_separator)
        panels.append(Panel(title, output.attention, letters, written, output.score))
    return panels
