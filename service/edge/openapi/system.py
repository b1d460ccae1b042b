"""The operations of who runs the service, and those of the document itself."""

from __future__ import annotations

from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.operation import Operation, Success, answer
from ostinato.service.edge.v1 import answer_schemas as answers

OPERATION, DOCUMENTS = "Operation", "Documents"
TEXT, HTML = "text/plain", "text/html"

OPERATIONS = (
    Operation(
        id="live",
        path="/livez",
        tag=OPERATION,
        summary="Liveness",
        description="Whether the process runs.",
        answers=answer(answers.Liveness, "It runs."),
    ),
    Operation(
        id="healthy",
        path="/healthz",
        tag=OPERATION,
        summary="Health",
        description="As `live`.",
        answers=answer(answers.Liveness, "It runs."),
    ),
    Operation(
        id="ready",
        path="/readyz",
        tag=OPERATION,
        summary="Readiness",
        description="Whether requests should be sent here, and which versions are served. It is not ready before "
        "the models are checked, and while it drains.",
        answers={
            200: Success("It is ready.", {JSON: answers.Readiness}),
            503: Success("It is not ready, and `status` says why.", {JSON: answers.Readiness}),
        },
    ),
    Operation(
        id="metrics",
        path="/metrics",
        tag=OPERATION,
        summary="Metrics",
        description="In the text format of Prometheus.",
        answers={200: Success("The series.", {TEXT: {"type": "string"}})},
    ),
    Operation(
        id="openapi",
        path="/openapi.json",
        tag=DOCUMENTS,
        summary="This document",
        description="OpenAPI 3.1, with examples for the models that are served.",
        answers={200: Success("The document.", {JSON: {"type": "object"}})},
    ),
    Operation(
        id="docs",
        path="/docs",
        tag=DOCUMENTS,
        summary="This document as a page",
        description="It loads nothing from other servers.",
        answers={200: Success("The page.", {HTML: {"type": "string"}})},
    ),
)
