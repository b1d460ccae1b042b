"""Proof of an imported graph: it answers what the file answers, and is written with the file's own answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ostinato.export.contracts.contract import Contract
from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.files import save_graph
from ostinato.export.graphs.recurrent import StepGraph
from ostinato.export.importing.described import Described
from ostinato.export.importing.files import open_file
from ostinato.export.importing.invariance import invariant_form
from ostinato.export.importing.network import Network
from ostinato.export.importing.spread import allowed, proved_to_rounding, spread_of_sequences, spread_of_steps
from ostinato.export.proofs.golden import golden_answers
from ostinato.export.proofs.promise import recurrent_promise
from ostinato.export.proofs.proof import TOLERANCE, Measured, Proof, ProofReport
from ostinato.export.proofs.recurrent import prove
from ostinato.export.proofs.sequence import golden_sequences, prove_sequences, sequence_promise, sequence_runner
from ostinato.export.version_directory import Exported, NewVersion
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import ANY, Promise
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.catalogue.tried import try_graph
from ostinato.service.errors import ModelRejected

GRAPH_FILE, SEQUENCE_FILE = "model.onnx", "sequence.onnx"
_ROWS, _LENGTHS = 3, (1, 7, 40)


def finish_sessions(
    new: NewVersion, described: Described, source: Path, report: ProofReport, *, is_unchanged: bool
) -> Exported:
    """Write, prove and finish a version with sessions.

    Args:
        is_unchanged: whether the graph is the file's, and not one that was made of it.

    Raises:
        ExportError: the graph does not answer what the file answers, or breaks a promise that all keep.
    """
    path = new.folder / GRAPH_FILE
    finding = described.finding
    session = open_file(source) if is_unchanged else None
    contract = described.contract(_network(described, session))
    model = described.graph()
    proof, promise = _proved(contract, model, path, report)
    if promise != ANY:
        other = invariant_form(model)
        if other is not None:
            kept = path.read_bytes()
            again, better = _proved(contract, other, path, lambda _done, _total: None)
            if _rank(better) < _rank(promise):
                proof, promise = again, better
            else:
                path.write_bytes(kept)
    if session is not None and finding.layout.has_steps:
        proof = _joined(proof, _against_file(described, contract, path, session))
    proof = replace(proof, notes=(*finding.notes, *proof.notes))
    return new.finish(
        proof,
        golden_answers(contract),
        {"step": GRAPH_FILE},
        {"imported": source.name},
        find_promise=lambda _manifest, _folder: promise,
        task="recurrent",
        inputs=described.given,
        outputs=described.made,
        context=described.context,
        states=described.states,
        constants=described.constants,
        framing=described.framing,
    )


def _network(described: Described, session: Any) -> Network:
    """What is proved against: the file itself, where it can be run so; else the graph that was made of it."""
    finding = described.finding
    if session is None or finding.origin is not None or finding.steps_of_file is not None:
        return described.network(finding.survey.session, finding.layout.rows)
    return described.network(session, finding.rows_of_file, described.shown_before)


def _against_file(described: Described, contract: Contract, path: Path, session: Any) -> Measured:
    """The graph in one run against the file as it is in one run, both from the beginning.

    Raises:
        ExportError: they differ by more than the file's own runs do, or the file fails.
    """
    finding, graph = described.finding, open_graph(path)
    network, fixed = described.file_network(session), finding.steps_of_file
    shown = described.shown_edges
    worst, lengths = 0.0, (fixed,) if fixed is not None else _LENGTHS
    for length in lengths:
        drawn = finding.survey.draw(finding.layout, _ROWS, length, seed=length)
        try:
            wanted = network([drawn[port.name] for port in finding.fed])
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ExportError(f"the file itself fails on {length} steps: {first_line(error)}") from error
        feeds = {described.served_name[name]: np.require(array, requirements="C") for name, array in drawn.items()}
        feeds |= {part.name: part.array() for part in described.constants}
        made = graph.run([edge.served for edge in shown], feeds)
        worst = max([worst, *(largest_difference(*pair) for pair in zip(made, wanted, strict=True))])
    if not worst <= TOLERANCE and not worst <= allowed(spread_of_steps(contract)):
        raise ExportError(f"over whole runs the graph differs from the file by {worst:.2g}")
    return Measured("whole, the file as it is", f"B {_ROWS}, T {', '.join(map(str, lengths))}", worst, True)


def _joined(proof: Proof, line: Measured) -> Proof:
    tolerance = max(proof.parity.tolerance, float(f"{2 * line.max_difference:.1e}"))
    return proof.joined([line], tolerance if line.max_difference > proof.parity.tolerance else 0.0)


def _proved(contract: Contract, model: ir.Model, path: Path, report: ProofReport) -> tuple[Proof, Promise]:
    save_graph(model, path)
    graph = StepGraph(path, contract)
    proof = proved_to_rounding(
        lambda tolerance: prove(contract, graph, report=report, tolerance=tolerance),
        lambda: spread_of_steps(contract),
    )
    return proof, recurrent_promise(contract, path, may_be_any=proof.batch_invariant)


def _rank(promise: Promise) -> tuple[int, int]:
    return ("any", "fixed", "alone").index(promise.holds), promise.rows


def finish_sequence(
    new: NewVersion, described: Described, source: Path, report: ProofReport, *, is_unchanged: bool
) -> Exported:
    """Write, prove and finish a version that answers whole sequences.

    Raises:
        ExportError: the same.
    """
    finding = described.finding
    path = new.folder / SEQUENCE_FILE
    save_graph(described.graph(), path)
    session = open_file(source) if is_unchanged else None
    contract = described.sequence_contract(_network(described, session))
    try:
        try_graph(path)
        runner = sequence_runner(contract, path)
    except ModelRejected as error:
        raise ExportError(f"the imported graph: {error}") from error
    proof = proved_to_rounding(
        lambda tolerance: prove_sequences(contract, runner, report, tolerance),
        lambda: spread_of_sequences(contract),
    )
    promise = sequence_promise(contract, runner)
    if promise == ANY and not proof.batch_invariant:
        promise = sequence_promise(contract, runner, may_be_any=False)
    reasons = tuple(f"it cannot stream: {reason}" for reason in finding.obstacles)
    return new.finish(
        replace(proof, notes=(*reasons, *finding.notes, *proof.notes)),
        golden_sequences(contract),
        {"sequence": SEQUENCE_FILE},
        {"imported": source.name},
        find_promise=lambda _manifest, _folder: promise,
        task="sequence",
        inputs=described.given,
        outputs=described.made,
        context=described.context,
        lengths=described.lengths,
        constants=described.constants,
    )
