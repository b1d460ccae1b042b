"""The line to the service: the model's description, sessions looked at, and chunks sent with their answers."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ostinato.client.addresses import part_of_path
from ostinato.client.keys import headers_of, own_key
from ostinato.client.wire import base_urls
from ostinato.connectors.chunks import ChunkAnswers, KeyChunks, read_answers
from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.settings import ServiceSettings
from ostinato.errors import ServiceError, ServiceUnreachable

ARROW = "application/vnd.apache.arrow.stream"
PASSING = (408, 429, 500, 502, 503, 504)
"""Statuses after which the same may be asked again."""
ENDED = 410
GONE = (404, ENDED)
TAKEN = 409


class Reached(NamedTuple):
    """How far a session has come in its source: ``offset`` of the message after which it has so many ``steps``."""

    source: str | None
    offset: int
    steps: int


class ServiceLine:
    """One connection to a service, on which one thing is asked at a time.

    Every method raises ``ServiceUnreachable`` where nobody answers, and ``ServiceError`` where it is refused as a
    whole; ``is_passing`` tells which of these may be asked again.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        (url,) = base_urls(settings.url)
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=settings.timeout_seconds)
        self._where = url
        self._base = parts.path.rstrip("/")
        self._headers = headers_of(own_key(settings.key or None))
        self._model = settings.model
        self._sent: KeyChunks | None = None

    def model(self) -> dict[str, Any]:
        """What the service says of the model."""
        self._ask("GET", f"/v1/models/{part_of_path(self._model)}")
        status, body = self._answer()
        _raise_for(status, body)
        described: dict[str, Any] = json.loads(body)
        return described

    def reached(self, session_ids: Iterable[str]) -> dict[str, Reached]:
        """How far sessions have come; those that are not there are left out."""
        found = {}
        for session_id in session_ids:
            self._ask("GET", f"/v1/sessions/{part_of_path(session_id)}")
            status, body = self._answer()
            if status in GONE:
                continue
            _raise_for(status, body)
            told = json.loads(body)
            offset = told.get("offset")
            found[session_id] = Reached(told.get("source"), -1 if offset is None else int(offset), int(told["steps"]))
        return found

    def begin_again(self, session_id: str, settled_id: str) -> int | None:
        """End a session if it is there, and begin it as a copy of another, or again where that was never there; returns
        how many steps it has. None = the other has ended, so that nobody knows what the copy would have had.

        Raises:
            EndUnreachable: somebody else began it meanwhile.
        """
        self._ask("DELETE", f"/v1/sessions/{part_of_path(session_id)}")
        status, body = self._answer()
        if status not in GONE:
            _raise_for(status, body)
        given = json.dumps({"session_id": session_id}).encode()
        self._ask("POST", f"/v1/sessions/{part_of_path(settled_id)}/fork", given)
        status, body = self._answer()
        if status == ENDED:
            return None
        if status in GONE:
            self._ask("POST", f"/v1/models/{part_of_path(self._model)}/sessions", given)
            status, body = self._answer()
        if status == TAKEN:
            raise EndUnreachable(f"session {session_id} was begun by somebody else, too")
        _raise_for(status, body)
        return int(json.loads(body)["steps"])

    def send(self, chunks: KeyChunks) -> None:
        """Send chunks; ``receive`` gives the answers to them. Sessions begin with their first chunk, unless it says how
        many steps they have.
        """
        path = f"/v1/models/{part_of_path(self._model)}/step"
        if chunks.seqs is None:
            path += "?create_missing=true"
        self._ask("POST", path, chunks.message(), ARROW)
        self._sent = chunks

    def receive(self) -> ChunkAnswers:
        """The answers to the chunks that were sent last."""
        assert self._sent is not None
        status, body = self._answer()
        _raise_for(status, body)
        return read_answers(body, self._sent)

    def close(self) -> None:
        """Hang up; the next thing that is asked connects anew."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None = None, media_type: str = "application/json") -> None:
        headers = {**self._headers, "content-type": media_type} if body else self._headers
        try:
            self._connection.request(method, self._base + path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _answer(self) -> tuple[int, bytes]:
        try:
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        self.close()
        return ServiceUnreachable(f"the service at {self._where} does not answer: {str(error) or type(error).__name__}")


def is_passing(error: Exception) -> bool:
    """Whether what was asked may be asked again later."""
    return isinstance(error, ServiceUnreachable) or (isinstance(error, ServiceError) and error.status in PASSING)


def _raise_for(status: int, body: bytes) -> None:
    if status < 300:
        return
    problem: Any = None
    with contextlib.suppress(ValueError):
        problem = json.loads(body)
    told = problem if isinstance(problem, dict) else {}
    code = str(told.get("code", ""))
    detail = str(told.get("detail") or f"the service answered with status {status}")
    raise ServiceError(f"{detail} [{status} {code}]".replace(" ]", "]"), status, code)
