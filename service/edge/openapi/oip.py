"""The operations of the Open Inference Protocol, under ``/v2``."""

from __future__ import annotations

from dataclasses import replace

from ostinato.service import errors
from ostinato.service.edge.message import JSON, OCTETS
from ostinato.service.edge.oip import answer_schemas as answers
from ostinato.service.edge.oip.reading import HEADER_LENGTH, InferHeader
from ostinato.service.edge.oip.routes import IndexBody
from ostinato.service.edge.openapi.operation import (
    BINARY,
    BODY,
    MODEL,
    ROUTED,
    SESSION,
    WORK,
    Operation,
    Success,
    answer,
)
from ostinato.service.edge.system import LIVE, READY

OIP, OIP_REFUSED = "Open Inference Protocol", "Open Inference Protocol, refused"

_INFER_TOLD = """With `sequence_id` in `parameters` it is one or more steps of a sequence, `[1, T, ...]`; \
`sequence_start` begins it and `sequence_end` ends it (`SequenceParameters`). Else it is whole sequences, \
`[B, T, ...]` (`PredictParameters`), or what a model generates from (`GenerateParameters`).

As `application/octet-stream` it is such a header in JSON, whose length `Inference-Header-Content-Length` says, and \
behind it the tensors that have `binary_data_size` in place of `data`, as they lie in memory, little-endian. With \
`binary_data_output`, or `binary_data` of an output, the answer is one, too."""

_OF_MODEL = (
    Operation(
        id="oipModel",
        path="/v2/models/{}",
        names=("model",),
        tag=OIP,
        summary="Show a model",
        description="Its versions, inputs and outputs.",
        answers=answer(answers.OipModel, "The model."),
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="oipModelReady",
        path="/v2/models/{}/ready",
        names=("model",),
        tag=OIP,
        summary="Whether a model is served",
        answers=answer(answers.OipModelReady, "It is served."),
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="oipModelConfig",
        path="/v2/models/{}/config",
        names=("model",),
        tag=OIP,
        summary="Show a model's configuration",
        answers=answer(answers.OipModelConfig, "The configuration."),
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="oipModelStatistics",
        path="/v2/models/{}/stats",
        names=("model",),
        tag=OIP,
        summary="Show a model's statistics",
        answers=answer(answers.OipStatistics, "The statistics, a version each."),
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="oipInfer",
        method="POST",
        path="/v2/models/{}/infer",
        names=("model",),
        tag=OIP,
        summary="Infer",
        description=_INFER_TOLD,
        bodies={JSON: InferHeader, OCTETS: BINARY},
        headers={HEADER_LENGTH.decode().title(): "The length of the header in JSON, if tensors follow it."},
        answers={
            200: Success(
                "The outputs.",
                {JSON: answers.OipInferAnswer, OCTETS: BINARY},
                {HEADER_LENGTH.decode().title(): "The length of the header in JSON, if tensors follow it."},
            )
        },
        refuses=(*ROUTED, *SESSION, *BODY, *WORK, errors.SeqConflict, errors.TimeConflict, errors.SessionExists),
    ),
)


def _of_version(operation: Operation) -> Operation:
    """The same of a version that the path names."""
    return replace(
        operation,
        id=operation.id.replace("oipModel", "oipVersion").replace("oipInfer", "oipVersionInfer"),
        path=operation.path.replace("/v2/models/{}", "/v2/models/{}/versions/{}"),
        names=("model", "version"),
        summary=f"{operation.summary}, by version",
    )


def _refused(name: str, method: str, path: str, summary: str) -> Operation:
    names = ("region",) if "region" in path else ("model",)
    return Operation(
        id=name,
        method=method,
        path=path,
        names=names if "{}" in path else (),
        tag=OIP_REFUSED,
        summary=summary,
        answers={},
        refuses=(*ROUTED, *BODY, errors.UnknownRoute),
    )


def _shared_memory() -> list[Operation]:
    made = []
    for kind, word in (("systemsharedmemory", "System"), ("cudasharedmemory", "Cuda")):
        for region, of_region in (("", "All"), ("/region/{}", "")):
            place = f"/v2/{kind}{region}"
            where = f"{word}Memory{of_region}"
            said = f"{word.lower()} shared memory"
            made.append(_refused(f"oip{where}Status", "GET", f"{place}/status", f"Status of {said}"))
            made.append(_refused(f"oip{where}Unregister", "POST", f"{place}/unregister", f"Unregister {said}"))
        place = f"/v2/{kind}/region/{{}}/register"
        made.append(_refused(f"oip{word}MemoryRegister", "POST", place, f"Register {said}"))
    return made


OPERATIONS = (
    Operation(
        id="oipServer",
        path="/v2",
        tag=OIP,
        summary="Show the server",
        answers=answer(answers.OipServer, "The server."),
        refuses=ROUTED,
    ),
    Operation(
        id="oipLive", path=LIVE, tag=OIP, summary="Liveness", answers=answer(answers.OipLive, "It runs."), refuses=()
    ),
    Operation(
        id="oipReady",
        path=READY,
        tag=OIP,
        summary="Readiness",
        answers={
            200: Success("It is ready.", {JSON: answers.OipReady}),
            503: Success("It is not ready.", {JSON: answers.OipReady}),
        },
    ),
    *_OF_MODEL,
    *map(_of_version, _OF_MODEL),
    Operation(
        id="oipStatistics",
        path="/v2/models/stats",
        tag=OIP,
        summary="Show the statistics of all models",
        answers=answer(answers.OipStatistics, "The statistics, a version each."),
        refuses=ROUTED,
    ),
    Operation(
        id="oipIndex",
        method="POST",
        path="/v2/repository/index",
        tag=OIP,
        summary="List the versions in the repository",
        bodies={JSON: IndexBody},
        answers=answer(list[answers.OipIndexEntry], "The versions, served or not."),
        refuses=(*ROUTED, *BODY),
    ),
    _refused("oipLoad", "POST", "/v2/repository/models/{}/load", "Load a model"),
    _refused("oipUnload", "POST", "/v2/repository/models/{}/unload", "Unload a model"),
    _refused("oipGetTrace", "GET", "/v2/trace/setting", "Get settings of traces"),
    _refused("oipSetTrace", "POST", "/v2/trace/setting", "Set settings of traces"),
    _refused("oipGetModelTrace", "GET", "/v2/models/{}/trace/setting", "Get settings of a model's traces"),
    _refused("oipSetModelTrace", "POST", "/v2/models/{}/trace/setting", "Set settings of a model's traces"),
    _refused("oipGetLog", "GET", "/v2/logging", "Get settings of the log"),
    _refused("oipSetLog", "POST", "/v2/logging", "Set settings of the log"),
    *_shared_memory(),
)
