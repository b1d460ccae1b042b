"""``ostinato run``: the offline run of a model over whole sequences, which is what live answers equal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from ostinato.commands.options import (
    DeviceName,
    FirstRow,
    GapsOption,
    RenamedColumns,
    RowLimit,
    TimeNames,
    renamed_columns,
    split_names,
)
from ostinato.commands.progress import late_progress
from ostinato.commands.run_columns import (
    BackfillOptions,
    IdColumn,
    LastOnly,
    MemoryLimit,
    OnWrongRow,
    PartRows,
    RayAddress,
    Restart,
    WorkerCount,
    is_backfill,
    run_columns,
)
from ostinato.commands.tables import table_console
from ostinato.errors import CommandError, SettingsError
from ostinato.extras import require
from ostinato.tables.gaps import Gaps
from ostinato.tools.backfill.asked import PART_ROWS, OnError
from ostinato.tools.offline_answers import answers, tensor_answers
from ostinato.tools.output_place import check_output_place
from ostinato.tools.sequence_files import (
    WRITTEN,
    SequenceFile,
    print_csv,
    print_json,
    read_sequences,
    shown,
    write_outputs,
)
from ostinato.tools.service_settings import choose_device, settings_of_the_service
from ostinato.tools.tensor_files import (
    TensorFile,
    count_steps,
    cut_steps,
    read_context,
    read_tensor_file,
    shown_tensors,
    write_tensor_file,
)

if TYPE_CHECKING:
    from ostinato.service.artifact.manifest import Manifest

AnyFile = TypeVar("AnyFile", SequenceFile, TensorFile)
_OF_ONE = "is for files that are read at once, and not for columns"
_OF_COLUMNS = "is for columns that are written to Parquet: --output OUT.parquet"


def run(
    model_directory: Annotated[
        Path, typer.Argument(help="A version's directory, or a model's: its latest version.", metavar="MODEL_DIRECTORY")
    ],
    file: Annotated[
        Path,
        typer.Argument(
            help="Sequences: a table (CSV), .npy, .npz, .safetensors, .json, .parquet, .arrow; or a folder.",
            metavar="FILE",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help=f"File to write: {', '.join(WRITTEN)}; .parquet of columns.",
            show_default="CSV on the standard output",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON in the form of an answer of predict, instead of CSV.")
    ] = False,
    column: RenamedColumns = None,
    time: TimeNames = "",
    gaps: GapsOption = None,
    first: FirstRow = "",
    limit: RowLimit = 0,
    align: Annotated[
        bool,
        typer.Option("--align", help="Put outputs that have a delay next to the steps that they are about."),
    ] = False,
    context: Annotated[
        str,
        typer.Option(
            help="The model's context, which is the same in all steps: a JSON object, or a file with one. A list "
            "has one for each sequence.",
            show_default="the file's",
        ),
    ] = "",
    id_column: IdColumn = "",
    last: LastOnly = False,
    on_error: OnWrongRow = OnError.STOP,
    memory: MemoryLimit = "1GiB",
    workers: WorkerCount = 0,
    part_rows: PartRows = PART_ROWS,
    restart: Restart = False,
    ray: RayAddress = "",
    device: DeviceName = None,
) -> None:
    """Run a model offline over whole sequences, from its initial state. The numbers equal a live session's answers to
    the bit, however the sequence was cut and whatever shared its batch. This needs no service and no torch.

    A table is one sequence, read as 'ostinato replay' reads it. An array of two axes is one sequence, steps by
    features; an array of three axes is several; each array of a file is a sequence. JSON is the body of predict, a list
    of sequences, or one. NaN and null are missing values. Numbers have the fewest digits that give the same bits back.

    For a model with several inputs, a table has the columns of all of them, and arrays and JSON objects have the names
    of the inputs and of the context.

    Files of columns (Parquet, or Arrow's .arrow and .feather; a folder of them, or a pattern in quotes) hold millions
    of sequences: a row for each step with [bold]--id[/], or a row for each sequence, whose columns are lists. The
    output is Parquet, in the order of the rows. It uses no more memory than [bold]--memory[/], and after a kill the
    same command continues. A table of one sequence in Parquet is read like any other table.

    A model with framing answers once a frame: the steps in the output are those after which a frame was complete.

    The promise in the manifest says how the graph is run: with 'any' over each sequence at once; with 'fixed' (and
    always on a GPU) a step at a time in one shape; with 'alone' one row and one step a run. A whole
    sequence is run by itself.

    [bold]Examples[/]

    ostinato run repository/beijing-lstm/1 hours.csv --output forecasts.csv

    ostinato run repository/beijing-lstm hours.csv.xz --from 2014-12-01 --limit 48

    ostinato run repository/digits/1 recordings.npz --output answers.npz

    ostinato run repository/panel/1 days.csv --context '{"customer": [0.5, 1, 2]}'

    ostinato run repository/w1/1 readings.parquet --id device --time at --output answers.parquet

    ostinato run repository/w1/1 readings/ --id device --time at --output answers --ray auto
    """
    require("onnxruntime", __name__)
    choose_device(device)
    if output is not None:
        check_output_place(output, file)
    if is_backfill(file, output, id_column, ray):
        _refuse({"--json": as_json, "--gaps": gaps, "--from": first, "--limit": limit, "--align": align}, _OF_ONE)
        _refuse({"--context": context}, "is in columns of the file, by the names of its features")
        asked = BackfillOptions(
            renamed_columns(column), id_column, time, last, on_error, memory, workers, part_rows, restart, ray
        )
        run_columns(table_console(stderr=True), find_version(model_directory), file, output, asked)
        return
    _refuse({"--last": last, "--restart": restart, "--on-error skip": on_error is OnError.SKIP}, _OF_COLUMNS)
    from ostinato.service.catalogue.loading import load_offline
    from ostinato.service.catalogue.tried import try_version

    console = Console(stderr=True)
    if output is not None and output.suffix.lower() not in WRITTEN:
        raise SettingsError(f"--output {output}: what is written ends in one of {', '.join(WRITTEN)}")
    directory = find_version(model_directory)
    settings = settings_of_the_service()
    with late_progress(console, f"running {escape(file.name)}", "steps") as report:
        try_version(directory, settings)
        loaded = load_offline(directory, settings)
        manifest, runner = loaded.manifest, loaded.runner
        may_have_words = file.suffix.lower() == ".json" and any(part.categories for part in manifest.inputs)
        is_flat = manifest.given.is_flat and manifest.made.is_flat
        if not is_flat or manifest.context or manifest.framing or context or may_have_words:
            tensors = _read_tensors(manifest, file, context, column, time, gaps, first, limit)
            _warn(console, file, tensors.warnings)
            rows = tensor_answers(manifest, runner, file, tensors, report)
            _tell_delay(console, manifest, align=align)
            if align:
                rows, tensors = _aligned(manifest, rows, tensors)
            _write_tensors(console, manifest, tensors, rows, output, as_json=as_json)
            return
        part, made = (each.model_dump(mode="json") for each in (manifest.inputs[0], manifest.outputs[0]))
        given = read_sequences(
            file,
            part,
            renamed=renamed_columns(column),
            time=split_names(time),
            gaps=gaps,
            first=first,
            limit=limit or None,
        )
        _warn(console, file, given.warnings)
        outputs = answers(runner, file, given, report)
        _tell_delay(console, manifest, align=align)
        if align:
            outputs, given = _aligned(manifest, outputs, given)
    _tell_unsound(console, sum(int(manifest.outputs[0].is_unsound(each).any(axis=1).sum()) for each in outputs))
    if output is not None:
        write_outputs(output, given, outputs, made)
        _tell_written(console, output, manifest, len(outputs), sum(map(len, given.sequences)))
    else:
        sys.stdout.write(shown(print_json if as_json else print_csv, given, outputs, made))


def _refuse(flags: Mapping[str, object], why: str) -> None:
    for name, value in flags.items():
        if value:
            raise SettingsError(f"{name} {why}")


def _read_tensors(
    manifest: Manifest,
    file: Path,
    context: str,
    column: list[str] | None,
    time: str,
    gaps: Gaps | None,
    first: str,
    limit: int,
) -> TensorFile:
    inputs, contexts = (
        [part.model_dump(mode="json") for part in parts] for parts in (manifest.inputs, manifest.context)
    )
    return read_tensor_file(
        file,
        inputs,
        contexts,
        read_context(context),
        renamed=renamed_columns(column),
        time=split_names(time),
        gaps=gaps,
        first=first,
        limit=limit or None,
    )


def _write_tensors(
    console: Console,
    manifest: Manifest,
    given: TensorFile,
    outputs: list[NDArray[Any]],
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    made = manifest.made
    unsound = 0
    for rows in outputs:
        flat = zip(made.parts, made.flat(rows), strict=True)
        unsound += int(np.any([part.is_unsound(numbers).any(axis=-1) for part, numbers in flat], axis=0).sum())
    _tell_unsound(console, unsound)
    if output is None:
        sys.stdout.write(shown_tensors(given, outputs, made, as_json=as_json))
        return
    write_tensor_file(output, given, outputs, made)
    _tell_written(console, output, manifest, len(outputs), sum(map(count_steps, given.sequences)))


def _aligned(manifest: Manifest, outputs: list[NDArray[Any]], given: AnyFile) -> tuple[list[NDArray[Any]], AnyFile]:
    """Outputs by the steps that they speak of, and of the sequences those steps."""
    aligned = [manifest.made.align(rows) for rows in outputs]
    longest = max(part.delay for part in manifest.outputs)
    sequences = [cut_steps(each, max(count_steps(each) - longest, 0)) for each in given.sequences]
    return aligned, replace(given, sequences=sequences)


def _tell_delay(console: Console, manifest: Manifest, *, align: bool) -> None:
    late = [part for part in manifest.outputs if part.delay]
    if late and not align:
        words = ", ".join(f"{part.name} {_count(part.delay, 'step')}" for part in late)
        console.print(
            f"[yellow]outputs speak of a step before ({escape(words)}): --align puts them by the steps that they speak "
            "of[/]",
            highlight=False,
            soft_wrap=True,
        )


def _warn(console: Console, file: Path, warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"[yellow]{escape(f'{file}: {warning}')}[/]", highlight=False, soft_wrap=True)


def _tell_unsound(console: Console, num_steps: int) -> None:
    if num_steps:
        console.print(
            f"[yellow]no answer to {_count(num_steps, 'step')} (NaN or infinity): a live session refuses such a step, "
            "and is then as it was before it[/]",
            highlight=False,
            soft_wrap=True,
        )


def _tell_written(console: Console, output: Path, manifest: Manifest, num_sequences: int, num_steps: int) -> None:
    console.print(
        escape(
            f"{output}: {_count(num_sequences, 'sequence')}, {_count(num_steps, 'step')}, promise {manifest.promise}"
        ),
        highlight=False,
        soft_wrap=True,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")


def find_version(directory: Path) -> Path:
    """A version's directory, or that of a model's latest version; which answers steps or sequences.

    Raises:
        SettingsError: there is no version in it.
        CommandError: it does not run over sequences.
        ModelRejected: its manifest cannot be read.
    """
    from ostinato.service.artifact.manifest import MANIFEST_FILE, Manifest
    from ostinato.service.catalogue.catalogue import version_key

    directory = directory.absolute()
    if not (directory / MANIFEST_FILE).is_file():
        versions = sorted(
            (path.parent for path in directory.glob(f"*/{MANIFEST_FILE}")), key=lambda v: version_key(v.name)
        )
        if not versions:
            raise SettingsError(
                f"{directory}: there is no {MANIFEST_FILE} in it or in a folder of it; name repository/MODEL/VERSION"
            )
        directory = versions[-1]
    manifest = Manifest.read(directory)
    if manifest.task not in ("recurrent", "sequence"):
        raise CommandError(
            f"{directory}: {manifest.name!r} is of the task {manifest.task!r} and answers no steps: serve it, and "
            f"write with it by 'ostinato generate --model {manifest.name}'"
        )
    return directory
