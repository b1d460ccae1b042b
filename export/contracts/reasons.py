"""Reasons for which a module is not called in any way that works, in words, with what to do."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ostinato.export.contracts.calls import Parameters
from ostinato.export.contracts.preparation import name_of
from ostinato.export.errors import ExportError
from ostinato.export.places import place_of
from ostinato.service.artifact.tensors import Input


def swapped(module: nn.Module, first: Input) -> str:
    """What to say where a module has its batch where an input has its steps."""
    swapped_shape = tuple({"B": "T", "T": "B"}.get(str(axis), axis) for axis in first.shape)
    other = ",".join(map(str, swapped_shape))
    first_axis = "steps" if first.shape[0] == "B" else "batch"
    return (
        f"the states of {name_of(module)} follow the axis that {list(first.shape)} calls the steps, so it takes the "
        f"{first_axis} first: say --input {first.name}:{other} (shape={swapped_shape}), or set its layers' batch_first"
    )


def what_looks_ahead(module: nn.Module) -> str:
    """Which layer may be why chunks are answered otherwise, and what to do."""
    for path, layer in module.named_modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and layer.running_mean is None:
            return (
                f"{type(layer).__name__} {path!r} keeps no running statistics, so it takes those of the batch and the "
                "steps it is given, as in training: make it with track_running_stats=True and train that, or use "
                "nn.LayerNorm over the features of a step"
            )
        if isinstance(layer, nn.RNNBase) and layer.bidirectional:
            return (
                f"layer {path or type(layer).__name__!r} is bidirectional over the steps, and depends on those that a "
                "live session has not seen yet: use one direction, or task 'sequence', which answers whole sequences "
                "without sessions"
            )
        if isinstance(layer, nn.Conv1d) and layer.kernel_size[0] > 1:
            return (
                f"convolution {path!r} sees {layer.kernel_size[0]} steps at a time: give it no padding, and carry the "
                f"{(layer.kernel_size[0] - 1) * layer.dilation[0]} steps before x as a state, put in front by torch.cat"
            )
        if isinstance(layer, nn.MultiheadAttention):
            return f"attention {path!r} looks at all steps of a chunk: carry what it looks back at as a state"
    return "carry it as a state"


@contextlib.contextmanager
def begun_anew(module: nn.Module) -> Iterator[list[str]]:
    """Gathers the recurrent layers that a run calls, in words, each with the line that calls it."""
    found: list[str] = []

    def tell(path: str, _layer: nn.Module, _args: Any) -> None:
        frames = traceback.extract_stack()
        place = place_of([(frame.filename, frame.lineno, frame.line) for frame in frames])
        found.append(f"{path!r}{place}")

    hooks = [
        layer.register_forward_pre_hook(partial(tell, path or type(layer).__name__))
        for path, layer in module.named_modules()
        if isinstance(layer, nn.RNNBase | nn.RNNCellBase)
    ]
    try:
        yield found
    finally:
        for each in hooks:
            each.remove()


def without_states(module: nn.Module, takes: Sequence[str], layers: Sequence[str]) -> ExportError:
    """What to raise of a module whose ``forward`` has no argument for a state.

    Args:
        takes: what it is given.
        layers: its recurrent layers, in words.
    """
    dropped = f": its layer {layers[0]} begins from the start in each run, and its state is dropped" if layers else ""
    return ExportError(
        f"{name_of(module)} has no initial_state(batch_size): add one that returns the states of that many sequences "
        f"that have not begun, and let forward{signature_words(module)}, which takes only {', '.join(takes)}, "
        f"take and return them{dropped}; or give forward a state=None and return (y, state). A network that is trained "
        "on windows streams by ostinato.export.Window, one that needs the whole sequence is of task 'sequence'"
    )


def with_lost_state(module: nn.Module, state: str, answer: Sequence[tuple[str, Tensor]], num_steps: int) -> ExportError:
    """What to raise of a module that takes a state and does not return it.

    Args:
        state: the argument.
        answer: what it returned, by name, for so many steps.
    """
    returned = ", ".join(f"{key or 'a tensor'} {list(tensor.shape)}" for key, tensor in answer) or "no tensor"
    grows = any(num_steps in tensor.shape for _, tensor in answer[1:])
    way_out = (
        ". What grows with the steps, as a cache of keys does, is no state: keep as many steps at any time, as by "
        f"{state}[:, -L:], and begin with as many"
    )
    return ExportError(
        f"{name_of(module)}.forward{signature_words(module)} takes {state!r} and does not return it as it takes it, so "
        f"what it has seen is lost between two steps; it returned {returned}: return (y, {state}), an LSTM's with both "
        f"h and c{way_out * grows}"
    )


def signature_words(module: nn.Module) -> str:
    """The parameters of ``forward``, in brackets."""
    parameters = Parameters(module)
    return f"({', '.join([*parameters.positional, *(['*'] if parameters.has_rest else []), *parameters.named])})"
