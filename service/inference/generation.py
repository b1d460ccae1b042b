"""Outputs that a model generates: from what a request asks to generations in the engine, and back to text."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.generation.beam import Beam
from ostinato.service.engine.generation.decoding import (
    Decoding,
    FinishedOutput,
    Forced,
    Greedy,
    Numbers,
    OutputPlan,
    Sample,
)
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.generation.graphs import Start
from ostinato.service.engine.generation.scheduler import Asked
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, TooLarge
from ostinato.service.inference.generation_options import DEFAULT_BEAMS, Options, check_options
from ostinato.service.inference.prediction import predict
from ostinato.service.inputs.sources import check_length, to_codes, to_source

SLICE_STEPS = 16_384
STEPS_OF_AN_INPUT = 128
"""How many steps an input counts for by itself: one without any takes as long to read."""

SEED_BITS = 48
MAX_WEIGHTS = 2**24
"""Of attention, in all outputs and beams of a request, inclusive: 64 MiB, and about four times that in JSON."""


class Made(NamedTuple):
    """What came of one input: its outputs, the best first, and how many steps its source had (0 without one)."""

    outputs: list[FinishedOutput]
    num_source_steps: int


class StepEvent(NamedTuple):
    """A step of the output ``place`` of an input, the moment it was made."""

    input_index: int
    place: int
    num_steps: int
    code: Any
    log_probability: float


class GenerationRequest:
    """A request for outputs, checked: what it asks can be done.

    Args:
        inputs: of each input its text, its codes, or its rows of numbers.

    Attributes:
        seed: what the draws of ``sample`` follow from; None of the other methods.
        vocabulary: of outputs that are text: the model has one, and codes were not given; None of codes and numbers.

    Raises:
        InvalidInput: an input or option cannot be used with this model; names it.
        TooLarge: an input or option is over the model's limit.
    """

    def __init__(self, engine: Engine | GenerationEngine, inputs: Sequence[Any], options: Options) -> None:
        for _ in self._reading(engine, inputs, options):
            pass

    @classmethod
    async def read(
        cls, engine: Engine | GenerationEngine, inputs: Sequence[Any], options: Options
    ) -> GenerationRequest:
        """The same, read an input at a time, so that other requests have their turn where there are many."""
        request = cls.__new__(cls)
        num_read = 0
        for num_steps in request._reading(engine, inputs, options):
            num_read += num_steps + STEPS_OF_AN_INPUT
            if num_read > SLICE_STEPS:
                await asyncio.sleep(0)
                num_read = 0
        return request

    def _reading(self, engine: Engine | GenerationEngine, inputs: Sequence[Any], options: Options) -> Generator[int]:
        """Read and check it; gives the number of steps of each input."""
        self.engine = engine
        generator = engine if isinstance(engine, GenerationEngine) else engine.generator
        assert generator is not None, "the catalogue gives none that cannot generate"
        self.generator = generator
        self.manifest: Manifest = engine.manifest
        self.options = options
        self._under_way: list[Decoding] = []
        part = self.generator.part
        self.has_codes = part.num_codes is not None
        self.num_return = options.num_return or 1
        check_options(self.generator, options, has_codes=self.has_codes)
        if not inputs:
            raise InvalidInput("no input; give one at least", field="inputs")
        # Each output is a lane; they are counted before an input is read, which may be a letter.
        lanes = {"beam": options.num_beams or DEFAULT_BEAMS, "sample": self.num_return}
        self.generator.check_rows(len(inputs) * lanes.get(options.method, 1))
        if len(inputs) > 1 and len({isinstance(given, str) for given in inputs}) > 1:
            raise InvalidInput("texts and lists in one request: what is written is one or the other", field="inputs")
        self.sources: list[NDArray[Any] | None] = []
        self.prompts: list[tuple[int, ...]] = []
        for index, given in enumerate(inputs):
            source, prompt = self._read(given, f"inputs[{index}]")
            self.sources.append(source)
            self.prompts.append(prompt)
            yield len(prompt) if source is None else source.size
        if options.with_attention:
            self._check_weights()
        self.seed = None
        if options.method == "sample":
            self.seed = secrets.randbits(SEED_BITS) if options.seed is None else options.seed
        vocabulary = self.manifest.vocabularies.get("target")
        codes_given = self.manifest.task == "generator" and not isinstance(inputs[0], str) and bool(inputs[0])
        codes_given |= "source" in self.manifest.vocabularies and not isinstance(inputs[0], str)
        self.vocabulary = None if codes_given or not self.has_codes else vocabulary
        self.stop = part.stop

    def _read(self, given: Any, place: str) -> tuple[NDArray[Any] | None, tuple[int, ...]]:
        if self.manifest.inputs:
            return to_source(given, self.manifest, place, self.generator.max_source_steps), ()
        part = self.generator.part
        vocabulary, most = self.manifest.vocabularies.get("target"), self.generator.max_source_steps
        return None, tuple(to_codes(given, vocabulary, part.num_codes or 0, place, most))

    def _check_weights(self) -> None:
        part = self.generator.part
        num_places = sum(
            len(source) if part.attends_to_steps and source is not None else part.memory[0].row_shape[0]
            for source in self.sources
        )
        options = self.options
        num_lanes = (options.num_beams or DEFAULT_BEAMS) if options.method == "beam" else self.num_return
        if num_places * num_lanes * self.max_steps > MAX_WEIGHTS:
            raise TooLarge(
                f"return_attention: {num_lanes} outputs or beams of up to {self.max_steps} steps, over {num_places} "
                f"steps of sources, have over {MAX_WEIGHTS} weights; ask for fewer, or name max_steps"
            )

    @property
    def max_steps(self) -> int:
        """The most steps of an output, its stop among them."""
        return self.options.max_steps or self.generator.max_output_steps

    def attended(self, made: Made) -> int | None:
        """How many columns of an attention are a source's; None = all, where the memory has no steps of one."""
        return made.num_source_steps if self.generator.part.attends_to_steps else None

    def all_decodings(self) -> list[list[Decoding]]:
        """For each input one for each of its outputs, or a beam that gives all of them."""
        groups = [self._decodings(index) for index in range(len(self.sources))]
        self._under_way = [decoding for group in groups for decoding in group]
        return groups

    @property
    def most_steps(self) -> int:
        """Steps that its outputs can have."""
        return len(self.sources) * self.num_return * self.max_steps

    @property
    def num_steps_made(self) -> int:
        """Steps of outputs that were made so far; of a beam, those of each output that it gives."""
        return sum(decoding.num_steps_made for decoding in self._under_way)

    def _decodings(self, index: int) -> list[Decoding]:
        options = self.options
        part = self.generator.part
        plan = OutputPlan(
            self.generator.start_value,
            part.stop,
            self.max_steps,
            self.prompts[index],
            options.with_attention,
        )
        if not self.has_codes:
            return [Numbers(plan)]
        if options.method == "beam":
            num_beams = options.num_beams or DEFAULT_BEAMS
            return [Beam(plan, num_beams, options.length_penalty or 0.0, self.num_return)]
        if options.method == "sample":
            assert self.seed is not None
            temperature = 1.0 if options.temperature is None else options.temperature
            top_p = 1.0 if options.top_p is None else options.top_p
            return [
                Sample(plan, (self.seed, index, place), temperature, options.top_k or 0, top_p)
                for place in range(self.num_return)
            ]
        return [Greedy(plan)]


