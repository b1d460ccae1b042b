"""What all tests have: an event loop of their own where they are asynchronous, a limit in time, and shared folders."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.shared import Shared

# Tests run on all cores already. Torch would start as many threads again in each worker and in each child process.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some tests import onnxruntime themselves, and it keeps an id of the machine under HOME unless it is told before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# What a shell starts in the background ignores Ctrl-C, and so would every program that a test sends it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HURRY = float(os.environ.get("OSTINATO_TESTS_HURRY", "1"))
"""How many times sooner a test that hangs is failed: who plants faults expects some to."""

TIMEOUT_SECONDS = 120.0 / HURRY
"""Of an asynchronous test."""

PHASE_SECONDS = 400.0 / HURRY
"""Of any test's set-up, of its call and of its end; less than the ``faulthandler_timeout`` of pyproject.toml."""

PutNetworks = Callable[..., None]


@pytest.fixture
def at_end() -> list[Callable[[], Awaitable[object]]]:
    """What is awaited in an asynchronous test's own event loop when it is over, the last first."""
    return []


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Folders that are built once for all workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return Shared(folder)


@pytest.fixture(scope="session")
def put_networks(shared: Shared) -> PutNetworks:
    """Puts networks into a repository by their exports, as ``export_gazer``; each is exported once for all workers.

    They are proved over fewer sizes than a user's.
    """

    def put(repository: Path, *exports: Callable[[Path], object]) -> None:
        from tests.export.writers import small_proofs  # and torch with it

        for export in exports:
            with small_proofs():
                built = shared.directory(export.__name__, export)
            shutil.copytree(built, repository, dirs_exist_ok=True)

    return put


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have tests run in one process that share what is built once in a module: each process would build it again."""
    if not config.pluginmanager.hasplugin("xdist"):  # as planted faults are tried without it
        return
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("xdist_group") is None:
            fixtures = [one for several in item._fixtureinfo.name2fixturedefs.values() for one in several]
            if any(fixture.scope == "module" for fixture in fixtures):
                item.add_marker(pytest.mark.xdist_group(item.location[0]))


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Iterator[None]:
    """Tell xdist's scheduler of the groups. It knows them by what is behind an "@" in the ids that it gets now, and
    xdist 3.8 itself puts that where pytest 9.2 does not look any more.
    """
    own_ids = {item: item.id for item in session.items}
    if session.config.getoption("loadgroup", False):
        for item, own_id in own_ids.items():
            groups = sorted(str(mark.args[0]) for mark in item.iter_markers("xdist_group"))
            if groups and "@" not in str(own_id):
                item._id = own_id.parse(f"{own_id}@{'_'.join(groups)}")
    try:
        return (yield)
    finally:
        for item, own_id in own_ids.items():
            item._id = own_id


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function as a test; every task that it left behind is a failure."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        try:
            await asyncio.wait_for(pyfuncitem.obj(**arguments), TIMEOUT_SECONDS)
        finally:
            finishes: list[Callable[[], Awaitable[object]]] = pyfuncitem.funcargs.get("at_end", [])  # type: ignore[assignment]
            for finish in reversed(finishes):
                await finish()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left behind: {left}"

    asyncio.run(run())
    return True


@contextmanager
def limited(what: str, most_seconds: float | None = None) -> Iterator[None]:
    """Fail what hangs within, at the place where it hangs; None = after ``PHASE_SECONDS``."""
    limit_seconds = PHASE_SECONDS if most_seconds is None else most_seconds

    def give_up(_number: int, _frame: object) -> None:
        pytest.fail(f"{what} took longer than {limit_seconds:g} s")

    handler = signal.signal(signal.SIGALRM, give_up)
    seconds, _ = signal.setitimer(signal.ITIMER_REAL, limit_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        signal.signal(signal.SIGALRM, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with limited(f"the set-up of {item.nodeid}"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with limited(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with limited(f"the end of {item.nodeid}"):
        return (yield)
