"""Examples that work: bodies for the models that are served, made from their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ostinato.service.artifact.tensors import Input
from ostinato.service.catalogue.catalogue import AnyEngine
from ostinato.service.edge.openapi.tensor_examples import MAX_STEPS, NUM_STEPS, infer_body
from ostinato.service.edge.openapi.usual_values import usual_step, usual_text
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import ForecastPlan

MAX_MODELS = 4
"""Of each operation: a reader wants some, and a page has to end."""
MAX_NUMBERS = 64
"""Of a step; a picture is no example to read."""
HORIZON = 3
TTL_SECONDS = 600

Bodies = dict[str, Any]
"""By operation."""


class Examples:
    """Bodies by operation, and of each by model.

    Args:
        engines: the newest version of each model.
    """

    def __init__(self, engines: Sequence[AnyEngine]) -> None:
        self._versions = {engine.manifest.name: engine.manifest.version for engine in engines}
        self._bodies: dict[str, dict[str, Any]] = {}
        # Those that can do most come first: what steps a session, or looks ahead from it, has one that was opened.
        bodies_of = {engine.manifest.name: _bodies_of(engine) for engine in engines}
        for model, made in sorted(bodies_of.items(), key=lambda item: -len(item[1])):
            decision = {"version": self._versions[model]}
            for operation, body in {**made, "setDefault": decision, "setAlias": decision}.items():
                bodies = self._bodies.setdefault(operation, {})
                if len(bodies) < MAX_MODELS:
                    bodies[model] = body

    def bodies(self, operation: str) -> dict[str, Any]:
        """The bodies of an operation, by model."""
        return self._bodies.get(operation, {})

    def names(self, operation: str, name: str) -> dict[str, str]:
        """What stands in a path for ``name``, by model: for those that the operation has bodies for, if for any."""
        if name == "session_id":
            models = self._bodies.get(operation) or self._bodies.get("openSession", {})
            return {model: session_of(model) for model in models}
        models = self._bodies.get(operation) or dict.fromkeys(list(self._versions)[:MAX_MODELS])
        if name == "alias":
            return dict.fromkeys(models, "champion")
        if name == "checkpoint":
            return {model: session_of(model, "checkpoint") for model in self._bodies.get("saveCheckpoint", {})}
        return {model: model if name == "model" else self._versions[model] for model in models}


def session_of(model: str, which: str = "example") -> str:
    """The id of the session that the examples of a model open, step and close."""
    return f"{which}-{model}"[:128]


def _bodies_of(engine: AnyEngine) -> Bodies:
    manifest = engine.manifest
    if isinstance(engine, GenerationEngine):
        bodies = _of_generator(engine)
        infer = infer_body(engine) if bodies else {}
        return {**bodies, "oipInfer": infer, "oipVersionInfer": infer} if bodies else {}
    if sum(part.num_features for part in (*manifest.inputs, *manifest.context)) > MAX_NUMBERS:
        return {}
    steps = _steps(manifest.inputs, min(NUM_STEPS, engine.max_chunk_steps))
    context = {part.name: _nested(part) for part in manifest.context}
    told = {"context": context} if context else {}
    predict = {"sequences": [steps, _steps(manifest.inputs, 1)], **told}
    infer = infer_body(engine)
    bodies = {"predict": predict, "predictTyped": {"model": manifest.name, **predict}}
    bodies |= {"oipInfer": infer, "oipVersionInfer": infer}
    if isinstance(engine, SequenceEngine):
        return bodies
    session = session_of(manifest.name)
    bodies |= {
        "openSession": {"session_id": session, "ttl_seconds": TTL_SECONDS, **told},
        "stepSession": {"inputs": steps, "seq": 0},
        "stepTyped": {"session_id": session, "inputs": steps},
        "stepSessions": {"session_ids": [session], "inputs": _steps(manifest.inputs, 1)},
        "forkSession": {"session_id": session_of(manifest.name, "fork"), "ttl_seconds": TTL_SECONDS},
        "saveCheckpoint": {"name": session_of(manifest.name, "checkpoint")},
        "migrateSession": {"version": manifest.version},
        "setCanary": {"version": manifest.version, "share": 0.1},
        "resetSession": {},
    }
    if manifest.framing is None:
        bodies["setShadow"] = {"version": manifest.version, "share": 0.1}
    if (forecast := _forecast(engine)) is not None:
        bodies |= {"forecastSession": forecast, "forecastTyped": {"session_id": session, **forecast}}
        bodies["forecastSessions"] = {"session_ids": [session], **forecast}
    return bodies


def _forecast(engine: Engine) -> Bodies | None:
    """None where the model cannot forecast."""
    if engine.generator is not None:
        return {"horizon": 1}
    try:
        plan = ForecastPlan(engine.manifest)
    except InvalidInput:
        return None
    horizon = min(HORIZON, engine.max_horizon)
    known = {
        name: [value] * horizon
        for part in engine.manifest.inputs
        for name, value in zip(part.features, usual_step(part), strict=True)
        if name in plan.known_features
    }
    return {"horizon": horizon, **({"known_future": known} if known else {})}


def _of_generator(engine: GenerationEngine) -> Bodies:
    manifest = engine.manifest
    vocabularies = manifest.vocabularies
    source: Any = usual_text(vocabularies["source"]) if "source" in vocabularies else None
    if source is None and manifest.inputs:
        (part,) = manifest.inputs
        if part.num_features > MAX_NUMBERS:
            return {}
        has_steps = part.source_axis is not None or part.time_axis is not None
        source = _steps((part,), min(NUM_STEPS, engine.max_source_steps)) if has_steps else _nested(part)
    generate: Bodies = {"max_steps": min(MAX_STEPS, engine.max_output_steps)}
    if source is not None:
        generate = {"inputs": [source], **generate}
    named = {"model": manifest.name, **generate}
    bodies: Bodies = {"generate": generate, "generateTyped": named, "generateStreamTyped": named}
    if "target" in vocabularies:
        target = usual_text(vocabularies["target"])
        bodies["score"] = {"targets": [target], **({} if source is None else {"inputs": [source]})}
    return bodies


def _steps(parts: Sequence[Input], num_steps: int) -> Any:
    """Steps as the model takes them; of several inputs by name."""
    named = {part.name: [_nested(part, as_row=True)] * num_steps for part in parts}
    return named if len(parts) > 1 else named[parts[0].name]


def _nested(part: Input, *, as_row: bool = False) -> Any:
    """One step in its shape; a single number in a list of its own, where it stands in a row."""
    shape = part.row_shape or ((1,) if as_row else ())
    return np.array(usual_step(part), object).reshape(shape).tolist()
