"""A service small enough to be seen through: it counts steps and keeps the rules of ``seq``. And a network between it
and the client that loses requests and answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import httpx2

from ostinato import AsyncClient, Client
from ostinato.client.session import Session

OPENED_AT = "2026-01-01T00:00:00+00:00"


def fold(total: float, inputs: list[list[float | None]]) -> list[float]:
    """The model: each output is half of the one before and the input; the order of steps shows in it."""
    outputs = []
    for [value] in inputs:
        total = total / 2 + (value or 0.0)
        outputs.append(total)
    return outputs


@dataclass
class Kept:
    """A session."""

    steps: int = 0
    total: float = 0.0
    last: tuple[int, str, list[list[float]]] | None = None


@dataclass
class FakeService:
    """The routes, and what it holds.

    Attributes:
        num_applied: chunks that were applied, not those sent again.
        manifest: of its model.
        num_unreadable: sessions that it cannot read, told on every page.
    """

    sessions: dict[str, Kept] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    num_applied: int = 0
    num_unreadable: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    manifest: dict[str, Any] = field(
        default_factory=lambda: {
            "version": "1",
            "inputs": [{"shape": ["B", "T", 1]}],
            "outputs": [{"shape": ["B", "T", 1]}],
        }
    )

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The answer to a request whose body was read."""
        path = request.url.path
        self.requests.append((request.method, path))
        _, _, collection, name, action, *_ = [*path.split("/"), "", "", ""]
        if collection == "models" and request.method == "GET":
            return httpx2.Response(200, json={"model": name, "versions": ["1"], "manifest": self.manifest})
        if collection == "models":
            body = json.loads(request.content)
            return self._open(name, body) if action == "sessions" else self._step_many(body)
        if not name:
            return self._list(request.url.params)
        if name in self.ended:
            return problem(410, "session_closed")
        if name not in self.sessions:
            return problem(404, "unknown_session")
        handlers: dict[tuple[str, str], Callable[[str, bytes], httpx2.Response]] = {
            ("GET", ""): lambda name, _: self._session(name),
            ("DELETE", ""): self._close,
            ("POST", "step"): self._step,
            ("POST", "reset"): self._reset,
            ("POST", "fork"): self._fork,
            ("GET", "state"): lambda name, _: httpx2.Response(200, content=self._state(name)),
            ("PUT", "state"): self._put_state,
        }
        return handlers[request.method, action](name, request.content)

    def _session(self, name: str, status: int = 200) -> httpx2.Response:
        return httpx2.Response(status, json=self._content(name))

    def _content(self, name: str) -> dict[str, Any]:
        content = {"session_id": name, "model": "half", "version": "1", "steps": self.sessions[name].steps}
        return {**content, "opened_at": OPENED_AT, "expires_at": None}

    def _open(self, model: str, body: dict[str, Any]) -> httpx2.Response:
        if model != "half":
            return problem(404, "unknown_model")
        if body["session_id"] in self.sessions:
            return problem(409, "session_exists")
        self.sessions[body["session_id"]] = Kept()
        return self._session(body["session_id"], 201)

    def _list(self, query: httpx2.QueryParams) -> httpx2.Response:
        # Pages of one, and an empty one in front.
        names, start = sorted(self.sessions), int(query.get("cursor", -1))
        found = [self._content(name) for name in names[start : start + 1]] if start >= 0 else []
        cursor = str(start + 1) if start + 1 < len(names) else None
        unreadable = {"unreadable": self.num_unreadable} if self.num_unreadable else {}
        return httpx2.Response(200, json={"sessions": found, "next_cursor": cursor, **unreadable})

    def _close(self, name: str, _: bytes) -> httpx2.Response:
        del self.sessions[name]
        self.ended.add(name)
        return httpx2.Response(204)

    def _step(self, name: str, content: bytes) -> httpx2.Response:
        body = json.loads(content)
        kept, seq = self.sessions[name], body.get("seq")
        checksum = hashlib.sha256(json.dumps(body["inputs"]).encode()).hexdigest()
        if seq is not None and kept.last is not None and kept.last[:2] == (seq, checksum):
            outputs = kept.last[2]
        elif seq is not None and seq != kept.steps:
            return problem(409, "seq_conflict", expected_seq=kept.steps)
        else:
            made = fold(kept.total, body["inputs"])
            outputs = [[output] for output in made]
            kept.last = (kept.steps, checksum, outputs)
            kept.total, kept.steps = made[-1], kept.steps + len(made)
            self.num_applied += 1
        gives_all = body["return_sequences"] and "T" in self.manifest["outputs"][0]["shape"]
        shown = outputs if gives_all else outputs[-1:]
        return httpx2.Response(200, json={"session_id": name, "seq": seq, "steps": kept.steps, "outputs": shown})

    def _step_many(self, body: dict[str, Any]) -> httpx2.Response:
        content: dict[str, Any] = {"session_ids": body["session_ids"], "seq": [], "outputs": [], "errors": []}
        for row, name in enumerate(body["session_ids"]):
            seq = body["seq"][row] if "seq" in body else None
            if name not in self.sessions:
                answer = problem(404, "unknown_session")
            else:
                step = {"inputs": [body["inputs"][row]], "seq": seq, "return_sequences": True}
                answer = self._step(name, json.dumps(step).encode())
            members = answer.json()
            if answer.status_code == 200:
                content["seq"].append(members["steps"] - 1)
                content["outputs"] += members["outputs"]
            else:
                content["seq"].append(None)
                content["outputs"].append(None)
                content["errors"].append({"row": row, **members})
        return httpx2.Response(200, json=content)

    def _reset(self, name: str, content: bytes) -> httpx2.Response:
        assert content == b""
        self.sessions[name] = Kept()
        return self._session(name)

    def _fork(self, name: str, content: bytes) -> httpx2.Response:
        copy = json.loads(content)["session_id"]
        if copy in self.sessions:
            return problem(409, "session_exists")
        self.sessions[copy] = replace(self.sessions[name])
        return self._session(copy, 201)

    def _state(self, name: str) -> bytes:
        kept = self.sessions[name]
        return json.dumps([kept.steps, kept.total]).encode()

    def _put_state(self, name: str, content: bytes) -> httpx2.Response:
        self.sessions[name] = Kept(*json.loads(content))
        return self._session(name)


