"""Verbs of the service, as plans: the request of each, and what its answer becomes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from numpy.typing import NDArray

from ostinato.client.arrays import Array, Row, Rows, States, to_json, to_outputs, to_outputs_with_holes
from ostinato.client.exchange import ClientRequest, Exchanges, Plan, accepted
from ostinato.client.retry import ServiceAnswer
from ostinato.errors import ServiceError

NUM_ID_BYTES = 16
"""128 random bits: nobody else has an id that the client made up."""
PAGE_SIZE = 1000
STATE = "application/octet-stream"
SESSION = ("session_id", "model", "version", "steps")
STEPPED = ("outputs", "steps")


@dataclass(frozen=True)
class SessionInfo:
    """A session at one moment; ``expires_at`` None = never, unless it is stepped."""

    session_id: str
    model: str
    version: str
    steps: int
    opened_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True)
class SessionInfoPage:
    """Some of the sessions, and where the next page begins; None = that was all."""

    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Stepped:
    """A chunk's outputs, and how many steps the session has now."""

    outputs: Array
    steps: int


@dataclass(frozen=True)
class RowError:
    """Why a row failed, in the service's words; ``expected_seq`` where its ``seq`` was not the session's."""

    row: int
    code: str
    detail: str
    expected_seq: int | None = None


@dataclass(frozen=True)
class ManyStepped:
    """What became of one step of each of many sessions. Rows fail alone: look at ``errors``.

    Attributes:
        session_ids: of the R rows.
        seq: int64 ``[R]``: steps applied before each row; -1 in rows that failed.
        outputs: ``[R, O]``; NaN (0 for integers) in rows that failed; ``[R, 0]`` where all did.
        errors: of the rows that failed, by row.
    """

    session_ids: tuple[str, ...]
    seq: NDArray[np.int64]
    outputs: Array
    errors: tuple[RowError, ...]


