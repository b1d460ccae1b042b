from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ostinato.service.catalogue import verdicts as verdicts_module
from ostinato.service.catalogue.repository import mark_of
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests import networks
from tests.hostile.dangerous_files import lstm_like, saved

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
