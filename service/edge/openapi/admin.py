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
        description="Its default version, its aliases, its canary and shadow, the versions that this worker serves, "
        "and those that are being unloaded.",
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
        description="From now on it is used where a request names no version. Sessions keep their version.",
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
        summary="Remove the default version",
        description="The latest version that is served is the default again.",
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
        summary="Remove an alias",
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
        description="A share of the new sessions that name no version run this one, chosen by a hash of the "
        "session's id. The condition is that it has the same inputs and outputs as the default version.",
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
        description="A version that runs a copy of the steps of other versions' sessions: of a share of the "
        "sessions that begin from now on. Its outputs are compared and counted in `/metrics`, and never "
        "answered.",
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
        summary="Remove the canary",
        description="Sessions of the canary keep their version.",
        answers=_DECIDED,
        refuses=_DECIDES,
    ),
    Operation(
        id="unsetShadow",
        method="DELETE",
        path=f"{ROOT}/shadow",
        names=("model",),
        tag=ADMINISTRATION,
        summary="Remove the shadow",
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
        description="Undoes the last decision about default, aliases, canary and shadow. Each further call undoes "
        "one more, up to 16.",
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
        description="Loads a version of the repository, checked as at the start. The other workers and replicas "
        "follow within seconds. A load has only its own deadline (`load_seconds`). If it takes longer "
        "than a request may, the answer is 202: repeat the request to see the result.",
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
        description="No new session of it begins, at any worker, and `sessions` says what happens to the existing "
        "ones. Then it is no longer served, here at once, and by the other workers and replicas within "
        "seconds. A refused request changes nothing. If it takes longer than a request may, the answer "
        "is 504, and it continues: repeat the request.",
        bodies={JSON: schemas.UnloadBody},
        answers=answer(answers.UnloadedVersion, "It is served no more."),
        refuses=(*_DECIDES, *BODY, errors.VersionInUse),
    ),
)
