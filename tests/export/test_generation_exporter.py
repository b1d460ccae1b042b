from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from ostinato.export.errors import ExportError
from ostinato.export.generation_exporter import export_encoder_decoder, export_generator
from ostinato.export.proofs.proof import TOLERANCE
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.manifest import Limits, Manifest
from ostinato.service.artifact.vocabulary import Vocabulary
from ostinato.service.catalogue.generation_checks import LoadedGenerator
from ostinato.service.catalogue.loading import load_version
from ostinato.service.catalogue.recurrent_checks import LoadedModel
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests.export.conftest import Written
from tests.export.writers import LETTERS, NUM_SOUNDS, PAIRS, NumberWriter, States, Writer
from tests.generation_networks import (
    CHARACTERS,
    START_CODE,
    STOP_CODE,
    LetterModel,
    export_captioner,
    export_streaming_forecaster,
)
from tests.networks import relist

SETTINGS = Settings(max_batch_size=8)
NAMES = ["speller", "context-speller", "letters", "hours-ahead", "captioner", "streaming"]
SOUNDS = Vocabulary(symbols=("<s>", "</s>", "a", "b", "c", "d"), special=("<s>", "</s>"))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_exported_loads_as_the_service_loads_it(written: dict[str, Written], name: str) -> None:
    loaded = load_version(written[name].directory, SETTINGS)
    manifest = written[name].manifest
    assert isinstance(loaded, LoadedModel if name == "streaming" else LoadedGenerator)
    assert manifest.parity is not None
    assert loaded.golden_difference <= manifest.parity.tolerance
    assert loaded.manifest.batch_invariant


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_answer_of_another_network_is_refused(written: dict[str, Written], name: str, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(written[name].directory, tmp_path / name / "1"))
    golden = load_file(directory / "golden.safetensors")
    decoder = written[name].manifest.decoder
    assert decoder is not None
    place = "batch/decode" if name == "streaming" else "batch"
    answer = golden[f"{place}/{decoder.output.name}"].copy()
    answer[0, 0, 0] += 10 * TOLERANCE * max(1.0, abs(float(answer[0, 0, 0])))
    save_file({**golden, f"{place}/{decoder.output.name}": answer}, directory / "golden.safetensors")
    relist(directory)
    with pytest.raises(ModelRejected, match=r"(are|is) off by .*; at most .* is allowed"):
        load_version(directory, SETTINGS)


@pytest.mark.parametrize("name", ["speller", "letters", "streaming"])
def test_a_graph_that_was_changed_is_refused(written: dict[str, Written], name: str, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(written[name].directory, tmp_path / name / "1"))
    graph = directory / "decode.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelRejected, match=r"decode\.onnx.*SHA-256"):
        load_version(directory, SETTINGS)


@pytest.mark.usefixtures("quick")
def test_the_manifest_says_how_it_was_proved(tmp_path: Path) -> None:
    exported = export_captioner(tmp_path)
    assert exported.manifest == Manifest.read(exported.directory)
    content = json.loads((exported.directory / "model.json").read_text())
    parity = content["parity"]
    assert parity["tolerance"] == exported.proof.parity.tolerance
    assert TOLERANCE <= parity["tolerance"] <= 1e-4
    assert 0 < parity["max_difference"] <= parity["tolerance"]
    assert content["provenance"]["libraries"]["torch"] == torch.__version__


@pytest.mark.usefixtures("quick")
def test_the_streaming_proof_has_the_lines_of_both_graphs(tmp_path: Path) -> None:
    exported = export_streaming_forecaster(tmp_path)
    assert exported.manifest == Manifest.read(exported.directory)
    lines, parity = exported.proof.lines, exported.proof.parity
    assert {line.what for line in lines} == {"whole", "in chunks", "decoding"}
    assert parity.max_difference == max(line.max_difference for line in lines) <= parity.tolerance


