"""Quantisation to int8: of a version that was exported or imported, and what it costs in accuracy and in company.

``int8``: the weights of products and LSTMs become whole numbers with a scale for each column, of 7 bits, so that sums
do not overflow on processors that add pairs of products in 16. What goes into these operators is scaled by the largest
number of the whole run. So a row's numbers depend on what shares its run, and rows are run alone.

``int8-rows``: the LSTMs and GRUs of sessions, with a scale for each row (``graphs/row_scales.py``). Rows share runs.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxscript.optimizer import fold_constants
from safetensors.numpy import load_file

from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.files import save_graph
from ostinato.export.graphs.opsets import OPSET_VERSION, with_new_operators
from ostinato.export.graphs.row_scales import quantize_layers
from ostinato.export.proofs.proof import Measured
from ostinato.export.quantization_cost import MAX_BATCH_SIZE, Cost, measure_cost
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.manifest import ALONE, ANY, BY_ITSELF, GOLDEN_FILE, Manifest, Promise
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE
from ostinato.service.catalogue.promise_checks import find_promise
from ostinato.service.catalogue.recurrent_checks import draw_checked_probes, read_golden
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.errors import ModelRejected

BY_RUN, BY_ROW = "int8", "int8-rows"
"""What there is: activations scaled by all that is in a run, or row by row."""

_OPERATORS = ("MatMul", "Gemm", "LSTM")
_MARGIN = 2.0
"""What another processor may make of the same whole numbers, in terms of what was measured on this one."""
_MAX_WEIGHTS = 1 << 28
_OF_THIS_VERSION = {"name", "version", "graphs", "parity", "promise", "quantized", "provenance", "schema_version"}


def check_quantization(to: str, max_loss: float | None = None) -> None:
    """Refuse what is not known, and a limit of what is not asked for.

    Raises:
        ExportError: it is so.
    """
    if to not in ("", BY_RUN, BY_ROW):
        raise ExportError(
            f"--quantize {to}: there is int8, whose rows run alone, and int8-rows, for the LSTMs and GRUs of sessions, "
            "whose rows share runs; neither needs examples"
        )
    if max_loss is not None and (not to or not max_loss >= 0):
        raise ExportError("--max-loss: is what --quantize may cost at most, 0 or more")


def make_quantized(
    make: Callable[[Path], Exported],
    repository: Path,
    *,
    to: str,
    max_loss: float | None = None,
    force: bool = False,
) -> Exported:
    """What ``make`` writes into the repository that it is given, quantised; as it is where ``to`` is empty.

    Raises:
        ExportError: ``to`` is neither that nor ``int8`` nor ``int8-rows``; or as ``quantize_version``.
    """
    check_quantization(to, max_loss)
    if not to:
        return make(repository)
    with tempfile.TemporaryDirectory() as folder:
        return quantize_version(make(Path(folder)), repository, to=to, max_loss=max_loss, force=force)


def quantize_version(
    exported: Exported, repository: Path, *, to: str = BY_RUN, max_loss: float | None = None, force: bool = False
) -> Exported:
    """Make of a version in float, with its golden answers, one in int8, in another repository.

    The golden answers stay the network's own: the manifest's parity says how far the graph is from them, and every load
    holds it to twice that.

    Args:
        to: ``int8`` or ``int8-rows``.
        max_loss: by how much an answer or a state may be off, in terms of ``Cost``; None = by any amount.

    Raises:
        ExportError: nothing in it can be quantised, it is of a task that writes, it does not answer with finite
            numbers, it is off by more than ``max_loss``, or the version exists already.
    """
    manifest, source, by_row = exported.manifest, exported.directory, to == BY_ROW
    _check_task(manifest, to)
    (role, graph), *_ = manifest.graphs.items()
    promise = ANY if by_row else ALONE if manifest.task == "recurrent" else BY_ITSELF
    with new_version(repository, manifest.name, manifest.version, force=force) as new:
        notes = (quantize_rows if by_row else quantize_graph)(source / graph.file, new.folder / graph.file)
        described = manifest.of_graph.model_copy(update={"promise": promise})
        cost = measure_cost(described, source, new.folder, f"--quantize {to}")
        if max_loss is not None and cost.largest > max_loss:
            raise ExportError(
                f"--quantize {to}: off from the network by {cost.largest:.2g}, and --max-loss is {max_loss:g}: "
                "nothing was written"
            )
        line = Measured("in int8", "the golden answers", cost.largest, bit_identical=False)
        proof = exported.proof.joined([line], _tolerance(cost.largest))
        kept = {name: getattr(manifest, name) for name in Manifest.model_fields if name not in _OF_THIS_VERSION}

        def promise_of(made: Manifest, folder: Path) -> Promise:
            return _promise_of_rows(made, folder, may_be_any=manifest.promise == ANY) if by_row else promise

        return new.finish(
            replace(proof, notes=(*proof.notes, *notes, *cost.sentences)),
            load_file(source / GOLDEN_FILE),
            {role: graph.file},
            {**manifest.provenance, "quantized": _provenance(exported, cost, to)},
            find_promise=promise_of,
            promise=promise,
            quantized="" if by_row else "int8",
            **kept,
        )


def _check_task(manifest: Manifest, to: str) -> None:
    """Refuse models that cannot be quantised so.

    Raises:
        ExportError: it is one.
    """
    if manifest.task not in ("recurrent", "sequence") or manifest.decoder is not None:
        raise ExportError(
            f"--quantize {to} is for models that answer steps or whole sequences: what writes chooses by its own "
            "numbers, and would choose otherwise"
        )
    if to == BY_ROW and manifest.task != "recurrent":
        raise ExportError("--quantize int8-rows is for models with sessions: there is int8 for whole sequences")


def _promise_of_rows(manifest: Manifest, folder: Path, *, may_be_any: bool) -> Promise:
    """What holds of a version whose rows have scales of their own.

    Raises:
        ExportError: its rows depend on each other.
    """
    described = manifest.of_graph.model_copy(update={"promise": ANY})
    runner = Runner(described, folder, max_batch_size=MAX_BATCH_SIZE, max_iteration_steps=1)
    try:
        probes = draw_checked_probes(runner, read_golden(described, folder), folder)
        return find_promise(runner, probes, may_be_any=may_be_any)
    except ModelRejected as error:
        raise ExportError(f"--quantize int8-rows: the graph in int8: {error}") from error


def quantize_rows(source: Path, target: Path) -> tuple[str, ...]:
    """Write the graph of a file with its LSTMs and GRUs in int8, by rows; returns what stays in float.

    Raises:
        ExportError: there is none that can be, or the graph's operators are too old.
    """
    model = with_new_operators(ir.load(source))
    fold_constants(model, input_size_limit=_MAX_WEIGHTS, output_size_limit=_MAX_WEIGHTS)
    if (has := model.opset_imports.get("", OPSET_VERSION)) < OPSET_VERSION:
        raise ExportError(
            f"--quantize int8-rows: its operators, of set {has}, cannot be written in set {OPSET_VERSION}"
        )
    made = quantize_layers(model)
    if not made:
        raise ExportError(
            "--quantize int8-rows: nothing in it can be quantised: there is no LSTM or GRU with weights of its own, "
            "forwards, without lengths and peepholes"
        )
    save_graph(model, target)
    stay = Counter(node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph))
    named = [f"{stay[name]} {name}" for name in ("LSTM", "GRU", "RNN", "MatMul", "Gemm", "Conv") if stay[name]]
    return (f"int8: {', '.join(named)} stay in float",) if named else ()


def quantize_graph(source: Path, target: Path) -> tuple[str, ...]:
    """Write the graph of a file with the weights of its products and LSTMs in int8; returns what stays in float.

    Raises:
        ExportError: onnxruntime cannot, or there is nothing that it quantises.
    """
    try:
        model = _prepared(source)
        before = Counter(node.op_type for node in _nodes(model.graph))
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"EnableSubgraph": True},
        )
        made = onnx.load(target)
    except Exception as error:  # onnxruntime's quantiser raises whatever it meets
        raise ExportError(f"--quantize int8: onnxruntime cannot quantise the graph: {first_line(error)}") from error
    after = Counter(node.op_type for node in _nodes(made.graph))
    if not any(name.startswith("DynamicQuantize") for name in after):
        raise ExportError(
            f"--quantize int8: nothing in it can be quantised: there is no {', '.join(_OPERATORS)} with weights of its "
            f"own{' (and onnxruntime has no GRU in int8)' if before['GRU'] else ''}"
        )
    del made.metadata_props[:]
    onnx.save(made, target)
    stay = [f"{count} {name}" for name, count in after.items() if name in ("GRU", "RNN", *_OPERATORS)]
    return (f"int8: {', '.join(stay)} stay in float: onnxruntime has no int8 for them",) if stay else ()


def _prepared(source: Path) -> onnx.ModelProto:
    """The graph of a file with each weight where the quantiser looks for it: computed, and next to the operator that
    it is of, in whatever body that is.
    """
    model = ir.load(source)
    fold_constants(model, input_size_limit=_MAX_WEIGHTS, output_size_limit=_MAX_WEIGHTS)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    for node in list(ir.traversal.RecursiveGraphIterator(model.graph)):
        graph = node.graph
        if node.op_type in _OPERATORS and isinstance(graph, ir.Graph) and graph is not model.graph:
            for place, value in enumerate(node.inputs):
                if value is not None and value.is_initializer() and value.graph is not graph:
                    node.replace_input_with(place, _copied_into(graph, value))
    made = ir.to_proto(model)
    # The quantiser advises to optimise a graph that does not say so, which would change what was proved.
    made.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return made


def _copied_into(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """A weight of a body's own, with the numbers of one around it."""
    name = f"{weight.name}_in_{graph.name}_{len(graph.initializers)}"
    copied = ir.Value(name=name, type=weight.type, shape=weight.shape, const_value=weight.const_value)
    graph.register_initializer(copied)
    return copied


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _tolerance(largest: float) -> float:
    """What a load may find, to two digits."""
    return max(DEFAULT_TOLERANCE, float(f"{_MARGIN * largest:.1e}"))


def _provenance(exported: Exported, cost: Cost, to: str) -> dict[str, Any]:
    """What the manifest keeps of how it came about."""
    (graph,) = exported.manifest.graphs.values()
    parity = exported.manifest.parity
    return {
        "to": f"int8, dynamic: weights by column, activations by {'row' if to == BY_ROW else 'run'}",
        "from": graph.sha256,
        "difference_in_float": parity.max_difference if parity else None,
        "largest_difference": cost.largest,
        "mean_difference": cost.mean,
        "spread": cost.spread,
        "change_beside_others": cost.beside_others,
        "bytes_in_float": cost.bytes_before,
        "bytes": cost.bytes_after,
    }
