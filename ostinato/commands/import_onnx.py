"""``ostinato import``: somebody else's ONNX file becomes a version in the repository, its states found and proved."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.commands.export_view import export_summary, proof_table
from ostinato.commands.found_table import found_table
from ostinato.commands.guard import fork_under_limits, is_forked, run_in_a_fork
from ostinato.commands.options import MaxLoss, Quantize, split_names
from ostinato.commands.progress import progress_bar, reporter
from ostinato.commands.tables import table_console
from ostinato.errors import CommandError
from ostinato.extras import require

if TYPE_CHECKING:
    from ostinato.export.importing.found import FileSummary
    from ostinato.export.importing.triton import TritonModel
    from ostinato.export.version_directory import Exported
    from ostinato.service.artifact.framing import Framing


def import_(
    file: Annotated[
        Path | None, typer.Argument(help="The ONNX file.", metavar="FILE", show_default="those of --triton")
    ] = None,
    name: Annotated[str, typer.Option(help="Model's name.", show_default="the file's")] = "",
    repository: Annotated[Path, typer.Option(help="Repository to write to.")] = Path("repository"),
    version: Annotated[str, typer.Option(help="Version to write.", show_default="1, or all of --triton")] = "",
    triton: Annotated[
        Path | None,
        typer.Option(
            help="A model repository of Triton: import all its models and versions, or those of --name and --version.",
            metavar="MODEL_REPOSITORY",
            show_default="none",
        ),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="A state: an input, and the output with its next value; may be repeated.",
            metavar="IN=OUT",
            show_default="found",
        ),
    ] = None,
    framing: Annotated[
        str,
        typer.Option(
            help="For a graph that takes windows: their steps, and how many of these are new, as 576:512",
            metavar="WINDOW:HOP",
            show_default="none",
        ),
    ] = "",
    constants: Annotated[
        list[str] | None,
        typer.Option(
            "--constant",
            help="An input that is the same in every run, as a sample rate: sr=16000; may be repeated.",
            metavar="NAME=VALUE",
            show_default="none",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="An input that is fed at each step; may be repeated. The others are given once for a sequence.",
            metavar="NAME",
            show_default="all that are not states",
        ),
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            help="Axes of an input: B batch, T steps, and sizes, as x=B,T,40; may be repeated.",
            metavar="NAME=AXES",
            show_default="found",
        ),
    ] = None,
    features: Annotated[
        str, typer.Option(help="Names of the input's numbers: load,temperature", show_default="input_0,input_1,...")
    ] = "",
    examples: Annotated[
        Path | None,
        typer.Option(
            help="Examples of the inputs, and first values of states: .npz or .safetensors, arrays by input.",
            show_default="none",
        ),
    ] = None,
    quantize: Quantize = "",
    max_loss: MaxLoss = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the version where it exists.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """Make a model from an ONNX file of somebody else. Its states are found and shown, and the model is proved against
    the file.

    Say what is not found: --state h=new_h, --axes x=B,T,40. Nothing is written before the proof is done.

    [bold]Examples:[/] a file, one with a sample rate, the models of Triton

    ostinato import policy.onnx --name policy --repository repository

    ostinato import detector.onnx --name detector --constant sr=16000 --framing 576:512

    ostinato import --triton models --repository repository
    """
    require("torch", __name__)
    if triton is None:
        run_in_a_fork(file or Path(), repository)
    console = table_console()
    of_any: dict[str, Any] = {"force": force, "quantize": quantize, "max_loss": max_loss}
    of_file: dict[str, Any] = {
        "states": _pairs(states, "--state", "IN=OUT"),
        "framing": _framing(framing),
        "constants": _values(constants),
        "inputs": tuple(inputs or ()),
        "axes": _axes(axes),
        "features": split_names(features),
        "examples": examples,
    }
    if triton is not None:
        options = ("--state", "--framing", "--constant", "--input", "--axes", "--features", "--examples")
        given = [option for option, value in zip(options, of_file.values(), strict=True) if value]
        if said := ["FILE"] * (file is not None) + given:
            raise typer.BadParameter(f"{said[0]} is not for --triton, whose files say all of it", param_hint="--triton")
        _import_repository(console, triton, repository, name, version, yes=yes, **of_any)
        return
    if file is None:
        raise typer.BadParameter("one is needed, or --triton with a model repository", param_hint="FILE")
    from ostinato.export.importing.importer import import_graph

    make = partial(import_graph, file, repository, name=name or file.stem, version=version or "1", **of_file, **of_any)
    _import(console, file.name, make, yes=yes)


def _import_repository(
    console: Console, source: Path, repository: Path, name: str, version: str, *, yes: bool, **options: Any
) -> None:
    """Import the models of a repository of Triton, each in a fork. One that cannot be is reported, and the others
    continue.

    Raises:
        Exit: one that could have been failed, or there was none.
    """
    from ostinato.export.importing.triton import triton_models

    found = triton_models(source, name, version)
    failed = []
    for each in found:
        console.print(f"[bold]{escape(f'{each.name}/{each.version}'.rstrip('/'))}[/]", highlight=False)
        try:
            status = _import_triton(console, each, repository, yes=yes, **options)
        except CommandError as error:  # its fork died
            status = _not_imported(console, error)
        if status:
            failed.append(each)
    if any(not each.refused for each in failed) or len(failed) == len(found):
        raise typer.Exit(1)


def _import_triton(console: Console, model: TritonModel, repository: Path, *, yes: bool, **options: Any) -> int:
    """Import one of them in a fork of its own, which it may kill; the status of that."""
    from ostinato.export.errors import ExportError
    from ostinato.export.importing.triton_import import import_triton

    status = None if model.refused else fork_under_limits(model.path, repository)
    if status is not None:
        return status
    try:
        label = f"{model.name}/{model.version}"
        _import(console, label, partial(import_triton, model, repository, **options), yes=yes)
        status = 0
    except ExportError as error:
        status = _not_imported(console, error)
    if is_forked() and not model.refused:  # the others are for the process that waits
        raise typer.Exit(status)
    return status


def _not_imported(console: Console, error: Exception) -> int:
    console.print(f"[red]not imported:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return 1


def _import(console: Console, what: str, make: Callable[..., Exported], *, yes: bool) -> None:
    """Show what was found, ask, prove, and show what came of it."""
    with progress_bar(console) as bar:
        bar.stop()

        def confirm(found: FileSummary) -> bool:
            show_found(console, found)
            if not (yes or _agrees()):
                return False
            bar.start()
            return True

        exported = make(confirm=confirm, report=reporter(bar, f"import and prove {what}"))
    console.print(proof_table(exported, "the graph against the file"))
    for note in exported.proof.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    console.print(export_summary(exported, str(exported.directory)))


def show_found(console: Console, found: FileSummary) -> None:
    """Print what was found of a file: its tensors, and what is to be said of it."""
    console.print(found_table(found))
    for sentences, word, colour in (
        (found.rewired, "rewired", "cyan"),
        (found.obstacles, "cannot stream", "red"),
        (found.notes, "note", "yellow"),
        (found.serving, "served", "green"),
    ):
        for sentence in sentences:
            console.print(f"[{colour}]{word}:[/] {escape(sentence)}", highlight=False, soft_wrap=True)


def _agrees() -> bool:
    try:
        return typer.confirm("Import it so?", default=True)
    except typer.Abort:  # nobody is there to answer
        return False


def _pairs(given: list[str] | None, option: str, form: str, read: Callable[[str], Any] = str) -> dict[str, Any]:
    """Name -> value of an option that may be repeated.

    Raises:
        BadParameter: one is not of its form.
    """
    found = {}
    for each in given or []:
        key, equals, value = each.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"{each!r} is not of the form {form}", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"{key!r} is said twice", param_hint=option)
        found[key] = read(value)
    return found


def _values(given: list[str] | None) -> dict[str, Any]:
    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise typer.BadParameter(
                f"{text!r} is no number, true, false, or list of these", param_hint="--constant"
            ) from error

    return _pairs(given, "--constant", "NAME=VALUE", read)


def _axes(given: list[str] | None) -> dict[str, tuple[str | int, ...]]:
    def read(text: str) -> tuple[str | int, ...]:
        parts = [part.strip() for part in text.split(",")]
        if not all(part in ("B", "T") or (part.isascii() and part.isdigit() and int(part) > 0) for part in parts):
            raise typer.BadParameter(f"{text!r}: axes are B, T and sizes, with commas between", param_hint="--axes")
        return tuple(int(part) if part.isdigit() else part for part in parts)

    return _pairs(given, "--axes", "NAME=B,T,40", read)


def _framing(text: str) -> Framing | None:
    from ostinato.service.artifact.framing import Framing
    from ostinato.service.errors import InvalidInput

    try:
        return Framing.parse(text) if text else None
    except InvalidInput as error:
        raise typer.BadParameter(str(error), param_hint="--framing") from error
