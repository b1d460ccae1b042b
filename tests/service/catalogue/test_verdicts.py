from __future__ import annotations

import fcntl
import os
import signal
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.catalogue import verdicts as verdicts_module
from ostinato.service.catalogue.repository import mark_of
from ostinato.service.catalogue.trial import Trial
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests import networks
from tests.hostile.dangerous_files import lstm_like, saved
from tests.waiting import until

INPUTS = np.ones((2, 3, 3), np.float32)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """``sound``, and ``deadly`` that kills whoever opens its graph."""
    networks.lstm().named("sound").write(tmp_path, INPUTS)
    deadly = networks.lstm().named("deadly").write(tmp_path, INPUTS)
    saved(lstm_like())(deadly / "model.onnx")
    networks.relist(deadly)
    return tmp_path


@pytest.fixture
def first(repository: Path) -> Iterator[Verdicts]:
    first = Verdicts.begin(Settings(repository=repository))
    yield first
    first.close()
    assert first.descriptor is not None
    os.close(first.descriptor)


def judged(verdicts: Verdicts, directory: Path) -> str:
    """The reason why a version is rejected; empty where it is not."""
    try:
        verdicts.check(directory, mark_of(directory))
    except ModelRejected as error:
        return str(error)
    return ""


def test_a_version_is_tried_once_for_all_processes_of_a_server(
    repository: Path, first: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.check_all()
    tried: list[Path] = []
    monkeypatch.setattr(verdicts_module, "try_version", lambda directory, *_: tried.append(directory))
    worker = Verdicts(Settings(repository=repository), first.descriptor)
    reason = judged(worker, repository / "deadly" / "1")
    assert "killed by SIGSEGV, signal 11" in reason
    assert judged(worker, repository / "sound" / "1") == ""
    assert tried == []


def test_changed_files_are_another_version(repository: Path, first: Verdicts) -> None:
    directory = repository / "deadly" / "1"
    assert "onnxruntime died" in judged(first, directory)
    sound = repository / "sound" / "1" / "model.onnx"
    (directory / "model.onnx").write_bytes(sound.read_bytes())
    networks.relist(directory)
    assert judged(first, directory) == ""


def test_what_the_system_refused_is_not_noted(
    repository: Path, first: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelRejected("not now") from BlockingIOError(11, "busy")

    with monkeypatch.context() as patch:
        patch.setattr(verdicts_module, "try_version", refuse)
        assert judged(first, repository / "sound" / "1") == "not now"
    assert judged(first, repository / "sound" / "1") == ""


def test_a_descriptor_of_something_else_is_left_alone(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine\n")
    with other.open("r+b") as file:
        alone = Verdicts(Settings(repository=repository), file.fileno())
        assert alone.descriptor is None
        assert "onnxruntime died" in judged(alone, repository / "deadly" / "1")
        alone.close()
    assert other.read_text() == "mine\n"
    assert Verdicts(Settings(), 10_000).descriptor is None


def test_where_there_is_no_room_for_verdicts_versions_are_tried_all_the_same(
    repository: Path, first: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"{verdicts_module.__name__}.os.write", full)
    assert "onnxruntime died" in judged(first, repository / "deadly" / "1")
    assert "onnxruntime died" in judged(first, repository / "deadly" / "1")


def test_a_repository_that_is_not_there_is_for_others_to_tell(tmp_path: Path) -> None:
    Verdicts(Settings(repository=tmp_path / "absent")).check_all()


def test_who_waits_for_a_verdict_is_let_go_when_the_server_ends(repository: Path, first: Verdicts) -> None:
    directory = repository / "sound" / "1"
    assert first.descriptor is not None
    # Another process holds the lock, as one does that tries the version.
    reading, writing = os.pipe()
    other = os.fork()
    if not other:
        place = 2**40 + zlib.crc32(f"{directory} {mark_of(directory)}".encode())
        fcntl.lockf(first.descriptor, fcntl.LOCK_EX, 1, place)
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    worker = Verdicts(Settings(repository=repository), first.descriptor)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(judged, worker, directory)
        worker.close()
        assert waiting.result(60) == "this server ends"
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    os.close(reading)
    os.close(writing)
    assert judged(first, directory) == ""


def test_who_tries_a_version_is_let_go_when_the_server_ends(
    repository: Path, first: Verdicts, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def sleep(directory: Path, _: Settings, trial: Trial) -> None:
        trial.call("os:getpid", place=directory)
        begun.set()
        trial.call("time:sleep", 600, place=directory)

    monkeypatch.setattr(verdicts_module, "try_version", sleep)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(judged, first, repository / "sound" / "1")
        begun.wait(60)
        assert begun.is_set()

        def is_let_go() -> bool:
            first.close()  # again, where it came before the question
            return waiting.done()

        until(is_let_go, "its end")
    assert "was ended from outside" in waiting.result()


def test_what_one_worker_serves_no_other_serves_from_other_files(repository: Path, first: Verdicts) -> None:
    directory = repository / "sound" / "1"
    workers = [Verdicts(Settings(repository=repository, workers=2), first.descriptor) for _ in range(2)]
    workers[0].claim(directory, "a")
    workers[1].claim(directory, "a")
    with pytest.raises(
        ModelRejected, match=r"sound/1: other workers serve this version from the files that were there"
    ):
        workers[1].claim(directory, "b")
    workers[1].claim(repository / "deadly" / "1", "b")
    Verdicts(Settings(repository=repository, workers=1), first.descriptor).claim(directory, "b")  # there is no other
    Verdicts(Settings(repository=repository, workers=2)).claim(directory, "b")
