"""Visitors: all that is asked of a service besides steps, right and wrong, and how long a step takes meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx2

from tests.server import LIMITS, PLAIN

SINGLE_STEP = {"inputs": [[0.1, 0.2, 0.3]]}
PAUSE_SECONDS = 0.01


class Visitors:
    """Clients that come and go until ``stop``.

    Args:
        url: of the service.
        model: what is served there, with three features.

    Attributes:
        latencies: seconds of each single step that was measured since ``begin``.
        surprises: answers that were not what the request deserved.
    """

    def __init__(self, url: str, model: str, generator: random.Random) -> None:
        self._url, self._model, self._random = url, model, generator
        self._http = httpx2.AsyncClient(base_url=url, timeout=60.0, trust_env=False, limits=LIMITS, **PLAIN)
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self.latencies: list[float] = []
        self.num_visits = 0
        self.surprises: list[str] = []

    def begin(self) -> None:
        """Send the visitors."""
        self._is_stopping = False
        self.latencies = []
        self._tasks = [asyncio.create_task(self._measure()), asyncio.create_task(self._visit_until_stopped())]

    async def stop(self) -> None:
        """Wait until all have left."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    async def close(self, session_ids: list[str]) -> None:
        """Close sessions, which are there."""
        for session_id in session_ids:
            await self._expect(204, "DELETE", f"/v1/sessions/{session_id}")

    async def end(self) -> None:
        """Leave for good."""
        await self._http.aclose()

    async def _measure(self) -> None:
        session_id = await self._open()
        while not self._is_stopping:
            began_at = time.perf_counter()
            await self._expect(200, "POST", f"/v1/sessions/{session_id}/step", json=SINGLE_STEP)
            self.latencies.append(time.perf_counter() - began_at)
            await asyncio.sleep(PAUSE_SECONDS)
        await self.close([session_id])

    async def _visit_until_stopped(self) -> None:
        visits: list[Callable[[], Awaitable[object]]] = [
            self._come_and_go,
            self._predict,
            self._look_around,
            self._make_mistakes,
            self._hang_up,
            self._move_a_state,
        ]
        while not self._is_stopping:
            await self._random.choice(visits)()
            self.num_visits += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _open(self) -> str:
        self._number += 1
        session_id = f"visitor-{self._number}"
        await self._expect(201, "POST", f"/v1/models/{self._model}/sessions", json={"session_id": session_id})
        return session_id

    async def _come_and_go(self) -> None:
        session_id = await self._open()
        await self._expect(200, "POST", f"/v1/sessions/{session_id}/step", json={"inputs": [[1, 2, 3]] * 20})
        await self.close([session_id])
        await self._expect(410, "POST", f"/v1/sessions/{session_id}/step", json=SINGLE_STEP)

    async def _predict(self) -> None:
        sequences = [[[self._random.random()] * 3] * self._random.randint(1, 200) for _ in range(8)]
        await self._expect(200, "POST", f"/v1/models/{self._model}/predict", json={"sequences": sequences})

    async def _look_around(self) -> None:
        for path in ("/v1/models", "/v1/sessions?limit=5", "/metrics", "/readyz"):
            await self._expect(200, "GET", path)

    async def _make_mistakes(self) -> None:
        step = f"/v1/models/{self._model}/step"
        await self._expect(
            422, "POST", step, content=b'{"session_ids": ["a"', headers={"content-type": "application/json"}
        )
        await self._expect(422, "POST", f"/v1/models/{self._model}/predict", json={"sequences": [[["x"]]]})
        await self._expect(404, "POST", "/v1/sessions/nobody/step", json=SINGLE_STEP)
        await self._expect(415, "POST", step, content=b"?", headers={"content-type": "text/plain"})
        await self._expect(404, "GET", "/v1/models/nothing")

    async def _hang_up(self) -> None:
        """In the middle of a request."""
        where = urlsplit(self._url)
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        body = json.dumps({"sequences": [[[1, 2, 3]] * 100] * 8}).encode()
        head = f"POST /v1/models/{self._model}/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        whole = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        writer.write(whole[: self._random.randint(1, len(whole))])
        await writer.drain()
        writer.transport.abort()

    async def _move_a_state(self) -> None:
        session_id = await self._open()
        await self._expect(200, "POST", f"/v1/sessions/{session_id}/step", json=SINGLE_STEP)
        state = await self._expect(200, "GET", f"/v1/sessions/{session_id}/state")
        content = {"content": state.content, "headers": {"content-type": state.headers["content-type"]}}
        await self._expect(200, "PUT", f"/v1/sessions/{session_id}/state", **content)
        await self.close([session_id])

    async def _expect(self, status: int, method: str, path: str, **options: object) -> httpx2.Response:
        answer = await self._http.request(method, path, **options)  # type: ignore[arg-type]
        if answer.status_code != status:
            self.surprises.append(f"{method} {path}: {answer.status_code} in place of {status}: {answer.text[:200]}")
        return answer
