from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from ostinato.export.exporter import export_module
from ostinato.export.graphs import files
from ostinato.export.version_directory import Exported
from ostinato.service.catalogue.repository import read_manifest
from ostinato.service.errors import ModelRejected
from tests.export.modules import Stacked, amounts


class Wide(Stacked):
    """Layers that become a Scan, whose weights are more than a few bytes."""

    def __init__(self) -> None:
        super().__init__(nn.RNN, 1)
        self.head = nn.Linear(6, 100)
        self.wide = nn.Linear(100, 2)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, h = super().forward(x, *state)
        return self.wide(torch.tanh(y)), h


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MAX_GRAPH_BYTES", 1000)
        return export_module(Wide(), amounts(), tmp_path_factory.mktemp("large"), name="large")


def test_weights_that_are_too_many_lie_in_a_file_that_is_listed_with_its_checksum(exported: Exported) -> None:
    (data,) = exported.manifest.graphs["step"].data
    assert data.file == "model.onnx.data"
    assert (exported.directory / data.file).stat().st_size >= 100 * 6 * 4
    assert read_manifest(exported.directory) == exported.manifest
    assert data.sha256 in exported.manifest.graphs["step"].content


def test_a_damaged_file_of_weights_is_refused(exported: Exported) -> None:
    path = exported.directory / "model.onnx.data"
    sound = path.read_bytes()
    path.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
    with pytest.raises(ModelRejected, match=r"model\.onnx\.data: its SHA-256 is not the manifest's"):
        read_manifest(exported.directory)
    path.write_bytes(sound)


def test_weights_that_the_manifest_does_not_list_are_refused(exported: Exported) -> None:
    path = exported.directory / "model.json"
    sound = path.read_text()
    content = json.loads(sound)
    del content["graphs"]["step"]["data"]
    path.write_text(json.dumps(content))
    with pytest.raises(ModelRejected, match=r"it reads 'model\.onnx\.data', of which the manifest has no SHA-256"):
        read_manifest(exported.directory)
    path.write_text(sound)


def test_a_manifest_of_one_file_says_nothing_of_others(exported: Exported) -> None:
    whole = exported.manifest.graphs["step"].model_copy(update={"data": ()})
    assert set(whole.model_dump()) == {"file", "sha256"}
    assert np.isfinite(exported.proof.parity.max_difference)
