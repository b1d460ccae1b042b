from __future__ import annotations

import pytest
import torch

from ostinato.export.contracts.symbols import PROBE_SIZES, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError


def test_each_axis_is_called_by_what_it_follows() -> None:
    assert PROBE_SIZES == ((3, 5), (4, 5), (3, 7))
    assert symbolic_shape("it", [(3, 5, 2), (4, 5, 2), (3, 7, 2)]) == ("B", "T", 2)
    assert symbolic_shape("it", [(6, 3), (6, 4), (6, 3)]) == (6, "B")
    assert symbolic_shape("it", [(3, 5), (4, 5), (3, 7)], "S") == ("B", "S")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3,), (4, 1), (3,)], "it has another number of axes for another size"),
        ([(3, 6), (4, 6), (3, 8)], r"neither the batch nor the steps: sizes \(6, 6, 8\)"),
        ([(3, 4), (4, 4), (3, 6)], "for inputs of 5, 5, 7 steps, 1 fewer than .*must take that from a state"),
        ([(3, 7), (4, 7), (3, 9)], "for inputs of 5, 5, 7 steps, 2 more than the input has: give one"),
        ([(3, 3), (4, 3), (3, 4)], r"sizes \(3, 3, 4\) for inputs of 5, 5, 7 steps: give one answer for each"),
        ([(15, 2), (20, 2), (21, 2)], r"batch times steps: give each its own axis, as by reshape\(B, T, -1\)"),
        ([(2, 5), (2, 5), (2, 5)], "exactly one axis must have the size of the batch"),
        ([(3, 3), (4, 4), (3, 3)], "exactly one axis must have the size of the batch"),
    ],
)
def test_other_axes_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        symbolic_shape("it", shapes)


def test_a_dtype_that_the_service_does_not_know_is_refused() -> None:
    assert dtype_name("it", torch.zeros(1, dtype=torch.int64)) == "int64"
    with pytest.raises(ExportError, match=r"dtype bfloat16; the service knows float16, .*: convert it, as by \.float"):
        dtype_name("it", torch.zeros(1, dtype=torch.bfloat16))
