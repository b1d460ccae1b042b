"""What a run means, without a scheduler: no loop, no clock, and results that are written down here."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Output
from ostinato.service.engine.recurrent.batching import Iteration, Line, Work
from ostinato.service.engine.recurrent.progress import Over, Progress
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.errors import RunFailed
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.state.arena import Arena
from tests.service.puppet import MANIFEST, PuppetRunner, column

Floats = NDArray[np.float32]


class Stage:
    """An arena of ten slots, the first four of them sessions', and a line."""

    def __init__(self, *, answers_every_step: bool = True, manifest: Manifest = MANIFEST) -> None:
        self.arena = Arena(manifest, 10)
        self.sessions = [self.arena.allocate(name) for name in "abcd"]
        self.line = Line(max_batch_size=8, max_iteration_steps=64)
        self.metrics = ModelMetrics(Metrics(), "sum", "1")
        runner = PuppetRunner()
        runner.answers_every_step = answers_every_step
        self.progress = Progress(runner, self.arena, self.line, self.metrics)

    def chunk(self, session: int, num_steps: int) -> Work:
        return Work([self.sessions[session]], column(*[0.0] * num_steps), 1, num_steps, None)

    def private(self, num_steps: int) -> Work:
        return Work([self.arena.allocate()], column(*[0.0] * num_steps), 1, num_steps, None, private=True)

    def run(self, iteration: Iteration, outputs: Floats, failed_rows: list[bool] | None = None) -> Over:
        """Take outputs ``[B, T, 1]`` in; each row's new state is its last output."""
        slots = np.array([slot for work in iteration.works for slot in work.scratch or work.slots], np.int64)
        failed = None if failed_rows is None else np.array(failed_rows)
        inputs = np.zeros((outputs.size, 1), np.float32)
        result = Result(outputs, (outputs[:, -1].copy(),), failed, slots, inputs)
        self.progress.keep(iteration, result)
        return self.progress.take(iteration, result, 0.25)

    def state(self, slot: int) -> float:
        return float(self.arena.read(slot)[0][0])


def rows(*values: list[float]) -> Floats:
    """Outputs ``[B, T, 1]``."""
    return np.array(values, np.float32)[:, :, None]


def test_works_that_are_the_whole_iteration_finish_with_their_own_outputs_and_all_inputs() -> None:
    stage = Stage()
    works = [stage.chunk(0, 2), stage.chunk(1, 2)]
    handed_back, finished = stage.run(Iteration(works, 2, 2, is_whole=True), rows([1, 2], [3, 4]))
    assert handed_back == []
    assert finished is not None
    assert [work.outputs.ravel().tolist() for work in works] == [[1, 2], [3, 4]]
    assert finished.last_outputs.ravel().tolist() == [2, 4]
    assert finished.inputs is not None
    assert [stage.state(slot) for slot in stage.sessions[:2]] == [0, 0]  # the owner commits, nobody else


def test_a_chunk_with_steps_left_waits_in_the_line_with_its_state_in_a_slot_of_its_own() -> None:
    stage = Stage()
    short, long = stage.chunk(0, 1), stage.chunk(1, 3)
    _, finished = stage.run(Iteration([short, long], 2, 1), rows([5], [7]))
    assert finished is not None
    assert (finished.works, finished.slots.tolist()) == ([short], stage.sessions[:1])
    assert finished.states[0].ravel().tolist() == [5]
    assert finished.inputs is None
    assert (long.num_done, len(stage.line)) == (1, 1)
    assert long.scratch is not None
    assert (stage.state(long.scratch[0]), stage.state(stage.sessions[1])) == (7, 0)
    # The rest: its outputs are put together, and its slot is free again.
    _, finished = stage.run(Iteration([long], 1, 2), rows([8, 9]))
    assert long.outputs.ravel().tolist() == [7, 8, 9]
    assert finished is not None
    assert finished.slots.tolist() == [stage.sessions[1]]
    assert stage.arena.num_used == 4
    assert long.scratch is None


