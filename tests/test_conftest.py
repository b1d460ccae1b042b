"""What all tests rely on: that hangs end with a name, and that what is shared is built once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import limited
from tests.server import NUM_SHARES, PORTS, free_port
from tests.shared import Shared


def test_what_hangs_fails_by_its_name() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"test_x took longer than 0.01 s"), limited("test_x", 0.01):
        signal.pause()


HANGS = """
import signal, threading

import pytest


@pytest.fixture
def stuck():
    yield
    signal.pause()


def test_hangs():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def test_hangs_at_its_end(stuck):
    pass


def test_is_quick():
    pass


def test_hangs_where_no_handler_runs():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""
LIMITS = """
from tests import conftest
from tests.conftest import pytest_runtest_call, pytest_runtest_setup, pytest_runtest_teardown

conftest.PHASE_SECONDS = 0.2
"""


def test_a_run_over_tests_that_hang_ends_and_names_them(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(HANGS)
    (tmp_path / "conftest.py").write_text(LIMITS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfaulthandler_timeout = 4\nfaulthandler_exit_on_timeout = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n1", "--max-worker-restart=0", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "test_it.py::test_hangs took longer than 0.2 s" in done.stdout
    assert "the end of test_it.py::test_hangs_at_its_end took longer than 0.2 s" in done.stdout
    assert "crashed while running 'test_it.py::test_hangs_where_no_handler_runs'" in done.stdout
    assert "FAILED test_it.py::test_is_quick" not in done.stdout


def test_a_limit_that_is_over_leaves_the_one_around_it() -> None:
    with limited("outer"):
        with limited("inner", 1000.0):
            pass
        seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < seconds <= 400


def test_a_shared_folder_is_built_once_whoever_asks(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.05)  # so that the others ask meanwhile
        (folder / "file").write_text("text")

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append((Shared(tmp_path).directory("it", build) / "file").read_text()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(built), found) == (1, ["text"] * 4)


def test_a_shared_folder_that_failed_to_be_built_is_built_anew(tmp_path: Path) -> None:
    shared = Shared(tmp_path)

    def fail(_: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shared.directory("it", fail)
    assert list(shared.directory("it", lambda folder: (folder / "file").touch()).iterdir())


def test_a_worker_s_ports_are_its_own_and_none_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert len({port % NUM_SHARES for port in ports}) == 1
    assert all(port in PORTS and port % NUM_SHARES == (port + 10_000) % NUM_SHARES for port in ports)


SHARES = """
import os

import pytest


@pytest.fixture(scope="module")
def place():
    yield


@pytest.mark.parametrize("number", range(8))
def test_shares(place, number):
    with open("seen", "a") as seen:
        print(os.environ["PYTEST_XDIST_WORKER"], file=seen)


@pytest.mark.parametrize("number", range(8))
def test_is_alone(number):
    pass
"""
HOOKS = "from tests.conftest import pytest_collection_finish, pytest_collection_modifyitems\n"


def test_tests_that_share_what_a_module_builds_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_it.py").write_text(SHARES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n2", "--dist", "loadgroup", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "16 passed" in done.stdout, done.stdout + done.stderr
    seen = (tmp_path / "seen").read_text().split()
    assert (len(seen), len(set(seen))) == (8, 1)
