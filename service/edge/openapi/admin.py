"""The operations under ``/v1/admin``."""

from __future__ import annotations

from ostinato.service import errors
from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.operation import BODY, MODEL, ROUTED, Operation, Success, answer
from ostinato.service.edge.v1 import answer_schemas as answers
from ostinato.service.edge.v1 import schemas
from ostinato.service.edge.v1.admin import ROOT

ADMINISTRATION = "Administration"
_REFUSES = (*ROUTED, *MODEL, errors.InvalidInput)
_DECIDES = (*_REFUSES, errors.StateStoreUnavailable)
_LOADED = {JSON: answers.LoadedVersion}
_DECIDED = answer(answers.ModelDecided, "What is decided now.")

OPERATIONS = (
    Operation(
        id="showDecisions",
        path=ROOT,
        names=("model",),
        tag=ADMINISTRATION,
        summary="Show what is decided about a model",
        description="Its default version, its aliases, its shadow, which versions the worker that is asked serves, and "
        "which are being unloaded.",
        answers=_DECIDED,
        refuses=(*ROUTED, *MODEL),
    ),
    Operation(
        id="setDefault",
        method="PUT",
        path=f"{ROOT}/default",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Set the default version",
        description="It is meant from then on where none is named. Sessions keep the version that they have.",
        bodies={JSON: schemas.DecisionBody},
        answers=_DECIDED,
        refuses=(*_DECIDES, *BODY),
    ),
    Operation(
        id="unsetDefault",
        method="DELETE",
        path=f"{ROOT}/default",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Have no default version",
        description="The latest that is served is meant again.",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="setAlias",
        method="PUT",
        path=f"{ROOT}/aliases/{{}}",
        names=("model", "alias"),
        tag=ADMINISTRATION,
        summary="Set an alias",
        description="A name that can be used wherever a version can.",
        bodies={JSON: schemas.DecisionBody},
        answers=_DECIDED,
        refuses=(*_DECIDES, *BODY),
    ),
    Operation(
        id="unsetAlias",
        method="DELETE",
        path=f"{ROOT}/aliases/{{}}",
        names=("model", "alias"),
        tag=ADMINISTRATION,
        summary="Take an alias away",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="setCanary",
        method="PUT",
        path=f"{ROOT}/canary",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Set a canary",
        description="A share of new sessions that name no version has this one, by a hash of the session's id, as long "
        "as it takes and gives what the version does that is meant else.",
        bodies={JSON: schemas.CanaryBody},
        answers=_DECIDED,
        refuses=(*_DECIDES, *BODY),
    ),
    Operation(
        id="setShadow",
        method="PUT",
        path=f"{ROOT}/shadow",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Set the shadow",
        description="A version that runs a copy of what sessions of the other versions are sent, of a share of those "
        "that begin from then on. Its outputs are compared and counted in `/metrics`, and nobody is answered by them.",
        bodies={JSON: schemas.ShadowBody},
        answers=_DECIDED,
        refuses=(*_DECIDES, *BODY),
    ),
    Operation(
        id="unsetCanary",
        method="DELETE",
        path=f"{ROOT}/canary",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Have no canary",
        description="Sessions that have its version keep it.",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="unsetShadow",
        method="DELETE",
        path=f"{ROOT}/shadow",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Have no shadow",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="rollBack",
        method="POST",
        path=f"{ROOT}/rollback",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Roll back",
        description="Takes the last decision about default, aliases, canary and shadow back, and with each call one "
        "more, up to 16.",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="loadVersion",
        method="POST",
        path=f"{ROOT}/versions/{{}}/load",
        names=("model", "version"),
        tag=ADMINISTRATION,
        summary="Load a version",
        description="Of the repository, checked as at the start. The other workers and replicas follow within seconds. "
        "A load has no deadline but its own (`load_seconds`): where it takes longer than a request may, the answer is "
        "202, and who asks again is told what came of it.",
        answers={
            **answer(answers.LoadedVersion, "It is served."),
            202: Success("It is still being loaded, and will be, whether or not a client waits.", _LOADED),
        },
        refuses=_DECIDES,
    ),
    Operation(
        id="unloadVersion",
        method="POST",
        path=f"{ROOT}/versions/{{}}/unload",
        names=("model", "version"),
        tag=ADMINISTRATION,
        summary="Unload a version",
        description="No session of it begins any more, at any worker, and `sessions` says what becomes of the existing "
        "ones. Then it is no longer served, here and by the other workers and replicas within seconds. A refused "
        "request leaves it as it was. Where it takes longer than a request may, the answer is 504, and it continues: "
        "repeat the request.",
        bodies={JSON: schemas.UnloadBody},
        answers=answer(answers.UnloadedVersion, "It is served no more."),
        refuses=(*_DECIDES, *BODY, errors.VersionInUse),
    ),
)
