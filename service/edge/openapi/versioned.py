"""The operations under ``/v1``."""

from __future__ import annotations

from ostinato.service import errors
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.operation import (
    BINARY,
    BODY,
    EVENTS,
    MODEL,
    ROUTED,
    SESSION,
    STORE,
    WORK,
    Operation,
    Success,
    answer,
)
from ostinato.service.edge.v1 import answer_schemas as answers
from ostinato.service.edge.v1 import forecast_bodies, forecast_schemas, schemas
from ostinato.service.edge.v1.sessions import STATE

MODELS, SESSIONS, SEQUENCES, GENERATION = "Models", "Sessions", "Whole sequences", "Generation"

_OPENED = {201: Success("The session.", {JSON: answers.SessionFacts}, {"Location": "The session's path."})}
_GENERATED = "The outputs; with `stream`, server-sent events."
EVENTS_TOLD = (
    "With `stream` the answer is server-sent events: `step` (`OutputStep`) as each step is made, and `done` "
    "(`GeneratedOutputs`) at the end; or `error` (`ProblemDetails`), the last."
)
_CHUNK_TOLD = (
    "A chunk is one or more steps. `seq` is the number of steps that the session has, as the client counts. With it, "
    "a chunk may be retried until it is answered, and is applied once; without it, it must not be retried. For a model "
    "with a time, `at` has the same effect as `seq`: the time of the first step, or of each, in RFC 3339. Steps "
    "between these times are filled in as missing (`filled`), and calendar features may be left out."
)
_STREAM_TOLD = """A WebSocket on which any number of sessions are stepped; a plain HTTP request is answered with 426.

A text frame is a `StreamFrame`; it is answered by a `StreamOutputs`, or by a `StreamProblem`. Its `id` is in the \
answer, too. Frames of one session are applied in their order; answers of different sessions may overtake each \
other. A binary frame is a columnar message in Arrow, as of `stepSessions`, and so is its answer."""

