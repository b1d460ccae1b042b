"""The routes that generate: what a body asks, and the answer, at once or step by step."""

from __future__ import annotations

import codecs
from collections import defaultdict
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import EventStream, Request, Response, event, json_in_slices
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.large import Check, read_body
from ostinato.service.edge.v1.schemas import GenerateBody, ScoreBody
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import TooLarge
from ostinato.service.inference.generation import GenerationRequest, Made, StepEvent, generate, score, stream
from ostinato.service.inference.generation_options import Options

_GENERATE = msgspec.json.Decoder(GenerateBody)
_SCORE = msgspec.json.Decoder(ScoreBody)


class GenerateRoutes:
    """Handlers of the routes that generate."""

    def __init__(self, catalogue: Catalogue, desk: Desk, meter: Meter = UNMETERED) -> None:
        self._meter = meter
        self._catalogue = catalogue
        self._desk = desk

    async def generate(self, request: Request) -> Response | EventStream:
        """``POST /v1/models/{model}/generate``."""
        return await self.answer_body(
            request.name, await read_body(request, _GENERATE, partial(self.check, request.name))
        )

    def check(self, model: str, body: GenerateBody | ScoreBody) -> Check:
        """What holds a large body to the limits of its model, see ``read_body``."""
        return _check(self._catalogue.resolve_generator(model, body.version))

    async def answer_body(self, model: str, body: GenerateBody) -> Response | EventStream:
        """Generate what a body asks for, at once or step by step."""
        if not body.stream:
            return await json_in_slices(await generate_content(self._catalogue, model, body, self._meter))
        events = self._events(await request_of(self._catalogue, model, body, self._meter), body)
        # What is refused at once has a status of its own.
        first = await anext(events)
        return EventStream(_behind(first, events))

    async def score(self, request: Request) -> Response:
        """``POST /v1/models/{model}/score``."""
        body = await read_body(request, _SCORE, partial(self.check, request.name))
        with self._meter.asked(sum(map(len, body.targets))):
            content = await score_content(self._catalogue, request.name, body)
        return await json_in_slices(content)

    async def _events(self, asked: GenerationRequest, body: GenerateBody) -> AsyncGenerator[bytes]:
        """The events of a request for outputs: ``step`` for each step as it is made, and ``done`` with the answer.

        Raises what ``stream`` does before the first event; later it is told by an event ``error``, the last.
        """
        has_begun = False
        told = StepContents(asked)
        with self._meter.making(asked.most_steps, lambda: asked.num_steps_made):
            try:
                async for each in stream(asked):
                    yield (
                        event("step", told.step(each))
                        if isinstance(each, StepEvent)
                        else event("done", _content(asked, each, body))
                    )
                    has_begun = True
            except Exception as error:
                if not has_begun:
                    raise
                problem = self._desk.refuse(error, f"a stream of outputs of model {asked.manifest.name}")
                yield event("error", problem.document)


async def generate_content(
    catalogue: Catalogue, model: str, body: GenerateBody, meter: Meter = UNMETERED
) -> dict[str, Any]:
    """The answer to a request for outputs."""
    asked = await request_of(catalogue, model, body, meter)
    return _content(asked, await generated(asked, meter), body)


async def generated(asked: GenerationRequest, meter: Meter) -> list[Made]:
    """What a request is answered with; its steps are counted, though its client should hang up."""
    with meter.making(asked.most_steps, lambda: asked.num_steps_made):
        return await generate(asked)


async def score_content(catalogue: Catalogue, model: str, body: ScoreBody) -> dict[str, Any]:
    """The answer to a request for the likelihood of outputs."""
    engine = catalogue.resolve_generator(model, body.version)
    inputs = body.inputs
    if inputs is None and not engine.manifest.inputs:
        inputs = [""] * len(body.targets) if "target" in engine.manifest.vocabularies else [[]] * len(body.targets)
    asked = await GenerationRequest.read(engine, inputs or [], Options())
    outputs = await score(asked, body.targets)
    return {
        "model": engine.manifest.name,
        "version": engine.manifest.version,
        "scores": [output.score for output in outputs],
        "log_probs": [output.log_probabilities for output in outputs],
    }


