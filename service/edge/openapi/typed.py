"""The operations of the typed routes, which name the model or the session in their bodies."""

from __future__ import annotations

from ostinato.service import errors
from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.operation import (
    BODY,
    EVENTS,
    MODEL,
    ROUTED,
    SESSION,
    WORK,
    Operation,
    Success,
    answer,
)
from ostinato.service.edge.openapi.versioned import EVENTS_TOLD
from ostinato.service.edge.v1 import answer_schemas as answers
from ostinato.service.edge.v1 import forecast_schemas, schemas

TYPED = "Typed routes"

OPERATIONS = (
    Operation(
        id="predictTyped",
        method="POST",
        path="/predict",
        tag=TYPED,
        summary="Predict whole sequences",
        description="As `predict`, with the model in the body.",
        bodies={JSON: schemas.PredictInput},
        answers=answer(answers.Predictions, "The outputs of each sequence."),
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
    Operation(
        id="stepTyped",
        method="POST",
        path="/step",
        tag=TYPED,
        summary="Step a session",
        description="As `stepSession`, with the session in the body.",
        bodies={JSON: schemas.StepInput},
        answers=answer(answers.StepOutputs, "The outputs of the chunk."),
        refuses=(*ROUTED, *SESSION, *BODY, *WORK, errors.SeqConflict, errors.TimeConflict),
    ),
    Operation(
        id="forecastTyped",
        method="POST",
        path="/forecast",
        tag=TYPED,
        summary="Forecast a session",
        description="As `forecastSession`, with the session in the body.",
        bodies={JSON: schemas.ForecastInput},
        answers=answer(forecast_schemas.ForecastOutputs, "The outputs of the steps to come."),
        refuses=(*ROUTED, *SESSION, *BODY, *WORK),
    ),
    Operation(
        id="generateTyped",
        method="POST",
        path="/generate",
        tag=TYPED,
        summary="Generate outputs",
        description=f"As `generate`, with the model in the body. {EVENTS_TOLD}",
        bodies={JSON: schemas.GenerateInput},
        answers={
            200: Success(
                "The outputs; with `stream`, server-sent events.",
                {JSON: answers.GeneratedOutputs, **EVENTS},
            )
        },
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
    Operation(
        id="generateStreamTyped",
        method="POST",
        path="/generate_stream",
        tag=TYPED,
        summary="Generate outputs step by step",
        description=f"As `generate` with `stream`. {EVENTS_TOLD}",
        bodies={JSON: schemas.GenerateStreamInput},
        answers={200: Success("Server-sent events.", {**EVENTS})},
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
)
