"""A Redis Cluster of many shards on this machine, without replicas, each a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis

from benchmarks.errors import SubjectFailed
from benchmarks.redis_server import redis_executable
from ostinato.service.state.redis.servers import NUM_CLUSTER_SLOTS

BUS_PORT_OFFSET = 10_000
START_SECONDS = 60.0
POLL_SECONDS = 0.05
WITHOUT_COVERAGE = ("--cluster-require-full-coverage", "no")
"""Without it, a cluster that has lost one shard answers for none."""


class Shards:
    """A cluster; a context manager.

    Args:
        number: of shards.
        options: further options of ``redis-server``.
    """

    def __init__(self, number: int, *options: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ostinato-scale-")
        self._options = options
        self.ports = [_free_port() for _ in range(number)]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports[:3])
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            for port in self.ports:
                self._processes.append(self._start(port))
            self._join()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all, and forget what they held."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._folder.cleanup()

    def kill(self, number: int) -> None:
        """Kill -9 one of them."""
        self._processes[number].kill()
        self._processes[number].wait()

    def cpu_seconds(self) -> list[float]:
        """What each shard has used of a processor since it began."""
        return [sum(psutil.Process(process.pid).cpu_times()[:2]) for process in self._processes]

    def used_bytes(self) -> list[int]:
        """What each shard says that it takes of memory, for its keys and for itself."""
        return [int(self._info(port, "memory")["used_memory"]) for port in self.ports]

    def num_keys(self) -> list[int]:
        """Keys of each shard."""
        return [int(self._info(port, "keyspace").get("db0", {}).get("keys", 0)) for port in self.ports]

    def wait_until_lost(self, number: int) -> float:
        """Wait until all others know that a shard is dead; the seconds that it took."""
        began_at = time.monotonic()
        others = [port for place, port in enumerate(self.ports) if place != number]
        _wait(
            lambda: all("fail" in self._ask(port, "CLUSTER", "INFO") and self._knows_of_loss(port) for port in others)
        )
        return time.monotonic() - began_at

    def _knows_of_loss(self, port: int) -> bool:
        return "cluster_slots_fail:0" not in self._ask(port, "CLUSTER", "INFO")

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        folder = Path(self._folder.name) / str(port)
        folder.mkdir()
        command = [
            redis_executable(),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--daemonize", "no"),
            *("--save", "", "--appendonly", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"),
            *(*WITHOUT_COVERAGE, *self._options),
        ]
        with (folder / "redis.log").open("wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def _join(self) -> None:
        bounds = [NUM_CLUSTER_SLOTS * place // len(self.ports) for place in range(len(self.ports) + 1)]
        for place, port in enumerate(self.ports):
            _wait(partial(self._ask, port, "PING"))
            self._ask(port, "CLUSTER", "ADDSLOTS", *map(str, range(bounds[place], bounds[place + 1])))
            self._ask(port, "CLUSTER", "SET-CONFIG-EPOCH", str(place + 1))
            if place:
                self._ask(port, "CLUSTER", "MEET", "127.0.0.1", str(self.ports[0]))
        whole = f"cluster_known_nodes:{len(self.ports)}"
        _wait(lambda: all(self._is_whole(port, whole) for port in self.ports))

    def _is_whole(self, port: int, whole: str) -> bool:
        said = self._ask(port, "CLUSTER", "INFO")
        return "cluster_state:ok" in said and whole in said

    def _ask(self, port: int, *command: str) -> str:
        with contextlib.closing(redis.Redis(port=port, decode_responses=True, socket_timeout=10.0)) as client:
            return str(client.execute_command(*command))  # type: ignore[no-untyped-call]

    def _info(self, port: int, section: str) -> dict[str, Any]:
        with contextlib.closing(redis.Redis(port=port, decode_responses=True, socket_timeout=10.0)) as client:
            return dict(client.info(section))


def _wait(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        with contextlib.suppress(redis.exceptions.RedisError):
            if condition():
                return
        time.sleep(POLL_SECONDS)
    raise SubjectFailed(f"the cluster was not as it should be within {START_SECONDS:g} s")


def _free_port() -> int:
    """A port that is free, and so is that of the cluster's own talk."""
    while True:
        with socket.socket() as listener, socket.socket() as bus:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if port + BUS_PORT_OFFSET > 65_535:
                continue
            with contextlib.suppress(OSError):
                bus.bind(("127.0.0.1", port + BUS_PORT_OFFSET))
                return port
