"""Export of a trained recurrent module: graph, manifest and golden answers in the repository, all proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import DecoderOptions
from ostinato.export.contracts.delays import with_delays
from ostinato.export.contracts.narrowing import check_float32, in_float32
from ostinato.export.contracts.one_step import one_step
from ostinato.export.contracts.preparation import unwrapped
from ostinato.export.contracts.recurrent import FeatureNames, inspect_module
from ostinato.export.contracts.windows import in_frames_of, steps_found, windows_of
from ostinato.export.errors import ExportError
from ostinato.export.graphs.recurrent import StepGraph, write_graph
from ostinato.export.graphs.untranslated import unloadable
from ostinato.export.proofs.fault import promise_notes
from ostinato.export.proofs.golden import golden_answers
from ostinato.export.proofs.overflow import check_overflow
from ostinato.export.proofs.promise import check_module_rows, check_rows, recurrent_promise
from ostinato.export.proofs.proof import Proof, ProofReport
from ostinato.export.proofs.recurrent import prove
from ostinato.export.proofs.rounding import OwnRounding, own_rounding, proved_tolerance, stretched_rounding
from ostinato.export.streaming_decoder import DECODER_FILE, begins_decoder, export_decoder
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Input

GRAPH_FILE = "model.onnx"


def export_module(
    module: nn.Module,
    inputs: Input | Sequence[Input],
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    context: Sequence[Input] = (),
    output_features: FeatureNames = (),
    state_names: Sequence[str] = (),
    feedback: Mapping[str, str] | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    steps_per_answer: int = 1,
    framing: Framing | None = None,
    delay: int | Mapping[str, int] = 0,
    step_by_step: bool = False,
    minus_infinity: bool = False,
    decoder: DecoderOptions | None = None,
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export a trained module to ``<repository>/<name>/<version>/``.

    The module keeps the contract ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``, or takes and
    returns the same in another structure: states in a tuple, a dict, a dataclass or by name, ``state=None`` for a
    sequence that has not begun, several inputs and outputs. What was inferred is in the proof's notes. States have the
    batch on any axis and any shape and dtype. The output has the steps (``[B, T, O]``, ``[B, T]``) or is one
    answer a run (``[B, O]``)::

        export_module(
            network,
            Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("load", "temperature")),
            "repository",
            name="load-forecast",
        )

    A module with ``decode`` and ``decoder_begins`` is exported with a second graph, which forecasts from a session's
    states (see ``ostinato.export.streaming_decoder``).

    Args:
        module: is copied, put in evaluation mode and moved to the CPU; the caller's own stays as it is.
        inputs: one, or several in the order or with the names of ``forward``'s arguments: name, dtype, symbolic shape
            and feature names of what goes in; without ``T`` in the shape the module takes one step a run. Statistics
            and categories, where given, tell which probes are likely.
        repository: is made where it does not exist.
        context: inputs that are the same in all steps of a sequence, without ``T``.
        output_features: names of an output step's numbers; ``output_0``, ... where none are given. Of several outputs
            by the output's name.
        state_names: names of the states; those of ``forward``'s arguments where none are given.
        feedback: output feature -> the input feature whose next value it forecasts.
        provenance: where the model comes from; the library versions are added.
        steps_per_answer: k, where the module answers once in k steps, as behind a convolution with stride k: a step of
            the graph is then a frame of k steps, ``[B, T, k, ...]``.
        framing: the module is given a window of ``framing.window`` steps a run (``x [B, window, ...]`` for an input
            ``[B, T, ...]``), which ends after each ``hop`` of them; or with ``steps_per_answer``, which is then the
            hop, any number of steps. A session is sent steps, and answers when a frame is whole (docs/framing.md).
        delay: d, where the answer to step t speaks of step t - d, as that of a network that is trained to wait; of
            several outputs by name, or one for all that are made at each step. The graph stays as it is.
        step_by_step: export a module for many steps as a graph of one step, a run a step.
        minus_infinity: the output may be minus infinity, as the logarithm of a probability that becomes 0; where likely
            inputs lead to it, that is found without being told.
        decoder: of a module that decodes, what no run of it can tell; its output has the names of the step's output
            where none are given.
        force: replace the version where it exists.
        report: called with how much of the proof is done, and of how much.

    Raises:
        ExportError: the module breaks the contract, has a secretly static axis, differs from its graph by more than
            the tolerance, or the version exists already. Nothing is written then.
    """
    with new_version(repository, name, version, force=force) as new:
        narrow = in_float32(module)
        steps = (inputs,) if isinstance(inputs, Input) else tuple(inputs)
        if framing is not None:
            framing = _checked(framing, steps_per_answer, forecasts=bool(feedback) or begins_decoder(unwrapped(module)))
        windows = steps if framing is None or framing.many else windows_of(steps, framing)
        contract = inspect_module(narrow, windows, output_features, state_names, context, steps_per_answer)
        if framing is not None:
            steps = tuple(steps_found(part, window) for part, window in zip(steps, contract.given, strict=True))
            contract = contract if framing.many else in_frames_of(contract, steps, framing)
        notes = (*contract.notes, *check_float32(module, contract))
        if step_by_step:
            contract = one_step(contract)
        if minus_infinity:
            made = (part.model_copy(update={"minus_infinity": True}) for part in contract.made)
            contract = replace(contract, made=tuple(made))
        contract = replace(contract, made=with_delays(contract.made, contract.given[0], delay))
        check_module_rows(contract)
        check_overflow(contract)
        places: dict[str, str] = {}
        contract = write_graph(contract, new.folder / GRAPH_FILE, places=places)
        try:
            graph = StepGraph(new.folder / GRAPH_FILE, contract)
        except ExportError as error:
            raise unloadable(error, places) from error
        proof, rounded = _prove(contract, graph, new.folder / GRAPH_FILE, report)
        golden = golden_answers(contract)
        graphs = {"step": GRAPH_FILE}
        described = None
        promise = recurrent_promise(contract, new.folder / GRAPH_FILE, may_be_any=proof.batch_invariant)
        notes += promise_notes(contract, new.folder / GRAPH_FILE, promise, places)
        proof = replace(proof, notes=(*notes, *rounded, *proof.notes))
        if begins_decoder(unwrapped(module)):
            options = decoder or DecoderOptions(output_features=_only(output_features))
            path = new.folder / DECODER_FILE
            described, decoded, lines, tolerance = export_decoder(contract, graph, options, path, golden)
            described = described.model_copy(update={"shares_runs": all(line.bit_identical for line in lines)})
            graphs["decode"] = DECODER_FILE
            golden |= decoded
            proof = proof.joined(lines, tolerance)
        return new.finish(
            proof,
            golden,
            graphs,
            provenance,
            find_promise=lambda _manifest, _folder: promise,
            task="recurrent",
            description=description,
            inputs=contract.given if framing is None else steps,
            framing=framing,
            outputs=contract.made,
            context=contract.context,
            states=contract.states,
            feedback=dict(feedback or {}),
            decoder=described,
        )


