from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.artifact.manifest import ANY, Promise
from ostinato.service.catalogue import loading
from ostinato.service.catalogue.loading import Loader, load_version
from ostinato.service.catalogue.postponement import Postponement
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import Settings
from ostinato.service.errors import Draining, ModelRejected, StateStoreUnavailable
from ostinato.service.state.memory import MemoryStore
from tests import networks
from tests.service.puppet import House

INPUTS = np.arange(24, dtype=np.float32).reshape(6, 4, 1)


class Bereft(MemoryStore):
    """A store that has sessions of versions that are gone; or that cannot be asked."""

    fails: Exception | None = None

    async def missing_versions(self) -> dict[tuple[str, str], int]:
        if self.fails is not None:
            raise self.fails
        return {("gone", "7"): 3}


class Stage:
    """A loader over a folder, and the house whose catalogue it fills."""

    def __init__(self, repository: Path) -> None:
        self.store = Bereft(tombstone_seconds=0, max_sessions=10)
        self.house = House(store=self.store)
        settings = Settings(repository=repository)
        self.loader = Loader(settings, self.house.catalogue, self.store, self.house.ledger, self.house.metrics)

    @property
    def served(self) -> list[str]:
        """What is served in addition to the house's own model."""
        return [engine.manifest.name for engine in self.house.catalogue.served if engine is not self.house.engine]


async def test_sound_versions_are_served_and_others_are_rejected_with_the_reason(tmp_path: Path) -> None:
    sound = networks.accumulator().write(tmp_path, INPUTS)
    (tmp_path / "broken" / "1").mkdir(parents=True)
    stage = Stage(tmp_path)
    await stage.loader.load()
    name = sound.parent.name
    assert (stage.served, stage.loader.failure) == ([name], None)
    (rejection,) = stage.house.catalogue.rejections
    assert (rejection.model, rejection.version) == ("broken", "1")
    assert "model.json" in rejection.reason
    assert stage.house.value("ostinato_models_failed") == 1
    failed = stage.house.metrics.version_failed.numbers()
    assert failed == {("broken", "1"): [1], (name, "1"): [0], ("sum", "1"): [0]}
    session = await stage.house.sessions.open(name)  # its store has the engine's sessions
    assert session.steps == 0


async def test_a_repository_that_is_not_there_is_told_and_serves_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "absent")
    await stage.loader.load()
    assert stage.served == []
    assert "there is no such folder" in str(stage.loader.failure)


async def test_an_engine_that_is_built_during_a_drain_takes_no_work(tmp_path: Path) -> None:
    networks.accumulator().write(tmp_path, INPUTS)
    stage = Stage(tmp_path)
    stage.house.catalogue.drain()
    await stage.loader.load()
    assert len(stage.house.catalogue.engines) == 2
    for engine in stage.house.catalogue.engines:
        with pytest.raises(Draining):
            engine.admit(1)


async def test_versions_that_sessions_run_and_nobody_serves_are_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(tmp_path)
    await stage.loader.find_missing()
    assert stage.loader.missing == {("gone", "7"): 3}
    assert stage.house.value('ostinato_missing_version_sessions{model="gone",version="7"}') == 3
    assert stage.house.value("ostinato_versions_missing") == 1
    for error in (StateStoreUnavailable("no store"), RuntimeError("a bug")):
        stage.store.fails = error
        await stage.loader.find_missing()  # said in the log; the worker starts all the same
        assert str(error) in caplog.text
    assert stage.loader.missing == {("gone", "7"): 3}


