"""The stage: three pods of the overlay `replicas` behind nginx, over their Redis or one that Sentinels look after."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from tests.deploy.acting import ActedPod, ActedRedis
from tests.deploy.rendering import render
from tests.deploy.rollout.nginx import Nginx
from tests.faults.saboteurs import Saboteur
from tests.faults.stage import Backing, Stage
from tests.redis_failover import RedisSentinels


class BehindNginx(Stage):
    """Pods behind nginx; clients reach nginx, which takes a session to one of them."""

    is_hashing = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Pods run as a user without rights, who is to look into it.
        self.folder.chmod(0o755)
        self.nginx = Nginx(self.folder / "nginx", is_hashing=self.is_hashing)
        self.pods: list[ActedPod] = []
        self.store_pod: ActedRedis | None = None

    @property
    def urls(self) -> list[str]:
        """Where clients reach the replicas."""
        return [self.nginx.url]

    def lead_to(self, *without: ActedPod) -> None:
        """Have nginx know all pods but these, as a cluster would."""
        self.nginx.lead_to(pod.port for pod in self.pods if pod not in without)

    async def _set_up(self) -> None:
        rendered = render("replicas")
        repository = self.folder / "repository"
        await asyncio.to_thread(self.write_models, repository)
        words: dict[str, str] = {}
        places = {}
        if self._backing is Backing.SENTINELS:
            await self._open_redis()
            assert isinstance(self.pair, RedisSentinels)
            words["^rediss://.*"] = self.pair.url
        else:
            self.store_pod = ActedRedis(rendered, self.folder / "redis")
            await asyncio.to_thread(self.store_pod.start)
            self.at_end(asyncio.to_thread, self.store_pod.kill)
            words, places = self.store_pod.words, self.store_pod.places
        for number in range(rendered.workload["replicas"]):
            pod = ActedPod(rendered, self.folder / f"pod-{number}", repository, places=places, words=words)
            self.at_end(asyncio.to_thread, pod.kill)
            self.pods.append(pod)
        self.services = [*self.pods]
        for pod in self.pods:
            await asyncio.to_thread(pod.wait_until_ready)
        await asyncio.to_thread(self.nginx.start, [pod.port for pod in self.pods])
        self.at_end(asyncio.to_thread, self.nginx.stop)


class Unhashed(BehindNginx):
    """The same, where any request goes to any pod."""

    is_hashing = False


class OfPods(Saboteur):
    """Does harm to what is behind nginx."""

    @property
    def place(self) -> BehindNginx:
        """The stage."""
        assert isinstance(self.stage, BehindNginx)
        return self.stage


class RollOut(OfPods):
    """Replaces the next pod as a rolling update does: it is withdrawn and told to go at the same moment, and the new
    one is known when it is ready.
    """

    async def _strike(self) -> None:
        pod = self.place.pods[self.num_strikes % len(self.place.pods)]
        self.place.lead_to(pod)
        code = await asyncio.to_thread(pod.delete)
        assert code == 0, f"told to go, the pod ended with {code}"
        await asyncio.to_thread(self._replace, pod)
        self.place.lead_to()

    @staticmethod
    def _replace(pod: ActedPod) -> None:
        # A new pod has an empty disk, but for what it mounts.
        shutil.rmtree(pod.disk.add("/tmp"))
        pod.disk.add("/tmp")
        pod.start()
        pod.wait_until_ready()


class KillPod(OfPods):
    """Kills a random pod, which nginx is told of late: when the new one is ready."""

    async def _strike(self) -> None:
        pod = self.random.choice(self.place.pods)
        await asyncio.to_thread(pod.kill)
        await asyncio.to_thread(RollOut._replace, pod)
        self.place.lead_to()


class KillStore(OfPods):
    """Kills the pod of Redis, and starts it again on its volume."""

    async def _strike(self) -> None:
        store = self.place.store_pod
        assert store is not None
        await asyncio.to_thread(store.kill)
        await asyncio.sleep(self.random.uniform(0, 0.5))
        await asyncio.to_thread(store.start)
