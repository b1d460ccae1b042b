"""TritonModel: a version of a model in a repository of Triton, and what ``import_graph`` has to be told of it.

A repository is ``<model>/config.pbtxt`` and ``<model>/<version>/model.onnx``; what a state begins with may be in
``<model>/initial_state/``. Source: Triton's user guide, "Model Repository" and "Implicit State Management".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ostinato.export.errors import ExportError
from ostinato.export.importing.triton_config import CONFIG_FILE, DATA_TYPES, read_config
from ostinato.export.importing.triton_controls import controls_of, feed_controls, outputs_kept

_GRAPH = "model.onnx"
_RUNTIME = ("onnxruntime", "onnxruntime_onnx")
_MAX_STATE_BYTES = 1 << 28
_WAYS_OUT = {
    "python": "export the network that it calls to ONNX, or use 'ostinato export' on its module",
    "tensorrt": "import the ONNX file that the plan was built from",
    "tensorrt_plan": "import the ONNX file that the plan was built from",
    "ensemble": "import the models that it joins, one by one, and join them in the client",
    "pytorch": "use 'ostinato export' on the module",
    "pytorch_libtorch": "use 'ostinato export' on the module that it was scripted from",
    "tensorflow": "convert the saved model with tf2onnx, and import that",
    "tensorflow_savedmodel": "convert the saved model with tf2onnx, and import that",
    "tensorflow_graphdef": "convert the graph with tf2onnx, and import that",
    "openvino": "import the ONNX file that it was converted from",
}


@dataclass(frozen=True)
class TritonModel:
    """A version of a model: its graph's file, and what its configuration says of it (None = there is none).

    ``folder``: the model's. ``refused``: why it cannot be imported, whatever its versions are; "" = it can be tried.
    """

    name: str
    version: str
    folder: Path
    path: Path
    config: Any = None
    refused: str = ""


@dataclass(frozen=True)
class Told:
    """What ``import_graph`` is told: pairs of states, what they begin with, axes, and which inputs are sequences.

    ``notes``: sentences of what is done with the rest of the configuration.
    """

    states: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def triton_models(repository: Path, name: str = "", version: str = "") -> list[TritonModel]:
    """All versions of all models of a repository, or those of this name and version, in order.

    Raises:
        ExportError: it is no repository of Triton's, or has no such model.
    """
    if not repository.is_dir():
        raise ExportError(f"{repository}: no such folder")
    folders = sorted(path for path in repository.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [each for folder in folders if name in ("", folder.name) for each in _versions(folder, repository)]
    found = [each for each in found if version in ("", each.version) or each.refused]
    if not found:
        wanted = f" called {name!r}" * bool(name) + f" of version {version!r}" * bool(version)
        raise ExportError(
            f"{repository}: no model{wanted}: a repository of Triton has <model>/{CONFIG_FILE} and "
            f"<model>/<version>/{_GRAPH}"
        )
    return found


def _versions(folder: Path, repository: Path) -> list[TritonModel]:
    """The versions of a model, by number; one that is refused, where none can be imported."""
    path, config = folder / CONFIG_FILE, None
    try:
        if path.exists() or path.is_symlink():
            config = read_config(_inside(path, repository))
        if refused := _refused(folder, config):
            return [TritonModel(folder.name, "", folder, folder, config, refused)]
        file = (config and config.default_model_filename) or _GRAPH
        numbers = sorted((each for each in folder.iterdir() if _is_version(each)), key=lambda each: int(each.name))
        graphs = [(each.name, _graph_file(each, file, folder)) for each in numbers]
    except (ExportError, OSError) as error:
        return [TritonModel(folder.name, "", folder, folder, config, str(error))]
    found = [TritonModel(folder.name, number, folder, graph, config) for number, graph in graphs if graph is not None]
    if not found and config is not None:
        return [TritonModel(folder.name, "", folder, folder, config, f"no version of it has a file {file}")]
    return found


def _is_version(folder: Path) -> bool:
    name = folder.name
    return folder.is_dir() and name.isascii() and name.isdecimal() and not name.startswith("0")


def _graph_file(folder: Path, name: str, model: Path) -> Path | None:
    """A version's graph: a file, or one in a folder of its name, as graphs with their weights in other files have."""
    path = _inside(folder / name, model)
    if path.is_dir():
        path = _inside(path / _GRAPH, model)
    return path if path.is_file() else None


