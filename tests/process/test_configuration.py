"""A server whose settings are in a file, and whose store's address is a secret; what becomes of both while it runs."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests import networks
from tests.process.test_metrics import read
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running
from tests.waiting import until

PASSWORD = "c0rrect-h0rse"


class ByCommand(ServerProcess):
    """``ostinato serve`` in place of ``bentoml serve``; it takes the file as a flag."""

    def start(self) -> None:
        """See ``ServerProcess``."""
        path = self.environment.pop("OSTINATO_CONFIG", None)
        if path is not None:
            serve = [sys.executable, "-P", "-m", "ostinato.cli", "serve", "--config", path]
            self._command = [*serve, "--port", str(self.port)]
        super().start()


def max_batch_size(server: ServerProcess) -> float:
    return read(server)["ostinato_limit", frozenset({("setting", "max_batch_size")})]


@pytest.mark.parametrize("kind", [ServerProcess, ByCommand])
def test_a_worker_that_is_started_later_has_the_settings_of_the_start_and_no_process_shows_the_secret(
    kind: type[ServerProcess], tmp_path: Path
) -> None:
    networks.lstm().write(tmp_path / "models", np.zeros((2, 3, 3), np.float32))
    (tmp_path / "secrets").mkdir()
    secret = tmp_path / "secrets" / "state"
    file = tmp_path / "ostinato.toml"
    file.write_text('repository = "models"\nstate_file = "secrets/state"\nmax_batch_size = 7\n')
    with RedisServer(password=PASSWORD) as redis:
        secret.write_text(f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0\n")
        server = kind(
            tmp_path / "models",
            tmp_path,
            environment={"OSTINATO_CONFIG": str(file)},
            without=("OSTINATO_STATE", "OSTINATO_REPOSITORY"),
        )
        with running(server):
            session = server.post("/v1/models/lstm/sessions").json()["session_id"]
            step = f"/v1/sessions/{session}/step"
            assert server.post(step, {"inputs": [[1, 2, 3]], "seq": 0}).status_code == 200
            assert max_batch_size(server) == 7
            secret.write_text("memory://\n")
            file.write_text("max_batch_size = 9\nworkers = 0\n")
            (worker,) = server.workers()
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda: any(each.pid != worker.pid for each in server.workers()), "another worker")
            server.wait_until_ready()
            # It goes on in the same store, by the same settings.
            assert server.post(step, {"inputs": [[1, 2, 3]], "seq": 1}).status_code == 200
            assert max_batch_size(server) == 7
            for process in (psutil.Process(server.process.pid), *server.workers()):
                shown = [*process.cmdline(), *process.environ().values()]
                assert [each for each in shown if PASSWORD in each] == []
        assert PASSWORD not in server.log()
        assert f"store: redis://***@127.0.0.1:{redis.port}/0" in server.log()
