"""The saboteurs: each does one kind of harm, once with every strike, and makes it good again."""

from __future__ import annotations

import asyncio
import random
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import psutil

from tests.faults.stage import Stage
from tests.redis_failover import RedisSentinels
from tests.server import ServerProcess

POLL_SECONDS = 0.02
RESPAWN_SECONDS = 30.0


class Saboteur(ABC):
    """Harms what is on a stage.

    Args:
        generator: of when and whom.
        is_quick: whether what takes its time shall take little.
    """

    def __init__(self, stage: Stage, generator: random.Random, *, is_quick: bool) -> None:
        self.stage = stage
        self.random = generator
        self.is_quick = is_quick
        self.num_strikes = 0

    async def strike(self) -> None:
        """Do harm once; it is over when this returns, and what was ended runs again.

        Raises:
            AssertionError: it does not.
        """
        await self._strike()
        self.num_strikes += 1

    @abstractmethod
    async def _strike(self) -> None: ...


class KillService(Saboteur):
    """Kills a random replica, all its processes at once, and starts it again."""

    async def _strike(self) -> None:
        await asyncio.to_thread(self._kill_and_start, self.random.choice(self.stage.services))

    @staticmethod
    def _kill_and_start(service: ServerProcess) -> None:
        service.kill()
        service.start()
        service.wait_until_ready()


class KillParent(Saboteur):
    """Kills the parent of a random replica and nobody else, and starts the replica again: on its port and store, which
    those that are left behind must not keep.
    """

    async def _strike(self) -> None:
        await asyncio.to_thread(self._kill_and_start, self.random.choice(self.stage.services))

    @staticmethod
    def _kill_and_start(service: ServerProcess) -> None:
        left = service.workers()
        service.process.kill()
        service.process.wait()
        _, living = psutil.wait_procs(left, timeout=RESPAWN_SECONDS)
        assert not living, f"its parent was killed, and {living} goes on"
        service.start()
        service.wait_until_ready()