def _checked(framing: Framing, steps_per_answer: int, *, forecasts: bool) -> Framing:
    """The framing of a module, with whether it takes many frames a run.

    Raises:
        ExportError: it cannot be.
    """
    if forecasts:
        raise ExportError("a model with framing answers once in several steps, and does not forecast")
    if steps_per_answer == 1:
        return framing.model_copy(update={"many": False})
    if not framing.window == framing.hop == steps_per_answer:
        raise ExportError(
            f"framing {framing}: with steps_per_answer={steps_per_answer} the module keeps what it needs of the steps "
            f"before in states of its own, and the framing is {steps_per_answer}:{steps_per_answer}"
        )
    return framing.model_copy(update={"many": True})


def _prove(contract: Contract, graph: StepGraph, path: Path, report: ProofReport) -> tuple[Proof, tuple[str, ...]]:
    """The proof of a graph, and what a user must know of how it came about.

    What is over the tolerance may be rounding that has grown: it is, where the graph is as near to the network in
    float64 as the network itself, or right in each stretch of some steps.

    Raises:
        ExportError: the graph is not that of the network.
    """
    rounding = own_rounding(contract)
    try:
        return _prove_by(contract, graph, rounding, report)
    except ExportError as error:
        check_rows(contract, path)
        proved = proved_tolerance(contract, graph)
        if proved > rounding.tolerance:
            return _prove_by(contract, graph, OwnRounding(proved), report)
        if rounding.carried_steps:
            raise
        try:
            return _prove_by(contract, graph, stretched_rounding(contract), report)
        except ExportError:
            raise error from None  # the first says more: over how many steps


def _prove_by(
    contract: Contract, graph: StepGraph, rounding: OwnRounding, report: ProofReport
) -> tuple[Proof, tuple[str, ...]]:
    proof = prove(contract, graph, tolerance=rounding.tolerance, carried_steps=rounding.carried_steps, report=report)
    return proof, (rounding.note,) if rounding.note else ()


def _only(features: FeatureNames) -> tuple[str, ...]:
    return () if isinstance(features, Mapping) else tuple(features)
