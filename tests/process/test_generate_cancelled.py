"""Clients that hang up while outputs are made: no lane is kept for them, and nobody else is told anything else."""

from __future__ import annotations

import asyncio
import gc
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests import generation_networks as networks
from tests.conftest import PutNetworks
from tests.server import LIMITS, ServerProcess, running_server
from tests.waiting import until_true

NUM_CLIENTS = 300
ROUTE = "/v1/models/speller/generate"
WAYS: tuple[dict[str, Any], ...] = (
    {},
    {"method": "beam", "num_beams": 4, "num_return": 2},
    {"method": "sample", "num_return": 3, "temperature": 1.3},
    {"return_attention": True},
)


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Iterator[ServerProcess]:
    """A server that spells, with so few lanes that clients wait for one."""
    repository = tmp_path_factory.mktemp("spelling")
    put_networks(repository, networks.export_attention_speller)
    home = tmp_path_factory.mktemp("server")
    with running_server(repository, home, max_output_steps=60, max_batch_size=16) as running:
        yield running


def bodies() -> list[dict[str, Any]]:
    """One to eight texts of 1 to 60 letters, padded to 16, 32 and 64, in mixed ways; a third of them streams."""
    chance = random.Random(3)
    letters = "abcdefghijklmnopqrstuvwxyz'"
    return [
        {
            "inputs": ["".join(chance.choices(letters, k=chance.randint(1, 60))) for _ in range(chance.randint(1, 8))],
            "return_log_probs": True,
            "stream": chance.random() < 1 / 3,
            **(way := chance.choice(WAYS)),
            **({"seed": number} if way.get("method") == "sample" else {}),
        }
        for number in range(NUM_CLIENTS)
    ]


class Clock:
    """It goes on by one with each event that is read; so moments need no time."""

    def __init__(self) -> None:
        self._now = 0
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    def tick(self) -> None:
        self._now += 1
        for waiting in self._waiting.pop(self._now, []):
            if not waiting.done():
                waiting.set_result(None)

    async def reaches(self, moment: int) -> None:
        """Wait for a moment; it must be one that has not passed."""
        assert moment > self._now
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(moment, []).append(waiting)
        await waiting


def no_matter() -> None:
    """Nobody counts."""


async def ask(http: httpx2.AsyncClient, body: dict[str, Any], on_event: Callable[[], None] = no_matter) -> Any:
    """The whole answer."""
    async with http.stream("POST", ROUTE, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        if not body["stream"]:
            return json.loads(await answer.aread())
        data = ""
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                on_event()
        return json.loads(data)


async def metric(http: httpx2.AsyncClient, name: str) -> float:
    """A series of the speller."""
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"ostinato_{name}{{"))


# A client of httpx2 that is cancelled as it connects leaves its socket to the collector, which says so: here, and not
# in whichever test is next.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_300_clients_of_whom_two_thirds_hang_up_leave_no_lane_and_change_no_answer(
    speller: ServerProcess,
) -> None:
    chance = random.Random(4)
    asked = bodies()
    clock = Clock()
    async with httpx2.AsyncClient(
        base_url=speller.url, timeout=60, limits=httpx2.Limits(keepalive_expiry=LIMITS.keepalive_expiry)
    ) as http:
        staying = range(0, NUM_CLIENTS, 3)
        alone = {number: await ask(http, {**asked[number], "stream": False}) for number in staying}
        # Each of those that stay and stream will read one event at least for each step, except for a beam's one.
        num_moments = sum(
            sum(map(len, alone[number]["log_probs"])) if asked[number].get("method") is None else 1
            for number in staying
            if asked[number]["stream"]
        )

        async def client(number: int) -> Any:
            own = Clock()
            tells_steps = asked[number]["stream"] and asked[number].get("method") != "beam"
            on_event = clock.tick if number in alone else own.tick
            task = asyncio.ensure_future(ask(http, asked[number], on_event))
            if number in alone:
                return await task
            # One that reads steps leaves at one of its first, any other when those that stay have read so many.
            last = own.reaches(chance.randint(1, 8)) if tells_steps else clock.reaches(chance.randint(1, num_moments))
            moment = asyncio.ensure_future(last)
            await asyncio.wait([task, moment], return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            moment.cancel()
            await asyncio.gather(task, moment, return_exceptions=True)
            return None

        answers = await asyncio.gather(*map(client, range(NUM_CLIENTS)))
        assert {number: answers[number] for number in staying} == alone

        async def is_empty() -> bool:
            return await metric(http, "generation_lanes") == await metric(http, "queue_depth") == 0

        await until_true(is_empty, "the end of all lanes", 0.02)
        # Of those that hung up some had outputs under way.
        assert await metric(http, "cancelled_total") > 0
        again = {number: await ask(http, {**asked[number], "stream": False}) for number in (0, 3)}
        assert again == {number: alone[number] for number in again}
    gc.collect()
    gc.collect()  # the transport, and then its socket
