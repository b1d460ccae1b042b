from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ostinato.export.runs.registry import export_run
from ostinato.models.errors import RunError
from ostinato.models.kinds.text import load_run
from tests.training import train_run

RECIPE = """
kind = "text"
name = "toy"
[data]
file = "words.dict"
form = "cmudict"
licence = "CC0"
[network]
embedding_size = 4
hidden_size = 8
[training]
num_epochs = 1
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "words.dict").write_text("".join(f"{'ab' * (n % 9)}{'c' * (n // 9)} K AE1\n" for n in range(1, 200)))
    (tmp_path / "toy.toml").write_text(RECIPE)
    directory, _ = train_run(tmp_path / "toy.toml", tmp_path / "run")
    return directory


@pytest.mark.usefixtures("quick")
def test_an_exported_language_model_scores_step_by_step_what_the_trained_one_does(run: Path, tmp_path: Path) -> None:
    exported = export_run(run, tmp_path / "repository", name="letters", version="2")
    manifest, decoder = exported.manifest, exported.manifest.decoder
    assert (manifest.name, manifest.version, manifest.task) == ("letters", "2", "generator")
    assert manifest.batch_invariant
    assert manifest.provenance["licence"] == "CC0"
    assert decoder is not None
    assert (decoder.start, decoder.stop) == (0, 0)
    vocabulary = manifest.vocabularies["target"]
    codes = vocabulary.encode("Abc", "prompt")
    network = load_run(run).network
    with torch.no_grad():
        wanted, *_ = network(torch.tensor([[0, *codes]]), *network.initial_state(1))
    graph = onnxruntime.InferenceSession(str(exported.directory / "decode.onnx"))
    states = {state.input: np.zeros((1, 1, 8), np.float32) for state in decoder.states}
    for step, code in enumerate([0, *codes]):
        fetches = [decoder.output.name, *(state.output for state in decoder.states)]
        scores, *after = graph.run(fetches, {"previous": np.array([code]), **states})
        states = {state.input: tensor for state, tensor in zip(decoder.states, after, strict=True)}
        np.testing.assert_allclose(scores[0], wanted[0, step].numpy(), atol=1e-5)


def test_a_vocabulary_that_is_none_is_refused(run: Path, tmp_path: Path) -> None:
    content = json.loads((run / "run.json").read_text())
    content["vocabularies"]["target"]["special"] = ["<nowhere>"]
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"run\.json is damaged: vocabularies: .*<nowhere>"):
        export_run(run, tmp_path / "repository")
