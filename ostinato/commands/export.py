"""``ostinato export``: a run directory, or any module that keeps the contract, becomes a version in the repository."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ostinato.commands.export_view import export_summary, proof_table
from ostinato.commands.options import MaxLoss, Quantize, split_names
from ostinato.commands.progress import progress_bar, reporter
from ostinato.commands.tables import table_console
from ostinato.extras import require

if TYPE_CHECKING:
    from ostinato.export.version_directory import Exported


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="Run directory, or package.module:function, or file.py:function; the function returns the module.",
            metavar="SOURCE",
        ),
    ],
    repository: Annotated[Path, typer.Option(help="Repository to write to.")] = Path("repository"),
    name: Annotated[str, typer.Option(help="Model's name.", show_default="the recipe's or the function's")] = "",
    version: Annotated[str, typer.Option(help="Version to write.")] = "1",
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input of the module: its name, axes (B batch, T steps, and sizes) and dtype; may be repeated.",
            metavar="NAME:SHAPE[:DTYPE]",
            show_default="one, by --input-shape",
        ),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(
            help="An input that is the same in all steps of a sequence, as customer:B,4; may be repeated.",
            metavar="NAME:SHAPE[:DTYPE]",
            show_default="none",
        ),
    ] = None,
    inputs_file: Annotated[
        Path | None,
        typer.Option("--inputs", help="TOML or JSON file with inputs, context and outputs.", show_default="none"),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to load: .ckpt, .pt, .pth, .safetensors.", show_default="as returned"),
    ] = None,
    steps_per_answer: Annotated[
        int, typer.Option(min=1, help="Steps that the module takes for one answer; one step of a session is so many.")
    ] = 1,
    framing: Annotated[
        str,
        typer.Option(
            help="The module takes windows of WINDOW steps, one for every HOP new steps, and sessions are sent "
            "steps. The first window begins with zeros; with :full it begins after WINDOW steps.",
            metavar="WINDOW:HOP[:full]",
            show_default="none",
        ),
    ] = "",
    delay: Annotated[
        str,
        typer.Option(
            help="The answer to step t is about step t - D, as 3; for several outputs by name, as mean=3,kind=0",
            metavar="D",
            show_default="none",
        ),
    ] = "",
    input_shape: Annotated[
        str, typer.Option(help="Axes of the module's input: B batch, T steps, and sizes. Not for run directories.")
    ] = "B,T,1",
    input_dtype: Annotated[str, typer.Option(help="Dtype of the module's input.")] = "float32",
    features: Annotated[
        str, typer.Option(help="Names of the input's numbers: load,temperature", show_default="input_0,input_1,...")
    ] = "",
    output_features: Annotated[
        str, typer.Option(help="Names of the output's numbers.", show_default="output_0,output_1,...")
    ] = "",
    states: Annotated[
        str, typer.Option(help="Names of the states: h,c", show_default="those of forward's arguments")
    ] = "",
    feedback: Annotated[
        str,
        typer.Option(help="Which output predicts the next value of which input: forecast=load", show_default="none"),
    ] = "",
    num_codes: Annotated[
        int,
        typer.Option(
            min=0, help="An input of whole numbers, as tokens, has the codes 0 to N-1; 0 = not known.", metavar="N"
        ),
    ] = 0,
    missing: Annotated[bool, typer.Option("--missing", help="The module takes NaN for a missing value.")] = False,
    step_by_step: Annotated[
        bool,
        typer.Option(
            "--step-by-step", help="Write a graph of one step, which is run once for each step; loops do not need it."
        ),
    ] = False,
    minus_infinity: Annotated[
        bool, typer.Option("--minus-infinity", help="The output may be minus infinity (null in JSON), as log(0) is.")
    ] = False,
    task: Annotated[
        str,
        typer.Option(
            help="recurrent: steps, with states. sequence: whole sequences, forward(x, lengths).",
            show_default="found: 'sequence' if the module reads in both directions or takes lengths",
        ),
    ] = "",
    description: Annotated[str, typer.Option(help="What the model does, for people.", show_default="nothing")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the model.", show_default="none")] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Export and prove, show the result, and write nothing.")
    ] = False,
    quantize: Quantize = "",
    max_loss: MaxLoss = None,
    keep_inputs: Annotated[
        int,
        typer.Option(
            min=0,
            help="A session keeps its last N steps, so that it can be migrated to another version.",
            metavar="N",
        ),
    ] = 0,
    time_step: Annotated[
        str,
        typer.Option(
            help="The time between two steps, as '1 hour' or '1 month', for sessions that are sent times ('at').",
            metavar="STEP",
            show_default="as in training",
        ),
    ] = "",
    zone: Annotated[
        str,
        typer.Option(
            help="Time zone of the times and their features, as Europe/Berlin.",
            metavar="NAME",
            show_default="UTC",
        ),
    ] = "",
    origin: Annotated[
        str,
        typer.Option(
            help="A moment that is a step, where steps are not at midnight or on the first of a month. With "
            "2026-01-05 weeks begin on Mondays, with 2026-01-31 steps are the ends of months.",
            metavar="TIME",
            show_default="as in training",
        ),
    ] = "",
    max_fill: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100_000,
            help="How many steps that were not sent are filled in as missing at most, before a chunk and in it.",
            metavar="N",
            show_default="1000",
        ),
    ] = None,
    interval: Annotated[
        str,
        typer.Option(
            help="Of an irregular series: the feature with the time since the step before, its unit (second, "
            "minute, hour, day), and its first number (none = missing), as gap:minute:0",
            metavar="FEATURE[:UNIT[:FIRST]]",
            show_default="none",
        ),
    ] = "",
    calibrate: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of a forecaster's run: sessions answer intervals up to N steps ahead, and anomalies. They follow "
            "from how far its forecasts were off in the validation part.",
            metavar="N",
        ),
    ] = 0,
    table: Annotated[
        Path | None,
        typer.Option(help="With --calibrate: the table of the training.", show_default="where the recipe has it"),
    ] = None,
    alarm: Annotated[
        str,
        typer.Option(help="With --calibrate: the scores at which an anomaly begins and ends.", metavar="BEGIN:END"),
    ] = "0.99:0.9",
    crossing: Annotated[
        list[str] | None,
        typer.Option(
            help="With --calibrate: report when a feature is above (or below) a limit, until it is back: "
            "'pm2.5>150:140'",
            metavar="FEATURE>LIMIT[:UNTIL]",
            show_default="none",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the version where it exists.")] = False,
    bentoml: Annotated[bool, typer.Option("--bentoml", help="Save to the BentoML model store, too.")] = False,
) -> None:
    """Export a module to ONNX and prove it: for any batch, any length and any chunks, with the state carried.

    The module has forward(x, *state) -> (y, *state) and initial_state(batch_size), or the same in another structure
    (forward(x, state=None), dicts, tuples): docs/export.md has a table. Or it answers whole sequences, forward(x,
    lengths) -> y, as a network that reads in both directions does. The graph is written with golden answers of the
    trained network, and a manifest that says how near the graph comes to it.

    [bold]Examples:[/] a run, a run with intervals, a module of your own, one of several inputs

    ostinato export runs/beijing-lstm --repository repository --version 1

    ostinato export runs/beijing-lstm --calibrate 24 --table beijing_pm25_hourly.csv.xz

    ostinato export my_package.networks:load_gate --input-shape B,T,2 --features load,temperature

    ostinato export net.py:load --input load:B,T,2 --input weekday:B,T:int64 --context customer:B,4
    """
    require("torch", __name__)
    if bentoml:
        require("bentoml", __name__)
    from ostinato.export.calibrated import CalibrationOptions, calibrated, check_calibration
    from ostinato.export.kept_inputs import keeping_inputs
    from ostinato.export.quantized import make_quantized
    from ostinato.export.runs.registry import export_run
    from ostinato.export.told_time import ToldTime, with_time
    from ostinato.export.user_module import ModuleOptions, export_source

    console = table_console()
    options = ModuleOptions(
        inputs=tuple(inputs or ()),
        context=tuple(context or ()),
        inputs_file=inputs_file,
        weights=weights,
        steps_per_answer=steps_per_answer,
        framing=framing,
        delay=split_names(delay),
        input_shape=input_shape,
        input_dtype=input_dtype,
        features=split_names(features),
        output_features=split_names(output_features),
        states=split_names(states),
        feedback=split_names(feedback),
        num_codes=num_codes,
        missing=missing,
        step_by_step=step_by_step,
        minus_infinity=minus_infinity,
        task=task,
        description=description,
        licence=licence,
    )
    told = ToldTime(time_step, zone, interval, origin, max_fill)
    told.check()
    calibration = CalibrationOptions(calibrate, table, alarm, tuple(crossing or ()))
    if calibrate:
        check_calibration(source, calibration)
    with progress_bar(console) as bar, _place(repository, check=check) as place:
        report = reporter(bar, f"export and prove {source}")

        def make(repository: Path) -> Exported:
            if ":" in source:
                return export_source(
                    source, options, repository, name=name, version=version, force=force, report=report
                )
            return export_run(Path(source), repository, name=name, version=version, force=force, report=report)

        exported = make_quantized(make, place, to=quantize, max_loss=max_loss, force=force)
        exported = with_time(exported, told)
        if keep_inputs:
            exported = keeping_inputs(exported, keep_inputs)
        if calibrate:
            exported = calibrated(exported, source, calibration)
    console.print(proof_table(exported, "the graph against the trained network"))
    for note in exported.proof.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    title = f"task {exported.manifest.task}" if check else str(exported.directory)
    console.print(export_summary(exported, title))
    if check:
        console.print("checked: nothing was written", highlight=False)
    elif bentoml:
        from ostinato.export.bentoml_store import save_to_store

        console.print(f"BentoML model store: {save_to_store(exported.directory)}", highlight=False)


@contextlib.contextmanager
def _place(repository: Path, *, check: bool) -> Iterator[Path]:
    """The repository, or one that is gone when all has been looked at."""
    if not check:
        yield repository
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
