"""Verbs of the service, as plans: the request of each, and what its answer becomes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from ostinato.client import answers
from ostinato.client.addresses import model_path, session_path
from ostinato.client.answers import ManyStepped, SessionInfo, SessionInfoPage, Stepped, read
from ostinato.client.arrays import Array, Context, Outputs, Rows, States, to_json
from ostinato.client.chunks import Chunks, count_steps
from ostinato.client.exchange import ClientRequest, Exchanges, Plan, accepted, unexpected
from ostinato.client.forecast_verbs import ForecastVerbs
from ostinato.client.offsets import InSource, tells_each
from ostinato.client.retry import ServiceAnswer
from ostinato.client.shapes import KnownModels
from ostinato.client.state_file import check_state
from ostinato.client.times import Times, place_of, to_texts

NUM_ID_BYTES = 16
"""128 random bits: nobody else has an id that the client made up."""
PAGE_SIZE = 1000
STATE = "application/octet-stream"
TEXT = ("text/plain", "application/openmetrics-text")
NO_CONTENT = 204
ENDED = ("unknown_session", "session_expired", "session_closed")
"""Codes with which a session is refused that is no more."""


class Verbs:
    """The plan of every verb; ``forecasts`` has those of forecasts.

    All of them raise:
        ServiceError: the service refused it. ServiceUnreachable: nobody answered.
    """

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._models = KnownModels(exchanges)
        self._chunks = Chunks(self._models)
        self.forecasts = ForecastVerbs(exchanges, self._models)

    def models(self) -> Plan[list[dict[str, Any]]]:
        """All models."""
        answer = yield from self._exchanges.ask(ClientRequest("GET", "/v1/models"))
        return read(answer, lambda members: [{"model": each["model"], **each} for each in members["models"]])

    def model(self, name: str) -> Plan[dict[str, Any]]:
        """One model and its manifest."""
        answer = yield from self._exchanges.ask(ClientRequest("GET", model_path(name)))
        read(answer, lambda members: answers.hold(members, model=name))
        return dict(answer.members or {})

    def metrics(self) -> Plan[str]:
        """The server's series."""
        return (yield from self._of_type(ClientRequest("GET", "/metrics"), *TEXT)).body.decode(errors="replace")

    def predict(
        self,
        model: str,
        sequences: Sequence[Rows],
        *,
        return_sequences: bool,
        return_state: bool,
        initial_state: States | Sequence[States | None] | None,
        context: Context | Sequence[Context | None] | None,
        go_backwards: bool,
        align: bool,
        version: str | None,
    ) -> Plan[tuple[list[Outputs], list[dict[str, Array]]]]:
        """Whole sequences: the outputs, and the states behind them where they were asked for."""
        version = version or (yield from self._chunks.version_of(model, sequences, context))
        sequences = yield from self._chunks.sequences(model, version or "", sequences)
        context = yield from self._chunks.contexts(model, version or "", context)
        body = _given(
            sequences=sequences,
            return_sequences=return_sequences,
            return_state=return_state,
            initial_state=initial_state,
            context=context,
            go_backwards=go_backwards,
            align=align or None,
            version=version,
        )
        answer = yield from self._post(model_path(model, "/predict"), body)
        lengths = [count_steps(rows) for rows in sequences]
        found = read(
            answer,
            lambda members: answers.predicted(
                members,
                model=model,
                lengths=lengths,
                return_sequences=return_sequences,
                return_state=return_state,
                align=align,
            ),
        )
        served = yield from self._models.hold_version(answer, model, version)
        if "output_steps" in (answer.members or {}):
            if return_sequences:
                for place, made in enumerate(found[0]):
                    found[0][place] = yield from self._models.of_frames(answer, model, served, made)
            return found
        if align and return_sequences:
            shape = yield from self._models.of(model, served)
            if shape is None:  # another version's is all that is told
                return found
            lengths = [max(length - shape.delay, 0) for length in lengths]
        for made, length in zip(found[0], lengths, strict=True):
            if length:
                yield from self._models.hold(answer, model, served, made, length if return_sequences else None)
        return found

    def step_many(
        self,
        model: str,
        session_ids: Sequence[str],
        inputs: Rows,
        seq: Sequence[int | None] | NDArray[np.integer[Any]] | None,
        *,
        create_missing: bool,
        at: Times | None = None,
        source: str | None = None,
        offset: Sequence[int | None] | NDArray[np.integer[Any]] | None = None,
    ) -> Plan[ManyStepped]:
        """One step of each of many sessions."""
        inputs = yield from self._chunks.rows(model, "", inputs)
        times = None if at is None else to_texts(at)
        body = _given(session_ids=list(session_ids), inputs=inputs, seq=seq, create_missing=create_missing, at=times)
        body |= _given(source=source, offset=offset)
        # Of a session that is in it twice the service remembers the last step only.
        may_repeat = tells_each(len(session_ids), seq, times, offset) and len(set(session_ids)) == len(session_ids)
        path = model_path(model, "/step")
        answer = yield from self._post(path, body, may_repeat=may_repeat)
        return read(answer, lambda members: answers.many_stepped(members, session_ids, seq))

    def page(self, model: str | None, cursor: str | None) -> Plan[SessionInfoPage]:
        """A page of the live sessions; it may be empty and not the last."""
        query = urlencode(_given(limit=PAGE_SIZE, model=model, cursor=cursor))
        answer = yield from self._exchanges.ask(ClientRequest("GET", f"/v1/sessions?{query}"))
        return read(answer, lambda members: answers.page_of(members, model, cursor))

    def open(
        self,
        model: str,
        *,
        session_id: str | None,
        ttl_seconds: float | None,
        version: str | None,
        context: Context | None,
        checkpoint: str | None,
    ) -> Plan[SessionInfo]:
        """Begin a session."""
        session_id = session_id or secrets.token_urlsafe(NUM_ID_BYTES)
        context = yield from self._chunks.context(model, version or "", context)
        body = _given(session_id=session_id, ttl_seconds=ttl_seconds, version=version, context=context)
        body |= _given(**{"from": checkpoint})
        path, steps = model_path(model, "/sessions"), 0 if checkpoint is None else None
        return (yield from self._begin(path, body, model=model, version=version, steps=steps, repeated_steps=0))

    def save_checkpoint(self, session_id: str, name: str) -> Plan[None]:
        """Keep a session as it is, by a name."""
        yield from self._post(session_path(session_id, "/checkpoint"), {"name": name}, may_repeat=False)

    def migrate(self, session_id: str, version: str) -> Plan[SessionInfo]:
        """Have a session go on by another version."""
        answer = yield from self._post(session_path(session_id, "/migrate"), {"version": version})
        return read(answer, lambda members: answers.session_of(members, session_id=session_id))

    def fork(self, parent: SessionInfo, *, session_id: str | None, ttl_seconds: float | None) -> Plan[SessionInfo]:
        """Copy a session under a new id."""
        session_id = session_id or secrets.token_urlsafe(NUM_ID_BYTES)
        body = _given(session_id=session_id, ttl_seconds=ttl_seconds)
        path = session_path(parent.session_id, "/fork")
        # Others may have stepped it since.
        return (
            yield from self._begin(
                path, body, model=parent.model, version=None, steps=None, repeated_steps=parent.steps
            )
        )

    def look(self, session_id: str) -> Plan[SessionInfo]:
        """A session as it is."""
        answer = yield from self._exchanges.ask(ClientRequest("GET", session_path(session_id)))
        return read(answer, lambda members: answers.session_of(members, session_id=session_id))

    def step(
        self,
        session: SessionInfo,
        inputs: Rows,
        *,
        return_sequences: bool,
        at: Times | None = None,
        place: InSource | None = None,
    ) -> Plan[Stepped]:
        """Apply a chunk after the steps that the session is believed to have, at its times, or by its place in its
        source.
        """
        inputs = yield from self.chunk(session, inputs)
        told = place_of(session.steps, at, place)
        body = {"inputs": inputs, **told, "return_sequences": return_sequences}
        answer = yield from self._post(session_path(session.session_id, "/step"), body)
        num_steps = count_steps(inputs)
        return (yield from self.stepped(answer, session, num_steps, return_sequences=return_sequences, place=told))

    def chunk(self, session: SessionInfo, inputs: Any) -> Plan[Any]:
        """Rows ``[n, F]`` of what was given for a session; its version is empty where it is not known."""
        return self._chunks.rows(session.model, session.version, inputs)

    def stepped(
        self,
        answer: ServiceAnswer,
        session: SessionInfo,
        num_steps: int,
        *,
        return_sequences: bool,
        place: Mapping[str, Any],
    ) -> Plan[Stepped]:
        """The answer to a chunk, from a route or a stream, held to the ``place`` that it was said to have; the
        session's version is empty where it is not known.
        """

        def reader(members: Mapping[str, Any]) -> Stepped:
            return answers.stepped(
                members, session.session_id, num_steps, return_sequences=return_sequences, place=place
            )

        made = read(answer, reader)
        if made.output_steps is not None:
            outputs = yield from self._models.of_frames(answer, session.model, session.version, made.outputs)
            return replace(made, outputs=outputs)
        num_rows = num_steps if return_sequences else 1
        yield from self._models.hold(answer, session.model, session.version, made.outputs, num_rows)
        return made

    def reset(self, session: SessionInfo) -> Plan[SessionInfo]:
        """Back to the initial state."""
        answer = yield from self._exchanges.ask(ClientRequest("POST", session_path(session.session_id, "/reset")))
        return self._same(answer, session, steps=0)

    def state(self, session_id: str) -> Plan[bytes]:
        """The state as safetensors."""
        answer = yield from self._of_type(ClientRequest("GET", session_path(session_id, "/state")), STATE)
        try:
            check_state(answer.body, session_id)
        except ValueError as error:
            raise unexpected(answer, str(error)) from error
        return answer.body

    def put_state(self, session: SessionInfo, state: bytes) -> Plan[SessionInfo]:
        """Replace the state."""
        answer = yield from self._exchanges.ask(
            ClientRequest("PUT", session_path(session.session_id, "/state"), state, STATE)
        )
        return self._same(answer, session)

    def close(self, session_id: str) -> Plan[None]:
        """End a session; where that was asked for before and the answer was lost, one that has ended is as good."""
        settled = yield from self._exchanges.settle(ClientRequest("DELETE", session_path(session_id)))
        if settled.may_be_a_repeat and settled.answer.code in ENDED:
            return
        if accepted(settled.answer).status != NO_CONTENT:
            raise unexpected(settled.answer, f"a session that is closed is answered by {NO_CONTENT}")

    def _begin(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        model: str,
        version: str | None,
        steps: int | None,
        repeated_steps: int,
    ) -> Plan[SessionInfo]:
        """Make a session of the id in ``body``, which has ``steps`` then (None = any number). One that is there already
        is ours if an earlier attempt of this very request may have made it, and it is as that would have left it.
        """
        session_id = body["session_id"]
        settled = yield from self._exchanges.settle(ClientRequest("POST", path, to_json(body)))
        if settled.may_be_a_repeat and settled.answer.code == "session_exists":
            found = yield from self.look(session_id)
            is_meant = version in (None, found.version) or (yield from self._models.is_alias(model, version))
            if is_meant and (found.model, found.steps) == (model, repeated_steps):
                return found
        begun = read(
            settled.answer,
            lambda members: answers.session_of(members, session_id=session_id, model=model, steps=steps),
        )
        yield from self._models.hold_version(settled.answer, model, version)
        return begun

    def _post(self, path: str, body: Mapping[str, Any], *, may_repeat: bool = True) -> Plan[ServiceAnswer]:
        return self._exchanges.ask(ClientRequest("POST", path, to_json(body), may_repeat=may_repeat))

    def _same(self, answer: ServiceAnswer, session: SessionInfo, steps: int | None = None) -> SessionInfo:
        """A session as an answer has it, if it is still the one that was changed."""
        same = {"session_id": session.session_id, "model": session.model}  # and perhaps others have migrated it
        return read(answer, lambda members: answers.session_of(members, **same, steps=steps))

    def _of_type(self, request: ClientRequest, *media_types: str) -> Plan[ServiceAnswer]:
        """An answer that is no JSON, but of one of these media types."""
        answer = yield from self._exchanges.ask(request)
        if answer.media_type and answer.media_type not in media_types:
            raise unexpected(answer, f"it is {answer.media_type}")
        return answer


def _given(**members: Any) -> dict[str, Any]:
    """The members that were given; None stands for the service's default."""
    return {name: value for name, value in members.items() if value is not None}
