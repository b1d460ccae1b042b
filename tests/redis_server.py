"""Real Redis servers for the tests: one that survives being killed, and a cluster, with replicas or without."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.redis_server import redis_executable
from tests.server import free_port

START_SECONDS = 30.0
CLUSTER_SLOTS = 16_384
BUS_PORT_OFFSET = 10_000
PAUSE_MILLISECONDS = 60_000


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so; a Redis that does not answer, or says no, is asked again."""
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        with contextlib.suppress(redis.exceptions.RedisError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


class Started(ABC):
    """What a context starts and stops; what is begun of it when its start fails is stopped, too."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class RedisServer(Started):
    """A Redis that has every write on disk before it answers, on a port of its own. A context manager.

    What it was told survives ``kill`` and ``restart``, on the same port.

    Args:
        options: further options of ``redis-server``, as ``"--cluster-enabled", "yes"``.
        port: where it listens; None = any free one.
        password: without which nobody is let in.
    """

    def __init__(self, *options: str, port: int | None = None, password: str | None = None) -> None:
        self.port = port or free_port()
        self.password = password
        if password is not None:
            options = (*options, "--requirepass", password)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = Path(tempfile.mkdtemp(prefix="ostinato-redis-"))
        self._command = [
            redis_executable(),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--daemonize", "no", *options),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RedisServer {self.url}, {'running' if self.is_running() else 'not running'}>"

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def client(self) -> Any:  # redis.Redis, whose methods are not all typed
        """A new ``redis.Redis``, for the caller to close."""
        return redis.Redis(port=self.port, password=self.password, decode_responses=True, socket_timeout=10.0)

    def change_password(self, password: str) -> None:
        """Let nobody in any more without another password; who is in is thrown out."""
        with contextlib.closing(self.client()) as client:
            client.config_set("requirepass", password)
            self.password = password
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def start(self) -> None:
        """Start it, and wait until it has read what it was told before and answers."""
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        give_up_at = time.monotonic() + START_SECONDS
        with contextlib.closing(self.client()) as client:
            while self.is_running() and time.monotonic() < give_up_at:
                with contextlib.suppress(redis.exceptions.RedisError):
                    client.ping()
                    return
                time.sleep(0.02)
        raise AssertionError(f"Redis did not start:\n{(self.folder / 'redis.log').read_text(errors='replace')}")

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP), until ``resume``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo ``pause``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it if it runs, and start it again on the same port with what it had on disk."""
        if self.is_running():
            self.kill()
        self.start()

    def stop(self) -> None:
        """End it for good; its folder goes, too."""
        if self.is_running():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def replication(server: RedisServer) -> dict[str, Any]:
    """What a server says of whom it copies, or who copies it."""
    with contextlib.closing(server.client()) as client:
        facts: dict[str, Any] = client.info("replication")
    return facts


def role_of(server: RedisServer) -> str:
    """``master`` or ``slave``."""
    return str(replication(server)["role"])


def offset_of(server: RedisServer) -> int:
    """How much a server has written, or has got of what another has."""
    facts = replication(server)
    return int(facts["slave_repl_offset" if facts["role"] == "slave" else "master_repl_offset"])


def wait_until_copied(master: RedisServer, replica: RedisServer) -> None:
    """Wait until a replica is one, for the master too, and has all that the master has."""
    wait_for(
        lambda: (
            replication(replica).get("master_link_status") == "up"
            # The master hears of it later, and hands its lead over to none before.
            and replication(master).get("slave0", {}).get("state") == "online"
            and offset_of(replica) == offset_of(master)
        ),
        "the replica's copy",
    )


def kill_when_copied(master: RedisServer, replica: RedisServer) -> None:
    """Kill a master, when its replica has all that it acknowledged, and it acknowledges nothing any more."""
    with contextlib.closing(master.client()) as client:
        client.execute_command("CLIENT", "PAUSE", PAUSE_MILLISECONDS, "WRITE")
        wait_for(lambda: offset_of(replica) == offset_of(master), "the last copy")
    master.kill()


class RedisCluster(Started):
    """Redis servers that share the keys between them. A context manager.

    Args:
        num_nodes: servers with slots.
        num_replicas: further ones, each of which copies another of those, and takes its place when it is dead.
    """

    def __init__(self, num_nodes: int = 3, num_replicas: int = 0) -> None:
        self.nodes, self.replicas = (
            [
                RedisServer(
                    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                    *("--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"),
                    port=free_port(BUS_PORT_OFFSET),
                )
                for _ in range(number)
            ]
            for number in (num_nodes, num_replicas)
        )
        self.addresses = [("127.0.0.1", node.port) for node in self.nodes]
        self.url = f"redis://127.0.0.1:{self.nodes[0].port}/0"

    def start(self) -> None:
        """Start all, and wait until they have come together."""
        for node in (*self.nodes, *self.replicas):
            node.start()
        self._join()

    def stop(self) -> None:
        """End all for good."""
        for node in (*self.nodes, *self.replicas):
            node.stop()

    def wait_until_whole(self) -> None:
        """Wait until every node that runs knows all others and a server for every slot."""
        wait_for(
            lambda: all(self._is_whole(node) for node in (*self.nodes, *self.replicas) if node.is_running()),
            "the cluster",
        )

    def kill_node(self, number: int) -> None:
        """Kill a node when its replica has all that it acknowledged, and wait until that one has taken its place.

        The one that was killed is started again, and becomes the replica.
        """
        node, replica = self.nodes[number], self.replicas[number]
        wait_until_copied(node, replica)
        kill_when_copied(node, replica)
        wait_for(lambda: role_of(replica) == "master", "the replica's lead")
        self.nodes[number], self.replicas[number] = replica, node
        node.start()
        wait_until_copied(replica, node)
        self.wait_until_whole()

    def _join(self) -> None:
        """Give every node its part of the slots, and introduce it to the first; then have the replicas copy."""
        bounds = [CLUSTER_SLOTS * number // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for number, node in enumerate((*self.nodes, *self.replicas)):
            with contextlib.closing(node.client()) as client:
                if node in self.nodes:
                    client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
                # Two nodes that had the same epoch would first have to agree on another.
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number:
                    client.execute_command("CLUSTER", "MEET", *self.addresses[0])
        self.wait_until_whole()
        for node, replica in zip(self.nodes, self.replicas, strict=False):
            with contextlib.closing(node.client()) as client:
                name = client.execute_command("CLUSTER", "MYID")
            with contextlib.closing(replica.client()) as client:
                client.execute_command("CLUSTER", "REPLICATE", name)  # which all know by now
            wait_until_copied(node, replica)

    def _is_whole(self, node: RedisServer) -> bool:
        with contextlib.closing(node.client()) as client:
            answer = str(client.execute_command("CLUSTER", "INFO"))
        num_known = len(self.nodes) + len(self.replicas)
        return "cluster_state:ok" in answer and f"cluster_known_nodes:{num_known}" in answer
