from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ostinato
from ostinato.service.catalogue.decisions import Decisions
from ostinato.service.config import Settings
from ostinato.service.errors import Starting, StateStoreUnavailable
from ostinato.service.state.lmdb.document import FILE
from ostinato.service.tether import Tether
from ostinato.service.worker import Worker
from tests import networks


async def test_a_load_that_dies_is_seen_and_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(Settings(state="memory://", repository=tmp_path))

    async def dies() -> None:
        raise RuntimeError("a bug")

    assert worker.readiness()[1]["status"] == "starting"
    monkeypatch.setattr(worker._loader, "load", dies)
    await worker._load()
    is_ready, content = worker.readiness()
    assert (is_ready, content["status"]) == (False, "failed")
    assert content["reason"] == "the models could not be loaded: RuntimeError; the log has it"
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert "a bug" in str(record.exc_info[1])


@pytest.mark.parametrize(("is_strict", "is_able"), [(False, True), (True, False)])
async def test_a_failed_version_keeps_the_service_unready_where_every_one_is_required(
    is_strict: bool, is_able: bool, tmp_path: Path
) -> None:
    networks.accumulator().write(tmp_path, np.ones((2, 3, 1), np.float32))
    (tmp_path / "broken" / "1").mkdir(parents=True)
    worker = Worker(Settings(state="memory://", repository=tmp_path, require_models=is_strict))
    await worker._load()
    await worker._ask_store()
    is_ready, content = worker.readiness()
    assert (is_ready, content["status"]) == (is_able, "ready" if is_able else "failed")
    assert ("require_models" in content.get("reason", "")) == is_strict
    worker.catalogue.close()


async def test_it_is_not_ready_before_the_store_has_answered_nor_while_it_is_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.accumulator().write(tmp_path, np.ones((2, 3, 1), np.float32))
    worker = Worker(Settings(state="memory://", repository=tmp_path))
    seen: list[tuple[bool, str, str]] = []
    failures = [StateStoreUnavailable("nobody answers")]

    def look() -> None:
        is_ready, content = worker.readiness()
        seen.append((is_ready, content["status"], content.get("reason", "")))

    async def missing_versions() -> dict[tuple[str, str], int]:
        look()
        if failures:
            raise failures.pop()
        return {}

    monkeypatch.setattr(worker._store, "missing_versions", missing_versions)
    monkeypatch.setattr("ostinato.service.worker.ASK_STORE_SECONDS", 0)
    await worker._load()
    await worker._ask_store()
    look()
    monkeypatch.setattr(type(worker._store), "trouble", "read-only")
    look()
    assert seen == [
        (False, "starting", ""),
        (False, "store_unavailable", "nobody answers"),
        (True, "ready", ""),
        (False, "store_unavailable", "read-only"),
    ]
    worker.catalogue.close()


async def test_a_store_that_opens_and_cannot_begin_is_tried_again_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    networks.accumulator().write(tmp_path / "repository", np.ones((2, 3, 1), np.float32))
    worker = Worker(Settings(state=f"lmdb://{tmp_path}/state", repository=tmp_path / "repository"))
    begin, tries = worker._store.start, []
    failures: list[Exception] = [OSError(28, "No space left on device")] * 2 + [StateStoreUnavailable("it is locked")]

    async def start() -> None:
        tries.append(worker.readiness()[1])
        if failures:
            raise failures.pop(0)
        await begin()

    monkeypatch.setattr(worker._store, "start", start)
    monkeypatch.setattr("ostinato.service.worker.ASK_STORE_SECONDS", 0)
    await worker._load()
    await worker._ask_store()
    no_room = "OSError: [Errno 28] No space left on device"
    assert [(each["status"], each.get("reason")) for each in tries] == [
        ("starting", None),
        *[("store_unavailable", no_room)] * 2,
        ("store_unavailable", "it is locked"),
    ]
    assert worker.readiness()[0]
    said = [record.getMessage() for record in caplog.records if "it is asked again" in record.getMessage()]
    assert [line.partition(";")[0] for line in said] == [f"the store: {no_room}", "the store: it is locked"]
    await worker._store.stop()
    worker.catalogue.close()


async def test_it_is_not_ready_before_what_is_decided_about_models_is_known(tmp_path: Path) -> None:
    for version in "12":
        networks.accumulator().named("m", version).write(tmp_path / "repository", np.ones((2, 3, 1), np.float32))
    settings = Settings(state=f"lmdb://{tmp_path}/state", repository=tmp_path / "repository")
    worker = Worker(settings)
    (tmp_path / "state" / FILE).write_bytes(b"{")
    await worker._load()
    await worker._ask_store()
    is_ready, content = worker.readiness()
    assert (is_ready, content["status"]) == (False, "store_unavailable")
    assert "document of decisions cannot be read" in content["reason"]
    with pytest.raises(Starting):
        worker.catalogue.resolve("m")
    await worker._store.stop()
    worker.catalogue.close()
    (tmp_path / "state" / FILE).write_bytes(Decisions().with_default("m", "1").written())
    worker = Worker(settings)
    await worker._load()
    await worker._ask_store()
    assert worker.readiness()[0]
    assert worker.catalogue.resolve("m").manifest.version == "1", "before the first look after the models"
    await worker._store.stop()
    worker.catalogue.close()


async def test_metrics_tell_whether_it_is_ready_what_its_limits_are_and_what_runs(tmp_path: Path) -> None:
    networks.accumulator().write(tmp_path, np.ones((2, 3, 1), np.float32))
    tether = Tether()
    tether.restarts = {"SIGKILL": 2}
    worker = Worker(Settings(state="memory://", repository=tmp_path, max_queue_rows=7, deadline_seconds=0), tether)
    numbers = worker.metrics.numbers

    def state() -> tuple[float, ...]:
        return tuple(numbers()[name][()][0] for name in ("ready", "store_up", "draining"))

    assert state() == (0, 0, 0)
    await worker._load()
    await worker._ask_store()
    assert state() == (1, 1, 0)
    assert numbers()["sessions_stored"] == {("accumulator", "1"): [0.0]}
    await worker.sessions.open("accumulator")
    assert numbers()["sessions_stored"] == {("accumulator", "1"): [1.0]}
    limits = {setting: value for (setting,), [value] in numbers()["limit"].items()}
    assert (limits["max_queue_rows"], limits["deadline_seconds"], limits["workers"]) == (7, 0, 1)
    assert limits["max_sessions"] == 100_000, "what the store's kind makes of it, where it was left out"
    restarts = {name: value for (name,), [value] in numbers()["worker_restarts_total"].items()}
    assert restarts["SIGKILL"] == 2
    assert restarts["SIGSEGV"] == restarts["none"] == 0, "each is there before it happens"
    ((release, _, _, store),) = numbers()["build_info"]
    assert (release, store) == (ostinato.__version__, "memory")
    await worker.drain()
    assert state() == (0, 1, 1)
    worker.catalogue.close()
