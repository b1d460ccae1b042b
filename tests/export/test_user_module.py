from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.numpy import load_file
from typer.testing import CliRunner

from ostinato.commands.export import export
from ostinato.export.errors import ExportError
from ostinato.export.user_code import user_module
from ostinato.export.user_module import ModuleOptions, load_module
from ostinato.service.artifact.manifest import Manifest
from tests.export.modules import NUM_TOKENS

SOURCE = """
import torch
from torch import nn

class Total(nn.Module):
    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 2, dtype=torch.float64)

    def forward(self, x, total):
        totals = total.unsqueeze(1) + torch.cumsum(x.double(), dim=1)
        return totals[..., :1].float(), totals[:, -1]

def running_total():
    return Total()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(export)
    return app


@pytest.mark.usefixtures("quick")
def test_the_command_exports_a_module_from_a_file(app: typer.Typer, source: Path, tmp_path: Path) -> None:
    arguments = [f"{source}:running_total", "--repository", str(tmp_path / "repository")]
    options = [
        "--input-shape",
        "B,T,2",
        "--features",
        "load,sun",
        "--output-features",
        "next",
        "--feedback",
        "next=load",
    ]
    result = CliRunner().invoke(app, [*arguments, *options, "--licence", "MIT"])
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "repository" / "running-total" / "1")
    assert manifest.inputs[0].features == ("load", "sun")
    assert manifest.feedback == {"next": "load"}
    assert manifest.provenance["licence"] == "MIT"
    assert str(tmp_path) not in manifest.model_dump_json()


def test_a_function_is_found_by_the_name_of_its_package() -> None:
    assert type(load_module("tests.export.modules:ManyToOne")).__name__ == "ManyToOne"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModuleOptions(input_shape="B,T,2", features=("load",)), r"1 feature names for 2 features"),
        (ModuleOptions(input_shape="T,2"), r"needs exactly one 'B'"),
        (ModuleOptions(input_shape="B,X,2"), r"shape"),
        (ModuleOptions(input_dtype="int64", missing=True), r"missing values need a floating dtype"),
        (ModuleOptions(num_codes=4), r"num_codes is for an integer dtype, not float32"),
        (ModuleOptions(input_dtype="int64", num_codes=-1), r"num_codes Input should be greater than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: ModuleOptions, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        options.input()


def test_feedback_without_a_feature_is_refused() -> None:
    with pytest.raises(ExportError, match=r"--feedback 'load': write output=input"):
        ModuleOptions(feedback=("load",)).feedback_map()


PANEL = """
import torch
from torch import nn

class Panel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.layer = nn.Embedding(7, 2), nn.GRU(3 + 2, 4, batch_first=True)

    def forward(self, load, weekday, customer, h=None):
        codes = self.embedding(weekday)
        y, h = self.layer(torch.cat([load, codes, customer[:, None].expand(-1, load.shape[1], -1)], -1), h)
        return {"mean": y[..., :1], "last": h[-1]}, h

def panel():
    return Panel()
"""


@pytest.mark.usefixtures("quick")
def test_a_check_shows_several_inputs_a_context_and_named_outputs_and_writes_nothing(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(PANEL, "utf-8")
    (tmp_path / "inputs.toml").write_text('[[inputs]]\nname = "load"\nshape = "B,T,1"\nfeatures = ["power"]\n', "utf-8")
    with user_module(f"{tmp_path / 'own.py'}:panel") as trained:
        torch.save({"state_dict": {f"model.{name}": value for name, value in trained.state_dict().items()}}, "net.ckpt")
    arguments = [f"{tmp_path / 'own.py'}:panel", "--repository", str(tmp_path / "repository"), "--check"]
    options = ["--inputs", str(tmp_path / "inputs.toml"), "--input", "weekday:B,T:int64", "--context", "customer:B,2"]
    result = CliRunner().invoke(app, [*arguments, *options, "--weights", "net.ckpt"])
    assert result.exit_code == 0, result.output
    for shown in (
        "task recurrent",
        "input load",
        "power",
        "input weekday",
        "context customer",
        "output mean",
        "state h",
    ):
        assert shown in result.output
    assert "checked: nothing was written" in result.output
    assert not (tmp_path / "repository").exists()


@pytest.mark.usefixtures("quick")
def test_the_number_of_codes_goes_into_the_manifest(app: typer.Typer, tmp_path: Path) -> None:
    options = ["--input-shape", "B,T", "--input-dtype", "int64", "--num-codes", str(NUM_TOKENS)]
    result = CliRunner().invoke(app, ["tests.export.modules:Tokens", "--repository", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    version = tmp_path / "Tokens" / "1"
    assert Manifest.read(version).inputs[0].num_codes == NUM_TOKENS
    assert set(np.unique(load_file(version / "golden.safetensors")["batch/inputs"])) == set(range(NUM_TOKENS))


def test_the_number_of_codes_is_not_known_unless_given() -> None:
    assert ModuleOptions(input_shape="B,T", input_dtype="int64").input().num_codes is None
