"""Keys at a real server of two workers: tenants step side by side by every way in, and a key is revoked under way."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx2
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ostinato.client.async_client import AsyncClient
from ostinato.errors import ServiceError
from tests.networks import accumulator
from tests.server import ServerProcess, free_port, running_server
from tests.service.edge.oip.grpc.peer import numbers, steps
from tests.waiting import until_true

pytestmark = pytest.mark.xdist_group("keys")

TENANTS = ("acme", "zeta", "-")
NUM_STEPS = 12


class Keys:
    """The file of a server, changed by the command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secrets: dict[str, str] = {}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ostinato.cli", "keys", *words, "--keys", str(self.path)]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    def new(self, name: str, *options: str) -> str:
        secret = self.run("new", name, *options).stdout
        assert secret.count("\n") == 1, "the key, alone"
        self.secrets[name] = secret.strip()
        return self.secrets[name]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keys = Keys(tmp_path_factory.mktemp("keys") / "keys.txt")
    for tenant in TENANTS:
        keys.new(f"of{tenant}", "--tenant", tenant)
    keys.new("scraper", "--rights", "metrics")
    return keys


@pytest.fixture(scope="module")
def server(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    accumulator().write(folder / "repository", np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    settings: dict[str, Any] = {"keys": keys.path, "workers": 2, "state": f"lmdb://{folder}/state"}
    with running_server(folder / "repository", folder, grpc_port=free_port(), **settings) as server:
        yield server


async def by_http(server: ServerProcess, key: str, session_id: str, values: list[float]) -> list[float]:
    async with AsyncClient(server.url, key=key) as client:
        session = client.session("accumulator", session_id=session_id)
        await session.open()
        return [float((await session.step([[value]]))[0, 0]) for value in values]


async def by_stream(server: ServerProcess, key: str, session_id: str, values: list[float]) -> list[float]:
    url = f"ws{server.url.removeprefix('http')}/v1/models/accumulator/stream?create_missing=true"
    totals = []
    async with connect(url, subprotocols=["ostinato", f"ostinato-key.{key}"], proxy=None) as stream:  # type: ignore[list-item]
        assert stream.subprotocol == "ostinato"
        for seq, value in enumerate(values):
            await stream.send(json.dumps({"session_id": session_id, "inputs": [[value]], "seq": seq}))
            totals.append(json.loads(await stream.recv())["outputs"][0][0])
    return totals


async def by_grpc(server: ServerProcess, key: str, session_id: str, values: list[float]) -> list[float]:
    address = f"127.0.0.1:{server.environment['OSTINATO_GRPC_PORT']}"
    totals: list[float] = []
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for seq, value in enumerate(values):
            request = steps(value, model="accumulator", sequence_id=session_id, sequence_start=not seq, seq=seq)
            content = await call(request.SerializeToString(), metadata=[("authorization", f"Bearer {key}")])
            from ostinato.service.edge.oip.grpc.wire import ModelInferResponse

            totals += numbers(ModelInferResponse.FromString(content))
    return totals


@pytest.mark.parametrize("seed", [1])
async def test_equal_ids_of_tenants_go_on_side_by_side_by_every_way_in(
    server: ServerProcess, keys: Keys, seed: int
) -> None:
    generator = random.Random(seed)
    asked, expected = [], []
    for tenant in TENANTS:
        for way, session_id in ((by_http, "a"), (by_stream, "b"), (by_grpc, "c")):
            values = [float(generator.randrange(100)) for _ in range(NUM_STEPS)]
            asked.append(way(server, keys.secrets[f"of{tenant}"], session_id, values))
            expected.append([sum(values[: number + 1]) for number in range(NUM_STEPS)])
    assert await asyncio.gather(*asked) == expected
    for tenant in TENANTS:
        async with AsyncClient(server.url, key=keys.secrets[f"of{tenant}"]) as client:
            found = [facts.session_id async for facts in client.sessions()]
        assert sorted(found) == ["a", "accumulator:s:c", "b"]


async def test_without_a_key_no_way_in_is_open(server: ServerProcess, keys: Keys) -> None:
    del keys
    async with AsyncClient(server.url, patience_seconds=0) as client:
        with pytest.raises(ServiceError) as refused:
            await client.models()
        assert (refused.value.status, refused.value.code) == (401, "unauthenticated")
    answer = httpx2.post(f"{server.url}/v1/models/accumulator/sessions", json={})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    url = f"ws{server.url.removeprefix('http')}/v1/models/accumulator/stream"
    with pytest.raises(InvalidStatus) as handshake:
        await connect(url, proxy=None)
    assert handshake.value.response.status_code == 401
    with pytest.raises(grpc.aio.AioRpcError) as call:
        await by_grpc(server, "nobody's", "d", [1.0])
    assert call.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_right_that_lacks_is_named(server: ServerProcess, keys: Keys) -> None:
    secret = keys.secrets["scraper"]
    headers = {"x-api-key": secret}
    assert httpx2.get(f"{server.url}/metrics", headers=headers).status_code == 200
    answer = httpx2.get(f"{server.url}/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert secret not in answer.text
    with pytest.raises(grpc.aio.AioRpcError) as call:
        await by_grpc(server, secret, "d", [1.0])
    assert call.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_that_is_revoked_ends_its_stream_and_a_new_one_needs_no_restart(
    server: ServerProcess, keys: Keys
) -> None:
    secret = keys.new("passing", "--tenant", "acme")

    async def is_known() -> bool:
        async with server.async_client() as client:
            return (await client.get("/v1/models", headers={"x-api-key": secret})).status_code == 200

    await until_true(is_known, "the new key", poll_seconds=0.1)
    url = f"ws{server.url.removeprefix('http')}/v1/models/accumulator/stream?create_missing=true"
    # Workers look at the file each at its own time.
    for _ in range(50):
        try:
            stream = await connect(url, additional_headers={"authorization": f"bearer {secret}"}, proxy=None)
            break
        except InvalidStatus:
            await asyncio.sleep(0.1)
    await stream.send('{"session_id": "passing", "inputs": [[1.0]]}')
    assert json.loads(await stream.recv())["outputs"] == [[1.0]]
    await asyncio.to_thread(keys.run, "revoke", "passing")
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(stream.recv(), 20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008

    async def is_unknown() -> bool:
        async with server.async_client() as client:
            return (await client.get("/v1/models", headers={"x-api-key": secret})).status_code == 401

    await until_true(is_unknown, "the end of the key", poll_seconds=0.1)


def test_no_key_stands_in_a_log_an_answer_or_a_list_of_processes(server: ServerProcess, keys: Keys) -> None:
    httpx2.get(f"{server.url}/v1/models", headers={"authorization": f"Bearer {keys.secrets['ofacme']}x"})
    processes = [psutil.Process(server.process.pid), *server.workers()]
    told = server.log() + " ".join(word for process in processes for word in process.cmdline())
    told += httpx2.get(f"{server.url}/metrics", headers={"x-api-key": keys.secrets["scraper"]}).text
    for secret in keys.secrets.values():
        assert secret not in told
    assert "acme" not in httpx2.get(f"{server.url}/metrics", headers={"x-api-key": keys.secrets["scraper"]}).text


async def test_a_stream_of_grpc_on_which_nothing_goes_on_ends_with_its_key(server: ServerProcess, keys: Keys) -> None:
    secret = keys.new("resting", "--tenant", "acme")
    address = f"127.0.0.1:{server.environment['OSTINATO_GRPC_PORT']}"
    request = steps(1.0, model="accumulator", sequence_id="resting", sequence_start=True).SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:

        async def answered() -> Any:
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(
                metadata=[("x-api-key", secret)]
            )
            try:
                await stream.write(request)
                answer = await stream.read()
            except grpc.aio.AioRpcError:
                return None  # its worker has not looked at the file yet
            return stream if answer is not grpc.aio.EOF else None

        while (stream := await answered()) is None:
            await asyncio.sleep(0.1)
        await asyncio.to_thread(keys.run, "revoke", "resting")
        assert await asyncio.wait_for(stream.code(), 20) == grpc.StatusCode.UNAUTHENTICATED


async def test_a_worker_that_is_replaced_while_the_file_is_broken_has_the_keys_of_before(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.txt")
    secret = keys.new("robots")
    accumulator().write(tmp_path / "repository", np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    with running_server(tmp_path / "repository", tmp_path, keys=keys.path) as server:
        sound = keys.path.read_text()
        keys.path.write_text("garbage\n")
        [worker] = server.workers()
        worker.kill()

        async def answers() -> bool:
            try:
                async with server.async_client() as client:
                    return (await client.get("/v1/models", headers={"x-api-key": secret})).status_code == 200
            except httpx2.TransportError:
                return False

        await until_true(answers, "the next worker", poll_seconds=0.1)
        assert server.workers() != [worker]
        assert "the keys stay as they were" in server.log()
        assert "Traceback" not in server.log()
        keys.path.write_text(sound)
