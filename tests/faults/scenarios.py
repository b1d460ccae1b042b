"""The scenarios: what is on the stage, who does harm there, and how often."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.damage import DamageCopy
from tests.faults.disk import FillDisk
from tests.faults.saboteurs import (
    ChangePassword,
    CutStore,
    KillMaster,
    KillNode,
    KillParent,
    KillRedis,
    KillService,
    KillWorker,
    LoseAnswer,
    RestartReplica,
    Saboteur,
    StepClock,
    StopReplica,
    SwapRedis,
    UseUpDescriptors,
)
from tests.faults.stage import SERVICE, Backing, Between

STORES = ("memory", "lmdb", "redis")


@dataclass(frozen=True)
class Scenario:
    """One kind of fault under load.

    Attributes:
        stores: those that shall survive it.
        num_quick, num_long: how many faults a short and a long run have; 0 = it is not in the short one.
        flow_chunks: how many chunks are acknowledged between two faults, at least.
        calm_seconds: how long the next fault waits after that, at most.
        attempt_seconds: how long a client waits for an answer before it sends the same again.
        target: what is served.
        further_models: models besides the one that is stepped.
        is_harmless: whether nobody harms the services themselves, so that they need not be processes.
    """

    name: str
    what: str
    saboteur: type[Saboteur]
    stores: tuple[str, ...]
    num_quick: int
    num_long: int
    num_replicas: int = 1
    num_workers: int = 1
    between: Between = Between.NOTHING
    backing: Backing = Backing.ONE
    flow_chunks: int = 64
    calm_seconds: float = 0.5
    attempt_seconds: float = 10.0
    target: str = SERVICE
    further_models: tuple[str, ...] = ()
    is_harmless: bool = False


SCENARIOS = (
    Scenario("kill-service", "the service is killed and started again", KillService, ("lmdb",), 2, 200),
    Scenario("kill-replica", "one of two replicas is killed", KillService, ("redis",), 1, 200, num_replicas=2),
    Scenario(
        *("deadly-version", "the service starts with a version that kills workers", KillService, ("lmdb",), 0, 10),
        target="tests.process.deadly_service:Ostinato",
        further_models=("sigabrt", "sigkill"),
    ),
    Scenario("parent-killed", "the workers' parent is killed, started again", KillParent, ("lmdb",), 1, 50),
    Scenario("kill-worker", "one of three workers is killed", KillWorker, ("lmdb", "redis"), 2, 100, num_workers=3),
    Scenario(
        *("stop-replica", "one of two replicas stands still, then goes on", StopReplica, ("redis",), 2, 50),
        num_replicas=2,
        attempt_seconds=1.0,
    ),
    Scenario(
        *("kill-redis", "Redis is killed and started again", KillRedis, ("redis",), 2, 50),
        num_replicas=2,
        is_harmless=True,
    ),
    Scenario(
        *("cut-redis", "Redis' answers are lost, and connections cut", CutStore, ("redis",), 3, 100),
        num_replicas=2,
        between=Between.SERVICE_AND_STORE,
        is_harmless=True,
    ),
    Scenario(
        *("swap-redis", "Redis' copy takes its place behind one address", SwapRedis, ("redis",), 3, 100),
        num_replicas=2,
        between=Between.SERVICE_AND_STORE,
        backing=Backing.PAIR,
        is_harmless=True,
    ),
    Scenario(
        *("kill-master", "Redis is killed, and Sentinels put its copy in its place", KillMaster, ("redis",), 2, 30),
        num_replicas=2,
        backing=Backing.SENTINELS,
        is_harmless=True,
    ),
    Scenario(
        *("kill-node", "a cluster's server is killed, and its replica takes its place", KillNode, ("redis",), 0, 20),
        num_replicas=2,
        backing=Backing.CLUSTER,
        is_harmless=True,
    ),
    Scenario(
        *("change-password", "Redis' password is changed, and its file later or sooner", ChangePassword, ("redis",)),
        *(3, 100),
        num_replicas=2,
        backing=Backing.LOCKED,
        is_harmless=True,
    ),
    Scenario(
        *("lose-answers", "answers are lost on their way to clients", LoseAnswer, STORES, 40, 1000),
        between=Between.CLIENTS_AND_SERVICE,
        flow_chunks=1,
        calm_seconds=0.05,
        is_harmless=True,
    ),
    Scenario(
        *("rolling-restart", "three replicas are restarted in turn", RestartReplica, ("redis",), 2, 60),
        num_replicas=3,
    ),
    Scenario("damage", "a copy is damaged: a bit, a cut, a file removed", DamageCopy, ("lmdb",), 1, 60),
    Scenario(
        *("clock-steps", "the wall clock is set, forwards and backwards", StepClock, ("lmdb", "redis"), 3, 60),
        target="tests.faults.stepped_clock:Ostinato",
    ),
    Scenario("descriptors", "no file or connection can be opened, then they can", UseUpDescriptors, STORES, 1, 30),
    Scenario("disk-full", "no file can grow, then they can again", FillDisk, ("lmdb",), 1, 1),
)
