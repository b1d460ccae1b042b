"""Repeats of a run: a network gives the same for the same input and states, each time that it is asked.

Its graph does, so one that draws random numbers, or keeps something in itself, would be another function than its
graph. The proof would see that, and could not tell why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ostinato.export.contracts.preparation import name_of
from ostinato.export.errors import ExportError

Run: TypeAlias = Callable[[], Sequence[Tensor]]

# Attributes of any module, and the list of its weights that a recurrent layer keeps.
_TORCHS = {*vars(nn.Module()), "_flat_weights", "_flat_weight_refs"}
# More than rounding, which may depend on where numbers lie in memory.
_TOLERANCE = 1e-5


def check_repeats(module: nn.Module, run: Run, what: str = "forward") -> None:
    """Refuse a module that answers the same differently.

    Args:
        run: of the module, always with the same input. One that fails the first time is let pass.
        what: is run, for the message.

    Raises:
        ExportError: names what the module keeps in itself, or says that it draws random numbers.
    """
    kept = [_kept(module)]
    answers = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            try:
                answers.append([tensor.detach().clone() for tensor in run()])
            except ExportError:
                if not answers:  # it fails by itself: anyone who needs its answer says so
                    return
                answers.append([])
            kept.append(_kept(module))
    if all(_are_same(answers[0], answer) for answer in answers):
        return
    # The last run's draws were others, and may be what is kept.
    pairs = [(kept[0], kept[1]), (kept[1], kept[2])]
    changed = sorted({name for was, now in pairs for name in now if not _same_kept(was.get(name), now[name])})
    if changed:
        names = ", ".join(changed[:3])
        raise ExportError(
            f"{name_of(module)}.{what} gives something else when it is called a second time with the same, and keeps "
            f"{names} in itself: what a network remembers must be a state, which it takes and returns, and which "
            "initial_state begins"
        )
    raise ExportError(
        f"{name_of(module)}.{what} gives something else each time that it is called with the same, as random numbers "
        "do, and dropout that is left on: use nn.Dropout, or pass training=self.training; draw no noise, and do not "
        "call train() in it"
    )


def _are_same(given: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(given) == len(wanted) and all(map(_is_same, given, wanted))


def _is_same(given: Tensor, wanted: Tensor) -> bool:
    if given.shape != wanted.shape or given.dtype != wanted.dtype:
        return False
    return torch.allclose(given.double(), wanted.double(), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)


def _kept(module: nn.Module) -> dict[str, object]:
    """What each part of a module has as attributes and buffers, tensors copied."""
    found: dict[str, object] = {}
    for path, part in module.named_modules():
        own = {**dict(part.named_buffers(recurse=False)), **vars(part)}
        for name, value in own.items():
            if name not in _TORCHS:
                found[f"{path}.{name}".lstrip(".")] = _copied(value)
    return found


def _copied(value: object) -> object:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [_copied(part) for part in value]
    if isinstance(value, dict):
        return {key: _copied(part) for key, part in value.items()}
    return value


def _same_kept(before: object, after: object) -> bool:
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return _is_same(before, after)
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same_kept, before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_same_kept(before[key], after[key]) for key in before)
    return before is after or (type(before) is type(after) and isinstance(after, int | float | str) and before == after)
