"""Outputs that a model generates: what is asked, as plans, and what comes back, at once or step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from ostinato.client.addresses import part_of_path
from ostinato.client.answers import count_of, hold, read
from ostinato.client.arrays import Array, Rows, to_json, to_outputs
from ostinato.client.chunks import Chunks
from ostinato.client.exchange import ClientRequest, Exchanges, Plan
from ostinato.client.given import columns_of
from ostinato.client.retry import ServiceAnswer
from ostinato.client.shapes import KnownModels

Source = str | Sequence[int] | Rows
"""What an output is made from: a text, codes, or numbers ``[n, F]``."""
Value = str | list[int] | Array
"""What was made: a text, codes, or numbers, float32 ``[n, O]``."""


class GenerateOptions(TypedDict, total=False):
    """How outputs are chosen; what is absent or None is as the service has it.

    method: ``greedy`` takes the likeliest symbol, ``beam`` looks for the likeliest output, ``sample`` draws.
    max_steps: the most steps of an output, its stop among them.
    num_return: outputs for each input; of a beam its best, best first.
    num_beams, length_penalty: of ``beam``; with a penalty of 0 the bare log-probability ranks.
    temperature, top_k, top_p, seed: of ``sample``; the same seed draws the same, whatever else runs.
    version: of the model; the latest where it is absent.
    return_attention, return_log_probs: whether outputs carry them.
    """

    method: Literal["greedy", "beam", "sample"] | None
    max_steps: int | None
    num_return: int | None
    num_beams: int | None
    length_penalty: float | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    seed: int | None
    version: str | None
    return_attention: bool | None
    return_log_probs: bool | None


@dataclass(frozen=True)
class GeneratedOutput:
    """An output.

    Attributes:
        value: the text, the codes, or the numbers.
        score: its log-probability, that of its stop included; None of numbers. The length penalty only ranks.
        finish_reason: ``stop``, or ``length`` where ``max_steps`` were made.
        log_probs: of each of its T symbols, and of its stop where there is one; None if not asked for.
        attention: float32 ``[T, S]``: how far each symbol attended to each step of the source; None if not asked for.
    """

    value: Value
    score: float | None
    finish_reason: str
    log_probs: list[float] | None = None
    attention: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Generation:
    """The outputs of a request.

    Attributes:
        seed: the seed of ``sample``; None for other methods.
        outputs: for each input all of its outputs.
    """

    model: str
    version: str
    seed: int | None
    outputs: tuple[tuple[GeneratedOutput, ...], ...]

    @property
    def firsts(self) -> list[GeneratedOutput]:
        """The first output of each input: the best one of a beam, the only one where no ``num_return`` was given."""
        return [outputs[0] for outputs in self.outputs]


@dataclass(frozen=True)
class GeneratedStep:
    """A step of an output, as soon as it is generated.

    Attributes:
        index: of the input.
        place: of the output among those of its input.
        step: counted from 1.
        value: the symbol, empty for the stop; the code, None for the stop; or numbers, float32 ``[O]``.
        log_prob: of the symbol; None of numbers.
    """

    index: int
    place: int
    step: int
    value: str | int | Array | None
    log_prob: float | None


@dataclass(frozen=True)
class Scored:
    """How likely an output is: the sum of its log-probabilities, and that of each symbol and of the stop.

    Minus infinity if the model excludes it.
    """

    score: float
    log_probs: list[float]


class GenerationVerbs:
    """The plan of every verb that generates. All of them may be sent again: nothing is kept at the service."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._models = KnownModels(exchanges)
        self._chunks = Chunks(self._models)

    def generate(self, model: str, inputs: Sequence[Source] | None, options: Mapping[str, Any]) -> Plan[Generation]:
        """All outputs at once."""
        _check_options(options)
        inputs = yield from self._chunks.sources(model, options.get("version") or "", inputs)
        answer = yield from self._exchanges.ask(ClientRequest("POST", _path(model, "generate"), _body(inputs, options)))
        reads = WrittenReader(model, inputs, options, self._models)
        made = read(answer, reads.generation)
        yield from reads.hold_version(answer)
        return made

    def begin_stream(
        self, model: str, inputs: Sequence[Source] | None, options: Mapping[str, Any]
    ) -> tuple[Plan[ServiceAnswer], WrittenReader]:
        """A stream, until it has begun, and what reads it then."""
        _check_options(options)
        _listed("inputs", inputs)
        return self._begin_stream(model, inputs, options), WrittenReader(model, inputs, options, self._models)

    def _begin_stream(
        self, model: str, inputs: Sequence[Source] | None, options: Mapping[str, Any]
    ) -> Plan[ServiceAnswer]:
        inputs = yield from self._chunks.sources(model, options.get("version") or "", inputs)
        body = _body(inputs, options, stream=True)
        return (yield from self._exchanges.ask(ClientRequest("POST", _path(model, "generate"), body)))

    def score(
        self, model: str, targets: Sequence[Value], inputs: Sequence[Source] | None, version: str | None
    ) -> Plan[list[Scored]]:
        """How likely outputs are."""
        inputs = yield from self._chunks.sources(model, version or "", inputs)
        members = {"targets": _listed("targets", targets), "inputs": _listed("inputs", inputs), "version": version}
        body = to_json({name: value for name, value in members.items() if value is not None})
        answer = yield from self._exchanges.ask(ClientRequest("POST", _path(model, "score"), body))
        made = read(answer, lambda members: _scored(members, model, len(targets)))
        if "version" in (answer.members or {}):
            yield from self._models.hold_version(answer, model, version)
        return made


