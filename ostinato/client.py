"""A client of the service's HTTP interface. It needs nothing of the server: manifests stay plain dictionaries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from ostinato.errors import ServiceError, ServiceUnreachable

Row = Sequence[float | None]

REFUSED_FOR_NOW = (429, 503)
"""Statuses that promise that nothing was applied."""
TIMED_OUT = 504
"""With ``seq``, safe to send again."""
DEFAULT_PAUSE_SECONDS = 0.5
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class AsyncClient:
    """Models and sessions of a running service.

    A request that was refused for now (429, 503) is sent again after the server's ``Retry-After``. One whose answer
    was lost is sent again where that is safe: a read, or a step, whose ``seq`` keeps it from being applied twice.

    Args:
        url: as ``http://127.0.0.1:3000``.
        patience_seconds: for how long a request is sent again; 0 = it is sent once.
        transport: in place of the network.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._sleep = sleep
        try:
            host = httpx.URL(self.url).host
            self._http = httpx.AsyncClient(
                base_url=self.url,
                transport=transport,
                timeout=httpx.Timeout(60.0, connect=10.0, pool=None),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
                # A proxy does not reach what listens on this machine only.
                trust_env=host not in LOOPBACK,
            )
        except httpx.InvalidURL as error:
            raise ServiceUnreachable(f"{url!r} is no address of a service: {error}") from error

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def model(self, name: str) -> dict[str, Any]:
        """A model: its versions, its status, and the manifest of the latest version that is served (or None)."""
        return await self._request("GET", f"/v1/models/{quote(name, safe='')}", is_safe=True)

    async def open_session(self, model: str, *, session_id: str | None = None) -> str:
        """Begin a session; returns its id."""
        body = {} if session_id is None else {"session_id": session_id}
        opened = await self._request("POST", f"/v1/models/{quote(model, safe='')}/sessions", body)
        return str(opened["session_id"])

    async def step(
        self, session_id: str, inputs: Sequence[Row], seq: int, *, return_sequences: bool = True
    ) -> list[list[float]]:
        """Apply a chunk ``[n, F]`` (None = missing) after ``seq`` steps; returns outputs ``[n, O]``, or the last one
        ``[1, O]`` without ``return_sequences``.
        """
        body = {"inputs": inputs, "seq": seq, "return_sequences": return_sequences}
        answer = await self._request("POST", f"/v1/sessions/{session_id}/step", body, is_safe=True)
        outputs: list[list[float]] = answer["outputs"]
        return outputs

    async def forecast(
        self, session_id: str, horizon: int, known_future: Mapping[str, Row] | None = None
    ) -> list[list[float]]:
        """The next ``horizon`` outputs ``[horizon, O]``; the session is not changed."""
        body = {"horizon": horizon, "known_future": known_future}
        answer = await self._request("POST", f"/v1/sessions/{session_id}/forecast", body, is_safe=True)
        outputs: list[list[float]] = answer["outputs"]
        return outputs

    async def predict(self, model: str, sequences: Sequence[Sequence[Row]]) -> list[list[list[float]]]:
        """Run whole sequences, each ``[n, F]``, in no session; returns outputs ``[n, O]`` of each."""
        path = f"/v1/models/{quote(model, safe='')}/predict"
        answer = await self._request("POST", path, {"sequences": sequences}, is_safe=True)
        outputs: list[list[list[float]]] = answer["outputs"]
        return outputs

    async def close_session(self, session_id: str) -> None:
        """End a session."""
        await self._request("DELETE", f"/v1/sessions/{session_id}")

    async def metrics(self) -> str:
        """The server's series in Prometheus' text format."""
        return (await self._answer("GET", "/metrics", None, is_safe=True)).text

    async def _request(self, method: str, path: str, body: object = None, *, is_safe: bool = False) -> dict[str, Any]:
        response = await self._answer(method, path, body, is_safe=is_safe)
        if response.status_code == 204:
            return {}
        try:
            content = response.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ServiceError(f"{self.url}{path}: the answer is no JSON object; is this the service?", 200, "")
        return content

    async def _answer(self, method: str, path: str, body: object, *, is_safe: bool) -> httpx.Response:
        """The response to a request, sent again as the class says.

        Raises:
            ServiceError: the service refused it.
            ServiceUnreachable: it was not answered, and sending it again is not safe or did not help.
        """
        give_up_at = time.monotonic() + self._patience_seconds
        while True:
            pause_seconds = DEFAULT_PAUSE_SECONDS
            try:
                response = await self._http.request(method, path, json=body)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                # Where there was no connection, the request went nowhere.
                may_repeat = is_safe or isinstance(error, httpx.ConnectError)
                failure: Exception = self._unreachable(error)
            else:
                if response.is_success:
                    return response
                status = response.status_code
                may_repeat = status in REFUSED_FOR_NOW or (status == TIMED_OUT and is_safe)
                failure = _refusal(response)
                pause_seconds = _retry_after_seconds(response)
            if not may_repeat or time.monotonic() + pause_seconds > give_up_at:
                raise failure
            await self._sleep(pause_seconds)

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        reason = str(error) or type(error).__name__
        return ServiceUnreachable(f"no service answers at {self.url} ({reason}); 'ostinato serve' starts one")


def _retry_after_seconds(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return DEFAULT_PAUSE_SECONDS


def _refusal(response: httpx.Response) -> ServiceError:
    try:
        problem = response.json()
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(f"{response.url} answered {response.status_code}", response.status_code, "")
    place = f" (at {problem['field']})" if "field" in problem else ""
    return ServiceError(f"{detail}{place} [{response.status_code} {code}]", response.status_code, code)
