"""The harness would see it: where something is lost, doubled or wrong, a scenario fails and says where."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest

from tests.faults.__main__ import main
from tests.faults.chunk import Steps
from tests.faults.driver import Driver
from tests.faults.judge import Fault
from tests.faults.play import play
from tests.faults.proxy import Proxy
from tests.faults.report import explain
from tests.faults.saboteurs import Saboteur
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.networks import offline
from tests.programs import command_line
from tests.server import ServerProcess, free_port
from tests.waiting import until_true

# One process runs these, since they share what takes long to start.
on_the_shared_server = pytest.mark.xdist_group("server")

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class StepBehindTheDriver(Saboteur):
    """Applies a step that no session's own client has sent."""

    async def _strike(self) -> None:
        async with httpx2.AsyncClient(base_url=self.stage.urls[0], trust_env=False) as http:
            (session, *_) = (await http.get("/v1/sessions")).json()["sessions"]
            answer = await http.post(f"/v1/sessions/{session['session_id']}/step", json={"inputs": [[1, 2, 3]]})
            assert answer.status_code == 200, answer.text


async def play_over_memory(scenario: Scenario, num_sessions: int = 8) -> tuple[dict[Fault, int], str]:
    """How many sessions have which fault, and what is said about it."""
    outcome = await play(scenario, "memory", num_faults=1, num_sessions=num_sessions, seed=3, is_quick=True)
    assert not outcome.is_sound
    return {fault: outcome.num_sessions_with(fault) for fault in Fault}, "\n".join(explain(outcome))


async def test_sessions_in_memory_do_not_survive_a_kill_and_that_is_seen() -> None:
    counts, said = await play_over_memory(BY_NAME["kill-service"])
    assert counts == dict.fromkeys(Fault, 0) | {Fault.LOST: 8}
    assert "--only kill-service --store memory --seed 3 --faults 1 --sessions 8 --quick" in said
    assert "lost: session fault-3-" in said


async def test_a_step_that_nobody_sent_is_seen() -> None:
    counts, said = await play_over_memory(replace(BY_NAME["kill-service"], saboteur=StepBehindTheDriver))
    # Its next chunk finds the session one step further; a chunk of one step might as well have lost its answer.
    assert counts[Fault.DOUBLED] + counts[Fault.LOST] == 1, said
    assert counts[Fault.SWAPPED] == counts[Fault.FAILED] == 0


@on_the_shared_server
async def test_an_output_that_is_off_by_its_last_bit_is_seen(server: ServerProcess, repository: Path) -> None:
    def almost(inputs: Steps) -> Steps:
        expected = offline(repository / "lstm" / "1", inputs)
        expected[-1] = np.nextafter(expected[-1], np.float32(9))
        return expected

    async with Driver([server.url], "lstm", 3, 8, 41, attempt_seconds=10) as driver:
        driver.start()
        assert await driver.flow(50)
        await driver.stop()
        await driver.check(lambda inputs: offline(repository / "lstm" / "1", inputs))
        assert driver.findings == []
        assert driver.num_chunks >= 50 + 8  # once more, each session
        assert driver.num_answers_again > 0
        await driver.check(almost)
    assert {finding.fault for finding in driver.findings} == {Fault.SWAPPED}
    assert len({finding.session_id for finding in driver.findings}) == 8


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(1000):
            writer.write(content)
    writer.close()


async def ask(proxy: Proxy, question: bytes, *, wait_for_end: bool = False) -> bytes:
    """What comes back until as much has come as was sent, or the connection has ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(question)
    try:
        return await reader.read() if wait_for_end else await reader.readexactly(len(question))
    except asyncio.IncompleteReadError as error:
        return error.partial
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_the_proxy_hands_on_what_it_does_not_lose() -> None:
    port = free_port()
    async with await asyncio.start_server(echo, "127.0.0.1", port), Proxy(port, random.Random(0)) as proxy:
        assert await ask(proxy, b"one") == b"one"
        arrived = []
        for _ in range(20):
            proxy.lose_answer()
            arrived.append(await ask(proxy, b"two"))
            assert await ask(proxy, b"three") == b"three"
        assert proxy.num_lost == 20
    assert b"" in arrived
    assert all(b"two".startswith(part) and part != b"two" for part in arrived)


async def test_the_proxy_swallows_answers_until_it_cuts() -> None:
    port = free_port()
    async with await asyncio.start_server(echo, "127.0.0.1", port), Proxy(port, random.Random(0)) as proxy:
        proxy.swallow()
        asked = asyncio.create_task(ask(proxy, b"one", wait_for_end=True))
        await until_true(lambda: proxy.num_lost, "a lost answer")
        assert not asked.done()
        proxy.cut()
        assert await asked == b""
        assert await ask(proxy, b"two") == b"two"


def test_a_killed_server_leaves_no_process(repository: Path, tmp_path: Path) -> None:
    # That it starts again on its port is what the scenarios are made of.
    server = ServerProcess(repository, tmp_path, port=free_port())
    try:
        server.wait_until_ready()
        workers = server.workers()
        assert workers
        server.kill()
        gone, alive = psutil.wait_procs(workers)
        assert (len(gone), alive) == (len(workers), [])
        with pytest.raises(httpx2.TransportError):
            server.get("/livez")
    finally:
        server.stop()


@on_the_shared_server
def test_a_paused_server_does_not_answer_and_then_does(server: ServerProcess) -> None:
    server.pause()
    try:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(f"{server.url}/livez", timeout=0.3)
    finally:
        server.resume()
    assert server.get("/livez").status_code == 200


def test_the_command_line_knows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["--only", "kill-everybody"], "there is no 'kill-everybody'; there are kill-service, "),
        (["--only", "disk-full", "--store", "redis"], "there is no disk-full over redis"),
    ):
        with pytest.raises(SystemExit) as exited:
            command_line(main)(arguments)
        assert exited.value.code == 2
        assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
