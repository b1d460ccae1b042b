"""The routes that generate: what a body asks, and the answer, at once or step by step."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import EventStream, Request, Response, event, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.schemas import GenerateBody, ScoreBody
from ostinato.service.inference.generation import GenerationRequest, Made, Options, StepEvent, generate, score, stream

_GENERATE = msgspec.json.Decoder(GenerateBody)
_SCORE = msgspec.json.Decoder(ScoreBody)


class GenerateRoutes:
    """Handlers of the routes that generate."""

    def __init__(self, catalogue: Catalogue, desk: Desk) -> None:
        self._catalogue = catalogue
        self._desk = desk

    async def generate(self, request: Request) -> Response | EventStream:
        """``POST /v1/models/{model}/generate``."""
        return await self.answer_body(request.name, codec.decode_body(request, _GENERATE))

    async def answer_body(self, model: str, body: GenerateBody) -> Response | EventStream:
        """Generate what a body asks for, at once or step by step."""
        if not body.stream:
            return json_response(await generate_content(self._catalogue, model, body))
        events = self._events(_request(self._catalogue, model, body), body)
        # What is refused at once has a status of its own.
        first = await anext(events)
        return EventStream(_behind(first, events))

    async def score(self, request: Request) -> Response:
        """``POST /v1/models/{model}/score``."""
        return json_response(await score_content(self._catalogue, request.name, codec.decode_body(request, _SCORE)))

    async def _events(self, asked: GenerationRequest, body: GenerateBody) -> AsyncGenerator[bytes]:
        """The events of a request for outputs: ``step`` for each step as it is made, and ``done`` with the answer.

        Raises what ``stream`` does before the first event; later it is told by an event ``error``, the last.
        """
        has_begun = False
        try:
            async for each in stream(asked):
                yield (
                    event("step", _step(asked, each))
                    if isinstance(each, StepEvent)
                    else event("done", _content(asked, each, body))
                )
                has_begun = True
        except Exception as error:
            if not has_begun:
                raise
            problem = self._desk.refuse(error, f"a stream of outputs of model {asked.manifest.name}")
            yield event("error", problem.document)


async def generate_content(catalogue: Catalogue, model: str, body: GenerateBody) -> dict[str, Any]:
    """The answer to a request for outputs."""
    asked = _request(catalogue, model, body)
    return _content(asked, await generate(asked), body)


async def score_content(catalogue: Catalogue, model: str, body: ScoreBody) -> dict[str, Any]:
    """The answer to a request for the likelihood of outputs."""
    engine = catalogue.resolve_generator(model, body.version)
    inputs = body.inputs
    if inputs is None and not engine.manifest.inputs:
        inputs = [""] * len(body.targets) if "target" in engine.manifest.vocabularies else [[]] * len(body.targets)
    asked = GenerationRequest(engine, inputs or [], Options())
    outputs = await score(asked, body.targets)
    return {
        "model": engine.manifest.name,
        "version": engine.manifest.version,
        "scores": [output.score for output in outputs],
        "log_probs": [output.log_probabilities for output in outputs],
    }


def _request(catalogue: Catalogue, model: str, body: GenerateBody) -> GenerationRequest:
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
    return GenerationRequest(engine, inputs, options)


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


def _step(asked: GenerationRequest, step: StepEvent) -> dict[str, Any]:
    is_stop = asked.has_codes and asked.stop is not None and step.code == asked.stop
    content: dict[str, Any] = {"index": step.input_index, "step": step.num_steps}
    if asked.num_return > 1:
        content["place"] = step.place
    content["output"] = _written(asked, [] if is_stop else [step.code]) if asked.has_codes else step.code
    if asked.has_codes:
        content["log_prob"] = step.log_probability
    return content


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
