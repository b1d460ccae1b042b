"""The graphs of this folder answer what their frameworks' equations say, streamed as they are made to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ostinato.service.artifact.graphs import open_graph
from tests.foreign import FOREIGN
from tests.foreign.case import Array, Arrays, Foreign


def laid_out(rows: Array, axes: tuple[int | str, ...]) -> Array:
    """``[B, T, *row]`` in a graph's axes; ``[B, *row]``, where these have no T."""
    order = [*(axis for axis in ("B", "T") if axis in axes), *(axis for axis in axes if axis not in ("B", "T"))]
    positions, numbers = (
        {"B": 0, "T": 1},
        iter(range(len(order) - sum(isinstance(axis, int) for axis in axes), len(order))),
    )
    return rows.transpose([positions[axis] if isinstance(axis, str) else next(numbers) for axis in axes])


def back(answer: Array, axes: tuple[int | str, ...]) -> Array:
    """What a graph answered with B first and T second."""
    first = [axes.index(axis) for axis in ("B", "T") if axis in axes]
    return answer.transpose([*first, *(place for place in range(answer.ndim) if place not in first)])


def first_states(case: Foreign, batch: int) -> Arrays:
    dtypes = {part.name: part.type.tensor_type.elem_type for part in case.model.graph.input}

    def first(name: str) -> Array:
        shape = [batch if axis == "B" else int(axis) for axis in case.axes[name]]
        return np.full(shape, case.initial.get(name, 0), onnx.helper.tensor_dtype_to_np_dtype(dtypes[name]))

    return {name: first(name) for name in case.states}


def streamed(case: Foreign, path: Path, given: Arrays, batch: int, steps: int, chunk: int) -> Arrays:
    """The answers of the graph, ``chunk`` steps a run or by windows, ``{output: [B, T, ...]}``."""
    path.write_bytes(case.model.SerializeToString())
    session = open_graph(path)
    outputs = [part.name for part in case.model.graph.output if part.name in case.axes]
    constants = {name: np.asarray(value) for name, value in case.constants.items()}
    states = first_states(case, batch)
    answers: dict[str, list[Array]] = {name: [] for name in outputs if name not in case.states.values()}
    window, hop = case.framing or (chunk, chunk)
    padded = {
        name: np.concatenate([np.zeros_like(rows[:, : window - hop]), rows], axis=1) for name, rows in given.items()
    }
    for start in range(0, steps - hop + 1, hop):
        feeds = {}
        for name, rows in padded.items():
            part = rows[:, start : start + window]
            has_steps = "T" in case.axes[name] or case.framing is not None
            feeds[name] = laid_out(part if has_steps else part[:, 0], case.axes[name]) if not case.framing else part
        found = dict(zip(outputs, session.run(outputs, {**feeds, **states, **constants}), strict=True))
        states = {name: found[after] for name, after in case.states.items()}
        for name in answers:
            answer = back(found[name], case.axes[name])
            answers[name].append(answer if "T" in case.axes[name] else answer[:, None])
    return {name: np.concatenate(parts, axis=1) for name, parts in answers.items()}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_graph_answers_what_its_equations_say(name: str, tmp_path: Path) -> None:
    case = FOREIGN[name]()
    batch, steps = case.fixed.get("B", 2), case.fixed.get("T", 8)
    given = case.draw(batch, steps)
    whole = all("T" in case.axes[part] for part in case.rows)
    chunk = steps if whole and not case.states else 4 if whole else 1
    found, expected = streamed(case, tmp_path / "model.onnx", given, batch, steps, chunk), case.truth(given)
    assert found.keys() == expected.keys()
    for output, answer in found.items():
        right = expected[output]
        if whole and "T" not in case.axes[output]:  # one answer for a whole run: that of its last step
            right = right[:, chunk - 1 :: chunk]
        np.testing.assert_allclose(answer, right, atol=1e-5, err_msg=output)
