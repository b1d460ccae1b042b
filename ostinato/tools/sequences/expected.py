"""Expected answers: what a server should have answered to the steps of its sequences, by two kinds of reference."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import CommandError, WrongAnswer
from ostinato.tools.connection import PlainAnswer
from ostinato.tools.load import Load, Script
from ostinato.tools.sequences.course import Course, last_span, spans
from ostinato.tools.sequences.drawn import DrawnSequence, SteppedModel
from ostinato.tools.sequences.protocol import SequenceProtocol
from ostinato.tools.service_settings import settings_of_the_service

RAW_SECONDS = 1.0
REPEATED_REQUESTS = 8192
"""How many are sent again at most, of all sequences together."""
REPEATED_FROM = 1 << 16
"""Numbers of the sequences that are sent again."""

NamedOutputs: TypeAlias = dict[str, NDArray[Any]]
Expected: TypeAlias = Callable[[int, int], NamedOutputs | None]
"""The answer to the steps from one place of a sequence to another; None = it is not known."""


class Reference(ABC):
    """Answers that are right. ``words``: how they came about."""

    words: str

    @abstractmethod
    def expected(self, sequence: DrawnSequence, number: int, num_steps: int) -> Expected:
        """Of a sequence, whose ``number`` it is, at least so many steps from its beginning where that can be."""


class OfflineReference(Reference):
    """The graph in this process, by the service's own runner with one thread.

    Args:
        directory: of the version.

    Attributes:
        promise: how it is run for live and offline answers to be the same.

    Raises:
        ModelRejected: it is none that the service would serve.
    """

    words = "offline it is"

    @classmethod
    def of(cls, repository: Path, model: SteppedModel) -> OfflineReference:
        """Of the version that is served, from a repository, or from its own directory.

        Raises:
            CommandError: it is not there.
        """
        from ostinato.service.artifact.manifest import MANIFEST_FILE

        if (repository / MANIFEST_FILE).is_file():
            return cls(repository)
        directory = repository / model.name / model.version
        if not directory.is_dir():
            raise CommandError(f"{repository}: there is no {model.name}/{model.version}, which the service serves")
        return cls(directory)

    def __init__(self, directory: Path) -> None:
        from ostinato.service.catalogue.recurrent_checks import load_model

        loaded = load_model(directory.absolute(), settings_of_the_service())
        self.manifest, self._runner = loaded.manifest, loaded.runner
        self.promise = self._runner.promise

    def rate(self, num_sessions: int) -> float:
        """Steps a second with all sessions in one batch, or in the largest that the model takes."""
        batch_size = min(num_sessions, self._runner.max_batch_size)
        inputs = self._runner.manifest.given.zeros(batch_size, 1)
        states = self._runner.initial_states(batch_size)
        self._runner.run(inputs, states)
        number = 0
        began_at = time.perf_counter()
        while (elapsed := time.perf_counter() - began_at) < RAW_SECONDS:
            self._runner.run(inputs, states)
            number += 1
        steps_per_run = 1 if self.manifest.framing is None else self.manifest.framing.hop
        return number * batch_size * steps_per_run / elapsed

    def expected(self, sequence: DrawnSequence, number: int, num_steps: int) -> Expected:
        """See ``Reference``."""
        del number
        from ostinato.service.engine.recurrent.offline import run_offline
        from ostinato.service.inputs.framing import Framer
        from ostinato.service.inputs.rows import to_context, to_rows

        manifest = self.manifest
        given = sequence.first(num_steps)
        steps = to_rows(given if len(given) > 1 else next(iter(given.values())), manifest.given, "inputs")
        framer = None if manifest.framing is None else Framer(manifest)
        if framer is not None:
            steps = framer.whole(steps)
        known = {
            part.name: np.reshape(sequence.context[part.name], part.row_shape).tolist() for part in manifest.context
        }
        context = to_context(known or None, manifest.context, "context")
        initial = self._runner.initial_states(1)[: len(manifest.states)]
        made = manifest.made.zeros(0)
        if len(steps):
            begin: Sequence[NDArray[Any]] = (*initial, *(each[None] for each in context))
            # What is answered once a run is there behind every request's last step.
            at_once = 1 if any(part.time_axis is None for part in manifest.outputs) else len(steps)
            parts = []
            for start in range(0, len(steps), at_once):
                outputs, begin = run_offline(self._runner, steps[None, start : start + at_once], begin=tuple(begin))
                parts.append(outputs[0])
            made = np.concatenate(parts)
        names = [part.name for part in manifest.made.shown]

        def of(first: int, end: int) -> NamedOutputs:
            if framer is not None:
                first, end = framer.num_frames(0, first), framer.num_frames(0, end)
            words = manifest.made.words(made[first if self._runner.answers_every_step else end - 1 : end])
            return words if isinstance(words, dict) else {names[0]: words}

        return of


class RepeatedReference(Reference):
    """The same steps sent again, each sequence by itself, with nothing else under way.

    Args:
        num_sequences: that are sent again.
    """

    words = "the same steps, repeated alone, gave"

    def __init__(self, protocol: SequenceProtocol, course: Course, num_sequences: int) -> None:
        self._protocol, self._course = protocol, course
        self._num_requests = max(1, REPEATED_REQUESTS // num_sequences)

    def expected(self, sequence: DrawnSequence, number: int, num_steps: int) -> Expected:
        """See ``Reference``; no more requests of each than there is time for.

        Raises:
            CommandError: one was refused.
        """
        protocol = self._protocol
        script = protocol.script(REPEATED_FROM + number, sequence, self._course)
        known: dict[tuple[int, int], NamedOutputs] = {}
        with protocol.asking() as ask:
            for turn, (first, end), _ in zip(script.turns(), spans(script), range(self._num_requests), strict=False):
                if first >= num_steps or (turn == 0 and known):
                    break
                answer = ask(script.requests[turn])
                if not 200 <= answer.status < 300:
                    raise CommandError(f"repeated steps were refused: {protocol.refusal(answer)}")
                if end > first:
                    known[first, end] = protocol.read(answer).outputs
            if not self._course.portions[-1].is_last or end < num_steps:
                ask(protocol.end(REPEATED_FROM + number, sequence))
        return lambda first, end: known.get((first, end))


class Compared(NamedTuple):
    """How many answers were compared, and of how many sequences."""

    num_answers: int
    num_sequences: int


def compare(
    protocol: SequenceProtocol,
    sequences: Sequence[DrawnSequence],
    scripts: Sequence[Script],
    load: Load,
    reference: Reference,
    tolerance: float = 0.0,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Compared:
    """Compare the answers that were kept, and each sequence's last, with a reference.

    Args:
        tolerance: how far an answer may be off; 0 = it must be the same to the bit.
        report: is told how many sequences are done, and of how many.

    Raises:
        WrongAnswer: one differs, or steps are lost or doubled.
    """
    num_answers = num_sequences = 0
    for number, (sequence, script) in enumerate(zip(sequences, scripts, strict=True)):
        report(number, len(sequences))
        answered = _answered(script, load, number)
        if not answered:
            continue
        expected = reference.expected(sequence, number, max(end for _, end, _ in answered))
        before = num_answers
        for first, end, answer in answered:
            wanted = expected(first, end)
            if wanted is None:
                continue
            made = protocol.read(answer)
            if made.steps is not None and made.steps != end:
                raise WrongAnswer(f"a sequence has {made.steps} steps, and its client sent {end}")
            _check(made.outputs, wanted, tolerance, f"after {end} steps a sequence answered", reference.words)
            num_answers += 1
        num_sequences += num_answers > before
    return Compared(num_answers, num_sequences)


def _answered(script: Script, load: Load, number: int) -> list[tuple[int, int, PlainAnswer]]:
    """The answers to steps of a connection that are at hand, up to the first refusal, with the steps they are to."""
    kept = load.first[number]
    found: list[tuple[int, int, PlainAnswer]] = []
    for (first, end), answer in zip(spans(script), kept, strict=False):
        if not 200 <= answer.status < 300:
            return found
        if end > first:
            found.append((first, end, answer))
    last = load.last[number]
    if not load.num_failed and last.status and (not kept or kept[-1] is not last):
        first, end = last_span(script, load.turns[number], load.num_steps[number])
        if end > first:
            found.append((first, end, last))
    return found


def _check(made: NamedOutputs, expected: NamedOutputs, tolerance: float, told: str, words: str) -> None:
    if len(made) != len(expected):
        raise WrongAnswer(f"{told} {', '.join(made)}; the outputs are {', '.join(expected)}")
    # A server may have names of its own.
    others = expected if made.keys() == expected.keys() else dict(zip(made, expected.values(), strict=True))
    for name, other in others.items():
        one = made[name].reshape(-1)
        other = np.ascontiguousarray(other).reshape(-1)
        if one.dtype == other.dtype and one.tobytes() == other.tobytes():
            continue
        difference = np.inf
        if one.shape == other.shape and one.dtype.kind in "fiu":
            differences = np.abs(one.astype(np.float64) - other.astype(np.float64))
            difference = float(np.max(differences, initial=0.0, where=~(np.isnan(one) & np.isnan(other))))
        if not tolerance or not difference <= tolerance:
            off = f" (off by {difference:.3g})" if np.isfinite(difference) else ""
            raise WrongAnswer(f"{told} {one.tolist()[:8]}; {words} {other.tolist()[:8]}{off}")
