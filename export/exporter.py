"""A trained module becomes a version's directory in the repository: graph, manifest, golden answers, all proved."""

from __future__ import annotations

import contextlib
import hashlib
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file
from torch import nn

from export.axes import Array, to_axes
from export.contract import Contract, inspect_module, one_step
from export.errors import ExportError
from export.onnx_graph import Graph, write_graph
from export.parity import Proof, Report, prove
from export.probes import draw_sequences
from service.manifest import GOLDEN_FILE, Manifest, Name
from service.manifest import Graph as GraphFile
from service.tensors import Input

GRAPH_FILE = "model.onnx"
# (batch size, steps) of the golden cases.
GOLDEN_CASES = {"first_step": (1, 1), "one_row": (1, 120), "batch": (5, 17), "wide": (33, 4)}
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Exported:
    """What was written, and how it was proved."""

    directory: Path
    manifest: Manifest
    proof: Proof


def export_module(
    module: nn.Module,
    inputs: Input,
    repository: Path | str,
    *,
    name: str,
    version: str = "1",
    output_features: Sequence[str] = (),
    state_names: Sequence[str] = (),
    feedback: Mapping[str, str] | None = None,
    description: str = "",
    provenance: Mapping[str, Any] | None = None,
    step_by_step: bool = False,
    force: bool = False,
    report: Report = lambda _done, _total: None,
) -> Exported:
    """Export a trained module to ``<repository>/<name>/<version>/``.

    The module keeps the contract ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``. States have
    the batch on any axis and any shape and dtype. The output has the steps (``[B, T, O]``, ``[B, T]``) or is one
    answer a run (``[B, O]``)::

        export_module(
            network,
            Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("load", "temperature")),
            "repository",
            name="load-forecast",
        )

    Args:
        module: is copied, put in evaluation mode and moved to the CPU; the caller's own stays as it is.
        inputs: name, dtype, symbolic shape and feature names of what goes in; without ``T`` in the shape the module
            takes one step a run. Its statistics and categories, where given, tell which probes are likely.
        repository: is made where it does not exist.
        output_features: names of an output step's numbers; ``output_0``, ... where none are given.
        state_names: names of the states; those of ``forward``'s arguments where none are given.
        feedback: output feature -> the input feature whose next value it foretells.
        provenance: where the model comes from; the library versions are added.
        step_by_step: export a module for many steps as a graph of one step: the way out for a Python loop over steps.
        force: replace the version where it exists.
        report: called with how much of the proof is done, and of how much.

    Raises:
        ExportError: the module breaks the contract, has a secretly static axis, differs from its graph by more than
            the tolerance, or the version exists already. Nothing is written then.
    """
    directory = _free_directory(Path(repository), name, version, force=force)
    with _one_thread():
        contract = inspect_module(module, inputs, output_features, state_names)
        if step_by_step:
            contract = one_step(contract)
        Path(repository).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=repository) as folder:
            built = Path(folder) / version
            built.mkdir()
            write_graph(contract, built / GRAPH_FILE)
            proof = prove(
                contract, Graph(built / GRAPH_FILE, contract.inputs, contract.output, contract.states), report=report
            )
            manifest = _manifest(
                contract,
                built,
                proof,
                name=name,
                version=version,
                feedback=dict(feedback or {}),
                description=description,
                provenance={"libraries": library_versions(), **(provenance or {})},
            )
            manifest.write(built)
            save_file(golden_answers(contract), built / GOLDEN_FILE)
            _move_into_place(built, directory)
    return Exported(directory, manifest, proof)


def golden_answers(contract: Contract) -> dict[str, Array]:
    """Inputs, and the outputs and final states that the trained network gives for them from its initial states.

    Keys are ``<case>/<graph tensor name>``; arrays have the graph's axes. A graph of one step has cases of one step.
    """
    generator = np.random.default_rng(1)
    golden: dict[str, Array] = {}
    for case, (batch_size, num_steps) in GOLDEN_CASES.items():
        steps = num_steps if contract.inputs.time_axis is not None else 1
        sequences = draw_sequences(contract.inputs, generator, batch_size, steps)
        y, states = contract(to_axes(sequences, contract.inputs), contract.initial_states(batch_size))
        golden[f"{case}/{contract.inputs.name}"] = to_axes(sequences, contract.inputs)
        golden[f"{case}/{contract.output.name}"] = np.ascontiguousarray(y)
        for state, after in zip(contract.states, states, strict=True):
            golden[f"{case}/{state.output}"] = np.ascontiguousarray(after)
    return golden


def library_versions() -> dict[str, str]:
    """What the export ran on."""
    return {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}}


def _free_directory(repository: Path, name: str, version: str, *, force: bool) -> Path:
    """Where the version goes; names are checked before they become folders."""
    for what, word in (("name", name), ("version", version)):
        try:
            _NAME.validate_python(word)
        except ValidationError as error:
            raise ExportError(
                f"{what} {word!r}: use 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or a digit"
            ) from error
    directory = repository / name / version
    if directory.exists() and not force:
        raise ExportError(f"{directory} exists already: choose another version, or replace it (force=True, --force)")
    return directory


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The network on one thread, as the graph is: what is compared does not depend on the machine's cores."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _manifest(contract: Contract, built: Path, proof: Proof, **fields: Any) -> Manifest:
    sha256 = hashlib.sha256((built / GRAPH_FILE).read_bytes()).hexdigest()
    try:
        return Manifest(
            task="recurrent",
            graphs={"step": GraphFile(file=GRAPH_FILE, sha256=sha256)},
            inputs=(contract.inputs,),
            outputs=(contract.output,),
            states=contract.states,
            parity=proof.parity,
            batch_invariant=proof.batch_invariant,
            **fields,
        )
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in error.errors())
        raise ExportError(f"the manifest of {fields['name']!r} would not be valid: {faults}") from error


def _move_into_place(built: Path, directory: Path) -> None:
    """Rename the finished folder to its name, so that a reader finds all of a version or nothing of it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Who serves is not who exported.
    built.chmod(0o755)
    for file in built.iterdir():
        file.chmod(0o644)
    if directory.exists():
        replaced = Path(tempfile.mkdtemp(prefix=".replaced-", dir=directory.parent.parent)) / "version"
        directory.rename(replaced)
        built.rename(directory)
        shutil.rmtree(replaced.parent)
    else:
        built.rename(directory)
