"""Two Redis servers of which one copies the other, and the Sentinels that put it in the other's place."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from benchmarks.redis_server import redis_executable
from tests.redis_server import START_SECONDS, RedisServer
from tests.server import free_port

SERVICE = "sessions"
PAUSE_MILLISECONDS = 60_000
DOWN_MILLISECONDS = 60_000
"""Longer than a busy machine keeps any server from answering: a Sentinel that took one for dead would have its copy
take the lead while it is still told what is then lost. They are told when one is.
"""


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        with contextlib.suppress(redis.exceptions.RedisError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def _sentinel(port: int) -> Any:  # redis.Redis, whose methods are not all typed
    return redis.Redis(port=port, decode_responses=True)


class RedisPair:
    """A master, and a replica with all that it has. A context manager.

    What a master acknowledged is lost with it as long as no replica has it. So whoever takes the lead here does it when
    nothing is acknowledged any more, and all that was has arrived.
    """

    def __init__(self) -> None:
        self.master, self.replica = RedisServer(), RedisServer()

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

    def start(self) -> None:
        """Start both, and wait until one copies the other."""
        for server in (self.master, self.replica):
            server.start()
        self._have_copied()

    def stop(self) -> None:
        """End both for good."""
        for server in (self.master, self.replica):
            server.stop()

    def swap(self) -> None:
        """Have the replica take the lead, and the master copy it. Nobody is thrown out."""
        with contextlib.closing(self.master.client()) as client:
            client.execute_command("FAILOVER", "TO", "127.0.0.1", self.replica.port)
            _wait_until(lambda: client.execute_command("ROLE")[0] == "slave", "the master's end as such")
        self.master, self.replica = self.replica, self.master
        self.wait_until_copied()

    def kill_master(self) -> None:
        """Kill the master, when the replica has all that it acknowledged."""
        with contextlib.closing(self.master.client()) as client:
            client.execute_command("CLIENT", "PAUSE", PAUSE_MILLISECONDS, "WRITE")
            _wait_until(lambda: self._offset(self.replica) == self._offset(self.master), "the last copy")
        self.master.kill()

    def wait_until_copied(self) -> None:
        """Wait until the replica is one, for the master too, and has all that the master has."""
        with contextlib.closing(self.replica.client()) as client, contextlib.closing(self.master.client()) as master:
            _wait_until(
                lambda: (
                    client.info("replication").get("master_link_status") == "up"
                    # The master hears of it later, and hands its lead over to none before.
                    and master.info("replication").get("slave0", {}).get("state") == "online"
                    and self._offset(self.replica) == self._offset(self.master)
                ),
                "the replica's copy",
            )

    def _have_copied(self) -> None:
        for server in (self.master, self.replica):
            with contextlib.closing(server.client()) as client:
                client.config_set("repl-diskless-sync-delay", 0)
                if server is self.replica:
                    client.replicaof("127.0.0.1", self.master.port)
        self.wait_until_copied()

    @staticmethod
    def _offset(server: RedisServer) -> int:
        with contextlib.closing(server.client()) as client:
            facts = client.info("replication")
        key = "slave_repl_offset" if facts["role"] == "slave" else "master_repl_offset"
        return int(facts[key])


class RedisSentinels(RedisPair):
    """A pair that Sentinels look after: when the master is gone, they have the replica take the lead.

    Attributes:
        url: names them, one that is not there first.
    """

    def __init__(self, num_sentinels: int = 1) -> None:
        super().__init__()
        self.ports = [free_port() for _ in range(num_sentinels)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in (free_port(), *self.ports))
        self.url = f"redis+sentinel://{hosts}/{SERVICE}/0"
        self._folder = Path(tempfile.mkdtemp(prefix="ostinato-sentinels-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """See ``RedisPair.start``; wait until the Sentinels know both and each other."""
        super().start()
        for port in self.ports:
            (self._folder / f"{port}.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nprotected-mode no\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self.master.port} {len(self.ports) // 2 + 1}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_MILLISECONDS}\n"
                f"sentinel failover-timeout {SERVICE} 5000\n"
            )
            command = [redis_executable(), str(self._folder / f"{port}.conf"), "--sentinel"]
            with (self._folder / f"{port}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
                )
        _wait_until(lambda: all(map(self._knows_all, self.ports)), "the Sentinels")

    def stop(self) -> None:
        """See ``RedisPair.stop``."""
        for process in self._processes:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        super().stop()

    def fail_over(self) -> None:
        """Kill the master, wait until the Sentinels have the replica take the lead, and start the other as its copy."""
        self.kill_master()
        port = self.replica.port
        with contextlib.closing(_sentinel(self.ports[0])) as client:
            # It does not, as long as it knows too little of the replica.
            _wait_until(lambda: client.execute_command("SENTINEL", "FAILOVER", SERVICE), "a Sentinel's consent")
        _wait_until(lambda: all(self.named_by(sentinel) == port for sentinel in self.ports), "the Sentinels' failover")
        self.master, self.replica = self.replica, self.master
        self.replica.start()
        self._have_copied()

    def named_by(self, sentinel: int) -> int:
        """The port of the server that a Sentinel names."""
        with contextlib.closing(_sentinel(sentinel)) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _knows_all(self, sentinel: int) -> bool:
        with contextlib.closing(_sentinel(sentinel)) as client:
            facts = client.execute_command("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(facts[::2], facts[1::2], strict=True)) if isinstance(facts, list) else facts
        return int(facts["num-slaves"]) == 1 and int(facts["num-other-sentinels"]) == len(self.ports) - 1