@pytest.mark.parametrize(("step_seconds", "in_thread"), [(10.0, True), (1e-9, False)])
async def test_a_model_whose_step_is_long_runs_in_a_thread(
    step_seconds: float, in_thread: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    stage = Stage(tmp_path)
    loaded = load_version(directory, Settings())
    with caplog.at_level("INFO"):
        stage.loader.serve(loaded._replace(step_seconds=step_seconds))
    assert caplog.text.endswith("run in a thread\n" if in_thread else "run on the event loop\n")
    modes = stage.house.metrics.run_mode.numbers()
    graph = ("accumulator", "1", "step")
    assert modes == {(*graph, "inline"): [not in_thread], (*graph, "thread"): [in_thread]}
    stage.house.catalogue.close()


def test_a_version_in_the_folder_of_another_is_rejected(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    elsewhere = directory.rename(directory.parent / "9")
    with pytest.raises(ModelRejected, match="and lies in"):
        load_version(elsewhere, Settings())


async def look_again(stage: Stage, monkeypatch: pytest.MonkeyPatch, most_looks: int = 200) -> None:
    """``keep`` with looks that wait for no clock, until nothing is left to try or ``most_looks`` are over."""
    looks = 0

    async def look(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks > most_looks:
            raise TimeoutError

    monkeypatch.setattr(loading, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(f"{loading.__name__}.asyncio.sleep", look)
    with contextlib.suppress(TimeoutError):
        await stage.loader.keep()


async def test_what_the_system_refused_is_tried_again_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = networks.accumulator().write(tmp_path, INPUTS).parent.name
    tries: list[Path] = []

    def load_at_the_third(directory: Path, settings: Settings) -> object:
        tries.append(directory)
        if len(tries) < 3:
            raise ModelRejected(f"{directory}: it cannot be read") from OSError(errno.EMFILE, "Too many open files")
        return load_version(directory, settings)

    monkeypatch.setattr(loading, "load_version", load_at_the_third)
    monkeypatch.setattr(Postponement, "put_off", lambda _: None)
    stage = Stage(tmp_path)
    await stage.loader.load()
    (rejection,) = stage.house.catalogue.rejections
    assert rejection.reason.endswith("it cannot be read; it will be tried again")
    assert stage.house.value("ostinato_models_failed") == 1
    await look_again(stage, monkeypatch)
    assert stage.served == [name]
    assert stage.house.catalogue.rejections == []
    assert stage.house.value("ostinato_models_failed") == 0
    assert sum("is not served" in record.getMessage() for record in caplog.records) == 1


@contextlib.contextmanager
def at_most(what: int, most: int) -> Iterator[None]:
    """Within a limit that the system keeps for this process."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


async def test_at_the_systems_limit_of_open_files_what_could_not_be_read_is_put_off_and_then_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.lstm().write(tmp_path, np.ones((2, 3, 3), np.float32))
    stage = Stage(tmp_path)
    monkeypatch.setattr(Postponement, "put_off", lambda _: None)
    await asyncio.to_thread(os.getpid)  # there is a thread
    free = os.dup(0)
    os.close(free)
    with at_most(resource.RLIMIT_NOFILE, free):
        await stage.loader.load()
        of_repository = str(stage.loader.failure)
        monkeypatch.setattr(loading, "find_versions", lambda _: [directory])
        await stage.loader.load()
    (rejection,) = stage.house.catalogue.rejections
    for said in (of_repository, rejection.reason):
        assert "Too many open files" in said
        assert said.endswith("it will be tried again")
    await look_again(stage, monkeypatch)
    assert (stage.served, stage.loader.failure) == ([directory.parent.name], None)


async def test_a_load_needs_no_room_on_any_disk(tmp_path: Path) -> None:
    name = networks.lstm().write(tmp_path, np.ones((2, 3, 3), np.float32)).parent.name
    stage = Stage(tmp_path)
    with at_most(resource.RLIMIT_FSIZE, 0):
        with pytest.raises(OSError, match="File too large"), (tmp_path / "other").open("wb", buffering=0) as other:
            other.write(b"x")
        await stage.loader.load()
    assert (stage.served, stage.house.catalogue.rejections) == ([name], [])


def test_pauses_between_tries_grow_to_a_limit() -> None:
    postponed = Postponement()
    pauses = [(postponed.put_off(), postponed.pause_seconds)[1] for _ in range(8)]  # type: ignore[func-returns-value]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


async def test_a_bad_version_stays_rejected_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    manifest = (directory / "model.json").read_bytes()
    (directory / "model.json").write_bytes(b"{")
    stage = Stage(tmp_path)
    await stage.loader.load()
    loads: list[Path] = []

    def load(path: Path, settings: Settings) -> object:
        loads.append(path)
        return load_version(path, settings)

    monkeypatch.setattr(loading, "load_version", load)
    await look_again(stage, monkeypatch, most_looks=3)
    assert (loads, stage.served) == ([], [])
    (directory / "model.json").write_bytes(manifest)
    await look_again(stage, monkeypatch)
    assert (len(loads), stage.served) == (1, [directory.parent.name])


async def test_a_repository_that_comes_later_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path / "repository")
    await stage.loader.load()
    assert "will be tried again" in str(stage.loader.failure)
    name = networks.accumulator().write(tmp_path / "repository", INPUTS).parent.name
    await look_again(stage, monkeypatch)
    assert (stage.served, stage.loader.failure) == ([name], None)


@pytest.mark.parametrize(("holds", "is_told"), [(None, True), (ANY, False)])
def test_a_version_that_was_exported_before_guards_against_nan_and_wrong_codes_is_told_at_load(
    holds: Promise | None, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = networks.accumulator().named("old", promise=holds, provenance={"libraries": {"torch": "2.9.0"}})
    load_version(network.write(tmp_path, INPUTS), Settings())
    assert [record.levelname for record in caplog.records if "did not look for NaN" in record.message] == (
        ["WARNING"] if is_told else []
    )


async def test_a_rejection_ends_with_its_folder_and_what_comes_in_its_place_is_tried(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    (directory / "model.json").write_bytes(b"{")
    stage = Stage(tmp_path)
    await stage.loader.load()
    assert stage.house.value("ostinato_models_failed") == 1
    name = directory.parent.name
    aside = directory.rename(tmp_path / ".aside")
    await stage.loader.retry()
    assert stage.house.catalogue.rejections == []
    assert stage.house.value("ostinato_models_failed") == 0
    assert stage.house.metrics.version_failed.numbers()[name, "1"] == [0]
    await stage.loader.retry()
    aside.rename(directory)
    await stage.loader.retry()
    assert [(each.model, each.version) for each in stage.house.catalogue.rejections] == [(name, "1")]
    shutil.rmtree(directory)
    await stage.loader.retry()
    networks.accumulator().write(tmp_path, INPUTS)
    await stage.loader.retry()
    assert (stage.served, stage.house.catalogue.rejections) == ([name], [])


async def test_a_repository_that_cannot_be_looked_at_ends_no_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    stage = Stage(tmp_path)
    await stage.loader.load()

    def find_none(_: Path) -> list[Path]:
        raise ModelRejected("the repository: Permission denied")

    monkeypatch.setattr(loading, "find_versions", find_none)
    await stage.loader.retry()
    assert [each.model for each in stage.house.catalogue.rejections] == ["broken"]


async def test_a_version_is_loaded_once_whoever_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    loads: list[Path] = []

    def load(path: Path, settings: Settings) -> object:
        loads.append(path)
        return load_version(path, settings)

    monkeypatch.setattr(loading, "load_version", load)
    stage = Stage(tmp_path)
    await asyncio.gather(stage.loader.load(), *(stage.loader.try_now(directory) for _ in range(3)))
    await stage.loader.load()
    assert (loads, stage.served) == ([directory], [directory.parent.name])


async def test_no_child_is_left_behind_a_load_while_the_service_runs(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    stage = Stage(tmp_path)
    verdicts, ends = Verdicts(Settings(repository=tmp_path)), list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "end_child", lambda: ends.append("end"))
        patch.setattr(verdicts, "check", lambda *_: ends.append("check"))
        settings = Settings(repository=tmp_path)
        house = stage.house
        loader = Loader(settings, house.catalogue, stage.store, house.ledger, house.metrics, verdicts=verdicts)
        await loader.try_now(directory)
    assert ends == ["check", "end"]
    verdicts.close()


async def test_what_other_workers_serve_from_other_files_is_not_served(tmp_path: Path) -> None:
    directory = networks.accumulator().write(tmp_path, INPUTS)
    settings = Settings(repository=tmp_path, workers=2)
    first = Verdicts.begin(settings)
    first.claim(directory, "others")
    stage = Stage(tmp_path)
    house = stage.house
    loader = Loader(settings, house.catalogue, stage.store, house.ledger, house.metrics, verdicts=first)
    await loader.load()
    assert stage.served == []
    (rejection,) = house.catalogue.rejections
    assert "other workers serve this version" in rejection.reason
    first.close()
    assert first.descriptor is not None
    os.close(first.descriptor)
