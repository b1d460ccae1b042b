"""A Mac's Python, acted out: what Linux alone has is taken away, and each module is imported all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ostinato.errors import CommandError
from ostinato.service.startup import check_system
from ostinato.tools import load

ROOT = Path(__file__).resolve().parents[2]

LINUX_ALONE = {
    "os": ("memfd_create", "sched_getaffinity", "sched_setaffinity", "pidfd_open", "eventfd", "splice", "setns"),
    "select": ("epoll", "EPOLLIN", "EPOLLOUT"),
    "socket": ("MSG_NOSIGNAL", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_PEERCRED", "TCP_USER_TIMEOUT"),
    "time": ("CLOCK_BOOTTIME",),
}
"""As the documentation of Python has it."""

IMPORT_ALL = """
import importlib, pkgutil, sys
import ostinato
for library in {libraries}:
    importlib.import_module(library)  # what theirs do at import is their own
for module, names in {linux_alone}.items():
    for name in names:
        vars(importlib.import_module(module)).pop(name, None)
for part in ("client", "commands", "connectors", "tables", "tools", "service"):
    package = importlib.import_module(f"ostinato.{{part}}")
    for each in pkgutil.walk_packages(package.__path__, f"ostinato.{{part}}."):
        if each.name not in {others}:
            importlib.import_module(each.name)
assert {{"ostinato.service.worker", "ostinato.service.access.meter", "ostinato.tools.load"}} <= sys.modules.keys()
"""


def test_modules_are_imported_where_linux_is_not() -> None:
    libraries = (
        "asyncio",
        "bentoml",
        "circus",
        "grpc",
        "httpx2",
        "multiprocessing",
        "onnxruntime",
        "uvicorn",
        "uvloop",
    )
    # The app starts; the others are of a GPU, or read what only a training has.
    others = {"ostinato.service.app", "ostinato.service.artifact.cuda"}
    code = IMPORT_ALL.format(libraries=libraries, linux_alone=LINUX_ALONE, others=others)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"BENTOML_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_says_that_it_needs_linux() -> None:
    check_system("linux")
    with pytest.raises(ValueError, match="a server needs Linux, and this is 'darwin': run it in a container"):
        check_system("darwin")


def test_a_measurement_says_that_it_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.epoll")
    with pytest.raises(CommandError, match="load is made on Linux"):
        load.Poller(("127.0.0.1", 1), 1)