def problem(status: int, code: str, retry_after: str = "", **members: object) -> httpx2.Response:
    """A problem document."""
    headers = {"retry-after": retry_after} if retry_after else {}
    return httpx2.Response(status, json={"detail": "not so", "code": code, **members}, headers=headers)


class Network(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Lies between both kinds of client and a service.

    Args:
        faults: for each request, what becomes of it: "" = it passes; "before" and "after" = it is lost on its way
            there, or its answer is; "refused" = nobody listens; a response = this one is given in the service's place.
    """

    def __init__(self, service: FakeService, faults: Iterable[str | httpx2.Response] = ()) -> None:
        self.service = service
        self.faults = iter(faults)
        self.hosts: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        self.hosts.append(request.url.host)
        fault = next(self.faults, "")
        if isinstance(fault, httpx2.Response):
            return fault
        if fault == "refused":
            raise httpx2.ConnectError("nobody listens")
        if fault == "before":
            raise httpx2.ReadTimeout("the request was lost")
        answer = self.service.answer(request)
        if fault == "after":
            raise httpx2.ReadError("the answer was lost")
        return answer

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        return self.handle_request(request)


class Awaited:
    """A blocking client or session with an asynchronous one's interface, so that one test drives both."""

    def __init__(self, blocking: Any) -> None:
        self.blocking = blocking

    async def __aenter__(self) -> Awaited:
        self.blocking.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.blocking.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.blocking, name)
        if not callable(found):
            return found
        if name in ("session", "resume", "stream"):
            return lambda *args, **options: Awaited(found(*args, **options))
        if name in ("sessions", "session_pages"):
            return lambda *args: _each(found(*args))

        async def call(*args: Any, **options: Any) -> Any:
            result = found(*args, **options)
            return Awaited(result) if isinstance(result, Session) else result

        return call


async def _each(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


class Clock:
    """Time that passes only while somebody waits; ``pauses`` tells for how long."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def sleep_async(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)  # others have their turn, as they would


def make_client(
    kind: str, network: Network | None = None, url: str | list[str] = "http://service", **options: Any
) -> Any:
    """A client of a kind, ``"async"`` or ``"blocking"``, with one interface and a clock of its own."""
    clock = Clock()
    options = {"clock": clock, "chance": lambda: 0.5, "transport": network, **options}
    made: AsyncClient | Awaited
    if kind == "async":
        made = AsyncClient(url, sleep=clock.sleep_async, **options)
    else:
        made = Awaited(Client(url, sleep=clock.sleep, **options))
    setattr(made, "pauses", clock.pauses)  # noqa: B010
    return made


KINDS = ("async", "blocking")
