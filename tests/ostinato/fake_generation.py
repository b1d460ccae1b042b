"""A service small enough to be seen through that writes: each letter of a text becomes a capital."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import httpx2

from tests.ostinato.fake_service import FakeService, problem

LOG_PROB = -0.5
"""Of every symbol, the stop's too."""


class Pieces(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that arrives in pieces; where one is an error, the connection is cut there."""

    def __init__(self, pieces: Sequence[bytes | Exception]) -> None:
        self.pieces = pieces
        self.num_read = 0
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            self.num_read += 1
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


class FakeWriter(FakeService):
    """The routes ``generate`` and ``score`` of a model ``capitals``.

    Attributes:
        bodies: of the requests it has answered.
        streams: the bodies of its streams; ``endings`` take the place of a stream's end, one each.
    """

    def __init__(self, *endings: list[bytes | Exception]) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.streams: list[Pieces] = []
        self.endings = list(endings)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return super().answer(request)
        body = json.loads(request.content)
        self.bodies.append(body)
        if not request.url.path.startswith("/v1/models/capitals/"):
            return problem(404, "unknown_model")
        if request.url.path.endswith("/score"):
            log_probs = [[LOG_PROB] * (len(target) + 1) for target in body["targets"]]
            return httpx2.Response(200, json={"scores": [sum(each) for each in log_probs], "log_probs": log_probs})
        content = written(body)
        if not body.get("stream"):
            return httpx2.Response(200, json=content)
        told = [
            event("step", {"index": index, "step": step + 1, "output": symbol, "log_prob": LOG_PROB})
            for index, text in enumerate(body["inputs"])
            for step, symbol in enumerate([*text.upper(), ""])
        ]
        ending: list[bytes | Exception] = self.endings.pop(0) if self.endings else [event("done", content)]
        self.streams.append(Pieces([*told, *ending]))
        return httpx2.Response(200, stream=self.streams[-1], headers={"content-type": "text/event-stream"})


def written(body: dict[str, Any]) -> dict[str, Any]:
    """The answer."""
    texts = body.get("inputs") or [""]
    num_return = body.get("num_return", 1)

    def each(values: list[Any]) -> list[Any]:
        return [[value] * num_return for value in values] if num_return > 1 else values

    content: dict[str, Any] = {"model": "capitals", "version": "3"}
    content["outputs"] = each([text.upper() for text in texts])
    content["scores"] = each([LOG_PROB * (len(text) + 1) for text in texts])
    content["finish_reasons"] = each(["stop"] * len(texts))
    if body.get("method") == "sample":
        content["seed"] = body.get("seed", 11)
    if body.get("return_log_probs"):
        content["log_probs"] = each([[LOG_PROB] * (len(text) + 1) for text in texts])
    if body.get("return_attention"):
        content["attention"] = each([[[float(a == b) for a in range(len(t))] for b in range(len(t))] for t in texts])
    return content


def event(name: str, content: object) -> bytes:
    """As the service writes one."""
    return f"event: {name}\ndata: {json.dumps(content)}\n\n".encode()
