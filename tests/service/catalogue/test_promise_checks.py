from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import ALONE, ANY, Manifest, Promise
from ostinato.service.catalogue.promise_checks import FIXED, TWO_ROWS
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests import networks, rounding_networks
from tests.networks import Network

WHOLE_NUMBERS = np.arange(1, 61, dtype=np.float32).reshape(2, 30, 1)
NORMAL = np.random.default_rng(0).normal(size=(3, 20, 3)).astype(np.float32)


def load(network: Network, tmp_path: Path, golden: Any, **members: object) -> LoadedModel:
    directory = network.write(tmp_path, golden)
    path = directory / "model.json"
    content = {**json.loads(path.read_text()), **members}
    if "batch_invariant" in members:
        del content["promise"]
    path.write_text(json.dumps(content))
    return load_model(directory, Settings())


@pytest.mark.parametrize(
    ("what", "promise", "largest"),
    [
        ("batch of one", TWO_ROWS, (256, 64)),
        ("batch", FIXED, (64, 1)),
        ("steps", FIXED, (64, 1)),
        ("place", ALONE, (1, 1)),
        ("neighbours", ALONE, (1, 1)),
    ],
)
def test_what_rounding_depends_on_says_how_a_graph_is_run(
    what: str, promise: Promise, largest: tuple[int, int], tmp_path: Path
) -> None:
    loaded = load(rounding_networks.planted(what), tmp_path, WHOLE_NUMBERS)
    assert loaded.manifest.promise == loaded.runner.promise == promise
    assert (loaded.runner.max_batch_size, loaded.runner.max_iteration_steps) == largest


def test_a_graph_that_rounds_alike_in_any_run_may_be_run_in_any(tmp_path: Path) -> None:
    assert load(networks.accumulator(), tmp_path, WHOLE_NUMBERS).manifest.promise == ANY


@pytest.mark.parametrize("what", ["mean", "a little of the mean", "softmax", "cumsum", "attention", "size"])
@pytest.mark.parametrize("stated", [None, ANY, FIXED, ALONE], ids=str)
def test_rows_that_depend_on_each_other_are_rejected_whatever_the_manifest_says(
    what: str, stated: Promise | None, tmp_path: Path
) -> None:
    members = {"promise": stated.model_dump() if stated else None}
    with pytest.raises(ModelRejected, match=r"model\.onnx: the rows of a batch depend on each other: .* changes by"):
        load(rounding_networks.dependent(what), tmp_path, NORMAL, **members)


@pytest.mark.parametrize(
    ("what", "stated"),
    [
        ("batch of one", ANY),
        ("batch", ANY),
        ("steps", ANY),
        ("place", ANY),
        ("neighbours", ANY),
        ("batch", TWO_ROWS),
        ("steps", TWO_ROWS),
        ("place", FIXED),
        ("neighbours", FIXED),
    ],
)
def test_a_promise_that_does_not_hold_is_rejected(what: str, stated: Promise, tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=rf"model\.json: promise: it says '{stated}', and so run the graph rounds"):
        load(rounding_networks.planted(what), tmp_path, WHOLE_NUMBERS, promise=stated.model_dump())


@pytest.mark.parametrize("stated", [TWO_ROWS, FIXED, ALONE, Promise(holds="fixed", rows=5, steps=1)], ids=str)
def test_a_promise_that_asks_for_less_than_could_be_is_kept_as_it_is_stated(stated: Promise, tmp_path: Path) -> None:
    loaded = load(networks.lstm(), tmp_path, NORMAL, promise=stated.model_dump())
    assert loaded.manifest.promise == stated
    assert loaded.golden_difference < 1e-6


def test_a_graph_whose_states_do_not_carry_what_it_needs_is_rejected(tmp_path: Path) -> None:
    network = networks.accumulator()
    (kept,) = (node for node in network.model.graph.node if node.output[0] == "total_n")
    kept.input[1] = "total"  # twice what it was, in place of what was added
    with pytest.raises(ModelRejected, match="step by step the graph answers differently from one run, by"):
        load(network, tmp_path, WHOLE_NUMBERS)


@pytest.mark.parametrize(("is_invariant", "promise"), [(False, ALONE), (True, FIXED)])
def test_an_older_manifest_is_run_alone_or_looked_at(is_invariant: bool, promise: Promise, tmp_path: Path) -> None:
    loaded = load(rounding_networks.planted("batch"), tmp_path, WHOLE_NUMBERS, batch_invariant=is_invariant)
    assert loaded.manifest.promise == promise
    assert not loaded.manifest.batch_invariant


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        ({"holds": "fixed", "rows": 64}, "steps is 0 with 'any', else 1"),
        ({"holds": "any", "steps": 1}, "steps is 0 with 'any', else 1"),
        ({"holds": "alone", "rows": 2, "steps": 1}, "it is the only one|rows is 1"),
        ({"holds": "sometimes"}, "'any', 'fixed' or 'alone'"),
    ],
)
def test_a_promise_that_says_two_things_is_no_promise(promise: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=message):
        load(networks.lstm(), tmp_path, NORMAL, promise=promise)


def test_a_manifest_that_is_written_says_its_promise_and_is_read_again(tmp_path: Path) -> None:
    loaded = load(networks.lstm(), tmp_path, NORMAL)
    directory = tmp_path / "lstm" / "1"
    loaded.manifest.write(directory)
    content = json.loads((directory / "model.json").read_text())
    assert content["promise"] == {"holds": "any", "rows": 1, "steps": 0}
    assert content["batch_invariant"] is True
    assert Manifest.read(directory) == loaded.manifest
