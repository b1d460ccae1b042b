"""A disk that is full, and then is not."""

from __future__ import annotations

import asyncio
import contextlib
import resource

import httpx2
import psutil

from tests.faults.saboteurs import POLL_SECONDS, Saboteur
from tests.server import START_SECONDS

MAX_OPENED = 20_000
FULL_SECONDS = 1.0
NEED_SECONDS = 15.0
"""In which a worker starts, or fails to, more than once."""


class FillDisk(Saboteur):
    """Lets no file of the service's grow, fills what room its store has left until it refuses, and gives room again. In
    a long run a worker is killed meanwhile, and the next one starts on the full disk.

    The limit on the size of files (RLIMIT_FSIZE) stands for the full disk: it needs no privilege and can be lifted
    while the process runs. Its error has another number than a full disk's (EFBIG, not ENOSPC), and comes from the
    same write.
    """

    async def _strike(self) -> None:
        stage = self.stage
        files = [path for path in stage.state_folder.parent.glob("state*") if path.is_file()]
        files += [path for path in stage.state_folder.rglob("*") if path.is_file()]
        self._limit(max(path.stat().st_size for path in files))
        try:
            async with httpx2.AsyncClient(base_url=stage.urls[0], timeout=30, trust_env=False) as http:
                opened = await self._fill(http)
                await asyncio.sleep(FULL_SECONDS)
                for session_id in opened[-1:]:  # what can be read, still can
                    assert (await http.get(f"/v1/sessions/{session_id}")).status_code == 200
                if not self.is_quick:
                    await self._kill_worker()
                self._limit(resource.RLIM_INFINITY)
                await asyncio.to_thread(stage.services[0].wait_until_ready)
                for session_id in opened:
                    await self._check(http, session_id)
        finally:
            self._limit(resource.RLIM_INFINITY)

    async def _kill_worker(self) -> None:
        worker, *_ = workers = self.stage.services[0].workers()
        worker.kill()
        async with asyncio.timeout(START_SECONDS):
            while not any(each not in workers for each in self.stage.services[0].workers()):
                await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(self.random.uniform(0, NEED_SECONDS))

    def _limit(self, size_bytes: int) -> None:
        for service in self.stage.services:
            for process in [psutil.Process(service.process.pid), *service.workers()]:
                with contextlib.suppress(ProcessLookupError):
                    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))

    async def _fill(self, http: httpx2.AsyncClient) -> list[str]:
        """Open sessions until one is refused; returns those that were opened."""
        opened: list[str] = []
        for number in range(MAX_OPENED):
            session_id = f"filler-{self.num_strikes}-{number}"
            answer = await http.post("/v1/models/lstm/sessions", json={"session_id": session_id})
            if answer.status_code != 201:
                found = answer.status_code, answer.json()["code"]
                assert found == (503, "state_store_unavailable"), f"a full disk was answered by {found}"
                assert "retry-after" in answer.headers
                return opened
            opened.append(session_id)
        raise AssertionError(f"{MAX_OPENED} sessions were opened, and the disk was not full")

    async def _check(self, http: httpx2.AsyncClient, session_id: str) -> None:
        looked = await http.get(f"/v1/sessions/{session_id}")
        assert looked.status_code == 200, f"{session_id} was opened on a full disk and is lost: {looked.text}"
        assert looked.json()["steps"] == 0