def test_a_row_that_is_not_finite_fails_alone_and_gives_its_slot_back() -> None:
    stage = Stage()
    begun, other = stage.chunk(0, 9), stage.chunk(1, 1)
    stage.run(Iteration([begun], 1, 1), rows([1]))
    handed_back, finished = stage.run(Iteration([begun, other], 2, 1), rows([np.inf], [2]), [True, False])
    assert handed_back == [begun]
    assert isinstance(begun.error, RunFailed)
    assert finished is not None
    assert (finished.works, finished.slots.tolist()) == ([other], [stage.sessions[1]])
    assert (finished.last_outputs.tolist(), [states.tolist() for states in finished.states]) == ([[2]], [[[2]]])
    assert stage.arena.num_used == 4
    assert begun.scratch is None
    assert stage.metrics.run_failures.value == 1


def test_private_work_has_its_state_on_its_own_slot_and_is_never_committed() -> None:
    stage = Stage()
    done, going = stage.private(2), stage.private(4)
    over = stage.run(Iteration([done, going], 2, 2, is_private=True), rows([1, 2], [3, 4]))
    assert over == ([done], None)
    assert (stage.state(done.slots[0]), stage.state(going.slots[0])) == (2, 4)
    assert (len(stage.line), going.num_done) == (1, 2)
    assert stage.arena.num_used == 6  # whoever took the slots gives them back


def test_private_work_of_which_a_row_failed_is_handed_back_with_the_error() -> None:
    stage = Stage()
    sound, failed = stage.private(1), stage.private(1)
    over = stage.run(Iteration([sound, failed], 2, 1, is_private=True), rows([1], [np.nan]), [False, True])
    assert over == ([sound, failed], None)
    assert (sound.error, type(failed.error)) == (None, RunFailed)


def test_a_graph_that_answers_once_a_run_leaves_the_last_run_as_the_answer() -> None:
    stage = Stage(answers_every_step=False)
    work = stage.chunk(0, 3)
    assert stage.run(Iteration([work], 1, 2), rows([1])) == ([], None)
    stage.run(Iteration([work], 1, 1), rows([2]))
    assert work.outputs.tolist() == [[2]]


def test_a_run_is_counted_with_its_rows_steps_and_time() -> None:
    stage = Stage()
    stage.run(Iteration([stage.chunk(0, 2), stage.chunk(1, 2)], 2, 2, is_whole=True), rows([1, 2], [3, 4]))
    assert stage.metrics.steps.value == 4
    assert (stage.metrics.batch_size.total, stage.metrics.iteration_steps.total) == (2, 2)
    assert stage.metrics.run_seconds.total == 0.25


SEVERAL = tuple(
    Output(name=name, dtype="float32", shape=("B", "T"), features=(name,), minus_infinity=name == "score")
    for name in ("level", "score")
)


@pytest.mark.parametrize(
    ("outputs", "level", "score", "told"),
    [
        (SEVERAL, -np.inf, 0, "its output 'level' is not finite: infinity; where minus infinity is meant, export"),
        (SEVERAL, np.inf, -np.inf, "its output 'level' is not finite: infinity;"),
        (SEVERAL, 0, np.nan, "its output 'score' is not finite: NaN;"),
        (SEVERAL, 0, -np.inf, "the state that it leads to is not finite"),
        (SEVERAL[1:], 0, -np.inf, "the state that it leads to is not finite"),
        (SEVERAL[:1], np.nan, 0, "its output is not finite: NaN;"),
    ],
)
def test_a_failed_step_is_told_by_the_output_that_is_at_fault(
    outputs: tuple[Output, ...], level: float, score: float, told: str
) -> None:
    manifest = MANIFEST.model_copy(update={"outputs": outputs, "feedback": {}})
    stage = Stage(manifest=manifest)
    given = {"level": level, "score": score}
    made = manifest.made.pack([np.array([[[given[part.name]]]], np.float32) for part in outputs])
    work = stage.chunk(0, 1)
    result = Result(made, (np.zeros((1, 1), np.float32),), np.array([True]), np.array(work.slots), np.zeros((1, 1)))
    stage.progress.take(Iteration([work], 1, 1), result, 0.25)
    assert told in str(work.error)
    assert ("export the model with" in str(work.error)) is ("meant, export" in told)
