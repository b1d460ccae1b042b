"""Real Redis servers for the tests: one that survives being killed, and a cluster of three."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from benchmarks.redis_server import redis_executable
from tests.server import free_port

START_SECONDS = 30.0
CLUSTER_SLOTS = 16_384
BUS_PORT_OFFSET = 10_000


class RedisServer:
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

    def __enter__(self) -> RedisServer:
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


class RedisCluster:
    """Three Redis servers that share the keys between them, without copies of each other. A context manager."""

    def __init__(self, num_nodes: int = 3) -> None:
        self.nodes = [
            RedisServer(
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "2000"),
                port=free_port(BUS_PORT_OFFSET),
            )
            for _ in range(num_nodes)
        ]
        self.addresses = [("127.0.0.1", node.port) for node in self.nodes]
        self.url = f"redis://127.0.0.1:{self.nodes[0].port}/0"

    def __enter__(self) -> RedisCluster:
        with contextlib.ExitStack() as started:
            for node in self.nodes:
                started.enter_context(node)
            self._join()
            started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.stop()

    def wait_until_whole(self) -> None:
        """Wait until every node knows all others and a server for every slot."""
        give_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up_at:
            if all(self._is_whole(node) for node in self.nodes):
                return
            time.sleep(0.05)
        raise AssertionError("the cluster did not come together")

    def _join(self) -> None:
        """Give every node its part of the slots, and introduce it to the first."""
        bounds = [CLUSTER_SLOTS * number // len(self.nodes) for number in range(len(self.nodes) + 1)]
        for number, node in enumerate(self.nodes):
            with contextlib.closing(node.client()) as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
                # Two nodes that had the same epoch would first have to agree on another.
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number:
                    client.execute_command("CLUSTER", "MEET", *self.addresses[0])
        self.wait_until_whole()

    def _is_whole(self, node: RedisServer) -> bool:
        with contextlib.closing(node.client()) as client:
            try:
                answer = str(client.execute_command("CLUSTER", "INFO"))
            except redis.exceptions.RedisError:
                return False
        return "cluster_state:ok" in answer and f"cluster_known_nodes:{len(self.nodes)}" in answer
