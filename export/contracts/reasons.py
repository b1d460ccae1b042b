"""Reasons for which a module is not called in any way that works, in words, with what to do."""

from __future__ import annotations

from torch import nn

from ostinato.export.contracts.calls import Parameters
from ostinato.export.contracts.preparation import name_of
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


def signature_words(module: nn.Module) -> str:
    """The parameters of ``forward``, in brackets."""
    parameters = Parameters(module)
    return f"({', '.join([*parameters.positional, *(['*'] if parameters.has_rest else []), *parameters.named])})"
