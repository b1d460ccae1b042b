from __future__ import annotations

from fractions import Fraction

import onnx_ir as ir
import pytest

from ostinato.export.graphs.feeding import Feeding
from ostinato.export.graphs.observed import CannotRun, Observed, Size, observe
from tests.export.graphs.foreign import drawn, parsed

NODES = """shape = Constant <value_ints = [-1, 5]> () folded = Reshape (x, shape)
    pads = Constant <value_ints = [0, 2, 0, 0, 0, 0]> () longer = Pad (x, pads)
    one = Constant <value_ints = [1]> () mean = ReduceMean (x, one)
    y = Concat <axis = 1> (mean, x)"""


def value_of(model: ir.Model, name: str) -> ir.Value:
    return next(value for node in model.graph for value in node.outputs if value.name == name)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return parsed(f"g (float[B, T, 5] x) => (y) {{ {NODES} }}")


@pytest.fixture(scope="module")
def observed(model: ir.Model) -> Observed:
    return observe(model, Feeding(model.graph, {"x": (0, 1)}, {}), {"Reshape", "Pad", "ReduceMean"})


ROWS, FEATURES = Size(True, Fraction(0), Fraction(1)), Size(False, Fraction(0), Fraction(5))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("folded", (Size(True, Fraction(1), Fraction(0)), FEATURES)),
        ("longer", (ROWS, Size(False, Fraction(1), Fraction(2)), FEATURES)),
        ("mean", (ROWS, Size(False, Fraction(0), Fraction(1)), FEATURES)),
    ],
)
def test_sizes_are_told_by_the_rows_and_the_steps(
    model: ir.Model, observed: Observed, name: str, sizes: tuple[Size, ...]
) -> None:
    assert observed.sizes(value_of(model, name)) == sizes


def test_the_first_row_of_the_batch_changes_its_places_of_an_axis(model: ir.Model, observed: Observed) -> None:
    changed = observed.changed_rows(value_of(model, "folded"), 0)
    assert changed is not None
    steps = observed.base.num_steps
    assert changed.tolist() == [True] * steps + [False] * steps * (observed.base.batch_size - 1)


def test_what_is_not_looked_at_is_not_kept() -> None:
    model = parsed("g (float[B, T, 5] x) => (y) { a = Neg (x) b = Neg (a) y = Neg (b) }")
    few = observe(model, Feeding(model.graph, {"x": (0, 1)}, {}), ())
    assert set(few.base) == {"x", "y"}


def test_a_length_is_found_with_which_a_graph_runs() -> None:
    model = parsed("g (float[B, 3, T] x) => (y) { y = Conv (x, Kernel) }", Kernel=drawn(2, 3, 60))
    assert observe(model, Feeding(model.graph, {"x": (0, 2)}, {}), {"Conv"}).base.num_steps == 208


def test_a_graph_of_one_row_runs_with_one_row() -> None:
    model = parsed("g (float[B, T, 3] x) => (y) { y = Concat <axis = 1> (Begin, x) }", Begin=drawn(1, 2, 3))
    assert observe(model, Feeding(model.graph, {"x": (0, 1)}, {}), ()).base.batch_size == 1


def test_a_graph_that_runs_with_no_sizes_says_why() -> None:
    model = parsed("g (float[B, T, 3] x) => (y) { y = MatMul (x, Weights) }", Weights=drawn(4, 2))
    model.graph.inputs[0].shape = ir.Shape(["B", "T", "F"])
    with pytest.raises(CannotRun, match="MatMul"):
        observe(model, Feeding(model.graph, {"x": (0, 1)}, {}), ())
