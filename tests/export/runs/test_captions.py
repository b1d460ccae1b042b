from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from ostinato.export.runs.registry import export_run
from ostinato.models.data.pictures import load_pictures
from ostinato.models.kinds.captions import CaptionsRecipe, load_run
from ostinato.models.networks.caption import spell
from tests.training import train_run

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "captions.toml"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    text = EXAMPLE.read_text().replace("digits.csv.xz", str(EXAMPLE.parent / "digits.csv.xz"))
    for old, new in {
        "max_epochs = 120": "max_epochs = 2",
        "epochs = 6": "epochs = 1",
        "members = 5": "members = 1",
    }.items():
        text = text.replace(old, new)
    (tmp_path / "captions.toml").write_text(text)
    directory, _ = train_run(tmp_path / "captions.toml", tmp_path / "run")
    return directory


@pytest.mark.usefixtures("quick")
def test_an_exported_captioner_writes_what_the_trained_one_does(run: Path, tmp_path: Path) -> None:
    exported = export_run(run, tmp_path / "repository")
    manifest, decoder = exported.manifest, exported.manifest.decoder
    assert (manifest.name, manifest.task, manifest.batch_invariant) == ("digit-names", "encoder_decoder", True)
    assert manifest.inputs[0].shape == ("B", 8, 8)
    assert manifest.inputs[0].features[8] == "pixel_1_0"
    assert decoder is not None
    assert (decoder.start, decoder.stop) == (0, 0)
    assert manifest.provenance["licence"] == "CC BY 4.0"
    assert manifest.vocabularies["target"].decode([manifest.vocabularies["target"].codes["z"], 0]) == "z"
    source = load_pictures(CaptionsRecipe.read(EXAMPLE).data).parts["test"].pixels[:3]
    graphs = [onnxruntime.InferenceSession(str(exported.directory / f"{role}.onnx")) for role in ("encode", "decode")]
    (state,) = graphs[0].run([decoder.begun_by["h"]], {"pixels": source.reshape(3, 8, 8)})
    previous = torch.zeros(3, dtype=torch.int64).numpy()
    scores, _ = graphs[1].run(
        [decoder.output.name, decoder.states[0].output], {"previous": previous, decoder.states[0].input: state}
    )
    first = [row[0] if row else 0 for row in spell(load_run(run).network, torch.from_numpy(source), 0, 0, 1)]
    assert scores.argmax(axis=1).tolist() == first
