"""Correctness of a fast server: its answers against the same steps run offline."""

from __future__ import annotations

import numpy as np

from benchmarks.errors import WrongAnswer
from benchmarks.subjects import Stepped, Subject
from benchmarks.workloads import NUM_FEATURES, Floats, Offline, Steps
from ostinato.tools.connection import PlainAnswer

NUM_CHECKED = 48
"""Sessions whose answers are folded offline after a load; the steps of all are counted."""


def check_before(subject: Subject, sessions: range, offline: Offline, num_steps: int = 12) -> None:
    """Step sessions in turn, each with steps of its own, and compare every answer.

    Raises:
        WrongAnswer: one differs, or miscounts.
    """
    inputs = np.random.default_rng(3).normal(size=(len(sessions), num_steps, NUM_FEATURES)).astype(np.float32)
    expected = offline.run(inputs)[0]
    subject.open(sessions)
    for step in range(num_steps):
        requests = [
            subject.step_request(session, inputs[row, step], first=step == 0) for row, session in enumerate(sessions)
        ]
        for row, answer in enumerate(subject.ask(requests)):
            check_step(subject, read(subject, answer), expected[row, step], step + 1)
    subject.close(sessions)


def open_sessions(subject: Subject, sessions: range, steps: Steps, cycle_steps: int) -> None:
    """Begin sessions with their first step, the last of their cycle.

    Raises:
        WrongAnswer: one was refused.
    """
    subject.open(sessions)
    requests = [
        subject.step_request(session, steps.applied(row, 1, cycle_steps)[0], first=True)
        for row, session in enumerate(sessions)
    ]
    for answer in subject.ask(requests):
        read(subject, answer)


def check_after(
    subject: Subject, sessions: range, steps: Steps, cycle_steps: int, offline: Offline, known: list[int] | None = None
) -> int:
    """Step every session once more, compare the answers with the offline run of all its steps, and close it.

    Args:
        known: how many steps each session has by its client's count; None = with a cycle of one step, any number.

    Returns:
        The steps of all sessions without the first and the last.

    Raises:
        WrongAnswer: an answer differs, or a session has not the steps that are known.
    """
    assert known is not None or cycle_steps == 1
    requests = [
        subject.step_request(session, steps.applied(row, (known[row] if known else 0) + 1, cycle_steps)[-1])
        for row, session in enumerate(sessions)
    ]
    stepped = [read(subject, answer) for answer in subject.ask(requests)]
    for row, (_, num_steps) in enumerate(stepped):
        if known is not None and num_steps != known[row] + 1:
            raise WrongAnswer(f"a session has {num_steps} steps, and its client sent {known[row] + 1}")
    for row in range(0, len(sessions), max(1, len(sessions) // NUM_CHECKED)):
        outputs = offline.run(steps.applied(row, stepped[row].steps, cycle_steps)[None])[0]
        check_step(subject, stepped[row], outputs[0, -1], stepped[row].steps)
    subject.close(sessions)
    return sum(one.steps - 2 for one in stepped)


def read(subject: Subject, answer: PlainAnswer) -> Stepped:
    """A step's answer.

    Raises:
        WrongAnswer: it is a refusal, or cannot be read.
    """
    if answer.status != 200:
        raise WrongAnswer(f"{subject.title} answered {answer.status}: {answer.body[:200]!r}")
    try:
        return subject.read_step(answer)
    except (ValueError, KeyError, IndexError) as error:
        raise WrongAnswer(f"{subject.title}: {answer.body[:200]!r} cannot be read: {error!r}") from error


def check_step(subject: Subject, stepped: Stepped, expected: Floats, num_steps: int) -> None:
    """Compare one answer with the offline outputs ``[O]``.

    Raises:
        WrongAnswer: it differs by more than the subject may, or miscounts.
    """
    difference = float(np.abs(stepped.outputs[-1].astype(np.float64) - expected).max())
    if not difference <= subject.tolerance or stepped.steps != num_steps:
        raise WrongAnswer(
            f"{subject.title} answered {stepped.outputs[-1].tolist()} after {stepped.steps} steps; offline it is "
            f"{expected.tolist()} after {num_steps}"
        )
