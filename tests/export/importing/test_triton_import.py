"""Triton's models, imported with what their configurations say: they answer what a sequence was answered there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ostinato.export.errors import ExportError
from ostinato.export.importing.layouts import likely_layouts
from ostinato.export.importing.ports import Port
from ostinato.export.importing.triton import triton_models
from ostinato.export.importing.triton_import import import_triton
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.offline import run_offline
from tests.export.writers import small_proofs
from tests.foreign.building import GraphBuilder
from tests.foreign.case import Array
from tests.foreign.equations import Weights, lstm
from tests.foreign.triton import START, control, put

H = 4


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    with small_proofs():
        yield


def states(*names: str) -> str:
    zeros = f'initial_state: {{ data_type: TYPE_FP32 dims: [ {H} ] zero_data: true name: "begin" }}'
    return "".join(
        f'state [ {{ input_name: "{name}_IN" output_name: "{name}_OUT" data_type: TYPE_FP32 dims: [ {H} ] {zeros} }} ]'
        for name in names
    )


def answers(folder: Path, rows: Array) -> Array:
    """What the one model of a repository, imported, answers offline."""
    (found,) = triton_models(folder)
    made = import_triton(found, folder.with_name("imported"))
    return run_offline(load_model(made.directory, Settings()).runner, rows)[0]


def test_steps_of_many_are_one_request_and_start_clears_the_states_before_them(tmp_path: Path) -> None:
    builder = GraphBuilder(15)
    x, start = builder.input("INPUT", [None, None, 3]), builder.input("START", [None, 1])
    weights = Weights.drawn(builder, 4, 3, H)
    kept = builder.node("Sub", [builder.weight(1.0), start])
    first = [builder.unsqueeze(builder.node("Mul", [builder.input(f"{name}_IN", [None, H]), kept]), 0) for name in "HC"]
    nodes = [builder.transpose(x, 1, 0, 2), *weights.of_node(builder), "", *first]
    builder.nodes_of("LSTM", nodes, ["Y", "Y_H", "Y_C"], hidden_size=H)
    builder.transpose(builder.squeeze("Y", 1), 1, 0, 2, name="OUTPUT")
    builder.output("OUTPUT", [None, None, H])
    for name in "HC":
        builder.squeeze(f"Y_{name}", 0, f"{name}_OUT")
        builder.output(f"{name}_OUT", [None, H])
    config = f"""
        backend: "onnxruntime" max_batch_size: 16
        input [ {{ name: "INPUT" data_type: TYPE_FP32 dims: [ -1, 3 ] }} ]
        output [ {{ name: "OUTPUT" data_type: TYPE_FP32 dims: [ -1, {H} ] }} ]
        sequence_batching {{ {START} {states("H", "C")} }}
    """
    put(tmp_path / "models", config, builder.model("triton"))
    rows = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(tmp_path / "models", rows), lstm(rows, weights)[0], atol=1e-6)


def test_a_graph_may_take_one_row_whatever_its_file_says() -> None:
    """As one does that asks of START, with ``If``, whether a sequence begins."""
    fed, state = Port("INPUT", "float32", ("N", 3)), Port("S_IN", "float32", ("N", 4))
    rows = [each.rows for each in likely_layouts([fed], [state], {})]
    assert rows[0] is None
    assert 1 in rows


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('backend: "python"', "^sums: it is a model of 'python'"),
        (control("READY", "int32_false_true: [ 0, 1 ]"), "^sums/1: control input 'READY'.* has no such input"),
    ],
)
def test_what_is_refused_names_the_model_and_writes_nothing(tmp_path: Path, config: str, sentence: str) -> None:
    put(tmp_path / "models", config if "backend" in config else f"sequence_batching {{ {config} }}")
    (found,) = triton_models(tmp_path / "models")
    with pytest.raises(ExportError, match=sentence):
        import_triton(found, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()
