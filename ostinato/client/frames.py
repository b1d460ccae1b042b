"""Frames of a stream, their answers, and each session's step count, for both kinds of stream. Knows no socket."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ostinato.client.answers import SessionInfo
from ostinato.client.arrays import Outputs, Rows, from_json, to_json
from ostinato.client.chunks import count_steps
from ostinato.client.exchange import CONNECT, FRAME, ClientRequest, Exchanges, Plan, unexpected
from ostinato.client.given import has_names
from ostinato.client.offsets import InSource
from ostinato.client.retry import ServiceAnswer
from ostinato.client.times import Times, place_of
from ostinato.client.verbs import ENDED, Verbs
from ostinato.client.wire import stream_path
from ostinato.errors import ServiceError, UnexpectedAnswer

TOO_BIG = 1009
"""The code with which a WebSocket is closed by one who was sent too long a message."""


class StreamHandle:
    """Frames of a model's sessions.

    Attributes:
        model: of every session in it.
        steps: session id -> how many steps were applied, as far as this stream knows.
        filled: how many steps that were not sent the last chunk filled in, if it had times.
        output_steps: of a model that answers once a frame, the step that each row of the last answer is of; else None.
        anomaly, events: of a calibrated forecaster, of the last answer; see ``Stepped``.
    """

    def __init__(self, exchanges: Exchanges, verbs: Verbs, model: str, create_missing: bool) -> None:
        self.model = model
        self.steps: dict[str, int] = {}
        self._versions: dict[str, str] = {}
        self.output_steps: Outputs | None = None
        self.filled = 0
        self.anomaly: NDArray[np.float64] | None = None
        self.events: tuple[dict[str, Any], ...] = ()
        self._exchanges = exchanges
        self._frames = exchanges.pinned("")
        self._verbs = verbs
        self._create_missing = create_missing
        self._ids = itertools.count(1)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream stays in its process; open one where it is needed")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model}, {len(self.steps)} sessions>"

    def _connect_plan(self) -> Plan[None]:
        path = stream_path(self.model, create_missing=self._create_missing)
        yield from self._exchanges.ask(ClientRequest(CONNECT, path))

    def _step_plan(
        self, session_id: str, inputs: Rows, *, return_sequences: bool, at: Times | None, place: InSource
    ) -> Plan[Outputs]:
        seq = self.steps.get(session_id, None if at is None else 0)
        if seq is None:
            seq = yield from self._sync_plan(session_id)
        if seq and session_id not in self._versions and has_names(inputs):  # the stream opened it
            self._versions[session_id] = (yield from self._verbs.look(session_id)).version
        session = SessionInfo(session_id, self.model, self._versions.get(session_id, ""), seq, None, None)
        inputs = yield from self._verbs.chunk(session, inputs)
        told = place_of(seq, at, place)
        content: dict[str, Any] = {"session_id": session_id, "inputs": inputs, **told}
        if not return_sequences:
            content["return_sequences"] = False
        try:
            body = to_json(content, allow_infinity=False)
        except ValueError as error:
            # The service could not read whose frame it is, and so could not tell that it refuses it.
            detail = "infinity is not JSON; a missing value is None or NaN [422 invalid_input]"
            raise ServiceError(detail, 422, "invalid_input") from error
        settled = yield from self._frames.settle(ClientRequest(FRAME, "", body))
        if settled.answer.code in ENDED:
            self.steps.pop(session_id, None)
            self._versions.pop(session_id, None)
        made = yield from self._verbs.stepped(
            settled.answer,
            session,
            count_steps(inputs),
            return_sequences=return_sequences,
            place=told,
        )
        self.steps[session_id] = made.steps
        self.output_steps, self.filled = made.output_steps, made.filled
        self.anomaly, self.events = made.anomaly, made.events
        return made.outputs

    def _sync_plan(self, session_id: str) -> Plan[int]:
        """The server's step count; 0 of an id that the stream would open."""
        try:
            found = yield from self._verbs.look(session_id)
            steps, self._versions[session_id] = found.steps, found.version
        except ServiceError as error:
            if not (self._create_missing and error.code == "unknown_session"):
                raise
            steps = 0
        self.steps[session_id] = steps
        return steps


def frame_text(body: bytes, frame_id: int) -> str:
    """A frame with an id by which to know its answer."""
    assert body.startswith(b"{")
    return f'{{"id":{frame_id},{body[1:].decode()}'


def read_answer(message: str | bytes, where: str, hang_up: Callable[[], object]) -> tuple[int | None, ServiceAnswer]:
    """The id of the frame that a message answers, None where it tells none of ours, and the answer.

    Raises:
        ValueError: it is no answer of a stream.
    """
    members = from_json(message)
    if not isinstance(members, dict):
        raise ValueError("a frame is a JSON object")
    frame_id = told if type(told := members.get("id")) is int else None
    problem = members.get("error")
    if problem is None:
        return frame_id, ServiceAnswer(200, members, where=where, hang_up=hang_up)
    if not isinstance(problem, dict) or type(status := problem.get("status")) is not int:
        raise ValueError("an error has a status")
    after = problem.get("retry_after_seconds")
    seconds = float(after) if isinstance(after, int | float) else None
    answer = ServiceAnswer(status, problem, retry_after_seconds=seconds, where=where, hang_up=hang_up)
    return frame_id, answer


def of_no_frame(frame_id: int | None, answer: ServiceAnswer) -> UnexpectedAnswer:
    """What to raise where an answer is to no frame that waits for one."""
    about = "it is to no frame" if frame_id is None else f"it is to frame {frame_id}"
    why = (answer.members or {}).get("detail")
    return unexpected(answer, f"{about}, for which nobody waits" + (f" ({why})" if why else ""))


def too_big(where: str) -> ServiceAnswer:
    """The answer to what was under way when the service closed a stream over a message that was too long."""
    detail = "the service closed the stream, for a message in it was too long; send fewer steps at a time"
    return ServiceAnswer(413, {"detail": detail, "code": "too_large"}, where=where)
