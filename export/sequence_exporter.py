"""Export of a trained module that answers whole sequences: graph, manifest and golden answers, all proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ostinato.export.contracts.narrowing import PROBES, check_answers_in_float32, in_float32
from ostinato.export.contracts.preparation import name_of
from ostinato.export.contracts.sequence import SequenceContract, inspect_sequence_module
from ostinato.export.errors import ExportError
from ostinato.export.graphs.layers import with_onnx_layers
from ostinato.export.graphs.ranges import MAY_BE_MISSING
from ostinato.export.graphs.recurrent import Signature, open_exported
from ostinato.export.graphs.untranslated import unloadable
from ostinato.export.graphs.whole import write_whole
from ostinato.export.proofs.fault import sequence_promise_notes
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.proofs.sequence import (
    check_sequences_of_network,
    golden_sequences,
    prove_sequences,
    sequence_promise,
    sequence_runner,
)
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.manifest import ANY, Manifest, Promise
from ostinato.service.artifact.tensors import Input
from ostinato.service.engine.sequence.runner import SequenceRunner
from ostinato.service.errors import ModelRejected, RunFailed

SEQUENCE_FILE = "sequence.onnx"


def export_sequence(
    module: nn.Module,
    inputs: Input | Sequence[Input],
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    context: Sequence[Input] = (),
    output_features: Sequence[str] = (),
    minus_infinity: bool = False,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export a trained module of whole sequences, as one that reads them both ways, to
    ``<repository>/<name>/<version>/``.

    The module has ``forward(x, lengths) -> y`` or ``forward(x) -> y``, and no states; see
    ``ostinato.export.contracts.sequence``. What it answers has the steps (``[B, T, O]``) or is one answer a sequence
    (``[B, O]``)::

        export_sequence(
            tagger,
            Input(name="inputs", dtype="int64", shape=("B", "T"), features=("word",), num_codes=5000),
            "repository",
            name="tagger",
        )

    Without lengths, each sequence is run with sequences of its own length only, and never padded.

    Args:
        module: is copied, put in evaluation mode and moved to the CPU; the caller's own stays as it is.
        inputs: name, dtype, symbolic shape and feature names of what goes in; several in ``forward``'s order, or by
            its arguments' names.
        repository: is made where it does not exist.
        context: inputs without ``T``, that are the same in all steps of a sequence.
        output_features: names of the numbers of its only output; ``output_0``, ... where none are given.
        minus_infinity: the outputs may be minus infinity; where likely inputs lead to it, that is found.
        provenance: where the model comes from; the library versions are added.
        force: replace the version where it exists.
        report: called with how much of the proof is done, and of how much.

    Raises:
        ExportError: the module breaks the contract, heeds the padding of its sequences, has a secretly static axis,
            differs from its graph by more than the tolerance, or the version exists already. Nothing is written then.
    """
    given = (inputs,) if isinstance(inputs, Input) else tuple(inputs)
    with new_version(repository, name, version, force=force) as new:
        narrow = in_float32(module)
        contract = inspect_sequence_module(narrow, given, context, output_features)
        notes = check_answers_in_float32(module, narrow, partial(_answers, contract))
        if minus_infinity:
            outputs = tuple(part.model_copy(update={"minus_infinity": True}) for part in contract.outputs)
            contract = replace(contract, outputs=outputs)
        check_sequences_of_network(contract)
        path = new.folder / SEQUENCE_FILE
        places: dict[str, str] = {}
        write_sequence_graph(contract, path, places)
        runner = _runner(contract, path, places)
        if contract.lengths and not _takes_padding(contract, runner):
            contract = contract.unpadded()
            write_sequence_graph(contract, path, places)
            runner = _runner(contract, path, places)
        proof = prove_sequences(contract, runner, report)
        promise = sequence_promise(contract, runner)
        if promise == ANY and not proof.batch_invariant:  # over longer sequences than those that tell the promise
            promise = sequence_promise(contract, runner, may_be_any=False)

        sentence = runner.manifest.model_copy(update={"promise": promise}).promise_sentence
        notes += sequence_promise_notes(contract, path, promise, sentence, places)

        def find_promise(_manifest: Manifest, _folder: Path) -> Promise:
            return promise

        return new.finish(
            replace(proof, notes=(*_notes(contract), *notes, *proof.notes)),
            golden_sequences(contract),
            {"sequence": SEQUENCE_FILE},
            provenance,
            find_promise=find_promise,
            task="sequence",
            description=description,
            inputs=contract.inputs,
            outputs=contract.outputs,
            context=contract.context,
            lengths=contract.lengths,
        )


def write_sequence_graph(contract: SequenceContract, path: Path, places: dict[str, str] | None = None) -> None:
    """Trace the module with ``B`` and ``T`` left open and write the ONNX file.

    Args:
        places: is filled with the line of the user's code that each node comes from, by its name, in brackets.

    Raises:
        ExportError: an axis is secretly static, or torch cannot trace or translate the module.
    """
    lengths = [(contract.lengths, ("B",))] if contract.lengths else []
    context = [(part.name, part.shape) for part in contract.context]
    signature = Signature(
        "sequence",
        inputs=(*((part.name, part.shape) for part in contract.inputs), *lengths, *context),
        outputs=tuple((part.name, part.shape) for part in contract.outputs),
        ranges={part.name: MAY_BE_MISSING for part in (*contract.inputs, *contract.context) if part.missing},
    )
    place = len(contract.inputs) if contract.lengths else None
    write_whole(with_onnx_layers(contract.module), contract.example, signature, path, place, places)


def _runner(contract: SequenceContract, path: Path, places: Mapping[str, str]) -> SequenceRunner:
    """The graph as the service runs it, in any shape."""
    try:
        open_exported(path)
    except ExportError as error:
        raise unloadable(error, places) from error
    try:
        return sequence_runner(contract, path)
    except ModelRejected as error:
        raise ExportError(f"the exported graph: {error}") from error


def _takes_padding(contract: SequenceContract, runner: SequenceRunner) -> bool:
    """Whether the graph runs where no sequence is as long as the run: one that asks for the longest may not."""
    rows, context = contract.draw(np.random.default_rng(0), [5])[0]
    try:
        runner.run([rows], [context], 8)
        runner.run([rows], [context])
    except RunFailed:
        return False
    return True


def _answers(contract: SequenceContract, module: nn.Module, cast: Callable[[Any], Any]) -> tuple[Tensor, ...]:
    """What a module with the contract's arguments answers to likely sequences."""
    made: tuple[Tensor, ...] = contract.module.around(module)(*cast(contract.example(*PROBES)))
    return made


def _notes(contract: SequenceContract) -> tuple[str, ...]:
    """What a user must know of how the module was understood."""
    called = name_of(contract.module.module)
    masks = [place.argument for place in contract.module.places if place.role in ("mask", "padding")]
    notes = [f"task 'sequence': {called} answers whole sequences; it is served by predict, without sessions"]
    if not contract.lengths:
        notes.append("the graph takes no lengths: each sequence is run with sequences of its own length only")
    for place in contract.module.places:
        if place.argument in masks:
            meaning = "within a sequence" if place.role == "mask" else "in the padding"
            notes.append(f"{place.argument!r} is made from the lengths, true {meaning}")
    return tuple(notes)
