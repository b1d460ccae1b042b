from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from ostinato.export.errors import ExportError
from ostinato.export.sequence_exporter import export_sequence
from ostinato.export.user_module import ModuleOptions, export_source
from ostinato.service.artifact.manifest import GOLDEN_FILE
from ostinato.service.artifact.tensors import Input

X = Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("a", "b"))
TAGGER = """
import torch
from torch import nn

class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.RNN(2, 4, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        rows = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.layers(rows)[0], batch_first=True)[0]

def tagger():
    return Tagger()
"""


class BothWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.GRU(2, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # noqa: ARG002
        return self.layers(x)[0]


class OverTheBatch(BothWays):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # noqa: ARG002
        first = x[:, 0]
        return first - first.mean(dim=0)


class Infinite(BothWays):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # noqa: ARG002
        return x / 0.0 + torch.inf


class Failing(BothWays):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # noqa: ARG002
        raise ValueError("no such thing")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (BothWays(), r"the network reads the padding of its sequences.*pack_padded_sequence.*take no lengths"),
        (OverTheBatch(), "the sequences of a batch depend on each other"),
        (Failing(), "fails on an input of shape .*ValueError: no such thing"),
        (Infinite(), "plus infinity|NaN"),
    ],
)
def test_a_module_without_an_answer_of_its_own_is_refused_with_the_way_out(
    tmp_path: Path, module: nn.Module, message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_sequence(module, X, tmp_path, name="refused")
    assert not list(tmp_path.glob("*/*"))


def test_an_input_without_steps_is_context(tmp_path: Path) -> None:
    flat = Input(name="inputs", dtype="float32", shape=("B", 2), features=("a", "b"))
    with pytest.raises(ExportError, match="without T: what is the same in all steps of a sequence is context"):
        export_sequence(BothWays(), flat, tmp_path, name="refused")


def test_a_users_module_that_takes_lengths_is_found_to_answer_whole_sequences(tmp_path: Path) -> None:
    file = tmp_path / "networks.py"
    file.write_text(TAGGER)
    options = ModuleOptions(input_shape="B,T,2", features=("a", "b"))
    exported = export_source(f"{file}:tagger", options, tmp_path / "repository")
    manifest = exported.manifest
    assert (manifest.task, manifest.lengths, manifest.states) == ("sequence", "lengths", ())
    assert manifest.outputs[0].shape == ("B", "T", 8)
    assert any("task 'sequence'" in note for note in exported.proof.notes)
    # onnxruntime's RNN rounds a batch of one otherwise than all others.
    assert manifest.promise is not None
    assert (manifest.promise.holds, manifest.promise.rows) == ("any", 2)
    golden = load_file(exported.directory / GOLDEN_FILE)
    assert golden["ragged/inputs"].shape == (5, 17, 2)
    assert golden["ragged/lengths"].tolist() == [17, 9, 1, 5, 12]
    assert (golden["ragged/outputs"][1, 9:] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModuleOptions(input_shape="B,T,2", states=("h",)), "has no states, steps or feedback"),
        (ModuleOptions(input_shape="B,T,2", task="steps"), "task 'steps': one of 'recurrent' and 'sequence'"),
        (ModuleOptions(input_shape="B,T,2", task="recurrent"), r"Tagger fails .* \(networks.py, line 12"),
    ],
)
def test_options_that_do_not_fit_the_task_are_refused(tmp_path: Path, options: ModuleOptions, message: str) -> None:
    file = tmp_path / "networks.py"
    file.write_text(TAGGER)
    with pytest.raises(ExportError, match=message):
        export_source(f"{file}:tagger", options, tmp_path / "repository")