class KillWorker(Saboteur):
    """Kills a random one of the workers that have clients.

    The service starts it again by itself; where it does not, the service is started again.
    """

    async def _strike(self) -> None:
        await asyncio.to_thread(self._kill_worker, self.random.choice(self.stage.services))

    def _kill_worker(self, service: ServerProcess) -> None:
        # A worker takes seconds to come up; meanwhile, others can be killed.
        if len(_living(service)) <= max(1, self.stage.num_workers // 2) and not self._is_whole_again(service):
            KillService._kill_and_start(service)
        living = _living(service)
        busy = [worker for worker in living if _serves(worker)]
        self.random.choice(busy or living).kill()

    def _is_whole_again(self, service: ServerProcess) -> bool:
        give_up_at = time.monotonic() + RESPAWN_SECONDS
        while time.monotonic() < give_up_at:
            if len(_living(service)) >= self.stage.num_workers:
                return True
            time.sleep(POLL_SECONDS)
        return False


def _serves(worker: psutil.Process) -> bool:
    """Whether a client is connected to it."""
    try:
        return any(each.status == psutil.CONN_ESTABLISHED for each in worker.net_connections("tcp"))
    except psutil.Error:
        return False


def _living(service: ServerProcess) -> list[psutil.Process]:
    living = []
    for worker in service.workers():
        try:
            if worker.status() != psutil.STATUS_ZOMBIE:
                living.append(worker)
        except psutil.NoSuchProcess:
            continue
    return living


class StopReplica(Saboteur):
    """Stops a random replica where it stands (SIGSTOP), and lets it go on when the others have long done its work."""

    async def _strike(self) -> None:
        service = self.random.choice(self.stage.services)
        service.pause()
        try:
            await asyncio.sleep(self.random.uniform(1, 2 if self.is_quick else 10))
        finally:
            service.resume()


class KillRedis(Saboteur):
    """Kills Redis, and starts it again on what it has on disk."""

    async def _strike(self) -> None:
        redis = self.stage.redis
        assert redis is not None
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(self.random.uniform(0, 0.5))
        await asyncio.to_thread(redis.start)


class SwapRedis(Saboteur):
    """Has Redis' copy take its place, behind the same addresses, and cuts nobody off."""

    async def _strike(self) -> None:
        pair = self.stage.pair
        assert pair is not None
        for proxy in self.stage.store_proxies:
            proxy.lead_to(pair.replica.port)
        await asyncio.to_thread(pair.swap)


class KillMaster(Saboteur):
    """Kills Redis, whose Sentinels have its copy take its place."""

    async def _strike(self) -> None:
        servers = self.stage.pair
        assert isinstance(servers, RedisSentinels)
        await asyncio.to_thread(servers.fail_over)


class KillNode(Saboteur):
    """Kills a random server of a cluster, whose replica takes its place."""

    async def _strike(self) -> None:
        cluster = self.stage.cluster
        assert cluster is not None
        await asyncio.to_thread(cluster.kill_node, self.random.randrange(len(cluster.nodes)))


class ChangePassword(Saboteur):
    """Gives Redis another password, throws everybody out, and lets replicas know later, or sooner."""

    async def _strike(self) -> None:
        redis = self.stage.redis
        assert redis is not None
        password = str(self.num_strikes + 1)
        changes: list[Callable[[], object]] = [
            partial(redis.change_password, password),
            partial(self.stage.password_file.write_text, password),
        ]
        self.random.shuffle(changes)
        for change in changes:
            await asyncio.to_thread(change)
            await asyncio.sleep(self.random.uniform(0, 0.5))


class CutStore(Saboteur):
    """Loses the store's answers for a moment, then cuts its connections: nobody knows what was committed."""

    async def _strike(self) -> None:
        proxies = self.stage.store_proxies
        num_lost = sum(proxy.num_lost for proxy in proxies)
        for proxy in proxies:
            proxy.swallow()
        async with asyncio.timeout(10):
            while sum(proxy.num_lost for proxy in proxies) == num_lost:
                await asyncio.sleep(0.001)
        await asyncio.sleep(self.random.uniform(0, 0.05))
        for proxy in proxies:
            proxy.cut()


class LoseAnswer(Saboteur):
    """Loses one answer of the service's on its way to the client, or the rest of one that has begun."""

    async def _strike(self) -> None:
        proxy = self.random.choice(self.stage.client_proxies)
        num_lost = proxy.num_lost
        proxy.lose_answer()
        async with asyncio.timeout(10):
            while proxy.num_lost == num_lost:
                await asyncio.sleep(0.001)


class RestartReplica(Saboteur):
    """Tells the next replica in turn to end, waits until it has, and starts it again."""

    async def _strike(self) -> None:
        services = self.stage.services
        await asyncio.to_thread(self._restart, services[self.num_strikes % len(services)])

    @staticmethod
    def _restart(service: ServerProcess) -> None:
        service.terminate()
        code = service.wait()
        assert code == 0, f"told to end, the service exited with {code}"
        service.start()
        service.wait_until_ready()


class StepClock(Saboteur):
    """Sets the wall clock of all replicas, by less in sum than a session lives."""

    async def _strike(self) -> None:
        await asyncio.to_thread(self.stage.clock_file.write_text, str(self.random.uniform(-1700, 1700)))
        await asyncio.sleep(self.random.uniform(0, 1))


class UseUpDescriptors(Saboteur):
    """Lets a random replica open nothing more, neither files nor connections, for a moment."""

    async def _strike(self) -> None:
        workers = await asyncio.to_thread(_living, self.random.choice(self.stage.services))
        before = {worker.pid: resource.prlimit(worker.pid, resource.RLIMIT_NOFILE) for worker in workers}
        try:
            for worker in workers:
                resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, before[worker.pid][1]))
            await asyncio.sleep(self.random.uniform(0.5, 1 if self.is_quick else 5))
        finally:
            for pid, limits in before.items():
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
