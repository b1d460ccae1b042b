from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ostinato.service.artifact.manifest import ANY, Manifest
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.catalogue.probes import Probe, draw_probes
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.runner import Runner
from tests.networks import Network, build_network

TABLE = np.array([2.0, -1.5, 0.25, 4.0], np.float32)


def looked_up() -> Network:
    """A code and an amount in, a table's number times the amount out; the manifest says nothing of codes."""
    nodes = [
        helper.make_node("Gather", ["x", "zero"], ["code"], axis=2),
        helper.make_node("Cast", ["code"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["found"]),
        helper.make_node("Gather", ["x", "one"], ["amount"], axis=2),
        helper.make_node("Mul", ["found", "amount"], ["y"]),
        helper.make_node("Identity", ["h"], ["h_n"]),
    ]
    inputs = (Input(name="x", dtype="float32", shape=("B", "T", 2), features=("code", "amount")),)
    outputs = (Output(name="y", dtype="float32", shape=("B", "T"), features=("y",)),)
    states = (State(name="h", input="h", output="h_n", shape=("B", 1), dtype="float32"),)
    constants = {"table": TABLE, "zero": np.array(0, np.int64), "one": np.array(1, np.int64)}

    def reference(given: Any) -> tuple[Any, dict[str, Any]]:
        made = TABLE[given[..., 0].astype(np.int64)] * given[..., 1]
        return made[..., None], {"h": np.zeros((len(given), 1), np.float32)}

    return build_network("looked-up", nodes, inputs, outputs, states, constants, reference)


@pytest.fixture
def golden() -> Any:
    generator = np.random.default_rng(0)
    codes, amounts = generator.integers(len(TABLE), size=(3, 20)), generator.normal(size=(3, 20))
    return np.stack([codes, amounts], axis=-1).astype(np.float32)


def test_codes_of_which_an_older_manifest_says_nothing_stay_where_others_fail(golden: Any, tmp_path: Path) -> None:
    directory = looked_up().write(tmp_path, golden)
    runner = Runner(Manifest.read(directory), directory, max_batch_size=256, max_iteration_steps=64)
    probes = draw_probes(runner, [Probe(golden, runner.initial_states(len(golden)))], 8)
    assert len(probes) == 5, "as given, in three magnitudes, and long"
    assert np.isin(probes[3].inputs[..., 0], range(len(TABLE))).all(), "thirty times a code is none"
    spread = [float(probe.inputs[..., 1].std()) for probe in probes[1:4]]
    assert spread[1] < spread[0] < spread[2]


def test_a_version_of_an_older_release_that_looks_codes_up_is_served(golden: Any, tmp_path: Path) -> None:
    assert load_model(looked_up().write(tmp_path, golden), Settings()).manifest.promise == ANY
