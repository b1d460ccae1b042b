"""Options of inference requests: their parameters, which are those of the routes under ``/v1`` by the same names."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ostinato.service.edge.oip.messages import InferParameters, InferRequest
from ostinato.service.edge.v1.codec import misfit
from ostinato.service.edge.v1.schemas import OutputOptions, PredictQuery, StepOptions, TimeToLive
from ostinato.service.errors import InvalidInput

MAX_SEQUENCE_ID = 2**64 - 1

PASSED_OVER = frozenset({"priority", "timeout", "headers", "binary_data_output", "content_type"})
"""What clients of the protocol may say, and what has no meaning here or was read with the message."""
PASSED_OVER_PREFIX = "triton_"


class SequenceParameters(StepOptions, kw_only=True):
    """Parameters of steps of a sequence. ``sequence_id``: 0 or empty = the request belongs to no sequence.

    ``ttl_seconds``: of the session that the start begins, as when one is opened.
    """

    sequence_id: int | str = 0
    sequence_start: bool = False
    sequence_end: bool = False
    ttl_seconds: TimeToLive | None = None
    version: str | None = None


class PredictParameters(PredictQuery, kw_only=True):
    """Parameters of whole sequences. ``return_state``: the states after the last steps are outputs, too, as if they
    were asked for.
    """

    return_state: bool = False


class GenerateParameters(OutputOptions, kw_only=True):
    """Parameters of generation."""


_SEQUENCE = frozenset({"sequence_id", "sequence_start", "sequence_end"})
Options = TypeVar("Options", SequenceParameters, PredictParameters, GenerateParameters)


def is_of_sequence(parameters: InferParameters) -> bool:
    """Whether a request is a step of a sequence.

    Raises:
        InvalidInput: it would start or end one, and does not say which.
    """
    if parameters.get("sequence_id", 0) not in (0, "") or isinstance(parameters.get("sequence_id"), bool):
        return True
    for name in ("sequence_start", "sequence_end"):
        if parameters.get(name):
            raise InvalidInput(f"{name} needs a sequence_id that is not 0 or empty", name)
    return False


def version_of(request: InferRequest) -> str | None:
    """The version that a request names, in its path or its parameters; None = the newest."""
    named = request.parameters.get("version")
    return request.version or (named if isinstance(named, str) else None) or None


def read_options(parameters: InferParameters, kind: type[Options], version: str | None) -> Options:
    """The parameters of a request to a model that takes these.

    Raises:
        InvalidInput: one is unknown or has no such value, names it; or names another version than ``version``.
    """
    known = kind.__struct_fields__
    given = {}
    for name, value in parameters.items():
        if name in known:
            given[name] = value
        elif name not in PASSED_OVER and not name.startswith(PASSED_OVER_PREFIX) and name not in _SEQUENCE:
            raise InvalidInput(f"unknown parameter {name[:60]!r}; there are: {', '.join(sorted(known))}", name[:60])
    try:
        options = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise misfit(error, kind) from error
    if options.version and version and options.version != version:
        raise InvalidInput(f"the request is to version {version!r}, and names {options.version!r}", "version")
    options.version = version or options.version or None
    return options
