"""Decoding: what each step of the decoder adds to an output. Pure: no asyncio, clock, lock or graph.

Each way of decoding holds one output under way, or the few that a beam keeps, and one lane for each. After a step it is
shown the scores of its lanes and says which of them continue, and with which code. What it decides depends on those
scores and on nothing else, so it is the same whatever else runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[Any]
FinishReason: TypeAlias = Literal["stop", "length"]


class Scores:
    """The decoder's output for all lanes of a run.

    Attributes:
        output: ``[B, V]`` scores of the codes, or ``[B, O]`` numbers.
        attention: ``[B, S]``, or None.
        best_codes: int64 ``[B]``, the most likely code of each lane, of several the least; of codes only.
        best_log_probabilities: ``[B]``, theirs.
        failed: bool ``[B]``, lanes whose numbers cannot be used; None where there are none.
    """

    def __init__(self, output: Floats, attention: Floats | None, *, has_codes: bool) -> None:
        self.output = output
        self.attention = attention
        failed: NDArray[np.bool_]
        if has_codes:
            self.best_codes: NDArray[np.int64] = output.argmax(axis=1)
            best = output[np.arange(len(output)), self.best_codes]
            self._shifted, self._log_total = _exponents(output, best)
            # The best score less itself is 0, and 0 less 0 is no minus 0.
            self.best_log_probabilities = 0.0 - self._log_total
            # A score of minus infinity rules a code out; NaN follows from plus infinity, or from nothing but minus.
            failed = np.isnan(self._log_total)
        else:
            failed = np.any(~np.isfinite(output), axis=1)
        self.failed = failed if np.count_nonzero(failed) else None

    @cached_property
    def log_probabilities(self) -> Floats:
        """``[B, V]``, natural logarithms; of codes only. Not worked out before somebody asks: the best are known."""
        with np.errstate(invalid="ignore"):
            result: Floats = self._shifted - self._log_total[:, None]
        return result

    @cached_property
    def best(self) -> list[tuple[int, float]]:
        """The best code of each lane with its log-probability, for those that go by single lanes."""
        return list(zip(self.best_codes.tolist(), self.best_log_probabilities.tolist(), strict=True))


class Node(NamedTuple):
    """An output up to one of its steps; the steps before hang behind it, shared by all outputs that begin alike.

    Attributes:
        code: what was chosen, or the numbers ``[O]``.
        log_probability: of that choice.
        total: of all choices up to here.
        attention: ``[S]``, or None where nobody asked for it.
    """

    before: Node | None
    code: Any
    log_probability: float
    total: float
    num_steps: int
    attention: Floats | None


class FinishedOutput(NamedTuple):
    """A finished output.

    Attributes:
        codes: the codes without the one that stopped it, or numbers ``[n, O]``.
        score: the log-probability of the output, that of its stop included; 0 of numbers.
        log_probabilities: of each code, and of the stop where there is one.
        attention: ``[n, S]``, a row for each log-probability; None where nobody asked for it.
        finish_reason: ``stop``, or ``length`` where ``max_steps`` were made.
    """

    codes: Any
    score: float
    log_probabilities: list[float]
    attention: Floats | None
    finish_reason: FinishReason


class OutputPlan(NamedTuple):
    """What every way of decoding is told.

    Attributes:
        start: what stands for the step before the first.
        stop: the code that ends an output; None = none does.
        max_steps: steps of an output, inclusive, the stop among them.
        prompt: codes that the output continues; they are fed and are no part of it.
        with_attention: whether attention is kept.
    """

    start: Any
    stop: int | None
    max_steps: int
    prompt: tuple[int, ...] = ()
    with_attention: bool = False

    def finish_reason(self, code: Any, num_steps: int) -> FinishReason | None:
        """Why an output of so many steps, ``code`` the last of them, ends there; None where it does not."""
        if self.stop is not None and code == self.stop:
            return "stop"
        return "length" if num_steps >= self.max_steps else None


class Decoding:
    """One output under way on one lane; subclasses choose its next code.

    Attributes:
        max_lanes: how many lanes it may take at once.
        previous: what each of its lanes is fed next.
        outputs: when it has finished, what came of it, the best first.
        latest: the step made last; None before the first, and of an output whose steps are tallied.
        is_watched: whether somebody looks at ``latest`` after each step.
        num_steps_tallied: tells the steps of an output that is or was tallied; its lanes set it.
    """

    max_lanes = 1
    is_watched = False
    num_steps_tallied: Callable[[], int] | None = None

    def __init__(self, plan: OutputPlan) -> None:
        self.plan = plan
        self.previous: list[Any] = [plan.start]
        self.outputs: list[FinishedOutput] = []
        self.latest: Node | None = None
        self._num_fed = 0

    @property
    def num_steps_made(self) -> int:
        """Steps of its outputs so far."""
        if self.num_steps_tallied is not None:
            return self.num_steps_tallied()
        return 0 if self.latest is None else self.latest.num_steps

    @property
    def is_tallied(self) -> bool:
        """Whether its steps from now on may be kept in arrays, with those of other lanes: see ``Tallies``."""
        return False

    @property
    def is_streamed_as_it_goes(self) -> bool:
        """Whether ``latest`` will be part of the output for sure."""
        return True

    def advance(self, scores: Scores, lanes: Sequence[int]) -> list[int]:
        """Take a step in: which of its ``lanes`` continue, by their position there, one for each of ``previous``.

        None when it has finished.
        """
        plan = self.plan
        if self._num_fed < len(plan.prompt):
            self.previous = [plan.prompt[self._num_fed]]
            self._num_fed += 1
            return [0]
        lane = lanes[0]
        code, log_probability = self.choose(scores, lane)
        attention = self._attention(scores, lane) if plan.with_attention else None
        self.latest = node = extend(self.latest, code, log_probability, attention)
        reason = plan.finish_reason(code, node.num_steps)
        if reason is not None:
            self.outputs = [read(node, reason)]
            return []
        self.previous = [code]
        return [0]

    def choose(self, scores: Scores, lane: int) -> tuple[Any, float]:
        """The next code and its log-probability."""
        raise NotImplementedError

    def _attention(self, scores: Scores, lane: int) -> Floats | None:
        if not self.plan.with_attention or scores.attention is None:
            return None
        row: Floats = scores.attention[lane].copy()
        return row


class Greedy(Decoding):
    """The most likely code at each step."""

    @property
    def is_tallied(self) -> bool:
        """See ``Decoding``: behind its prompt, where nobody looks at its steps one by one."""
        plan = self.plan
        return not self.is_watched and not plan.with_attention and self._num_fed == len(plan.prompt)

    def choose(self, scores: Scores, lane: int) -> tuple[int, float]:
        """See ``Decoding``."""
        return scores.best[lane]


class Numbers(Decoding):
    """Numbers ``[O]`` at each step, fed back as they are."""

    def choose(self, scores: Scores, lane: int) -> tuple[Floats, float]:
        """See ``Decoding``."""
        return scores.output[lane].copy(), 0.0


class Forced(Decoding):
    """A given output, to be told how likely it is.

    Args:
        codes: the output, its stop at the end where it has one; not empty.
    """

    def __init__(self, plan: OutputPlan, codes: Sequence[int]) -> None:
        super().__init__(plan._replace(stop=None, max_steps=len(codes)))
        self._codes = codes

    def choose(self, scores: Scores, lane: int) -> tuple[int, float]:
        """See ``Decoding``."""
        code = self._codes[self.latest.num_steps if self.latest else 0]
        return code, float(scores.log_probabilities[lane, code])


class Sample(Decoding):
    """A code drawn at each step.

    The distribution is sharpened by ``temperature``, cut down to the ``top_k`` most likely codes, then to the fewest
    whose probabilities reach ``top_p`` (nucleus sampling; Holtzman et al., 2020), and scaled up to 1 again.

    Args:
        seed: words of the seed; the same give the same draws.
        temperature: above 0; 1 = the model's own distribution.
        top_k: 0 = all codes.
        top_p: above 0, at most 1; 1 = all codes.
    """

    def __init__(self, plan: OutputPlan, seed: Sequence[int], temperature: float, top_k: int, top_p: float) -> None:
        super().__init__(plan)
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(seed))))
        self._temperature, self._top_k, self._top_p = temperature, top_k, top_p

    def choose(self, scores: Scores, lane: int) -> tuple[int, float]:
        """See ``Decoding``."""
        log_probabilities = scores.log_probabilities[lane]
        doubles = log_probabilities.astype(np.float64)
        with np.errstate(over="ignore"):
            # Of the most likely code 0 whatever the temperature is; of the others minus infinity near absolute zero.
            sharpened = (doubles - doubles.max()) / self._temperature
        code = self._draw(sharpened)
        return code, float(log_probabilities[code])

    def _draw(self, sharpened: NDArray[np.float64]) -> int:
        # The least code first among equals, so that the order is fixed.
        codes = np.argsort(-sharpened, kind="stable")[: self._top_k or None]
        weights = np.exp(sharpened[codes])
        reached = np.cumsum(weights)
        if self._top_p < 1.0:
            num_kept = int(np.searchsorted(reached, self._top_p * reached[-1])) + 1
            reached = reached[:num_kept]
        drawn = int(np.searchsorted(reached, self._random.random() * reached[-1], side="right"))
        # Rounding may make the product as large as the sum; the code drawn must have a probability above 0.
        drawn = min(drawn, int(np.searchsorted(reached, reached[-1])))
        return int(codes[drawn])


def extend(before: Node | None, code: Any, log_probability: float, attention: Floats | None) -> Node:
    """An output, one step longer."""
    if before is None:
        return Node(None, code, log_probability, log_probability, 1, attention)
    total = before.total + log_probability
    return Node(before, code, log_probability, total, before.num_steps + 1, attention)


def read(last: Node, finish_reason: FinishReason) -> FinishedOutput:
    """An output from its last step back to its first."""
    nodes: list[Node] = []
    node: Node | None = last
    while node is not None:
        nodes.append(node)
        node = node.before
    nodes.reverse()
    codes: Any = [node.code for node in nodes[: len(nodes) - (finish_reason == "stop")]]
    if isinstance(last.code, np.ndarray):
        codes = np.stack(codes)
    rows = [node.attention for node in nodes if node.attention is not None]
    return FinishedOutput(
        codes, last.total, [node.log_probability for node in nodes], np.stack(rows) if rows else None, finish_reason
    )


def _exponents(scores: Floats, best: Floats) -> tuple[Floats, Floats]:
    """Two parts of log-softmax, ``[B, V]`` and ``[B]``, whose difference it is: the scores less their largest, and
    the logarithm of the sum of their exponentials. Each row is rounded the same whatever the others are.

    Args:
        best: the largest of each row, ``[B]``.
    """
    with np.errstate(invalid="ignore"):
        shifted = scores - best[:, None]
        return shifted, np.log(np.add.reduce(np.exp(shifted), axis=1))
