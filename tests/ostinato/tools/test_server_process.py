from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import psutil

from ostinato import Client
from ostinato.tools.server_process import ServerProcess


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def processes_of(server: ServerProcess) -> list[psutil.Process]:
    """The parent, and its workers; other tests' servers run beside this one."""
    assert server._process is not None
    parent = psutil.Process(server._process.pid)
    return [parent, *parent.children(recursive=True)]


def test_a_killed_service_leaves_no_process_and_its_sessions_and_what_it_said_to_the_next(
    models: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_text("of another server\n")
    chunks = [[1.0], [20.0], [300.0]]
    settings = {"state": f"lmdb://{tmp_path}/state", "max_sessions": 3}
    with ServerProcess(models, log, settings=settings) as process:
        ready = process.wait_until_ready()
        assert [model["status"] for model in ready["models"]] == ["ready", "ready"]
        with Client(process.url) as client, client.session("loads") as session:
            running = processes_of(process)
            answers = [session.step([chunks[0]]).tolist(), session.step([chunks[1]]).tolist()]
            process.kill()
            # The parent and at least one worker.
            assert len(running) >= 2
            assert living(running) == []
            process.kill()  # a second time does nothing
            process.start()
            answers.append(session.step([chunks[2]]).tolist())  # asks again until it is there
        assert answers == [[[1.0]], [[21.0]], [[321.0]]]
        assert process.stop() == 0
    said = log.read_text()
    assert said.count("2 model versions are served") == 2
    assert "of another server" not in said


def test_a_service_that_does_not_end_is_killed_with_its_workers(models: Path, tmp_path: Path) -> None:
    settings = {"state": "memory://"}
    with ServerProcess(models, tmp_path / "log", settings=settings, stop_seconds=0.5) as process:
        process.wait_until_ready()
        workers = processes_of(process)[1:]
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)  # so it cannot drain
        assert process.stop() == -signal.SIGKILL
        assert living(workers) == []
