"""Quantisation to int8: of a version that was exported or imported, and what it costs in accuracy and in company.

The weights of products and LSTMs become whole numbers with a scale for each column, of 7 bits, so that sums do not
overflow on processors that add pairs of products in 16. What goes into these operators is scaled by the largest number
of the whole run. So a row's numbers depend on what shares its run, and rows are run alone.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxscript.optimizer import fold_constants
from safetensors.numpy import load_file

from ostinato.export.contracts.axes import Array
from ostinato.export.errors import ExportError, first_line
from ostinato.export.proofs.proof import Measured
from ostinato.export.version_directory import Exported, new_version
from ostinato.service.artifact.manifest import ALONE, ANY, BY_ITSELF, GOLDEN_FILE, Manifest
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference
from ostinato.service.catalogue.recurrent_checks import read_golden
from ostinato.service.catalogue.sequence_checks import read_golden_sequences
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from ostinato.service.errors import ModelRejected, RunFailed
from ostinato.service.state.arena import Rows

_OPERATORS = ("MatMul", "Gemm", "LSTM")
_MARGIN = 2.0
"""What another processor may make of the same whole numbers, in terms of what was measured on this one."""
_MAX_BATCH_SIZE = 256
_MAX_WEIGHTS = 1 << 28
_OF_THIS_VERSION = {"name", "version", "graphs", "parity", "promise", "quantized", "provenance", "schema_version"}


@dataclass(frozen=True)
class Cost:
    """What quantisation costs: differences to the network, ``|graph - network| / max(1, |network|)``, over the golden
    answers; how far a row changes with what is beside it; and the graph's sizes, in bytes.
    """

    largest: float
    mean: float
    beside_others: float
    bytes_before: int
    bytes_after: int

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it in words."""
        smaller = self.bytes_before / max(1, self.bytes_after)
        return (
            f"int8: off from the network by {self.largest:.2g} at most, by {self.mean:.2g} on the average, over the "
            f"golden answers; {self.bytes_before:,} bytes became {self.bytes_after:,}"
            + (f" ({smaller:.1f} times fewer)" if smaller > 1 else ", which is no gain"),
            f"int8: all that is in a run shares a scale, and beside others a row was seen to change by "
            f"{self.beside_others:.2g}; so each is run alone, and sessions share no runs",
        )


def check_quantization(to: str) -> None:
    """Refuse what is neither ``int8`` nor nothing.

    Raises:
        ExportError: it is.
    """
    if to not in ("", "int8"):
        raise ExportError(f"--quantize {to}: there is int8, which is dynamic: it needs no examples")


def make_quantized(make: Callable[[Path], Exported], repository: Path, *, to: str, force: bool = False) -> Exported:
    """What ``make`` writes into the repository that it is given, quantised; as it is where ``to`` is empty.

    Raises:
        ExportError: ``to`` is neither that nor ``int8``; or as ``quantize_version``.
    """
    check_quantization(to)
    if not to:
        return make(repository)
    with tempfile.TemporaryDirectory() as folder:
        return quantize_version(make(Path(folder)), repository, force=force)