class WrittenReader:
    """Reads what was written, held to what was asked for."""

    def __init__(
        self, model: str, inputs: Sequence[Source] | None, options: Mapping[str, Any], models: KnownModels
    ) -> None:
        self._model = model
        self._models = models
        self._num_inputs = 1 if inputs is None else len(inputs)
        self._num_return = options.get("num_return") or 1
        self._options = options

    def generation(self, answer: Mapping[str, Any]) -> Generation:
        """All of it.

        Raises:
            ValueError, KeyError, TypeError: it is not what was asked for.
        """
        hold(answer, model=self._model)
        if self._options.get("method") == "sample":
            hold(answer, seed=self._options.get("seed"))
        names = ("outputs", "scores", "finish_reasons", "log_probs", "attention")
        columns = [self._of_each(answer, name) for name in names]
        if any(len(column) != self._num_inputs for column in columns):
            raise ValueError(f"it has not outputs of {self._num_inputs} inputs")
        outputs = tuple(
            tuple(_output(*each) for each in zip(*of_input, strict=True)) for of_input in zip(*columns, strict=True)
        )
        # Of a beam there may be fewer: a vocabulary of two has four outputs of two symbols, and no more.
        if not all(0 < len(of_input) <= self._num_return for of_input in outputs):
            raise ValueError(f"it has not {self._num_return} outputs of each input")
        return Generation(answer["model"], answer["version"], answer.get("seed"), outputs)

    def hold_version(self, answer: ServiceAnswer) -> Plan[str]:
        """The version that a whole answer is of."""
        return self._models.hold_version(answer, self._model, self._options.get("version"))

    def step(self, members: Mapping[str, Any]) -> GeneratedStep:
        """A step of it.

        Raises:
            ValueError, KeyError, TypeError: it is none of an output that was asked for.
        """
        index, place = count_of(members["index"], "index"), count_of(members.get("place", 0), "place")
        if index >= self._num_inputs or place >= self._num_return:
            raise ValueError(f"it is about output {place} of input {index}, which was not asked for")
        value, log_prob = members["output"], members.get("log_prob")
        if log_prob is None:
            value = to_outputs(value)
        elif isinstance(value, list):
            value = value[0] if value else None
        if log_prob is not None:
            _finite(log_prob)
        return GeneratedStep(index, place, count_of(members["step"], "step"), value, log_prob)

    def _of_each(self, answer: Mapping[str, Any], name: str) -> list[list[Any]]:
        """By input and output; None where the answer has no such member and need not have it."""
        may_lack = name in ("log_probs", "attention") and not self._options.get(f"return_{name}")
        entries = answer.get(name, [None] * len(answer["outputs"])) if may_lack else answer[name]
        if self._num_return == 1:
            return [[entry] for entry in entries]
        return [
            [None] * len(answer["outputs"][index]) if entry is None else entry for index, entry in enumerate(entries)
        ]


def _logarithm(told: float | None) -> float:
    """JSON has no infinity: the logarithm of a probability of 0 comes as null."""
    return -math.inf if told is None else _finite(told)


def _finite(told: float) -> float:
    """A score or logarithm as it is.

    Raises:
        ValueError: it is infinite: 1e400 is JSON, and Python reads it so.
    """
    if not math.isfinite(told):
        raise ValueError("it has a score that is no number")
    return told


def _path(model: str, action: str) -> str:
    return f"/v1/models/{part_of_path(model)}/{action}"


def _check_options(options: Mapping[str, Any]) -> None:
    if unknown := sorted(options.keys() - GenerateOptions.__annotations__.keys()):
        raise TypeError(
            f"{unknown[0]!r} is no option of generation; they are {', '.join(GenerateOptions.__annotations__)}"
        )


def _body(inputs: Sequence[Source] | None, options: Mapping[str, Any], **further: Any) -> bytes:
    members = {"inputs": _listed("inputs", inputs), **options, **further}
    return to_json({name: value for name, value in members.items() if value is not None})


def _listed(name: str, given: Sequence[Any] | None) -> list[Any] | None:
    """A text is a sequence, too: of its letters, each of which would be an input of its own."""
    if columns_of(given) is not None:
        raise TypeError(f"{name} is a list of data frames, texts, codes or numbers; it is one frame: put it in a list")
    if isinstance(given, str):
        raise TypeError(f"{name} is a list of texts, codes or numbers; it is one text: put it in a list")
    return None if given is None else list(given)


def _scored(answer: Mapping[str, Any], model: str, num_targets: int) -> list[Scored]:
    hold({"model": model, **answer}, model=model)
    scored = [
        Scored(_logarithm(score), [_logarithm(each) for each in log_probs])
        for score, log_probs in zip(answer["scores"], answer["log_probs"], strict=True)
    ]
    if len(scored) != num_targets:
        raise ValueError(f"it has the scores of {len(scored)} targets, and {num_targets} were sent")
    return scored


def _output(
    written: Any, score: float | None, finish_reason: str, log_probs: list[float] | None, attention: Any
) -> GeneratedOutput:
    if attention is not None:
        rows = to_outputs(np.asarray(attention, np.float64))
        attention = rows if len(rows) else rows.reshape(0, 0)
    for each in [*([] if score is None else [score]), *(log_probs or ())]:
        _finite(each)
    value = to_outputs(written) if score is None else written
    return GeneratedOutput(value, score, finish_reason, log_probs, attention)
