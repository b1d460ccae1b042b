"""Frames of a stream, their answers, and each session's step count, for both kinds of stream. Knows no socket."""

from __future__ import annotations

import itertools
import json
from typing import Any

from ostinato.client.arrays import Array, Rows, to_json
from ostinato.client.exchange import CONNECT, FRAME, ClientRequest, Exchanges, Plan, accepted
from ostinato.client.retry import ServiceAnswer
from ostinato.client.verbs import STEPPED, Verbs, members_of, stepped
from ostinato.client.wire import stream_path
from ostinato.errors import ServiceError

TOO_BIG = 1009
"""The code with which a WebSocket is closed by one who was sent too long a message."""


class StreamHandle:
    """Frames of a model's sessions.

    Attributes:
        model: of every session in it.
        steps: session id -> how many steps were applied, as far as this stream knows.
    """

    def __init__(self, exchanges: Exchanges, verbs: Verbs, model: str, create_missing: bool) -> None:
        self.model = model
        self.steps: dict[str, int] = {}
        self._exchanges = exchanges
        self._frames = exchanges.pinned("")
        self._verbs = verbs
        self._create_missing = create_missing
        self._ids = itertools.count(1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model}, {len(self.steps)} sessions>"

    def _connect_plan(self) -> Plan[None]:
        path = stream_path(self.model, create_missing=self._create_missing)
        yield from self._exchanges.ask(ClientRequest(CONNECT, path))

    def _step_plan(self, session_id: str, inputs: Rows, *, return_sequences: bool) -> Plan[Array]:
        if (seq := self.steps.get(session_id)) is None:
            seq = yield from self._sync_plan(session_id)
        content: dict[str, Any] = {"session_id": session_id, "inputs": inputs, "seq": seq}
        if not return_sequences:
            content["return_sequences"] = False
        try:
            body = to_json(content, allow_infinity=False)
        except ValueError as error:
            # The service could not read whose frame it is, and so could not tell that it refuses it.
            detail = "infinity is not JSON; a missing value is None or NaN [422 invalid_input]"
            raise ServiceError(detail, 422, "invalid_input") from error
        settled = yield from self._frames.settle(ClientRequest(FRAME, "", body))
        if settled.answer.status in (404, 410):
            self.steps.pop(session_id, None)
        made = stepped(members_of(accepted(settled.answer), *STEPPED))
        self.steps[session_id] = made.steps
        return made.outputs

    def _sync_plan(self, session_id: str) -> Plan[int]:
        """The server's step count; 0 of an id that the stream would open."""
        try:
            steps = (yield from self._verbs.look(session_id)).steps
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


def read_answer(message: str | bytes, where: str) -> tuple[int | None, ServiceAnswer]:
    """The id of the frame that a message answers, None where it says none, and the answer."""
    members: Any = json.loads(message)
    if not isinstance(members, dict):
        raise ValueError("a frame is a JSON object")
    problem = members.get("error")
    if problem is None:
        return members.get("id"), ServiceAnswer(200, members, where=where)
    answer = ServiceAnswer(
        problem["status"], problem, retry_after_seconds=problem.get("retry_after_seconds"), where=where
    )
    return members.get("id"), answer


def too_big(where: str) -> ServiceAnswer:
    """The answer to what was under way when the service closed a stream over a message that was too long."""
    detail = "the service closed the stream, for a message in it was too long; send fewer steps at a time"
    return ServiceAnswer(413, {"detail": detail, "code": "too_large"}, where=where)
