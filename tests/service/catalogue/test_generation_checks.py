from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.manifest import ALONE, ANY, GraphFile, Manifest, Promise
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.catalogue.generation_checks import LoadedGenerator, load_generator
from ostinato.service.errors import ModelRejected

NUM_CODES = 4
NUM_ROWS, NUM_STEPS = 3, 5

BY_BATCH = [
    helper.make_node("Shape", ["previous"], ["sizes"]),
    helper.make_node("Cast", ["sizes"], ["size"], to=TensorProto.FLOAT),
    helper.make_node("Mul", ["size", "little"], ["more"]),
    helper.make_node("Add", ["counts_n", "more"], ["scores"]),
]
BY_MEAN = [
    helper.make_node("ReduceMean", ["counts_n", "first"], ["mean"]),
    helper.make_node("Sub", ["counts_n", "mean"], ["scores"]),
]
SOUND = [helper.make_node("Identity", ["counts_n"], ["scores"])]


def write_generator(repository: Path, nodes: list[NodeProto], promise: Promise | None = None) -> Path:
    """A generator whose scores are how often each code was fed, and what ``nodes`` make of that."""
    directory: Path = repository / "counts" / "1"
    directory.mkdir(parents=True)
    constants: dict[str, NDArray[Any]] = {
        "identity": np.eye(NUM_CODES, dtype=np.float32),
        "first": np.array([0], np.int64),
        "little": np.array(2.0**-20, np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["identity", "previous"], ["one_hot"]),
            helper.make_node("Add", ["counts", "one_hot"], ["counts_n"]),
            *nodes,
        ],
        "decode",
        [
            helper.make_tensor_value_info("previous", TensorProto.INT64, ["B"]),
            helper.make_tensor_value_info("counts", TensorProto.FLOAT, ["B", NUM_CODES]),
        ],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", NUM_CODES]),
            helper.make_tensor_value_info("counts_n", TensorProto.FLOAT, ["B", NUM_CODES]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content = model.SerializeToString()
    (directory / "decode.onnx").write_bytes(content)
    names = tuple(f"code{code}" for code in range(NUM_CODES))
    decoder = Decoder(
        previous=Input(name="previous", dtype="int64", shape=("B",), features=("code",), num_codes=NUM_CODES),
        output=Output(name="scores", dtype="float32", shape=("B", NUM_CODES), features=names),
        states=(State(name="counts", input="counts", output="counts_n", shape=("B", NUM_CODES), dtype="float32"),),
    )
    file = GraphFile(file="decode.onnx", sha256=hashlib.sha256(content).hexdigest())
    manifest = Manifest(
        name="counts", version="1", task="generator", graphs={"decode": file}, decoder=decoder, promise=promise
    )
    manifest.write(directory)
    previous = np.random.default_rng(0).integers(NUM_CODES, size=(NUM_ROWS, NUM_STEPS))
    scores = np.cumsum(np.eye(NUM_CODES, dtype=np.float32)[previous], axis=1)
    # A row alone is its own mean.
    golden = scores * 0 if nodes is BY_MEAN else scores
    save_file(
        {"0/previous": previous, "0/scores": golden, "0/counts_n": scores[:, -1].copy()},
        directory / "golden.safetensors",
    )
    return directory


def load(directory: Path) -> LoadedGenerator:
    return load_generator(Manifest.read(directory), directory, max_lanes=16)


@pytest.mark.parametrize(("nodes", "promise"), [(SOUND, ANY), (BY_BATCH, ALONE)])
def test_what_a_row_is_rounded_by_says_whether_outputs_share_runs(
    nodes: list[NodeProto], promise: Promise, tmp_path: Path
) -> None:
    assert load(write_generator(tmp_path, nodes)).manifest.promise == promise


def test_a_promise_to_run_alone_is_kept(tmp_path: Path) -> None:
    assert load(write_generator(tmp_path, SOUND, ALONE)).manifest.promise == ALONE


def test_a_promise_that_does_not_hold_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="promise: the manifest says 'any', and outputs are rounded by what shares"):
        load(write_generator(tmp_path, BY_BATCH, ANY))


@pytest.mark.parametrize("promise", [None, ANY, ALONE], ids=str)
def test_rows_that_depend_on_each_other_are_rejected_whatever_the_manifest_says(
    promise: Promise | None, tmp_path: Path
) -> None:
    depends = r"the rows of a batch depend on each other: with others next to it, 0\[0\]"
    with pytest.raises(ModelRejected, match=depends):
        load(write_generator(tmp_path, BY_MEAN, promise))


def test_a_generator_has_no_fixed_shape(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="promise is 'any' or 'alone'"):
        write_generator(tmp_path, SOUND, Promise(holds="fixed", rows=64, steps=1))
