"""Both kinds of client, given what users have: what the service is sent, and what it is asked for."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import numpy as np
import pytest

from ostinato.errors import InputError
from tests.ostinato.fake_frames import Frame, Series
from tests.ostinato.fake_service import KINDS, FakeService, Network, make_client

pytestmark = pytest.mark.parametrize("kind", KINDS)

FEATURES = ["load", "sun"]
FRAME = Frame({"sun": [3.0, 4.0], "load": [1.0, 2.0]})
ROWS = [[1.0, 3.0], [2.0, 4.0]]
MODEL = "/v1/models/half"


class Listening(FakeService):
    """A service that keeps what it was sent, and answers steps of any width."""

    bodies: list[Any]

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        body = json.loads(request.content) if request.method == "POST" else {}
        if path.endswith("/generate"):
            self.requests.append((request.method, path))
            self.sent = body["inputs"]
            return httpx2.Response(
                200,
                json={
                    "model": "half",
                    "version": "1",
                    "outputs": [[[1.0]]],
                    "scores": [None],
                    "finish_reasons": ["length"],
                },
            )
        if path.endswith("/predict"):
            self.requests.append((request.method, path))
            self.sent = body["sequences"]
            outputs = [[[0.0]] * len(rows) for rows in self.sent]
            return httpx2.Response(200, json={"model": "half", "version": "1", "outputs": outputs})
        if "inputs" in body:
            self.sent = body["inputs"]
            narrow = {**body, "inputs": [row[:1] for row in body["inputs"]]}
            request = httpx2.Request(request.method, request.url, content=json.dumps(narrow).encode())
        elif path.endswith("/forecast"):
            self.requests.append((request.method, path))
            self.sent = body["known_future"]
            name = path.split("/")[3]
            return httpx2.Response(200, json={"session_id": name, "outputs": [[0.0]] * body["horizon"]})
        return super().answer(request)


def listening(**manifest: Any) -> Listening:
    service = Listening()
    service.manifest = {
        "version": "1",
        "inputs": [{"shape": ["B", "T", 2], "features": FEATURES}],
        "outputs": [{"shape": ["B", "T", 1]}],
        **manifest,
    }
    return service


async def test_columns_and_names_are_put_in_the_order_of_the_features_which_are_asked_for_once(kind: str) -> None:
    service = listening()
    async with make_client(kind, Network(service)) as client:
        session = client.session("half", session_id="a", keep=True)
        async with session:
            await session.step(FRAME)
            assert service.sent == ROWS
            await session.step(Series([5.0, 6.0], index=["sun", "load"]))
            assert service.sent == [[6.0, 5.0]]
            await session.step([7.0, 8.0])
            assert service.sent == [[7.0, 8.0]]
            assert session.steps == 4
            await session.forecast(2, known_future=FRAME)
            assert service.sent == {"load": [1.0, 2.0], "sun": [3.0, 4.0]}
        assert service.requests.count(("GET", MODEL)) == 1
        assert len((await client.predict("half", [FRAME, np.array(ROWS)]))[0]) == 2
        assert service.sent == [ROWS, ROWS]
        await client.step_many("half", ["a", "b"], FRAME)
        assert service.sent == ROWS
        await client.generate("half", [FRAME])
        assert service.sent == [ROWS]


async def test_rows_and_arrays_cost_no_request_more(kind: str) -> None:
    service = listening()
    async with make_client(kind, Network(service)) as client:
        session = client.session("half", keep=True)
        async with session:
            await session.step(ROWS)
            await session.step(np.array(ROWS))
    assert ("GET", MODEL) not in service.requests


async def test_what_fits_no_model_is_refused_before_it_is_sent(kind: str) -> None:
    service = listening()
    async with make_client(kind, Network(service)) as client:
        session = client.session("half", keep=True)
        async with session:
            with pytest.raises(InputError, match="features of 'half' are load, sun, and this lacks load and has rain"):
                await session.step(Frame({"sun": [1.0], "rain": [1.0]}))
            with pytest.raises(InputError, match=r"a chunk is \[n, F\]"):
                await session.step([1.0, 2.0, 3.0])
        for one in (FRAME, np.array(ROWS)):
            with pytest.raises(InputError, match="this is one sequence, and a list of them is asked for"):
                await client.predict("half", one)
        with pytest.raises(TypeError, match="it is one frame: put it in a list"):
            await client.generate("half", FRAME)
    assert service.num_applied == 0


async def test_names_of_a_version_that_is_not_told_are_refused_and_numbers_are_not(kind: str) -> None:
    service = listening(version="2")
    async with make_client(kind, Network(service)) as client:
        session = client.session("half", keep=True)
        async with session:
            with pytest.raises(InputError, match="does not tell the features of half/1"):
                await session.step(FRAME)
            await session.step([7.0, 8.0])
    assert service.sent == [[7.0, 8.0]]