def _inside(path: Path, folder: Path) -> Path:
    """A path, unless it leads out of a folder.

    Raises:
        ExportError: it does, by its name or a link.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ExportError(f"{path}: leads out of {folder}")
    return path


def _refused(folder: Path, config: Any) -> str:
    """Why a model of this configuration is not imported, and what to do instead; "" where it may be."""
    if config is None:
        return ""
    kind = "ensemble" if config.HasField("ensemble_scheduling") else config.backend or config.platform
    if kind and kind not in _RUNTIME:
        way_out = _WAYS_OUT.get(kind, "import an ONNX file of the network, if there is one")
        return f"it is a model of {kind!r}, and only graphs of onnxruntime can be imported: {way_out}"
    if config.name and config.name != folder.name:
        return f"its configuration calls it {config.name!r}, which Triton refuses: rename the folder or the model"
    if config.model_transaction_policy.decoupled or config.sequence_batching.iterative_sequence:
        return "it answers a request any number of times (decoupled, iterative_sequence): here a step has one answer"
    if config.batch_input or config.batch_output:
        return (
            "its inputs are made of what shares a batch (batch_input, batch_output): here rows do not know each other"
        )
    words = [part.name for part in (*config.input, *config.output) if part.data_type == DATA_TYPES.index("STRING")]
    if words:
        return f"{words[0]!r} is text (TYPE_STRING): steps are numbers; have the client turn words into codes"
    return ""


def told(config: Any, model: ir.Model, folder: Path) -> Told:
    """What a configuration says of a graph, whose controls it feeds and whose outputs it chooses, in place.

    Args:
        folder: the model's, in which files of initial states are.

    Raises:
        ExportError: graph and configuration do not fit each other, or a state has no one size.
    """
    if config is None:
        return Told(notes=(f"there is no {CONFIG_FILE}: all that is known is found in the graph",))
    _check_names(config, model)
    sequence = config.input[0].name if config.input and config.max_batch_size > 0 else ""
    fed = feed_controls(model, controls_of(config), sequence)
    axes: dict[str, tuple[str | int, ...]] = {}
    states, initial, notes = dict(fed.states), dict(fed.initial), [*fed.notes]
    for state in config.sequence_batching.state:
        states[state.input_name] = state.output_name
        begun, said = _initial(state, folder)
        notes += said
        if begun is not None:
            initial[state.input_name] = begun
        _tell_axes(axes, state, config)
    kept = {part.name for part in config.output} | set(states.values())
    if config.output and (dropped := outputs_kept(model, dict.fromkeys(kept))):
        notes.append(f"the configuration names no output {', '.join(dropped)}: left out")
    for part in (*config.input, *config.output):
        if part.name not in states.values():
            _tell_sequence_axes(axes, part, config)
    inputs = tuple(part.name for part in config.input)
    return Told(states, initial, axes, inputs, (*notes, *_notes(config)))


def _check_names(config: Any, model: ir.Model) -> None:
    given = {value.name for value in model.graph.inputs}
    made = {value.name for value in model.graph.outputs}
    states = config.sequence_batching.state
    for what, names, known in (
        ("input", [part.name for part in config.input], given),
        ("output", [part.name for part in config.output], made),
        ("state", [state.input_name for state in states], given),
        ("state", [state.output_name for state in states], made),
    ):
        if missing := [name for name in names if name not in known]:
            raise ExportError(
                f"{CONFIG_FILE} names the {what} {missing[0]!r}; the graph has {', '.join(sorted(map(str, known)))}"
            )


def _tell_sequence_axes(axes: dict[str, tuple[str | int, ...]], part: Any, config: Any) -> None:
    """Axes of an input or output: the batch's before the dims, where Triton makes batches; an open one is time's.

    Nothing is told of several open ones, nor of several sizes without one, of which the first may be steps.
    """
    num_open = len([size for size in part.dims if size < 0])
    is_clear = num_open == 1 or (num_open == 0 and len(part.dims) == 1)
    if config.max_batch_size > 0 and is_clear and not part.HasField("reshape"):
        axes[part.name] = ("B", *("T" if size < 0 else size for size in part.dims))


def _tell_axes(axes: dict[str, tuple[str | int, ...]], state: Any, config: Any) -> None:
    """Axes of a state's input and output.

    Raises:
        ExportError: a size is not told.
    """
    sizes = list(state.dims)
    if any(size < 0 for size in sizes) and state.initial_state:
        sizes = list(state.initial_state[0].dims)
    if any(size < 0 for size in sizes):
        raise ExportError(
            f"state {state.input_name!r} has dims {list(state.dims)}, a size that may grow: here a state keeps one "
            "size. Give it an initial_state with the dims that it has, if it has always the same"
        )
    if config.max_batch_size > 0:
        axes[state.input_name] = axes[state.output_name] = ("B", *sizes)


def _initial(state: Any, folder: Path) -> tuple[Any, list[str]]:
    """What a state begins with, and what has to be said of it.

    Raises:
        ExportError: its file cannot be read, or has another size than the state.
    """
    name = state.input_name
    if not state.initial_state:
        return 0, [f"state {name} has no initial_state: Triton begins it with whatever is in memory, here with zeros"]
    begun = state.initial_state[0]
    if not begun.data_file:
        return 0, []
    dtype, dims = _numpy(state.data_type, name), list(begun.dims)
    if any(size < 1 for size in dims):
        raise ExportError(f"state {name!r}: its initial_state has dims {dims}; each is at least 1")
    path = _inside(folder / "initial_state" / begun.data_file, folder)
    size = math.prod(dims) * dtype.itemsize
    try:
        found = path.stat().st_size if path.is_file() else -1
        if found != size or size > _MAX_STATE_BYTES:
            raise ExportError(f"state {name!r}: {path} has {found} bytes, dims {dims} of {dtype} are {size}")
        return np.fromfile(path, dtype).reshape(dims).tolist(), []
    except OSError as error:
        raise ExportError(f"state {name!r}: {path}: {error.strerror}") from error


def _numpy(number: int, name: str) -> np.dtype[Any]:
    """A dtype by Triton's number.

    Raises:
        ExportError: numpy knows no such one.
    """
    word = DATA_TYPES[number].lower().replace("fp", "float")
    try:
        return np.dtype(word)
    except TypeError:
        raise ExportError(f"{name!r} is of TYPE_{DATA_TYPES[number]}, which a graph here cannot have") from None


def _notes(config: Any) -> list[str]:
    """What is done about the rest of a configuration."""
    batching, notes = config.sequence_batching, []
    if idle := batching.max_sequence_idle_microseconds:
        notes.append(
            f"Triton forgets a sequence that is idle for {idle / 1e6:g} s: here the client says how long, when it "
            "opens a session (ttl_seconds)"
        )
    if any(part.optional for part in config.input):
        names = ", ".join(part.name for part in config.input if part.optional)
        notes.append(f"{names}: optional inputs have to be given here at every step")
    if any(part.HasField("reshape") for part in config.input):
        notes.append("reshape is not needed: steps have the graph's own shape")
    present = [part.name for part, _ in config.ListFields()]
    named = [name for name in ("instance_group", "optimization", "model_warmup") if name in present]
    if named:
        notes.append(f"{', '.join(named)}: passed over; the service has its own ways")
    return notes
