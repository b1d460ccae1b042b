"""A version in int8: what it costs is measured, its rows are run alone, or share runs by scales of their own, and every
load holds it to that.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn
from typer.testing import CliRunner

from ostinato.cli import app
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import Proof
from ostinato.export.quantized import check_quantization, make_quantized, quantize_graph
from ostinato.export.version_directory import Exported
from ostinato.models.data.series import TrainingStatistics
from ostinato.models.networks.features import Features, Target
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import build_forecaster
from ostinato.service.artifact.manifest import ALONE, ANY, BY_ITSELF, GraphFile, Manifest, Parity
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.catalogue.sequence_checks import load_sequence_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.errors import ModelRejected
from tests import networks
from tests.export.writers import small_proofs
from tests.foreign.building import GraphBuilder
from tests.foreign.equations import Weights
from tests.foreign.torch_loops import layers_within_if, loop_cell
from tests.networks import Network

INPUTS = np.random.default_rng(0).normal(size=(4, 20, 3)).astype(np.float32)
PARITY = Parity(max_difference=1e-7, batch_sizes=(1,), lengths=(1,), num_chunkings=0)


def in_float(network: Network, folder: Path) -> Exported:
    directory = network.write(folder, INPUTS[..., : len(network.manifest["inputs"][0].features)])
    return Exported(directory, Manifest.read(directory), Proof((), PARITY))


def scorer(folder: Path) -> Exported:
    """A model of whole sequences: the mean over their steps, by a matrix."""
    builder = GraphBuilder(17)
    kernel = builder.drawn(3, 2)
    mean = builder.node("ReduceMean", [builder.input("x", ["B", "T", 3])], axes=[1], keepdims=0)
    builder.node("MatMul", [mean, builder.weight(kernel)], "y")
    builder.output("y", ["B", 2])
    directory = folder / "scorer" / "1"
    directory.mkdir(parents=True)
    onnx.save(builder.model("pytorch"), directory / "model.onnx")
    save_file({"0/x": INPUTS, "0/y": (INPUTS.mean(axis=1) @ kernel)}, directory / "golden.safetensors")
    manifest = Manifest(
        name="scorer",
        version="1",
        task="sequence",
        graphs={"sequence": GraphFile(file="model.onnx", sha256="0" * 64)},
        inputs=(Input(name="x", dtype="float32", shape=("B", "T", 3), features=("a", "b", "c")),),
        outputs=(Output(name="y", dtype="float32", shape=("B", 2), features=("d", "e")),),
        promise=BY_ITSELF,
    )
    return Exported(directory, manifest, Proof((), PARITY))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("repository")
    return make_quantized(lambda place: in_float(networks.lstm(hidden_size=16), place), folder, to="int8")


def test_its_weights_are_in_8_bits_and_its_files_are_those_of_any_version(quantised: Exported) -> None:
    graph = onnx.load(quantised.directory / "model.onnx").graph
    assert {"DynamicQuantizeLSTM"} <= {node.op_type for node in graph.node}
    assert sorted(path.name for path in quantised.directory.iterdir()) == [
        "golden.safetensors",
        "model.json",
        "model.onnx",
    ]
    said = quantised.manifest.provenance["quantized"]
    assert said["bytes"] == (quantised.directory / "model.onnx").stat().st_size < said["bytes_in_float"]


def test_the_golden_answers_stay_the_network_s_and_the_measured_difference_is_theirs(quantised: Exported) -> None:
    loaded = load_model(quantised.directory, Settings())
    outputs, states = networks.lstm(hidden_size=16).reference(INPUTS)
    made, behind = run_offline(loaded.runner, INPUTS)
    found = [largest_difference(made, outputs), *map(largest_difference, behind, states.values())]
    assert max(found) == pytest.approx(loaded.golden_difference, rel=1e-3)
    parity = loaded.manifest.parity
    assert parity is not None
    assert parity.max_difference == pytest.approx(max(found), rel=1e-3)
    assert 1e-5 < parity.max_difference < parity.tolerance
    assert quantised.manifest.provenance["quantized"]["mean_difference"] < parity.max_difference


def test_rows_share_no_run_since_they_would_share_a_scale(quantised: Exported) -> None:
    loaded = load_model(quantised.directory, Settings())
    assert loaded.manifest.promise == ALONE
    assert loaded.runner.max_batch_size == 1
    assert quantised.manifest.provenance["quantized"]["change_beside_others"] > 0
    assert any("so each is run alone" in note for note in quantised.proof.notes)


def test_a_load_refuses_a_graph_that_is_off_by_twice_of_what_was_measured(quantised: Exported, tmp_path: Path) -> None:
    directory = tmp_path / quantised.manifest.name / "1"
    directory.mkdir(parents=True)
    for path in quantised.directory.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    content = json.loads((directory / "model.json").read_text())
    content["parity"]["tolerance"] = content["parity"]["max_difference"] / 2
    (directory / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelRejected, match="the graph is off by"):
        load_model(directory, Settings())


@pytest.mark.parametrize("promise", [{"holds": "any"}, {"holds": "fixed", "rows": 64, "steps": 1}])
def test_a_manifest_that_has_such_rows_share_runs_is_refused(quantised: Exported, promise: object) -> None:
    content = json.loads((quantised.directory / "model.json").read_text())
    with pytest.raises(ValueError, match="rows that share a scale are run alone"):
        Manifest.model_validate({**content, "promise": promise})


def test_other_manifests_do_not_speak_of_it(tmp_path: Path) -> None:
    assert "quantized" not in json.loads((in_float(networks.lstm(), tmp_path).directory / "model.json").read_text())


def test_sequences_are_each_run_by_themselves(tmp_path: Path) -> None:
    made = make_quantized(scorer, tmp_path / "int8", to="int8")
    loaded = load_sequence_model(made.manifest, made.directory, Settings())
    assert loaded.manifest.promise == BY_ITSELF
    assert 0 < loaded.golden_difference < 0.1


def test_what_onnxruntime_cannot_quantise_stays_in_float_and_is_said(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x = builder.input("x", ["T", "B", 3])
    layer = builder.node("GRU", [x, *Weights.drawn(builder, 3, 3, 4).of_node(builder)], hidden_size=4)
    builder.squeeze(layer, 1, "hidden")
    builder.output("hidden", ["T", "B", 4])
    onnx.save(builder.model("pytorch"), tmp_path / "gru.onnx")
    with pytest.raises(ExportError, match=r"nothing in it can be quantised.* no GRU in int8"):
        quantize_graph(tmp_path / "gru.onnx", tmp_path / "int8.onnx")
    builder.node("MatMul", ["hidden", builder.weight(builder.drawn(4, 2))], "y")
    builder.output("y", ["T", "B", 2])
    onnx.save(builder.model("pytorch"), tmp_path / "gru.onnx")
    (note,) = quantize_graph(tmp_path / "gru.onnx", tmp_path / "int8.onnx")
    assert "1 GRU stay in float" in note


def test_weights_within_a_loop_are_quantised(tmp_path: Path) -> None:
    onnx.save(loop_cell().model, tmp_path / "loop.onnx")
    quantize_graph(tmp_path / "loop.onnx", tmp_path / "int8.onnx")
    (loop,) = (node for node in onnx.load(tmp_path / "int8.onnx").graph.node if node.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    assert [node.op_type for node in body.node].count("MatMulInteger") == 2


def test_layers_within_branches_are_quantised_whose_weights_stand_around_them(tmp_path: Path) -> None:
    onnx.save(layers_within_if().model, tmp_path / "if.onnx")
    quantize_graph(tmp_path / "if.onnx", tmp_path / "int8.onnx")
    (chosen,) = (node for node in onnx.load(tmp_path / "int8.onnx").graph.node if node.op_type == "If")
    for attribute in chosen.attribute:
        assert "DynamicQuantizeLSTM" in {node.op_type for node in attribute.g.node}


def test_weights_that_are_computed_from_others_are_quantised(tmp_path: Path) -> None:
    builder = GraphBuilder(17)
    x, halves = builder.input("x", ["B", "T", 4]), [builder.weight(builder.drawn(2, 3)) for _ in range(2)]
    builder.node("MatMul", [x, builder.node("Concat", halves, axis=0)], "y")
    builder.output("y", ["B", "T", 3])
    onnx.save(builder.model("pytorch"), tmp_path / "joined.onnx")
    assert quantize_graph(tmp_path / "joined.onnx", tmp_path / "int8.onnx") == ()
    assert "MatMulInteger" in {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}


def test_only_int8_is_known_and_nothing_is_written_where_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--quantize int4: there is int8"):
        make_quantized(lambda place: in_float(networks.lstm(), place), tmp_path / "out", to="int4")
    with pytest.raises(ExportError, match="nothing in it can be quantised"):
        make_quantized(lambda place: in_float(networks.accumulator(), place), tmp_path / "out", to="int8")
    assert not list((tmp_path / "out").glob("*/*"))


def in_rows(folder: Path, max_loss: float | None = None) -> Exported:
    def make(place: Path) -> Exported:
        return in_float(networks.lstm(hidden_size=16).named("lstm", promise=ANY), place)

    return make_quantized(make, folder, to="int8-rows", max_loss=max_loss)


@pytest.fixture(scope="module")
def by_rows(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return in_rows(tmp_path_factory.mktemp("repository"))


def test_its_layers_are_in_8_bits_and_its_manifest_is_one_that_every_release_reads(by_rows: Exported) -> None:
    (scan,) = (node for node in onnx.load(by_rows.directory / "model.onnx").graph.node if node.op_type == "Scan")
    assert "MatMulInteger" in {node.op_type for node in scan.attribute[0].g.node}
    written = json.loads((by_rows.directory / "model.json").read_text())
    assert "quantized" not in written
    assert written["provenance"]["quantized"]["to"] == "int8, dynamic: weights by column, activations by row"
    assert Manifest.read(by_rows.directory) == by_rows.manifest


def test_rows_share_runs_and_their_answers_are_the_offline_ones_to_the_bit(by_rows: Exported) -> None:
    loaded = load_model(by_rows.directory, Settings())
    assert loaded.manifest.promise == ANY
    wanted, behind = run_offline(loaded.runner, INPUTS)
    states, answers = loaded.runner.initial_states(len(INPUTS)), []
    for cut in np.split(INPUTS, (1, 4, 5, 13), axis=1):
        made, states = loaded.runner.run(cut, states)
        answers.append(made)
    assert np.concatenate(answers, axis=1).tobytes() == wanted.tobytes()
    assert all(each.tobytes() == right.tobytes() for each, right in zip(states, behind, strict=True))


def test_its_golden_answers_stay_the_network_s_and_every_load_holds_the_graph_to_twice_its_loss(
    by_rows: Exported,
) -> None:
    loaded = load_model(by_rows.directory, Settings())
    parity, said = loaded.manifest.parity, by_rows.manifest.provenance["quantized"]
    assert parity is not None
    assert parity.max_difference == pytest.approx(loaded.golden_difference, rel=1e-3)
    assert 1e-5 < parity.max_difference < parity.tolerance <= 2.1 * parity.max_difference
    assert 0 < said["mean_difference"] < said["largest_difference"] == parity.max_difference < said["spread"]


def test_what_it_costs_is_said(by_rows: Exported) -> None:
    notes = "\n".join(by_rows.proof.notes)
    for words in ("1 MatMul stay in float", "standard deviation is", "bytes became", "of one row", "of 64 rows"):
        assert words in notes
    assert "run alone" not in notes


def test_a_larger_loss_than_is_accepted_is_refused_and_nothing_is_written(by_rows: Exported, tmp_path: Path) -> None:
    loss = by_rows.manifest.provenance["quantized"]["largest_difference"]
    with pytest.raises(ExportError, match=r"off from the network by .*--max-loss is .*nothing was written"):
        in_rows(tmp_path, loss / 2)
    assert not list(tmp_path.glob("*/*"))
    assert in_rows(tmp_path, loss * 1.01).directory.is_dir()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing in it can be quantised: there is no LSTM or GRU"):
        make_quantized(lambda place: in_float(networks.accumulator(), place), tmp_path, to="int8-rows")
    with pytest.raises(ExportError, match="int8-rows is for models with sessions"):
        make_quantized(scorer, tmp_path, to="int8-rows")
    assert not list(tmp_path.glob("*/*"))
    for to, limit in (("", 0.1), ("int8-rows", -1.0), ("int8", float("nan"))):
        with pytest.raises(ExportError, match="--max-loss"):
            check_quantization(to, limit)


@pytest.mark.usefixtures("quick")
def test_a_layer_in_the_body_of_a_loop_keeps_its_names_apart_from_those_around_it(tmp_path: Path) -> None:
    features = Features(
        ("level", "hour"),
        (0, 24),
        TrainingStatistics((10.0, 11.0), (2.0, 7.0), (5.0, 0.0), (15.0, 23.0), (0.0, 0.0)),
        (Target("level", 0, 10.0, 0.5),),
    )
    # The second layer is a loop in Python, so all of a step becomes the body of a scan.
    network = build_forecaster(features, LayersRecipe(cell=("lstm", "minimal"), hidden_size=8), cycles=("hour",))
    given = Input(name="x", dtype="float32", shape=("B", "T", 2), features=features.names, missing=True)
    made = make_quantized(
        lambda place: export_module(network, given, place, name="own"), tmp_path / "int8", to="int8-rows"
    )
    assert made.manifest.promise == ANY


def layer() -> nn.Module:
    torch.manual_seed(0)
    return nn.GRU(3, 8, 2, batch_first=True)


def test_the_command_line_prints_the_loss_and_holds_it_to_its_limit(tmp_path: Path) -> None:
    given = ["export", f"{__name__}:layer", "--input", "x:B,T,3", "--name", "gru", "--repository", str(tmp_path)]
    runner = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"})
    with small_proofs():
        refused = runner.invoke(app, [*given, "--quantize", "int8-rows", "--max-loss", "1e-6"])
        made = runner.invoke(app, [*given, "--quantize", "int8-rows", "--max-loss", "0.1"])
    assert refused.exit_code == 1
    assert "--max-loss is 1e-06: nothing was written" in " ".join(refused.output.split())
    assert made.exit_code == 0, made.output
    assert "int8: off from the network by" in made.output
    assert load_model(tmp_path / "gru" / "1", Settings()).manifest.promise == ANY