def test_a_generator_s_graph_writes_step_by_step_what_the_network_writes_at_once(written: dict[str, Written]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(written["letters"].directory / "decode.onnx")
    assert [value.name for value in session.get_inputs()] == ["previous", "h", "c"]
    module = LetterModel()
    codes = np.array([[START_CODE, 3, 4, 5, 6]])
    with torch.no_grad():
        scores, *_ = module(torch.from_numpy(codes), *module.initial_state(1))
    states = [state.numpy() for state in module.initial_state(1)]
    for step in range(codes.shape[1]):
        made, *states = session.run(None, {"previous": codes[:, step], "h": states[0], "c": states[1]})
        np.testing.assert_allclose(made, scores[:, step].numpy(), atol=1e-5)


def export_writer(repository: Path, module: torch.nn.Module | None = None, **options: Any) -> Exported:
    options = {"name": "writer", "stop": 1, "num_codes": NUM_SOUNDS, **options}
    return export_encoder_decoder(module or Writer(), LETTERS, repository, **options)


@pytest.mark.usefixtures("quick")
def test_examples_and_limits_bound_what_is_tried(tmp_path: Path) -> None:
    examples = [[0, 1, 2, 3, 4, 0], [4, 3]]
    exported = export_writer(
        tmp_path, examples=examples, limits=Limits(max_source_steps=8), vocabularies={"target": SOUNDS}
    )
    assert exported.manifest.parity is not None
    assert exported.manifest.parity.lengths == (1, 4, 16)
    golden = load_file(exported.directory / "golden.safetensors")
    # The longest example has 6 letters.
    assert golden["long/lengths"].tolist() == [6]
    assert golden["long/source"][0, :6].tolist() == examples[0]
    assert exported.manifest.decoder is not None
    assert exported.manifest.decoder.output.features == SOUNDS.symbols


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_codes": 4, "vocabularies": {"target": SOUNDS}}, "num_codes is 4 and the target vocabulary has 6"),
        ({"feedback": True}, "feedback is for numbers"),
        ({"vocabularies": {"source": SOUNDS}}, "the source has num_codes 5 and its vocabulary 6 symbols"),
        ({"stop": 9}, "stop 9 is none of the 6 codes"),
        ({"name": "a/b"}, "name 'a/b': use 1 to 128"),
        ({"memory_names": ("a", "b")}, "2 names for 1 memory tensors"),
        ({"output_features": ("a",)}, "1 feature names for 6 features"),
        ({"examples": [[7]]}, "an example has codes 7 to 7"),
    ],
)
def test_options_that_do_not_fit_leave_nothing_behind(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_writer(tmp_path, **options)
    assert list(tmp_path.rglob("*.onnx")) == []


@pytest.mark.usefixtures("quick")
def test_a_network_that_fails_its_proof_leaves_nothing_behind(tmp_path: Path) -> None:
    class Leaky(Writer):
        def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
            return super().encode(source, torch.full_like(lengths, source.shape[1]))

    with pytest.raises(ExportError, match="padding has an influence"):
        export_writer(tmp_path, Leaky())
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_that_would_not_be_valid_is_refused(tmp_path: Path, quick: None) -> None:
    del quick
    output = {"output_features": ("load",), "feedback": True, "name": "loads"}
    with pytest.raises(ExportError, match="start 'x' does not fit"):
        export_encoder_decoder(NumberWriter(), PAIRS, tmp_path, start="x", **output)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a generator writes codes: give num_codes or a target vocabulary"),
        ({"num_codes": 4}, r"fails on an input of shape|one is needed for each of 4 codes"),
        ({"num_codes": 11, "vocabularies": {"target": SOUNDS}}, "num_codes is 11 and the target vocabulary has 6"),
        ({"vocabularies": {"target": CHARACTERS}, "start": 99}, "start 99 is none of the 11 codes"),
        ({"vocabularies": {"target": CHARACTERS}, "state_names": ("h",)}, "1 state names for the 2 states"),
    ],
)
def test_generators_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_generator(LetterModel(), tmp_path, **{"name": "letters", "start": START_CODE, **options})
    assert list(tmp_path.rglob("*.onnx")) == []


def test_a_generator_that_is_not_recurrent_is_refused(tmp_path: Path) -> None:
    class Looking(LetterModel):
        """Adds up all that it has read in this run, and carries nothing of it."""

        def forward(self, codes: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            scores, *_ = super().forward(codes, h, c)
            return torch.cumsum(scores, dim=1), h, c

    with pytest.raises(ExportError, match="answers differently step by step than over a whole sequence"):
        export_generator(
            Looking(), tmp_path, name="l", start=START_CODE, stop=STOP_CODE, vocabularies={"target": CHARACTERS}
        )


def test_a_generator_that_fails_over_long_texts_is_told(tmp_path: Path) -> None:
    class UpToEight(LetterModel):
        def forward(self, codes: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            if codes.shape[1] > 8:
                raise IndexError("no such position")
            return super().forward(codes, h, c)

    with pytest.raises(ExportError, match=r"UpToEight fails on an input of shape \[3, 9\] .*no such position"):
        export_generator(UpToEight(), tmp_path, name="l", start=START_CODE, vocabularies={"target": CHARACTERS})
