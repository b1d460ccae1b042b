"""The checks within the benchmark, against a subject that is right, and one that is wrong in each way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.correctness import check_after, check_before, open_sessions
from benchmarks.errors import WrongAnswer
from benchmarks.subjects import FastApi, Stepped
from benchmarks.workloads import Floats, Offline, Steps, write_model
from ostinato.tools.connection import PlainAnswer


class InMemory(FastApi):
    """A subject that answers by itself; ``fault`` says how it is wrong."""

    def __init__(self, repository: Path, scratch: Path, offline: Offline, fault: str = "") -> None:
        super().__init__(repository, scratch)
        self.offline, self.fault = offline, fault
        self.states: dict[int, tuple[Any, Any, int]] = {}

    def step_request(self, session: int, inputs: Floats, *, first: bool = False) -> bytes:
        del first
        return json.dumps([session, inputs.tolist()]).encode()

    def ask(self, requests: list[bytes]) -> list[PlainAnswer]:
        return [self.apply(*json.loads(request)) for request in requests]

    def apply(self, session: int, inputs: list[float]) -> PlainAnswer:
        if self.fault == "refuses":
            return PlainAnswer(503, b"")
        h, c, steps = self.states.get(0 if self.fault == "mixes" else session, (None, None, 0))
        step = np.array(inputs, np.float32)[None, None]
        outputs, h, c = self.offline.run(step, (h, c) if steps else None)
        # One that doubles a step now and then counts it once.
        if self.fault == "doubles" and steps % 5 == 4:
            outputs, h, c = self.offline.run(step, (h, c))
        self.states[0 if self.fault == "mixes" else session] = (h, c, steps + 1)
        value = outputs[0] + (1e-3 if self.fault == "rounds" else 0)
        return PlainAnswer(200, json.dumps({"outputs": value.tolist(), "steps": steps + 1}).encode())

    def read_step(self, answer: PlainAnswer) -> Stepped:
        return super().read_step(answer)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("repository"))


def subject(directory: Path, scratch: Path, fault: str = "") -> InMemory:
    return InMemory(directory.parents[1], scratch, Offline(directory), fault)


def test_a_subject_that_is_right_passes(directory: Path, tmp_path: Path) -> None:
    right = subject(directory, tmp_path)
    check_before(right, range(4), right.offline)


@pytest.mark.parametrize("fault", ["refuses", "mixes", "doubles", "rounds"])
def test_a_wrong_answer_is_found_before_the_load(fault: str, directory: Path, tmp_path: Path) -> None:
    wrong = subject(directory, tmp_path, fault)
    with pytest.raises(WrongAnswer):
        check_before(wrong, range(4), wrong.offline)


def load_by_hand(loaded: InMemory, sessions: range, steps: Steps, num_steps: int) -> list[int]:
    """The cycle of each session as a client would go through it; returns how many steps each has."""
    open_sessions(loaded, sessions, steps, steps.inputs.shape[1])
    for row, session in enumerate(sessions):
        for step in range(num_steps):
            loaded.apply(session, steps.inputs[row, step % steps.inputs.shape[1]].tolist())
    return [1 + num_steps] * len(sessions)


def test_after_the_load_every_step_is_accounted_for(directory: Path, tmp_path: Path) -> None:
    right, steps = subject(directory, tmp_path), Steps.draw(3)
    known = load_by_hand(right, range(3), steps, 10)
    assert check_after(right, range(3), steps, 4, right.offline, known) == 3 * 10


def test_a_lost_step_is_found_after_the_load(directory: Path, tmp_path: Path) -> None:
    right, steps = subject(directory, tmp_path), Steps.draw(3)
    known = load_by_hand(right, range(3), steps, 10)
    with pytest.raises(WrongAnswer, match="a session has 12 steps, and its client sent 13"):
        check_after(right, range(3), steps, 4, right.offline, [count + 1 for count in known])


def test_a_doubled_step_is_found_after_the_load(directory: Path, tmp_path: Path) -> None:
    wrong, steps = subject(directory, tmp_path, "doubles"), Steps.draw(3)
    known = load_by_hand(wrong, range(3), steps, 10)
    with pytest.raises(WrongAnswer, match="offline it is"):
        check_after(wrong, range(3), steps, 4, wrong.offline, known)
