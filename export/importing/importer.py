"""Import of a foreign ONNX graph: what it carries is found, it is made to stream, and proved against the file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from ostinato.export.errors import ExportError
from ostinato.export.importing.described import Described
from ostinato.export.importing.examples import read_examples
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.finding import Finding, ImportHints
from ostinato.export.importing.found import FileSummary
from ostinato.export.importing.frames import find
from ostinato.export.importing.narrowed import in_float32
from ostinato.export.importing.one_line import one_line
from ostinato.export.importing.proved import finish_sequence, finish_sessions
from ostinato.export.importing.reading import read_graph
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.quantized import check_quantization, quantize_version
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.framing import Framing


def import_graph(
    path: Path | str,
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    states: Mapping[str, str] | None = None,
    framing: Framing | None = None,
    constants: Mapping[str, Any] | None = None,
    inputs: Sequence[str] = (),
    axes: Mapping[str, Sequence[str | int]] | None = None,
    features: Sequence[str] = (),
    examples: Path | None = None,
    quantize: str = "",
    max_loss: float | None = None,
    force: bool = False,
    confirm: Callable[[FileSummary], bool] = lambda _found: True,
    report: ProofReport = lambda _done, _total: None,
    model: ir.Model | None = None,
    initial: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Exported:
    """Make a version of somebody else's ONNX file in ``<repository>/<name>/<version>/``.

    Args:
        path: the ONNX file.
        states: input -> output that is its next value, where they are not found, or found wrongly.
        framing: of a graph that is given windows.
        constants: input -> what it is in every run.
        inputs: which inputs are fed at each step; others are what a sequence has once (context).
        axes: input -> its axes: ``B``, ``T`` and sizes.
        features: names of the numbers of a step of the only input.
        examples: a file of arrays by input's name: what the inputs are like, and what states begin with.
        quantize: ``int8`` or ``int8-rows``: weights in eight bits.
        max_loss: what that may cost at most; None = anything.
        force: replace the version where it exists.
        confirm: is shown what was found before anything is written; false = nothing is.
        report: called with how much of the proof is done, and of how much.
        model: what is in the file, changed; None = it is read.
        initial: input of a state -> what it begins with: a number, or one row.
        notes: more to tell.

    Raises:
        ExportError: the file cannot be served so; one line says why. Nothing is written then.
    """
    path = Path(path)
    check_quantization(quantize, max_loss)
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(Path(folder))
        hints = ImportHints(
            states=dict(states or {}),
            initial=dict(initial or {}),
            constants=dict(constants or {}),
            inputs=tuple(inputs),
            axes=dict(axes or {}),
            features=tuple(features),
            framing=framing,
            examples=read_examples(examples) if examples is not None else {},
        )
        with one_line(path):
            finding, is_unchanged = _found(path, read_graph(path) if model is None else model, hints, bench)
            finding = replace(finding, notes=(*notes, *finding.notes))
            described = Described(finding, hints)
        if not confirm(described.found(str(path))):
            raise ExportError("not confirmed: nothing was written")
        place = Path(folder) / "in_float" if quantize else Path(repository)
        with one_line(path), new_version(place, name, version, force=force) as new:
            finish = finish_sessions if finding.streams else finish_sequence
            exported = finish(new, described, path, report, is_unchanged=is_unchanged and model is None)
        if not quantize:
            return exported
        return quantize_version(exported, Path(repository), to=quantize, max_loss=max_loss, force=force)


def _found(path: Path, model: ir.Model, hints: ImportHints, bench: Workbench) -> tuple[Finding, bool]:
    """What is found of a graph, and whether it is the file's own; in float32, where it does not run in its own floats.

    Raises:
        ExportError: it does not run in float32 either.
    """
    try:
        return find(model, hints, bench), True
    except ExportError as error:
        narrow = in_float32(model)
        if narrow is None:
            raise
        made, floats = narrow
        try:
            finding = find(made, hints, bench)
        except ExportError:
            raise error from None
        reason = str(error).removeprefix(f"{path}: ").partition("; where its axes")[0]
        note = f"the file is in {floats}, and does not run so ({reason}): it is served in float32"
        return replace(finding, notes=(note, *finding.notes)), False
