from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ostinato.service.catalogue import loading, reload
from ostinato.service.catalogue.decisions import Decisions
from ostinato.service.catalogue.loading import load_version
from ostinato.service.catalogue.repository import find_versions
from ostinato.service.config import Settings
from ostinato.service.errors import InvalidInput, StateStoreUnavailable, UnknownModel
from tests.service.catalogue.replicas import Failing, Replica, held_loads
from tests.waiting import until_true

AtEnd: TypeAlias = list[Callable[[], Awaitable[object]]]
TwoReplicas: TypeAlias = "Callable[[], Awaitable[tuple[Replica, Replica]]]"


@pytest.fixture
def document() -> Failing:
    return Failing()


@pytest.fixture
def replicas(tmp_path: Path, document: Failing, at_end: AtEnd) -> TwoReplicas:
    """Two with repositories of their own, in which there is version 1."""

    async def begin() -> tuple[Replica, Replica]:
        made = Replica(tmp_path / "a", document), Replica(tmp_path / "b", document)
        for each in made:
            each.put("1")
            at_end.append((await each.begin()).stop)
        return made

    return begin


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.01)


async def test_what_was_decided_before_a_start_is_known_before_anybody_is_answered(
    tmp_path: Path, document: Failing
) -> None:
    decided = Decisions().with_default("m", "1").with_alias("m", "champion", "1")
    await document.swap(b"", decided.written())
    document.fails_at = {"get"}
    replica = Replica(tmp_path, document)
    for version in "12":
        replica.put(version)
    await replica.begin()
    assert (replica.opens(), replica.opens("champion"), replica.opens("2")) == ("Starting", "Starting", "2")
    assert "connection refused" in replica.live.trouble
    document.fails_at = set()
    replica.follow()
    await replica.comes_to_open("1")
    assert (replica.opens("champion"), replica.live.trouble) == ("1", "")
    await replica.stop()
    replica = await Replica(tmp_path, document).begin()
    assert (replica.opens(), replica.opens("champion")) == ("1", "1")
    await replica.stop()