OPERATIONS = (
    Operation(
        id="listModels",
        path="/v1/models",
        tag=MODELS,
        summary="List models",
        description="All models of the repository. A version that failed a check has its reason.",
        answers=answer(answers.ModelList, "The models."),
        refuses=ROUTED,
    ),
    Operation(
        id="showModel",
        path="/v1/models/{}",
        names=("model",),
        tag=MODELS,
        summary="Show a model",
        description="Its versions, and the manifest of the version asked for, by its name or an alias, or of the "
        "default version.",
        query=schemas.ModelQuery,
        answers=answer(answers.ModelDetails, "The model."),
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="openSession",
        method="POST",
        path="/v1/models/{}/sessions",
        names=("model",),
        tag=SESSIONS,
        summary="Open a session",
        description="Begins a sequence whose state the server keeps. Without `session_id` the server chooses an id.",
        bodies={JSON: schemas.OpenBody},
        answers=_OPENED,
        refuses=(*ROUTED, *MODEL, *BODY, *STORE, errors.SessionExists, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="stepSession",
        method="POST",
        path="/v1/sessions/{}/step",
        names=("session_id",),
        tag=SESSIONS,
        summary="Step a session",
        description=f"Applies a chunk and answers its outputs. {_CHUNK_TOLD}",
        bodies={JSON: schemas.StepBody},
        answers=answer(answers.StepOutputs, "The outputs of the chunk."),
        refuses=(*ROUTED, *SESSION, *BODY, *WORK, errors.SeqConflict, errors.TimeConflict),
    ),
    Operation(
        id="stepSessions",
        method="POST",
        path="/v1/models/{}/step",
        names=("model",),
        tag=SESSIONS,
        summary="Step many sessions",
        description="One step for each of many sessions of one model. Rows are independent: a row that fails is in "
        "`errors`, and the others are applied. In Arrow: an IPC stream with the columns `session_id`, "
        "`inputs` (or one for each input) and optionally `seq` or `at`; the answer has `session_id`, "
        "`seq`, `outputs`, `code` and `detail`.",
        query=schemas.ColumnsQuery,
        bodies={JSON: schemas.ColumnsBody, ARROW: BINARY},
        answers={200: Success("The outputs, row by row.", {JSON: answers.ColumnOutputs, ARROW: BINARY})},
        refuses=(*ROUTED, *MODEL, *BODY, *STORE, *WORK),
    ),
    Operation(
        id="forecastSessions",
        method="POST",
        path="/v1/models/{}/forecast",
        names=("model",),
        tag=SESSIONS,
        summary="Forecast many sessions",
        description="One forecast of each of many sessions of one model. Rows are independent: a row that fails is "
        "in `errors`. In Arrow: an IPC stream with the column `session_id`, and the options in the "
        "query; the answer has `session_id`, `outputs`, what was asked for in addition, `code` and "
        "`detail`.",
        query=forecast_bodies.ForecastManyQuery,
        bodies={JSON: forecast_bodies.ForecastManyBody, ARROW: BINARY},
        answers={200: Success("The forecasts, row by row.", {JSON: forecast_schemas.ForecastColumns, ARROW: BINARY})},
        refuses=(*ROUTED, *MODEL, *BODY, *STORE, *WORK),
    ),
    Operation(
        id="streamSteps",
        path="/v1/models/{}/stream",
        names=("model",),
        tag=SESSIONS,
        summary="Step sessions over a WebSocket",
        description=_STREAM_TOLD,
        query=schemas.ColumnsQuery,
        answers={
            101: Success(
                "The WebSocket is open.",
                headers={"Upgrade": "`websocket`.", "Sec-WebSocket-Accept": "The handshake's answer."},
            )
        },
        refuses=(*ROUTED, *MODEL, *BODY, errors.OriginRefused, errors.UpgradeRequired, errors.Draining),
    ),
    Operation(
        id="listSessions",
        path="/v1/sessions",
        tag=SESSIONS,
        summary="List sessions",
        description="The live sessions, a page at a time.",
        query=schemas.PageQuery,
        answers=answer(answers.SessionList, "A page."),
        refuses=(*ROUTED, *BODY, *STORE, errors.UnknownModel, errors.Starting),
    ),
    Operation(
        id="showSession",
        path="/v1/sessions/{}",
        names=("session_id",),
        tag=SESSIONS,
        summary="Show a session",
        description="This changes nothing, and does not prolong the session's life.",
        answers=answer(answers.SessionFacts, "The session."),
        refuses=(*ROUTED, *SESSION),
    ),
    Operation(
        id="forecastSession",
        method="POST",
        path="/v1/sessions/{}/forecast",
        names=("session_id",),
        tag=SESSIONS,
        summary="Forecast a session",
        description="Forecasts the next steps. The session does not change.",
        bodies={JSON: schemas.ForecastBody},
        answers=answer(forecast_schemas.ForecastOutputs, "The outputs of the steps to come."),
        refuses=(*ROUTED, *SESSION, *BODY, *WORK),
    ),
    Operation(
        id="forkSession",
        method="POST",
        path="/v1/sessions/{}/fork",
        names=("session_id",),
        tag=SESSIONS,
        summary="Fork a session",
        description="Begins a session as a copy of another, with its state and its steps.",
        bodies={JSON: schemas.ForkBody},
        answers=_OPENED,
        refuses=(*ROUTED, *SESSION, *BODY, errors.SessionExists, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="getSessionState",
        path="/v1/sessions/{}/state",
        names=("session_id",),
        tag=SESSIONS,
        summary="Get a session's state",
        description="A safetensors file with its state, its steps and its last answer.",
        answers={200: Success("A safetensors file.", {STATE: BINARY})},
        refuses=(*ROUTED, *SESSION, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="putSessionState",
        method="PUT",
        path="/v1/sessions/{}/state",
        names=("session_id",),
        tag=SESSIONS,
        summary="Put a state into a session",
        description="A safetensors file from `getSessionState`; or a file with only the states, which does not "
        "change the number of steps.",
        bodies={STATE: BINARY},
        answers=answer(answers.PutSession, "The session."),
        refuses=(*ROUTED, *SESSION, *BODY, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="resetSession",
        method="POST",
        path="/v1/sessions/{}/reset",
        names=("session_id",),
        tag=SESSIONS,
        summary="Reset a session",
        description="Back to the initial state, with 0 steps.",
        bodies={JSON: schemas.ResetBody},
        answers=answer(answers.SessionFacts, "The session."),
        refuses=(*ROUTED, *SESSION, *BODY, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="saveCheckpoint",
        method="POST",
        path="/v1/sessions/{}/checkpoint",
        names=("session_id",),
        tag=SESSIONS,
        summary="Save a checkpoint",
        description="Keeps the session as it is now under a name, for ever. Other sessions may begin from it "
        "(`from` of `openSession`).",
        bodies={JSON: schemas.CheckpointBody},
        answers={201: Success("The checkpoint.", {JSON: answers.CheckpointFacts})},
        refuses=(*ROUTED, *SESSION, *BODY, errors.CheckpointExists, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="listCheckpoints",
        path="/v1/checkpoints",
        tag=SESSIONS,
        summary="List checkpoints",
        description="A page at a time.",
        query=schemas.CheckpointQuery,
        answers=answer(answers.CheckpointList, "A page."),
        refuses=(*ROUTED, *BODY, *STORE),
    ),
    Operation(
        id="showCheckpoint",
        path="/v1/checkpoints/{}",
        names=("checkpoint",),
        tag=SESSIONS,
        summary="Show a checkpoint",
        answers=answer(answers.CheckpointFacts, "The checkpoint."),
        refuses=(*ROUTED, *STORE, errors.UnknownCheckpoint),
    ),
    Operation(
        id="deleteCheckpoint",
        method="DELETE",
        path="/v1/checkpoints/{}",
        names=("checkpoint",),
        tag=SESSIONS,
        summary="Delete a checkpoint",
        description="Sessions that began from it stay.",
        answers={204: Success("It is gone.")},
        refuses=(*ROUTED, *STORE, errors.UnknownCheckpoint),
    ),
    Operation(
        id="migrateSession",
        method="POST",
        path="/v1/sessions/{}/migrate",
        names=("session_id",),
        tag=SESSIONS,
        summary="Migrate a session to another version",
        description="The version runs the steps that the session keeps (`keep_inputs` of the manifest) from the "
        "initial state, and the session continues with it. The answer says how far apart the last "
        "outputs of the two versions are.",
        bodies={JSON: schemas.MigrateBody},
        answers=answer(answers.MigratedSession, "The session, and the two outputs."),
        refuses=(*ROUTED, *SESSION, *BODY, *WORK, *MODEL),
    ),
    Operation(
        id="closeSession",
        method="DELETE",
        path="/v1/sessions/{}",
        names=("session_id",),
        tag=SESSIONS,
        summary="Close a session",
        description="Ends the session and frees its state. Its id is then answered with 410 for a while, and later "
        "with 404.",
        answers={204: Success("It is closed.")},
        refuses=(*ROUTED, *SESSION, errors.Overloaded, errors.Draining),
    ),
    Operation(
        id="predict",
        method="POST",
        path="/v1/models/{}/predict",
        names=("model",),
        tag=SEQUENCES,
        summary="Predict whole sequences",
        description="Runs sequences of any lengths from the initial state, or from a given state, without a "
        "session. In Arrow: an IPC stream with the column `inputs` (or one for each input), one row for "
        "each sequence; the answer has `outputs`.",
        query=schemas.PredictQuery,
        query_needs="with a body in Arrow; in JSON it is a member",
        bodies={JSON: schemas.PredictBody, ARROW: BINARY},
        answers={200: Success("The outputs of each sequence.", {JSON: answers.Predictions, ARROW: BINARY})},
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
    Operation(
        id="generate",
        method="POST",
        path="/v1/models/{}/generate",
        names=("model",),
        tag=GENERATION,
        summary="Generate outputs",
        description=f"Writes an output for each input: a text, a list of codes, or numbers. {EVENTS_TOLD}",
        bodies={JSON: schemas.GenerateBody},
        answers={200: Success(_GENERATED, {JSON: answers.GeneratedOutputs, **EVENTS})},
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
    Operation(
        id="score",
        method="POST",
        path="/v1/models/{}/score",
        names=("model",),
        tag=GENERATION,
        summary="Score targets",
        description="Answers how likely each target is as the output for its input.",
        bodies={JSON: schemas.ScoreBody},
        answers=answer(answers.TargetScores, "The scores."),
        refuses=(*ROUTED, *MODEL, *BODY, *WORK),
    ),
)
