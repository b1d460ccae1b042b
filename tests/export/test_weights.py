from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ostinato.export.errors import ExportError
from ostinato.export.weights import load_weights
from tests.zoo.modules_signatures import lightning_around_a_network


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


TRAINED = network(1)
WEIGHTS = TRAINED.state_dict()


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"model_state_dict": WEIGHTS, "epoch": 3, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        {"state_dict": {**prefixed("model."), "loss.weight": torch.ones(2)}, "pytorch-lightning_version": "2.4.0"},
        {"state_dict": prefixed("model._orig_mod.")},
        prefixed("module."),
    ],
    ids=["state_dict", "loop", "lightning", "compiled", "parallel"],
)
def test_weights_are_found_in_what_trainers_save(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.ckpt")
    loaded = load_weights(network(2), tmp_path / "net.ckpt")
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in loaded.state_dict().items())


def test_weights_are_read_from_safetensors(tmp_path: Path) -> None:
    save_file(prefixed("net."), tmp_path / "net.safetensors")
    loaded = load_weights(network(2), tmp_path / "net.safetensors")
    assert torch.equal(loaded.state_dict()["1.bias"], WEIGHTS["1.bias"])


def test_weights_of_a_trainer_go_to_the_network_in_it(tmp_path: Path) -> None:
    trainer, other = lightning_around_a_network()[0], lightning_around_a_network()[0]
    with torch.no_grad():
        next(trainer.parameters()).add_(1.0)
    torch.save({"state_dict": trainer.state_dict()}, tmp_path / "net.ckpt")
    load_weights(other, tmp_path / "net.ckpt")
    assert torch.equal(next(other.parameters()), next(trainer.parameters()))


class Odd:
    """What no checkpoint should hold."""


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"0.weight": WEIGHTS["0.weight"], "0.bias": WEIGHTS["0.bias"]},
            r"it has no 1\.bias; it has no 1\.weight",
        ),
        ({**WEIGHTS, "2.bias": torch.ones(1)}, r"the network has no 2\.bias: its weights are of another network"),
        (
            {**WEIGHTS, "1.bias": torch.ones(5)},
            r"1\.bias is \[5\] there and \[2\] in the network: make it with",
        ),
        (
            {("1.biases" if name == "1.bias" else name): tensor for name, tensor in WEIGHTS.items()},
            r"it has no 1\.bias, but 1\.biases",
        ),
        ({"epoch": 3}, "no weights in it, under none of state_dict.*it has epoch"),
        ([1, 2], "holds list and not a state_dict"),
        (Odd(), r"loading them would run code: save network\.state_dict\(\) alone"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(ExportError, match=rf"net\.pt: .*{sentence}"):
        load_weights(network(2), tmp_path / "net.pt")


@pytest.mark.parametrize("write", [lambda _path: None, lambda path: path.write_bytes(b"no weights")])
@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_a_file_that_holds_none_is_named(write: Callable[[Path], Any], name: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(ExportError, match=name):
        load_weights(network(2), tmp_path / name)