async def generate(request: GenerationRequest) -> list[Made]:
    """Run all inputs of a request, together with whatever else runs.

    Raises:
        TooLarge (more lanes than the queue holds), Overloaded, Draining: refused before anything ran.
        RunFailed: a graph failed.
    """
    groups = request.all_decodings()
    starts = await _starts(request)
    await request.generator.run(
        [Asked(start, decoding) for start, group in zip(starts, groups, strict=True) for decoding in group]
    )
    return _made(request, groups)


async def stream(request: GenerationRequest) -> AsyncGenerator[StepEvent | list[Made]]:
    """``generate``, its steps one by one as they are made; what came of it all at last.

    Steps of a beam are not told: which of its beginnings win is not known before the end.
    """
    groups = request.all_decodings()
    starts = await _starts(request)
    # None stands for an output that has ended.
    queue: asyncio.Queue[StepEvent | None] = asyncio.Queue()
    asked = [
        Asked(start, decoding, _listener(queue, index, place, decoding))
        for index, (start, group) in enumerate(zip(starts, groups, strict=True))
        for place, decoding in enumerate(group)
    ]
    generator = request.generator
    generations = generator.begin(asked)
    try:
        for generation in generations:
            generation.future.add_done_callback(lambda _: queue.put_nowait(None))
        num_left = len(generations)
        while num_left:
            event = await queue.get()
            if event is None:
                num_left -= 1
            else:
                yield event
        for generation in generations:
            generation.future.result()
        yield _made(request, groups)
    finally:
        generator.let_go(generations)