class Verbs:
    """The plan of every verb.

    All of them raise:
        ServiceError: the service refused it. ServiceUnreachable: nobody answered.
    """

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges

    def models(self) -> Plan[list[dict[str, Any]]]:
        """All models."""
        found: list[dict[str, Any]] = (yield from self._members(ClientRequest("GET", "/v1/models"), "models"))["models"]
        return found

    def model(self, name: str) -> Plan[dict[str, Any]]:
        """One model and its manifest."""
        return (yield from self._members(ClientRequest("GET", f"/v1/models/{quote(name, safe='')}"), "model"))

    def metrics(self) -> Plan[str]:
        """The server's series."""
        return (yield from self._exchanges.ask(ClientRequest("GET", "/metrics"))).body.decode()

    def predict(
        self,
        model: str,
        sequences: Sequence[Rows],
        *,
        return_sequences: bool,
        return_state: bool,
        initial_state: States | Sequence[States | None] | None,
        go_backwards: bool,
        version: str | None,
    ) -> Plan[tuple[list[Array], list[dict[str, Array]]]]:
        """Whole sequences: the outputs, and the states behind them where they were asked for."""
        body = _given(
            sequences=list(sequences),
            return_sequences=return_sequences,
            return_state=return_state,
            initial_state=initial_state,
            go_backwards=go_backwards,
            version=version,
        )
        names = ("outputs", "states") if return_state else ("outputs",)
        answer = yield from self._post(f"/v1/models/{quote(model, safe='')}/predict", body, *names)
        states = [
            {name: to_outputs(state, np.nan) for name, state in each.items()} for each in answer.get("states", ())
        ]
        return [to_outputs(outputs) for outputs in answer["outputs"]], states

    def step_many(
        self,
        model: str,
        session_ids: Sequence[str],
        inputs: Rows,
        seq: Sequence[int | None] | NDArray[np.integer[Any]] | None,
        *,
        create_missing: bool,
    ) -> Plan[ManyStepped]:
        """One step of each of many sessions."""
        body = _given(session_ids=list(session_ids), inputs=inputs, seq=seq, create_missing=create_missing)
        # Of a session that stands in it twice the service remembers the last step only.
        is_known = seq is not None and all(number is not None for number in seq)
        may_repeat = is_known and len(set(session_ids)) == len(session_ids)
        path = f"/v1/models/{quote(model, safe='')}/step"
        answer = yield from self._post(path, body, "session_ids", "seq", "outputs", "errors", may_repeat=may_repeat)
        return ManyStepped(
            tuple(answer["session_ids"]),
            np.array([-1 if number is None else number for number in answer["seq"]], np.int64),
            to_outputs_with_holes(answer["outputs"]),
            tuple(
                RowError(error["row"], error["code"], error["detail"], error.get("expected_seq"))
                for error in answer["errors"]
            ),
        )

    def page(self, model: str | None, cursor: str | None) -> Plan[SessionInfoPage]:
        """A page of the live sessions; it may be empty and not the last."""
        query = urlencode(_given(limit=PAGE_SIZE, model=model, cursor=cursor))
        answer = yield from self._members(ClientRequest("GET", f"/v1/sessions?{query}"), "sessions", "next_cursor")
        return SessionInfoPage(tuple(_session(members) for members in answer["sessions"]), answer["next_cursor"])

    def open(
        self, model: str, *, session_id: str | None, ttl_seconds: float | None, version: str | None
    ) -> Plan[SessionInfo]:
        """Begin a session."""
        session_id = session_id or secrets.token_urlsafe(NUM_ID_BYTES)
        body = _given(session_id=session_id, ttl_seconds=ttl_seconds, version=version)
        path = f"/v1/models/{quote(model, safe='')}/sessions"
        return (yield from self._begin(path, body, model=model, version=version, steps=0))

    def fork(self, parent: SessionInfo, *, session_id: str | None, ttl_seconds: float | None) -> Plan[SessionInfo]:
        """Copy a session under a new id."""
        session_id = session_id or secrets.token_urlsafe(NUM_ID_BYTES)
        body = _given(session_id=session_id, ttl_seconds=ttl_seconds)
        path = _path(parent.session_id, "/fork")
        return (yield from self._begin(path, body, model=parent.model, version=parent.version, steps=parent.steps))

    def look(self, session_id: str) -> Plan[SessionInfo]:
        """A session as it is."""
        return _session((yield from self._members(ClientRequest("GET", _path(session_id)), *SESSION)))

    def step(self, session_id: str, inputs: Rows, seq: int, *, return_sequences: bool) -> Plan[Stepped]:
        """Apply a chunk after ``seq`` steps."""
        body = {"inputs": inputs, "seq": seq, "return_sequences": return_sequences}
        return stepped((yield from self._post(_path(session_id, "/step"), body, *STEPPED)))

    def forecast(self, session_id: str, horizon: int, known_future: Mapping[str, Row] | Rows | None) -> Plan[Array]:
        """Look ahead."""
        body = _given(horizon=horizon, known_future=known_future)
        return to_outputs((yield from self._post(_path(session_id, "/forecast"), body, "outputs"))["outputs"])

    def reset(self, session_id: str) -> Plan[SessionInfo]:
        """Back to the initial state."""
        return _session((yield from self._members(ClientRequest("POST", _path(session_id, "/reset")), *SESSION)))

    def state(self, session_id: str) -> Plan[bytes]:
        """The state as safetensors."""
        return (yield from self._exchanges.ask(ClientRequest("GET", _path(session_id, "/state")))).body

    def put_state(self, session_id: str, state: bytes) -> Plan[SessionInfo]:
        """Replace the state."""
        request = ClientRequest("PUT", _path(session_id, "/state"), state, STATE)
        return _session((yield from self._members(request, *SESSION)))

    def close(self, session_id: str) -> Plan[None]:
        """End a session; where that was asked for before and the answer was lost, one that has ended is as good."""
        settled = yield from self._exchanges.settle(ClientRequest("DELETE", _path(session_id)))
        if not (settled.may_be_a_repeat and settled.answer.status in (404, 410)):
            accepted(settled.answer)

    def _begin(
        self, path: str, body: Mapping[str, Any], *, model: str, version: str | None, steps: int
    ) -> Plan[SessionInfo]:
        """Make a session of the id in ``body``. One that is there already is ours if an earlier attempt of this very
        request may have made it, and it is as that would have left it.
        """
        settled = yield from self._exchanges.settle(ClientRequest("POST", path, to_json(body)))
        if settled.may_be_a_repeat and settled.answer.code == "session_exists":
            found = yield from self.look(body["session_id"])
            if (found.model, found.version, found.steps) == (model, version or found.version, steps):
                return found
        return _session(members_of(accepted(settled.answer), *SESSION))

    def _post(
        self, path: str, body: Mapping[str, Any], *names: str, may_repeat: bool = True
    ) -> Plan[Mapping[str, Any]]:
        return (yield from self._members(ClientRequest("POST", path, to_json(body), may_repeat=may_repeat), *names))

    def _members(self, request: ClientRequest, *names: str) -> Plan[dict[str, Any]]:
        return members_of((yield from self._exchanges.ask(request)), *names)


def members_of(answer: ServiceAnswer, *names: str) -> dict[str, Any]:
    """The JSON object of an answer.

    Raises:
        ServiceError: it is none, or lacks one of ``names``.
    """
    if answer.members is None or not answer.members.keys() >= set(names):
        raise ServiceError(
            f"{answer.where}: the answer is no JSON object with {', '.join(names)}; is this the service?",
            answer.status,
            "",
        )
    return dict(answer.members)


def stepped(members: Mapping[str, Any]) -> Stepped:
    """The answer to a chunk, from a route or a stream."""
    return Stepped(to_outputs(members["outputs"]), int(members["steps"]))


def _session(members: Mapping[str, Any]) -> SessionInfo:
    return SessionInfo(
        members["session_id"],
        members["model"],
        members["version"],
        members["steps"],
        _time(members.get("opened_at")),
        _time(members.get("expires_at")),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _given(**members: Any) -> dict[str, Any]:
    """The members that were given; None stands for the service's default."""
    return {name: value for name, value in members.items() if value is not None}


def _path(session_id: str, action: str = "") -> str:
    # As they are, "." and ".." would be taken for steps in the path.
    name = session_id.replace(".", "%2E") if session_id in (".", "..") else quote(session_id, safe="")
    return f"/v1/sessions/{name}{action}"
