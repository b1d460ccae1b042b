from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel

from ostinato.export.contracts.preparation import prepared
from ostinato.export.errors import ExportError
from tests.export.modules import HIDDEN_SIZE, NUM_FEATURES, Stacked
from tests.zoo.modules_signatures import lightning, lightning_around_a_network

STATES = (torch.zeros(2, 1, HIDDEN_SIZE), torch.zeros(2, 1, HIDDEN_SIZE))
STEPS = torch.linspace(-1.0, 1.0, 5 * NUM_FEATURES).reshape(1, 5, NUM_FEATURES)


def in_dtype(dtype: torch.dtype, *, of_head: bool = False) -> nn.Module:
    network = Stacked()
    (network.head if of_head else network).to(dtype)
    return network


def with_nan() -> nn.Module:
    network = Stacked()
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
        network.head.weight[1, 0] = float("inf")
    return network


def lazy() -> nn.Module:
    network = Stacked()
    network.head = nn.LazyLinear(2)
    return network


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return Stacked()


def partly_on_meta() -> nn.Module:
    network = Holder(nn.Identity())
    network.part.tables = [torch.zeros(3, device="meta")]  # type: ignore[assignment]
    return network


def traced() -> nn.Module:
    return torch.jit.trace(Stacked().eval(), (STEPS, *STATES))  # type: ignore[no-any-return, no-untyped-call]


def part_scripted() -> nn.Module:
    network = Stacked()
    network.head = torch.jit.script(network.head)  # type: ignore[assignment]
    return network


def quantized() -> nn.Module:
    made = torch.ao.quantization.quantize_dynamic(Stacked(), {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    assert isinstance(made, nn.Module)
    return made


def locked() -> nn.Module:
    network = Stacked()
    network.lock = threading.Lock()  # type: ignore[assignment]
    return network


IN_FLOAT32 = "onnxruntime runs LSTM and GRU in float32 only; export network.float()"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Stacked, r"Stacked is a class: give a network of it, trained, as Stacked\(\.\.\.\) is"),
        (lambda: torch.relu, r"is no torch\.nn\.Module: give the network itself"),
        (traced, "was made by torch.jit, which cannot be traced again: give the nn.Module that it was made from"),
        (part_scripted, r"Stacked\.head \(RecursiveScriptModule\) was made by torch\.jit"),
        (lambda: torch.fx.symbolic_trace(nn.Linear(3, 3)), "torch.export or torch.fx .*: give the nn.Module that it"),
        (quantized, r"Stacked\.head \(Linear\) is quantized, .*: export the network as it was before, in float32"),
        (lambda: in_dtype(torch.float64), rf"Stacked\.layers \(LSTM\) has weights of float64: {IN_FLOAT32}"),
        # onnxruntime ends the whole process over an LSTM in float16.
        (lambda: in_dtype(torch.float16), rf"Stacked\.layers \(LSTM\) has weights of float16: {IN_FLOAT32}"),
        (lambda: in_dtype(torch.bfloat16), rf"Stacked\.layers \(LSTM\) has weights of bfloat16: {IN_FLOAT32}"),
        (lambda: in_dtype(torch.float16, of_head=True), r"Stacked\.head\.weight is float16: .*network\.float\(\)"),
        (lazy, r"Stacked\.head\.weight has no size yet, .* lazy module was never run: run the network once"),
        (on_meta, r"Stacked\.layers\.weight_ih_l0 is on the device 'meta' .*to_empty\(device='cpu'\), and load its"),
        (partly_on_meta, r"Holder\.part\.tables is on the device 'meta' and was not moved .*: hold it by register_b"),
        (with_nan, r"Stacked\.head\.weight holds NaN or infinity, in 2 of 12 places, so its training went astray: tr"),
        (locked, r"Stacked cannot be copied \(TypeError: .*lock.*\): keep what cannot be, .* out of the module"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named_with_its_way_out(make: Callable[[], nn.Module], sentence: str) -> None:
    module = make()
    with pytest.raises(ExportError, match=sentence):
        prepared(module)


def weight_normed(network: Stacked) -> None:
    network.head = parametrizations.weight_norm(network.head)
    network.layers = parametrizations.weight_norm(network.layers, "weight_hh_l1")


def weight_normed_by_hooks(network: Stacked) -> None:
    network.head = weight_norm(network.head)
    network.layers = weight_norm(network.layers, "weight_hh_l1")


def spectral_normed(network: Stacked) -> None:
    network.head = parametrizations.spectral_norm(network.head)  # type: ignore[assignment]


def spectral_normed_by_hooks(network: Stacked) -> None:
    network.head = spectral_norm(network.head)


def pruned(network: Stacked) -> None:
    prune.l1_unstructured(network.head, "weight", 0.5)  # type: ignore[no-untyped-call]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "change", [weight_normed, weight_normed_by_hooks, spectral_normed, spectral_normed_by_hooks, pruned]
)
def test_weights_that_are_computed_from_others_are_computed_once(change: Callable[[Stacked], None]) -> None:
    plain = [name for name, _ in Stacked().named_parameters()]
    network = Stacked()
    change(network)
    network.train()
    with torch.no_grad():  # so that a weight as it was before would show
        for name, weight in network.named_parameters():
            if name.endswith(("_g", "original0", "bias")):
                weight.mul_(1.5)
    network(STEPS, *STATES)  # a training step leaves what was computed with gradients
    made = prepared(network)
    assert sorted(name for name, _ in made.named_parameters()) == sorted(plain)
    network.eval()
    with torch.no_grad():
        for ours, wanted in zip(made(STEPS, *STATES), network(STEPS, *STATES), strict=True):
            torch.testing.assert_close(ours, wanted)
    assert any(name not in plain for name, _ in network.named_parameters()), "the caller's own stays as it was"


class Holder(nn.Module):
    """Holds part of itself in a wrapper."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.part(x)
        return answer


def test_wrappers_are_taken_off_at_the_top_and_within() -> None:
    layer = nn.Linear(3, 2)
    compiled: Callable[[nn.Module], Any] = partial(torch.compile, backend="eager")
    wrappers: tuple[Callable[[nn.Module], Any], ...] = (compiled, nn.DataParallel, AveragedModel)
    for wrap in wrappers:
        assert type(prepared(wrap(nn.DataParallel(layer)))) is nn.Linear
        assert [type(part) for part in prepared(wrap(Holder(wrap(layer)))).modules()] == [Holder, nn.Linear]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_a_function_that_torch_jit_made_may_be_held_and_copied_again() -> None:
    class Holds(Stacked):
        def __init__(self) -> None:
            super().__init__()
            self.twice = torch.jit.script(_twice)

        def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            y, *after = super().forward(x, *state)
            return (self.twice(y), *after)

    network = Holds()
    again = copy.deepcopy(prepared(network))
    with torch.no_grad():
        assert torch.equal(again(STEPS, *STATES)[0], network.eval()(STEPS, *STATES)[0])


def _twice(x: Tensor) -> Tensor:
    return x + x


def test_a_trainer_whose_base_class_only_hands_on_is_its_network() -> None:
    trainer, _ = lightning_around_a_network()
    assert type(trainer).forward is not nn.Module.forward
    assert type(prepared(trainer)) is type(trainer.model)
    with_forward, _ = lightning()
    assert type(prepared(with_forward)) is type(with_forward)