def quantize_version(exported: Exported, repository: Path, *, force: bool = False) -> Exported:
    """Make of a version in float, with its golden answers, one in int8, in another repository.

    The golden answers stay the network's own: the manifest's parity says how far the graph is from them, and every load
    holds it to twice that.

    Raises:
        ExportError: nothing in it can be quantised, it is of a task that writes, it does not answer with finite
            numbers, or the version exists already.
    """
    manifest, source = exported.manifest, exported.directory
    if manifest.task not in ("recurrent", "sequence") or manifest.decoder is not None:
        raise ExportError(
            "--quantize int8 is for models that answer steps or whole sequences: what writes chooses by its own "
            "numbers, and would choose otherwise"
        )
    (role, graph), *_ = manifest.graphs.items()
    promise = ALONE if manifest.task == "recurrent" else BY_ITSELF
    with new_version(repository, manifest.name, manifest.version, force=force) as new:
        notes = quantize_graph(source / graph.file, new.folder / graph.file)
        cost = _cost(manifest.of_graph.model_copy(update={"promise": promise}), source, new.folder)
        line = Measured("in int8", "the golden answers", cost.largest, bit_identical=False)
        proof = exported.proof.joined([line], _tolerance(cost.largest))
        kept = {name: getattr(manifest, name) for name in Manifest.model_fields if name not in _OF_THIS_VERSION}
        return new.finish(
            replace(proof, notes=(*proof.notes, *notes, *cost.sentences)),
            load_file(source / GOLDEN_FILE),
            {role: graph.file},
            {**manifest.provenance, "quantized": _provenance(exported, cost)},
            find_promise=lambda _manifest, _folder: promise,
            promise=promise,
            quantized="int8",
            **kept,
        )


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
    """The graph of a file with each weight where the quantiser looks for it: computed, and beside the operator that
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


def _cost(manifest: Manifest, source: Path, folder: Path) -> Cost:
    """What the graph in ``folder`` costs over the golden answers in ``source``.

    Raises:
        ExportError: it fails on them, or its answers are not finite.
    """
    try:
        found = list((_recurrent if manifest.task == "recurrent" else _whole)(manifest, source, folder))
    except (ModelRejected, RunFailed) as error:
        raise ExportError(f"--quantize int8: the graph in int8: {error}") from error
    differences = [difference for difference, _ in found]
    largest = max(float(each.max(initial=0.0)) for each in differences)
    if not np.isfinite(largest):
        raise ExportError("--quantize int8: the graph in int8 answers with numbers that are not finite")
    size = (sum(file.stat().st_size for file in place.glob("*.onnx*")) for place in (source, folder))
    mean = sum(float(each.sum()) for each in differences) / max(1, sum(each.size for each in differences))
    return Cost(largest, mean, max(beside for _, beside in found), *size)


def _recurrent(manifest: Manifest, source: Path, folder: Path) -> Iterator[tuple[Array, float]]:
    """Of each golden case the differences to it, and how much its rows change with each other."""
    runner = Runner(manifest, folder, max_batch_size=_MAX_BATCH_SIZE, max_iteration_steps=1)
    for case in read_golden(manifest, source):
        outputs, states = run_offline(runner, case.inputs, begin=case.begin(runner))
        ours, golden = [*manifest.made.flat(outputs), *states], [*manifest.made.flat(case.outputs), *case.states]
        yield _differences(ours, golden), _beside(runner, case.inputs, case.begin(runner), outputs)


def _beside(runner: Runner, inputs: Array, begin: Rows, alone: Array) -> float:
    """By how much the first answers of rows change when they share a run; 0 where they cannot."""
    try:
        made, _ = runner.promising(ANY).run(inputs[:, :1], begin)
    except RunFailed:
        return 0.0
    return _farthest(runner.manifest, made, alone[:, :1])


def _farthest(manifest: Manifest, made: Array, alone: Array) -> float:
    """The largest difference of rows, output by output."""
    pairs = zip(manifest.made.flat(made), manifest.made.flat(alone), strict=True)
    return max(largest_difference(one, other) for one, other in pairs)


def _whole(manifest: Manifest, source: Path, folder: Path) -> Iterator[tuple[Array, float]]:
    """The same of each golden sequence."""
    runner = SequenceRunner(manifest, folder, max_batch_size=_MAX_BATCH_SIZE)
    for each in read_golden_sequences(manifest, source):
        alone = run_alone(runner, *each.probe)
        twice = runner.promising(ANY)
        try:
            beside = twice.run([each.probe.rows, 2 * each.probe.rows], [each.probe.context] * 2)[0]
        except RunFailed:
            beside = alone
        yield (
            _differences(manifest.made.flat(alone), manifest.made.flat(each.outputs)),
            _farthest(manifest, beside, alone),
        )


def _differences(ours: Sequence[Array], golden: Sequence[Array]) -> Array:
    """``|graph - network| / max(1, |network|)`` of all numbers, one behind the other."""
    found = []
    for made, wanted in zip(ours, golden, strict=False):
        a, b = made.astype(np.float64), wanted.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.where(
                (a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b))
            )
        found.append(np.nan_to_num(difference, nan=np.inf).ravel())
    return np.concatenate(found)


def _tolerance(largest: float) -> float:
    """What a load may find, to two digits."""
    return max(DEFAULT_TOLERANCE, float(f"{_MARGIN * largest:.1e}"))


def _provenance(exported: Exported, cost: Cost) -> dict[str, Any]:
    """What the manifest keeps of how it came about."""
    (graph,) = exported.manifest.graphs.values()
    parity = exported.manifest.parity
    return {
        "to": "int8, dynamic: weights by column, activations by run",
        "from": graph.sha256,
        "difference_in_float": parity.max_difference if parity else None,
        "largest_difference": cost.largest,
        "mean_difference": cost.mean,
        "change_beside_others": cost.beside_others,
        "bytes_in_float": cost.bytes_before,
        "bytes": cost.bytes_after,
    }
