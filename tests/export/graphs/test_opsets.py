from __future__ import annotations

import onnx_ir as ir
import pytest

from ostinato.export.graphs.opsets import OPSET_VERSION, with_new_operators
from tests.export.graphs.foreign import drawn, run
from tests.foreign import FOREIGN


@pytest.mark.parametrize("name", ["torch_lstm_fixed_sizes", "tf2onnx_gru_while", "keras2onnx_scan"])
def test_a_graph_of_older_operators_answers_the_same_in_newer_ones(name: str) -> None:
    case = FOREIGN[name]()
    model = ir.from_proto(case.model)
    made = with_new_operators(model)
    assert made.opset_imports[""] == OPSET_VERSION > model.opset_imports[""]
    (given,) = case.rows
    feeds = {given: drawn(case.fixed.get("B", 2), case.fixed.get("T", 5), *case.rows[given])}
    answers = run(model, feeds)
    assert {key: array.tobytes() for key, array in run(made, feeds).items()} == {
        key: array.tobytes() for key, array in answers.items()
    }


def test_a_graph_of_newer_operators_stays() -> None:
    model = ir.from_proto(FOREIGN["torch_opset_21_gru"]().model)
    assert with_new_operators(model) is model
