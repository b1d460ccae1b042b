from __future__ import annotations

import numpy as np
import pytest

from ostinato.export.contracts.axes import Array, States, from_axes, run_in_chunks, to_axes
from ostinato.service.artifact.tensors import Tensor

SEQUENCE = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)


def tensor(*shape: int | str) -> Tensor:
    return Tensor.model_validate({"name": "x", "dtype": "float32", "shape": shape})


@pytest.mark.parametrize("shape", [("B", "T", 3), ("T", "B", 3), (3, "T", "B"), ("B", 3, "T")])
def test_from_axes_undoes_to_axes(shape: tuple[int | str, ...]) -> None:
    array = to_axes(SEQUENCE, tensor(*shape))
    assert array.shape == tuple({"B": 2, "T": 5}.get(str(axis), axis) for axis in shape)
    np.testing.assert_array_equal(from_axes(array, tensor(*shape)), SEQUENCE)


def test_a_tensor_without_steps_holds_one() -> None:
    array = to_axes(SEQUENCE[:, :1], tensor(3, "B"))
    assert array.tolist() == SEQUENCE[:, 0].T.tolist()
    np.testing.assert_array_equal(from_axes(array, tensor(3, "B")), SEQUENCE[:, :1])


class Sums:
    """Adds up the steps, and notes how many each run had."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs
        self.lengths: list[int] = []

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        steps = from_axes(x, self.inputs)
        self.lengths.append(steps.shape[1])
        total = states[0] + steps.sum(axis=1)
        return total, (total,)


def test_chunks_carry_the_state_and_the_last_answer_of_many_counts() -> None:
    sums = Sums(tensor("B", "T", 3))
    y, states = run_in_chunks(sums, sums.inputs, tensor("B", 3), SEQUENCE, (np.zeros((2, 3), np.float32),), (1, 4))
    assert sums.lengths == [1, 3, 1]
    np.testing.assert_array_equal(y[:, 0], SEQUENCE.sum(axis=1))
    np.testing.assert_array_equal(states[0], y[:, 0])


def test_a_step_without_time_is_given_one_at_a_time() -> None:
    sums = Sums(tensor("B", 3))
    y, _ = run_in_chunks(sums, sums.inputs, tensor("B", 3), SEQUENCE, (np.zeros((2, 3), np.float32),))
    assert sums.lengths == [1] * 5
    np.testing.assert_array_equal(y, SEQUENCE.cumsum(axis=1))
