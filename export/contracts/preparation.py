"""Preparation of a user's module: a copy to look at and to trace, out of its wrappers and with plain weights.

What cannot be exported whatever it answers is refused here, before anything runs: the message has cause and way out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.optim.swa_utils import AveragedModel

from ostinato.export.errors import ExportError, first_line

# What holds the user's module under this attribute, and adds nothing to what it answers.
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
_TRAINERS = ("lightning.pytorch.", "pytorch_lightning.")
"""Where the base classes of Lightning are, under both names of its package."""
_NARROW = (torch.float16, torch.bfloat16)


def prepared(module: nn.Module) -> nn.Module:
    """A copy of a module in evaluation mode, on the CPU, without gradients; the caller's own stays as it is.

    ``torch.compile``, ``DataParallel`` and averaging are taken off, at the top and within. Weights that are computed
    from others, by ``weight_norm``, ``spectral_norm`` or pruning, are computed once and for all.

    Raises:
        ExportError: it is none, cannot be copied, has no weights or unsound ones, or is of a kind that is not exported.
    """
    module = unwrapped(module)
    _check_kinds(module)
    _check_weights(module)
    made = _copied(module).eval()
    for part in made.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.jit.ScriptFunction):
                setattr(part, name, _called(value))
    for path, part in list(made.named_modules(remove_duplicate=False)):
        if path and unwrapped(part) is not part:
            made.set_submodule(path, unwrapped(part))
    for part in list(made.modules()):
        _fix_weights(part)
    # Layers of torch that keep a list of their weights make it again when they are moved.
    made = made.cpu().requires_grad_(False)
    _check_devices(made)
    return made


def unwrapped(module: nn.Module) -> nn.Module:
    """What is within ``torch.compile``, ``DataParallel`` and the like; the module itself where it is in none of them.

    Raises:
        ExportError: it is no module.
    """
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise ExportError(f"{module.__name__} is a class: give a network of it, trained, as {module.__name__}(...) is")
    if not isinstance(module, nn.Module):
        raise ExportError(f"{type(module).__name__} is no torch.nn.Module: give the network itself")
    while True:
        compiled = dict(module.named_children()).get("_orig_mod")
        if compiled is not None:
            module = compiled
        elif isinstance(module, _WRAPPERS):
            module = cast("nn.Module", module.module)
        elif (inner := _trained_by(module)) is not None:
            module = inner
        else:
            return module


def _trained_by(module: nn.Module) -> nn.Module | None:
    """The network of a module that has steps of training around it and no ``forward`` of its own."""
    if not hasattr(module, "training_step") or _has_forward(module):
        return None
    networks = [part for part in module.children() if next(part.parameters(), None) is not None]
    return networks[0] if len(networks) == 1 else None


def _has_forward(module: nn.Module) -> bool:
    """Whether somebody wrote a ``forward``: torch's own raises, and that of a trainer's base class calls it."""
    owner = next(kind for kind in type(module).__mro__ if "forward" in vars(kind))
    return owner is not nn.Module and not owner.__module__.startswith(_TRAINERS)


def name_of(module: nn.Module) -> str:
    """What a module is called in a message."""
    kind = type(module).__name__
    if kind == "Adapter":
        return name_of(cast("nn.Module", module.module))
    return {"OneStep": "the module", "ForeignModule": "the file"}.get(kind, kind)


def original_of(module: nn.Module) -> str:
    """What a graph is compared with, in a message: a trained network, or the file that was imported."""
    return "the file" if type(module).__name__ == "ForeignModule" else "the trained network"


def _check_kinds(module: nn.Module) -> None:
    if isinstance(module, torch.fx.GraphModule):
        raise ExportError(
            "the module is what torch.export or torch.fx made of a network, for the sizes of their example: give the "
            "nn.Module that it was made from"
        )
    for path, part in module.named_modules():
        place = f"{name_of(module)}.{path} ({type(part).__name__})" if path else name_of(module)
        if isinstance(part, torch.jit.ScriptModule):
            raise ExportError(
                f"{place} was made by torch.jit, which cannot be traced again: give the nn.Module that it was made "
                "from, and its weights by load_state_dict(scripted.state_dict())"
            )
        if type(part).__module__.startswith(_QUANTIZED):
            raise ExportError(
                f"{place} is quantized, and onnxruntime has no operator for torch's quantized layers: export the "
                "network as it was before, in float32"
            )
        if isinstance(part, nn.RNNBase):
            wrong = {weight.dtype for weight in part.parameters()} - {torch.float32}
            if wrong:
                raise ExportError(
                    f"{place} has weights of {_words(wrong.pop())}: onnxruntime runs LSTM and GRU in float32 only; "
                    "export network.float(), with an initial_state in float32"
                )


def _check_weights(module: nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        place = f"{name_of(module)}.{name}"
        if is_lazy(tensor):
            raise ExportError(
                f"{place} has no size yet, for its lazy module was never run: run the network once, or load its "
                "weights, before it is exported"
            )
        if tensor.is_meta:
            raise ExportError(
                f"{place} is on the device 'meta' and holds no numbers: make it on the CPU by network.to_empty("
                "device='cpu'), and load its weights, before it is exported"
            )
        if tensor.dtype in _NARROW:
            raise ExportError(
                f"{place} is {_words(tensor.dtype)}: onnxruntime runs networks on the CPU in float32; export "
                "network.float(), with an initial_state in float32"
            )
    for name, weight in module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise ExportError(
                f"{name_of(module)}.{name} holds NaN or infinity, in {int((~torch.isfinite(weight)).sum())} of "
                f"{weight.numel()} places, so its training went astray: train it with a lower learning rate, or load "
                "weights of before"
            )


def _check_devices(module: nn.Module) -> None:
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if devices := {tensor.device.type for tensor in _tensors(value)} - {"cpu"}:
                place = ".".join(filter(None, (name_of(module), path, name)))
                raise ExportError(
                    f"{place} is on the device {devices.pop()!r} and was not moved with the network: hold it by "
                    "register_buffer, or as a parameter"
                )


def _copied(module: nn.Module) -> nn.Module:
    # torch copies no tensor that was computed with gradients, such as what weight_norm leaves as `weight`.
    computed = {id(tensor): tensor for part in module.modules() for tensor in _tensors(vars(part))}
    memo: dict[int, object] = {key: each.detach().clone() for key, each in computed.items() if not each.is_leaf}
    # Nor a function that torch.jit.script made, which holds no numbers.
    held = [each for part in module.modules() for each in vars(part).values()]
    memo |= {id(each): each for each in held if isinstance(each, torch.jit.ScriptFunction)}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:  # whatever a user's module holds
        raise ExportError(
            f"{name_of(module)} cannot be copied ({type(error).__name__}: {first_line(error)}): keep what cannot be, "
            "as an open file, a lock or a generator, out of the module"
        ) from error


def _called(function: Callable[..., object]) -> Callable[..., object]:
    """A plain function in place of one that torch.jit.script made, which cannot be copied."""
    return lambda *arguments: function(*arguments)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _fix_weights(part: nn.Module) -> None:
    """Put the weights themselves in place of what computes them before each run."""
    if parametrize.is_parametrized(part):
        _remove_parametrizations(part)
    names = {name for name, _ in part.named_parameters(recurse=False)}
    buffers = {name for name, _ in part.named_buffers(recurse=False)}
    for name in names:
        of, _, kind = name.rpartition("_")
        if kind == "g" and f"{of}_v" in names and hasattr(part, of):
            remove_weight_norm(part, of)
        elif kind == "orig" and f"{of}_mask" in buffers:
            prune.remove(part, of)  # type: ignore[no-untyped-call]
        elif kind == "orig" and f"{of}_u" in buffers:
            remove_spectral_norm(part, of)


def _remove_parametrizations(part: nn.Module) -> None:
    # As torch's function of this name does, which would take them from the caller's own as well: by its class, which
    # torch made for it and the copy has, too.
    weights = {name: getattr(part, name) for name in cast("nn.ModuleDict", part.parametrizations)}
    part.__class__ = type(part).__bases__[0]
    del part.parametrizations
    for name, weight in weights.items():
        setattr(part, name, nn.Parameter(weight.detach().clone(), requires_grad=False))


def _words(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