async def request_of(
    catalogue: Catalogue, model: str, body: GenerateBody, meter: Meter = UNMETERED
) -> GenerationRequest:
    """What a body asks for, checked; raises as ``GenerationRequest``, and UnknownModel, RateLimited.

    An input counts as a step before it is run; the steps of its outputs are counted when they are known.
    """
    engine = catalogue.resolve_generator(model, body.version)
    inputs: list[Any] = [] if body.inputs is None else body.inputs
    if body.inputs is None and not engine.manifest.inputs:
        inputs = [""] if "target" in engine.manifest.vocabularies else [[]]
    options = Options(
        method=body.method,
        max_steps=body.max_steps,
        num_beams=body.num_beams,
        length_penalty=body.length_penalty,
        num_return=body.num_return,
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
        seed=body.seed,
        with_attention=body.return_attention,
    )
    with meter.asked(max(1, len(inputs))):
        return await GenerationRequest.read(engine, inputs, options)


def _check(engine: Engine | GenerationEngine) -> Check:
    generator = engine if isinstance(engine, GenerationEngine) else engine.generator
    assert generator is not None, "the catalogue gives none that cannot generate"
    num_features = engine.manifest.inputs[0].num_features if engine.manifest.inputs else 1
    most = max(generator.max_source_steps, generator.max_output_steps, num_features)

    def check(place: BodyPlace, count: int) -> None:
        if not place.depth:
            generator.check_rows(count)
        elif count > most:
            raise TooLarge(f"{place} has {count} elements; the most is {most}")

    return check


def _content(asked: GenerationRequest, made: list[Made], body: GenerateBody) -> dict[str, Any]:
    """One entry for each input; where several outputs were asked for, a list of them."""

    def each(read: Any) -> list[Any]:
        entries = [[read(entry, output) for output in entry.outputs] for entry in made]
        return entries if body.num_return is not None and body.num_return > 1 else [entry[0] for entry in entries]

    manifest = asked.manifest
    content: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "outputs": each(lambda _, output: _written(asked, output.codes)),
        "scores": each(lambda _, output: output.score if asked.has_codes else None),
        "finish_reasons": each(lambda _, output: output.finish_reason),
    }
    if asked.seed is not None:
        content["seed"] = asked.seed
    if body.return_log_probs:
        content["log_probs"] = each(lambda _, output: output.log_probabilities)
    if body.return_attention:
        content["attention"] = each(
            lambda entry, output: output.attention[: len(output.codes), : asked.attended(entry)]
        )
    return content


class StepContents:
    """The contents of a stream's events, a step each; of byte pairs, a character when all its bytes are there."""

    def __init__(self, asked: GenerationRequest) -> None:
        self._asked = asked
        self._characters: defaultdict[tuple[int, int], codecs.IncrementalDecoder] = defaultdict(
            lambda: codecs.getincrementaldecoder("utf-8")("replace")
        )

    def step(self, step: StepEvent) -> dict[str, Any]:
        """The content of a step's event."""
        asked = self._asked
        content: dict[str, Any] = {"index": step.input_index, "step": step.num_steps}
        if asked.num_return > 1:
            content["place"] = step.place
        content["output"] = self._written(step) if asked.has_codes else step.code
        if asked.has_codes:
            content["log_prob"] = step.log_probability
        return content

    def _written(self, step: StepEvent) -> Any:
        asked = self._asked
        is_stop = asked.stop is not None and step.code == asked.stop
        codes = [] if is_stop else [step.code]
        byte_pairs = asked.vocabulary.byte_pairs if asked.vocabulary is not None else None
        if byte_pairs is None:
            return _written(asked, codes)
        is_last = is_stop or step.num_steps >= asked.max_steps
        return self._characters[step.input_index, step.place].decode(byte_pairs.to_bytes(codes), final=is_last)


def _written(asked: GenerationRequest, codes: Any) -> Any:
    return codes if asked.vocabulary is None else asked.vocabulary.decode(codes)


async def _behind(first: bytes, events: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """``first``, and the rest; closes ``events`` when it is closed itself."""
    try:
        yield first
        async for each in events:
            yield each
    finally:
        await events.aclose()