async def test_a_store_that_hangs_does_not_hold_up_a_start(
    tmp_path: Path, document: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(document, "get", hang)
    monkeypatch.setattr(reload, "BEGIN_SECONDS", 0.01)
    replica = Replica(tmp_path, document)
    await replica.live.begin()
    assert replica.live.trouble == "TimeoutError"
    assert not replica.catalogue.are_decisions_known
    await replica.stop()


async def test_names_mean_what_they_did_until_what_they_mean_is_loaded_here(
    replicas: TwoReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await replicas()
    await one.live.change(lambda decisions: decisions.with_default("m", "1").with_alias("m", "champion", "1"))
    other.follow()
    await other.comes_to_open("1", "champion")
    for each in (one, other):
        each.put("2")
    await one.live.load("m", "2")
    with held_loads(monkeypatch) as begun:

        async def begins() -> bool:
            return begun == [other.repository / "m" / "2"]

        await until_true(begins, "the load at the other")
        await one.live.change(lambda decisions: decisions.with_default("m", "2").with_alias("m", "champion", "2"))
        # Another decision is followed meanwhile, here and there.
        await one.live.change(lambda decisions: decisions.with_alias("m", "first", "1"))
        await other.comes_to_open("1", "first")
        assert (one.opens(), one.opens("champion")) == ("2", "2")
        assert (other.opens(), other.opens("champion")) == ("1", "1")
        await other.live.change(lambda decisions: decisions.with_alias("m", "own", "1"))
        assert (other.opens(), other.opens("own")) == ("1", "1")
    await other.comes_to_open("2")
    assert (other.opens("champion"), other.opens("own")) == ("2", "1")


async def test_what_is_meant_is_loaded_wherever_it_lies_and_whenever_it_comes(
    replicas: TwoReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await replicas()
    other.follow()
    one.put("2")
    await one.live.load("m", "2")
    await one.live.change(lambda decisions: decisions.with_default("m", "2"))
    # It is not there at all: said, and not replaced by another.
    await other.comes_to_open("UnknownModel")

    async def is_told() -> bool:
        return "m/2 is meant by a name, and is not in this server's repository" in caplog.text

    await until_true(is_told, "the log")
    whole = other.put("2").rename(other.repository / ".2")
    there = other.repository / "m" / "2"
    there.mkdir()
    for file in ("model.json", "model.onnx"):
        shutil.copy(whole / file, there)
    for part in whole.iterdir():
        shutil.copy(part, there)
    await other.comes_to_open("2")
    assert caplog.text.count("is not in this server's repository") == 1


async def test_a_version_that_failed_is_tried_again_when_it_is_asked_for_again(
    replicas: TwoReplicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await replicas()
    other.follow()
    for each in (one, other):
        each.put("2")
    fails = [other.repository]

    def load(directory: Path, settings: Settings) -> Any:
        if directory.parent.parent in fails:
            raise RuntimeError("not today")
        return load_version(directory, settings)

    monkeypatch.setattr(loading, "load_version", load)
    await one.live.load("m", "2")

    async def has_failed() -> bool:
        return [each.reason for each in other.catalogue.rejections] == ["RuntimeError: not today"]

    await until_true(has_failed, "the failure")
    fails.clear()
    await one.live.load("m", "2")
    await other.comes_to_open("2", "2")


async def test_no_failure_ends_the_look_after_the_models(
    replicas: TwoReplicas, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await replicas()
    failures = [PermissionError(13, "Permission denied"), RuntimeError("a bug"), RuntimeError("a bug")]

    async def retry() -> None:
        if failures:
            raise failures.pop(0)

    unread = [OSError(13, "Permission denied")]

    def find(repository: Path) -> list[Path]:
        if unread:
            raise unread.pop()
        return find_versions(repository)

    monkeypatch.setattr(other.loader, "retry", retry)
    other.put("2")
    one.put("2")
    await one.live.load("m", "2")
    monkeypatch.setattr(f"{reload.__name__}.find_versions", find)
    other.follow()
    await other.comes_to_open("2")

    async def are_over() -> bool:
        return not failures

    await until_true(are_over, "the failures")
    told = [record for record in caplog.records if "the next is in a moment" in record.getMessage()]
    assert len(told) == 3, "the same bug is told once"


async def test_nothing_is_loaded_of_which_nobody_could_be_told(replicas: TwoReplicas, document: Failing) -> None:
    one, _ = await replicas()
    one.put("2")
    document.fails_at = {"get"}
    with pytest.raises(StateStoreUnavailable, match="nothing was loaded: connection refused"):
        await one.live.load("m", "2")
    assert one.opens("2") == "UnknownModel"
    document.fails_at = {"compare_and_set"}
    with pytest.raises(
        StateStoreUnavailable, match=r"served by the worker that was asked, and no other was told.*again"
    ):
        await one.live.load("m", "2")
    assert one.opens("2") == "2"
    document.fails_at = set()
    await one.live.load("m", "2")
    assert Decisions.read(await document.read()).of("m").loads == {"2": 1}


async def test_a_load_goes_on_when_nobody_waits_for_it_and_is_one_whoever_asks(
    replicas: TwoReplicas, document: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = await replicas()
    one.put("2")
    with held_loads(monkeypatch) as begun:

        async def ask() -> None:
            await asyncio.wait([one.live.load("m", "2")])

        asking = [asyncio.create_task(ask()) for _ in range(3)]

        async def begins() -> bool:
            return bool(begun)

        await until_true(begins, "the load")
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert one.opens("2") == "UnknownModel"
    await one.live.load("m", "2")
    assert (len(begun), one.opens("2")) == (1, "2")
    assert Decisions.read(await document.read()).of("m").loads == {"2": 1}


async def test_a_version_that_comes_and_is_asked_for_at_once_is_loaded_once(
    tmp_path: Path, document: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(tmp_path, document, watches=True)
    replica.put("1")
    await replica.begin()
    replica.follow()
    replica.put("2")
    with held_loads(monkeypatch) as begun:

        async def begins() -> bool:
            return bool(begun)

        await until_true(begins, "the version that has come")
        load = replica.live.load("m", "2")
        await asyncio.wait([load], timeout=0.05)
        assert not load.done()
    await load
    assert begun == [tmp_path / "m" / "2"]
    await replica.stop()


async def test_a_version_whose_files_were_replaced_is_not_said_to_be_served(
    replicas: TwoReplicas,
) -> None:
    one, _ = await replicas()
    one.put("2", seed=1)
    await one.live.load("m", "2")
    await one.live.load("m", "2")
    shutil.rmtree(one.repository / "m" / "2")
    one.put("2", seed=2)
    with pytest.raises(InvalidInput, match=r"served from the files that were there before.*a version of their own"):
        await one.live.load("m", "2")
    shutil.rmtree(one.repository / "m" / "2")
    with pytest.raises(UnknownModel, match="the repository has no m/2"):
        await one.live.load("m", "2")
    shutil.rmtree(one.repository)
    with pytest.raises(UnknownModel, match="there is no such folder"):
        await one.live.load("m", "2")


async def test_decisions_never_outgrow_the_document(
    replicas: TwoReplicas, document: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = await replicas()

    def alias(number: int, decisions: Decisions) -> Decisions:
        return decisions.with_alias("m", f"alias-{number % 20}", str(number))

    monkeypatch.setattr(reload, "MAX_BYTES", 2000)
    for number in range(100):
        await one.live.change(partial(alias, number))
        assert len(await document.read()) <= 2000
    assert len(one.catalogue.decisions.of("m").aliases) == 20
    monkeypatch.setattr(reload, "MAX_BYTES", 300)
    with pytest.raises(InvalidInput, match="too much room"):
        await one.live.change(lambda decisions: decisions.with_alias("m", "one-more", "1"))
    monkeypatch.setattr(reload, "MAX_BYTES", 2000)
    await one.live.change(lambda decisions: decisions.with_alias("m", "alias-1", None))


async def test_a_version_that_an_alias_hides_is_told(replicas: TwoReplicas, caplog: pytest.LogCaptureFixture) -> None:
    one, _ = await replicas()
    await one.live.change(lambda decisions: decisions.with_alias("m", "beta", "1"))
    one.put("beta")
    assert await one.live.is_version("m", "beta")
    await one.live.load("m", "beta")
    assert one.opens("beta") == "1"
    assert caplog.text.count("m/beta is hidden by the alias of that name") == 1
    assert await one.live.is_version("m", "1")
    assert not await one.live.is_version("m", "7")
    await one.live.change(lambda decisions: decisions.with_alias("m", "beta", None))
    assert one.opens("beta") == "beta"
