from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from ostinato.client import AsyncClient
from ostinato.errors import ServiceError, ServiceUnreachable
from tests.server import ServerProcess


class Script(httpx.AsyncBaseTransport):
    """Answers in turn, and what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[object] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(await request.aread() or b"null"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"detail": "not now", "code": code}, headers=headers)


def stepped() -> httpx.Response:
    return httpx.Response(200, json={"outputs": [[1.0]]})


def client_of(script: Script, pauses: list[float], patience_seconds: float = 60.0) -> AsyncClient:
    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    return AsyncClient("http://service", transport=script, sleep=sleep, patience_seconds=patience_seconds)


async def test_a_refusal_for_now_is_repeated_when_the_server_says() -> None:
    pauses: list[float] = []
    script = Script(problem(429, "overloaded", **{"retry-after": "3"}), problem(503, "draining"), stepped())
    async with client_of(script, pauses) as client:
        assert await client.step("s", [[1.0, None]], 7) == [[1.0]]
    assert pauses == [3.0, 0.5]
    assert script.bodies == [{"inputs": [[1.0, None]], "seq": 7, "return_sequences": True}] * 3


async def test_patience_ends() -> None:
    pauses: list[float] = []
    async with client_of(Script(problem(429, "overloaded", **{"retry-after": "61"})), pauses) as client:
        with pytest.raises(ServiceError, match=r"not now \[429 overloaded\]"):
            await client.step("s", [[1.0]], 0)
    assert pauses == []


@pytest.mark.parametrize("lost", [lambda: httpx.ReadError("reset"), lambda: problem(504, "deadline_exceeded")])
async def test_a_step_whose_answer_was_lost_is_sent_again_and_an_opening_is_not(
    lost: Callable[[], httpx.Response | Exception],
) -> None:
    script = Script(lost(), stepped())
    async with client_of(script, []) as client:
        assert await client.step("s", [[1.0]], 0) == [[1.0]]
    async with client_of(Script(lost()), []) as client:
        with pytest.raises((ServiceUnreachable, ServiceError)):
            await client.open_session("m")


async def test_where_nobody_listens_is_told_with_the_address() -> None:
    async with AsyncClient("http://127.0.0.1:1", patience_seconds=0) as client:
        with pytest.raises(ServiceUnreachable, match=r"no service answers at http://127.0.0.1:1 .*ostinato serve"):
            await client.model("m")


async def test_an_answer_of_something_else_is_recognised() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(404, text="<html>")):
        async with client_of(Script(answer), []) as client:
            with pytest.raises(ServiceError):
                await client.model("m")


async def test_a_lost_answer_is_not_applied_twice(server: ServerProcess) -> None:
    class Lossy(httpx.AsyncHTTPTransport):
        """Passes everything on, and loses the answer to every step the first time."""

        lost = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if request.url.path.endswith("/step"):
                self.lost += 1
                if self.lost % 2:
                    await response.aread()
                    await response.aclose()
                    raise httpx.ReadError("the answer was lost")
            return response

    transport = Lossy()
    async with AsyncClient(server.url, transport=transport) as client:
        session_id = await client.open_session("loads")
        totals = [(await client.step(session_id, [[load]], seq))[0][0] for seq, load in enumerate((1.0, 2.0, 4.0))]
        assert totals == [1.0, 3.0, 7.0]  # each load counted once
        assert transport.lost == 6
        assert await client.forecast(session_id, 2) == [[7.0], [14.0]]
        await client.close_session(session_id)


async def test_predict_runs_whole_sequences(server: ServerProcess) -> None:
    async with AsyncClient(server.url) as client:
        assert await client.predict("loads", [[[1.0], [2.0]], [[5.0]]]) == [[[1.0], [3.0]], [[5.0]]]
        assert 'ostinato_steps_total{model="loads"' in await client.metrics()
