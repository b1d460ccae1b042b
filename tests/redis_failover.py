"""Two Redis servers of which one copies the other, and the Sentinels that put it in the other's place."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import redis

from benchmarks.redis_server import redis_executable
from tests.redis_server import RedisServer, Started, kill_when_copied, wait_for, wait_until_copied
from tests.server import free_port

SERVICE = "sessions"
DOWN_MILLISECONDS = 60_000
"""Longer than a busy machine keeps any server from answering: a Sentinel that took one for dead would have its copy
take the lead while it is still told what is then lost. They are told when one is.
"""


NOTICED_MILLISECONDS = 1000
"""For a master that is dead by then."""


def _sentinel(port: int) -> Any:  # redis.Redis, whose methods are not all typed
    return redis.Redis(port=port, decode_responses=True)


class RedisPair(Started):
    """A master, and a replica with all that it has. A context manager.

    What a master acknowledged is lost with it as long as no replica has it. So whoever takes the lead here does it when
    nothing is acknowledged any more, and all that was has arrived.
    """

    def __init__(self) -> None:
        self.master, self.replica = RedisServer(), RedisServer()

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
            wait_for(lambda: client.execute_command("ROLE")[0] == "slave", "the master's end as such")
        self.master, self.replica = self.replica, self.master
        self.wait_until_copied()

    def wait_until_copied(self) -> None:
        """Wait until the replica is one, and has all that the master has."""
        wait_until_copied(self.master, self.replica)

    def _have_copied(self) -> None:
        for server in (self.master, self.replica):
            with contextlib.closing(server.client()) as client:
                client.config_set("repl-diskless-sync-delay", 0)
                if server is self.replica:
                    client.replicaof("127.0.0.1", self.master.port)
        self.wait_until_copied()


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
        wait_for(lambda: all(map(self._knows_all, self.ports)), "the Sentinels")

    def stop(self) -> None:
        """See ``RedisPair.stop``."""
        for process in self._processes:
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        super().stop()

    def fail_over(self) -> None:
        """Kill the master, wait until the Sentinels have the replica take the lead, and start the other as its copy."""
        kill_when_copied(self.master, self.replica)
        port = self.replica.port
        with contextlib.closing(_sentinel(self.ports[0])) as client:
            # It does not, as long as it knows too little of the replica.
            wait_for(lambda: client.execute_command("SENTINEL", "FAILOVER", SERVICE), "a Sentinel's consent")
        wait_for(lambda: all(self.named_by(sentinel) == port for sentinel in self.ports), "the Sentinels' failover")
        self.master, self.replica = self.replica, self.master
        self.replica.start()
        self._have_copied()

    def lose_master(self) -> None:
        """Kill the master whatever it has just acknowledged, and wait until the Sentinels, who take it for dead after a
        second from now on, have found that out by themselves and name the replica.
        """
        for sentinel in self.ports:
            with contextlib.closing(_sentinel(sentinel)) as client:
                client.execute_command("SENTINEL", "SET", SERVICE, "down-after-milliseconds", NOTICED_MILLISECONDS)
        self.master.kill()
        port = self.replica.port
        wait_for(lambda: all(self.named_by(sentinel) == port for sentinel in self.ports), "the Sentinels' failover")
        self.master, self.replica = self.replica, self.master

    def named_by(self, sentinel: int) -> int:
        """The port of the server that a Sentinel names."""
        with contextlib.closing(_sentinel(sentinel)) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _knows_all(self, sentinel: int) -> bool:
        with contextlib.closing(_sentinel(sentinel)) as client:
            facts = client.execute_command("SENTINEL", "MASTER", SERVICE)
        facts = dict(zip(facts[::2], facts[1::2], strict=True)) if isinstance(facts, list) else facts
        return int(facts["num-slaves"]) == 1 and int(facts["num-other-sentinels"]) == len(self.ports) - 1