async def score(request: GenerationRequest, targets: Sequence[Any]) -> list[FinishedOutput]:
    """How likely each target is as the output for its input: teacher-forced, its stop included.

    Raises:
        InvalidInput: a target is empty or unknown, there are not as many as inputs, or outputs are numbers.
        TooLarge, Overloaded, Draining, RunFailed: as ``generate``.
    """
    generator = request.generator
    part = generator.part
    if part.num_codes is None:
        raise InvalidInput("this model's outputs are numbers, which have no log-probability", field="targets")
    if len(targets) != len(request.sources):
        raise InvalidInput(f"{len(targets)} targets for {len(request.sources)} inputs", field="targets")
    decodings: list[Decoding] = []
    for index, target in enumerate(targets):
        place = f"targets[{index}]"
        vocabulary, most = request.manifest.vocabularies.get("target"), generator.max_output_steps
        codes = to_codes(target, vocabulary, part.num_codes, place, most)
        if part.stop is not None:
            codes = [*codes, part.stop]
        if not codes:
            raise InvalidInput("an empty target", field=place)
        check_length(len(codes), place, most)
        plan = OutputPlan(generator.start_value, None, len(codes), request.prompts[index])
        decodings.append(Forced(plan, codes))
    starts = await _starts(request)
    await generator.run([Asked(start, forced) for start, forced in zip(starts, decodings, strict=True)])
    return [forced.outputs[0] for forced in decodings]


async def _starts(request: GenerationRequest) -> list[NDArray[Any] | Start]:
    """What the engine starts each input's outputs from."""
    engine = request.engine
    if isinstance(engine, GenerationEngine):
        return [engine.start() if source is None else source for source in request.sources]
    sources = [source for source in request.sources if source is not None]
    made = await predict(engine, sources, [None] * len(sources), with_states=True)
    return [request.generator.start_of_session(engine.manifest, each.states) for each in made]


def _made(request: GenerationRequest, groups: Sequence[Sequence[Decoding]]) -> list[Made]:
    return [
        Made([output for decoding in group for output in decoding.outputs], 0 if source is None else len(source))
        for source, group in zip(request.sources, groups, strict=True)
    ]


def _listener(
    queue: asyncio.Queue[StepEvent | None], index: int, place: int, decoding: Decoding
) -> Callable[[], None] | None:
    """What puts the steps of an output into ``queue``; None where they are not told."""
    if not decoding.is_streamed_as_it_goes:
        return None
    told = 0

    def on_step() -> None:
        nonlocal told
        node = decoding.latest
        if node is not None and node.num_steps > told:
            told = node.num_steps
            queue.put_nowait(StepEvent(index, place, told, node.code, node.log_probability))

    return on_step
