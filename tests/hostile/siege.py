"""The siege: attacks on a real server, next to well-behaved sessions whose every answer is judged by the fold."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import psutil

from tests import networks
from tests.faults.driver import Driver
from tests.faults.stage import MODEL, NUM_FEATURES, Stage
from tests.hostile.attacks import CODE_SESSION, CODES, SESSION, Attack, Bodies, Cursors, Heads, Target
from tests.hostile.breach import Breach, Toll, generator_of
from tests.hostile.held import Crowd, Descriptors, Held, Slow
from tests.hostile.streams import Streams
from tests.hostile.wire import Broken, connected, request
from tests.waiting import until_true

ATTACKS: tuple[type[Attack], ...] = (Bodies, Heads, Streams, Cursors, Slow, Crowd, Descriptors)

NUM_SESSIONS = 8
FLOW_CHUNKS = 48
"""That the well-behaved sessions get answered during each attack, and after it."""
ATTEMPT_SECONDS = 60.0
MOST_BREACHES = 10
"""Of one attack; more would be the same again."""
MOST_GROWN_BYTES = 256 << 20
"""That the worker may grow with one attack."""
SPARE_DESCRIPTORS = 40
OUR_FAULTS = ("internal", "state_store_unavailable", "record_unreadable", "deadline_exceeded")
"""Refusals that blame the server, none of which a client can be the cause of."""
_REJECTED = re.compile(r'^ostinato_rejected_total\{.*reason="(\w+)".*\} ([0-9.e+]+)$', re.MULTILINE)
BODY_BYTES = 1_000_000


class HostileStage(Stage):
    """A stage with a model of numbers and one of codes."""

    def write_models(self, repository: Path) -> None:
        """See ``Stage``."""
        super().write_models(repository)
        codes = np.random.default_rng(0).integers(0, 7, (3, 5, 1))
        networks.token_counter().named(CODES).write(repository, codes)


class Siege:
    """A server with sessions that are stepped all the while. Use ``besieged``.

    Args:
        num_held: connections of a crowd; of slow clients a tenth of it.
    """

    def __init__(self, stage: Stage, driver: Driver, seed: int, num_held: int) -> None:
        self._stage = stage
        self._driver = driver
        self._seed = seed
        self._num_held = num_held
        (self._service,) = stage.services
        (self._worker,) = self._service.workers()
        self._num_blamed: dict[str, int] = {}

    @property
    def target(self) -> Target:
        """What is attacked."""
        return Target(self._service.port, self._stage.store)

    async def play(
        self,
        kind: type[Attack],
        *,
        numbers: Sequence[int] | None = None,
        seconds: float = 0.0,
        progress: Callable[[Toll], object] = lambda _: None,
    ) -> Toll:
        """Strike with the cases of these numbers, or with one after another for so long."""
        toll = Toll(kind.name)
        began_at = time.monotonic()
        try:
            before = self._worker.memory_info().rss
            await self._open_victims()
            if issubclass(kind, Held):
                await self._hold(kind, toll)
            else:
                give_up_at = began_at + seconds
                following = iter(numbers) if numbers is not None else _until(give_up_at)
                attack = kind(self.target)
                await asyncio.gather(*(self._strike(attack, following, toll, progress) for _ in range(attack.at_once)))
            await self._check(toll, before)
        except TimeoutError:
            self._blame(toll, "well-behaved sessions are not answered")
        except (OSError, psutil.Error, AssertionError) as error:
            self._blame(toll, f"the server does not answer: {type(error).__name__}: {error}")
        toll.seconds = time.monotonic() - began_at
        return toll

    async def end(self) -> Toll:
        """Stop the sessions and compare all that they were answered with offline runs."""
        toll = Toll("sessions", num_cases=self._driver.num_chunks)
        began_at = time.monotonic()
        try:
            await self._driver.stop()
            await self._driver.check(self._stage.offline)
        except TimeoutError:
            self._blame(toll, "well-behaved sessions are not answered")
        for finding in self._driver.findings:
            self._blame(toll, str(finding))
        toll.counts = {"steps": self._driver.num_steps, "sent again": self._driver.num_retries}
        toll.seconds = time.monotonic() - began_at
        return toll

    def _blame(self, toll: Toll, detail: str, number: int = 0, content: bytes = b"") -> None:
        toll.breaches.append(Breach(toll.what, self._seed, number, detail, content))

    async def _open_victims(self) -> None:
        for session_id, model in ((SESSION, MODEL), (CODE_SESSION, CODES)):
            body = f'{{"session_id": "{session_id}"}}'.encode()
            async with connected(self._service.port) as connection:
                await connection.send(request("POST", f"/v1/models/{model}/sessions", body))
                answer = await connection.answer()
                assert answer is not None, "no answer"
                assert answer.status in (201, 409), f"{answer}"

    async def _strike(
        self, attack: Attack, numbers: Iterator[int], toll: Toll, progress: Callable[[Toll], object]
    ) -> None:
        for number in numbers:
            if len(toll.breaches) >= MOST_BREACHES:
                break
            toll.num_cases += 1
            try:
                toll.count(await attack.strike(number, generator_of(attack.name, self._seed, number)))
            except Broken as broken:
                self._blame(toll, str(broken), number, broken.content)
            except OSError as error:
                self._blame(toll, f"no connection: {error}", number)
            progress(toll)

    async def _hold(self, kind: type[Held], toll: Toll) -> None:
        """Put all in place, see that sessions are stepped, and let go."""
        attack = kind(self.target)
        is_short = kind is Descriptors
        if is_short:
            # What attacks before have left open may lie high, with as many numbers free below it.
            num_free = self._highest_descriptor() + 1 - self._worker.num_fds()
            num_held = 4 * SPARE_DESCRIPTORS + max(0, num_free)
        else:
            num_held = self._num_held if kind is Crowd else max(20, self._num_held // 8)
        with self._few_files() if is_short else contextlib.nullcontext():
            strikes = [
                asyncio.create_task(attack.strike(number, generator_of(kind.name, self._seed, number)))
                for number in range(num_held)
            ]
            toll.num_cases = num_held
            try:
                await until_true(
                    lambda: attack.num_in_place >= sum(not each.done() for each in strikes), "all in place", 0.02
                )
                if is_short:
                    _, limit = self._files()
                    await until_true(lambda: self._files()[0] >= limit - 3, "the use of all descriptors", 0.02)
                else:
                    await self._driver.flow(FLOW_CHUNKS)
            finally:
                attack.release.set()
            for number, outcome in enumerate(await asyncio.gather(*strikes, return_exceptions=True)):
                if isinstance(outcome, Broken):
                    self._blame(toll, str(outcome), number, outcome.content)
                elif isinstance(outcome, BaseException):
                    self._blame(toll, f"{type(outcome).__name__}: {outcome}", number)
                else:
                    toll.count(outcome)
            await self._driver.flow(FLOW_CHUNKS)

    @contextlib.contextmanager
    def _few_files(self) -> Iterator[None]:
        """Let the worker open few files more than it has open."""
        before = resource.prlimit(self._worker.pid, resource.RLIMIT_NOFILE)
        limit = max(self._highest_descriptor(), self._worker.num_fds()) + SPARE_DESCRIPTORS
        resource.prlimit(self._worker.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        try:
            yield
        finally:
            resource.prlimit(self._worker.pid, resource.RLIMIT_NOFILE, before)

    def _highest_descriptor(self) -> int:
        return max(int(path.name) for path in Path(f"/proc/{self._worker.pid}/fd").iterdir())

    def _files(self) -> tuple[int, int]:
        """The worker's highest open file, and one more than it may have."""
        return self._highest_descriptor(), resource.prlimit(self._worker.pid, resource.RLIMIT_NOFILE)[0]

    async def _check(self, toll: Toll, before_bytes: int) -> None:
        """See that the server is the same one, serves, blames nobody but clients, and has not grown."""
        if not await self._driver.flow(FLOW_CHUNKS):
            self._blame(toll, f"no well-behaved session goes on: {'; '.join(map(str, self._driver.findings[:3]))}")
        if [worker.pid for worker in self._service.workers()] != [self._worker.pid]:
            self._blame(toll, "the worker died")
        grown = self._worker.memory_info().rss - before_bytes
        if grown > MOST_GROWN_BYTES:
            self._blame(toll, f"the worker grew by {grown >> 20} MiB")
        for reason, number in await self._blamed():
            if number > self._num_blamed.get(reason, 0):
                self._num_blamed[reason] = number
                self._blame(toll, f"{number} answers until now said {reason}; the log ends with\n{self._stage.logs()}")

    async def _blamed(self) -> list[tuple[str, int]]:
        """What the server counts of refusals that blame it."""
        async with connected(self._service.port) as connection:
            await connection.send(request("GET", "/metrics"))
            answer = await connection.answer()
        assert answer is not None, "no metrics"
        found = _REJECTED.findall(answer.body.decode())
        return [(reason, int(float(number))) for reason, number in found if reason in OUR_FAULTS]


def _until(give_up_at: float) -> Iterator[int]:
    """Numbers, until that time."""
    for number in count():
        if time.monotonic() > give_up_at:
            return
        yield number


@contextlib.asynccontextmanager
async def besieged(store: str, seed: int, num_held: int) -> AsyncIterator[Siege]:
    """A server over a store of its own, with well-behaved sessions that are stepped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = Path(tempfile.mkdtemp(prefix="ostinato-hostile-"))
    try:
        async with (
            HostileStage(store, folder, random.Random(seed), settings={"max_body_bytes": BODY_BYTES}) as stage,
            Driver(*(stage.urls, MODEL, NUM_FEATURES, NUM_SESSIONS, seed), attempt_seconds=ATTEMPT_SECONDS) as driver,
        ):
            driver.start()
            await driver.flow(FLOW_CHUNKS)
            yield Siege(stage, driver, seed, num_held)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
