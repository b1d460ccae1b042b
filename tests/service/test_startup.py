from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ostinato import extras
from ostinato.service.config import Settings
from ostinato.service.startup import begin, fetch_models, settings_or_exit
from tests.service.far_arrays import far_library
from tests.service.fetching.conftest import tree_of, write_version


def test_a_wrong_setting_ends_the_process_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_WORKERS", "none")
    with pytest.raises(SystemExit, match=r"^error: OSTINATO_WORKERS 'none': [^\n]+$"):
        settings_or_exit()


def test_processes_started_later_read_what_this_one_has_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text("max_beams = 3\n")
    with monkeypatch.context() as context:
        context.setattr(os, "environ", {"OSTINATO_CONFIG": str(file), "OSTINATO_WORKERS": "2"})
        settings_or_exit()
        file.write_text("max_beams = 4\n")
        again = settings_or_exit()
        assert (again.max_beams, again.workers) == (3, 2)
        assert "OSTINATO_CONFIG" not in os.environ


def test_an_environment_that_names_no_file_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_WORKERS", "2")
    before = dict(os.environ)
    settings_or_exit()
    assert os.environ == before


@pytest.mark.parametrize(
    ("state", "workers", "sentence"),
    [
        ("sqlite://me:secret@host", 1, r"OSTINATO_STATE sqlite://\.\.\.: there is no such store"),
        ("memory://", 2, "OSTINATO_WORKERS 2: memory:// serves one worker"),
        ("lmdb:///proc/nothing", 1, "/proc/nothing: "),
    ],
)
def test_a_store_that_cannot_be_used_ends_it_before_there_is_a_worker(
    state: str, workers: int, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=rf"^error: {sentence}[^\n]*$"):
        begin(Settings(state=state, workers=workers, repository=tmp_path))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"grpc_port": 3000}, "OSTINATO_GRPC_PORT 3000: it is that of HTTP"),
        (
            {"grpc_port": 0, "certificate_key": "/nowhere"},
            "OSTINATO_CERTIFICATE and OSTINATO_CERTIFICATE_KEY belong together",
        ),
        (
            {"grpc_port": 0, "certificate_key": "/nowhere", "certificate": "/nowhere"},
            "OSTINATO_CERTIFICATE /nowhere: no such file",
        ),
        ({"certificate_key": "/nowhere"}, "OSTINATO_CERTIFICATE and OSTINATO_CERTIFICATE_KEY belong together"),
    ],
)
def test_grpc_that_cannot_be_served_ends_it_before_there_is_a_worker(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=rf"^error: {sentence}[^\n]*$"):
        begin(Settings(state="memory://", repository=tmp_path, **options))


def test_a_device_that_is_not_there_ends_it_before_there_is_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "requires", lambda _: ['cupy-cuda13x==14.2.0; extra == "cuda"'])
    settings = Settings(state="memory://", repository=tmp_path, device="cuda")
    with pytest.raises(
        SystemExit, match=r"^error: OSTINATO_DEVICE cuda needs the extra cuda: pip install 'ostinato\[cuda\]'"
    ):
        begin(settings)
    with far_library() as library:
        library.num_devices = 0
        with pytest.raises(SystemExit, match=r"^error: OSTINATO_DEVICE cuda: there is no GPU that CUDA sees"):
            begin(settings)


def test_a_grpc_port_that_somebody_has_ends_it_with_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            SystemExit, match=rf"^error: OSTINATO_GRPC_PORT {port} at 127.0.0.1: address already in use"
        ):
            begin(Settings(state="memory://", repository=tmp_path, grpc_port=port))


def test_a_damaged_store_ends_it_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(os.urandom(100_000))
    with pytest.raises(SystemExit, match=rf"^error: {tmp_path}: data.mdb is damaged[^\n]*$"):
        begin(Settings(state=f"lmdb://{tmp_path}", repository=tmp_path))


def test_models_are_fetched_into_the_repository_that_is_set(tmp_path: Path) -> None:
    origins = [write_version(tmp_path / "origin", version) for version in ("1", "2")]
    settings = Settings(models=",".join(map(str, origins)), repository=tmp_path / "repository")
    assert fetch_models(settings).repository == tmp_path / "repository"
    assert tree_of(tmp_path / "repository") == tree_of(tmp_path / "origin")


@pytest.mark.parametrize("has_repository", [True, False])
def test_a_bento_s_models_come_to_the_repository_that_is_there_and_else_to_one_of_their_own(
    has_repository: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = write_version(tmp_path / "origin")
    tag = SimpleNamespace(name="sums", version="a")
    within = tmp_path / "bento" / "models" / "sums" / "a"
    within.parent.mkdir(parents=True)
    version.rename(within)
    models = SimpleNamespace(all_models=[SimpleNamespace(tag=tag, registry="bentoml")])
    bento = SimpleNamespace(path=tmp_path / "bento", info=models, tag=SimpleNamespace(name="b", version="c"))
    if has_repository:
        write_version(tmp_path / "repository", name="other")
    monkeypatch.setattr(os, "environ", {"BENTOML_HOME": str(tmp_path / "home")})
    settings = fetch_models(Settings(repository=tmp_path / "repository"), bento)
    assert settings.repository == (tmp_path / "repository" if has_repository else tmp_path / "home/ostinato/b-c")
    assert "sums/1/model.json" in tree_of(settings.repository)
    told = {} if has_repository else {"OSTINATO_REPOSITORY": str(settings.repository)}
    assert os.environ == {"BENTOML_HOME": str(tmp_path / "home"), **told}, "what workers will read"


def test_a_source_that_cannot_be_fetched_ends_it_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: /a--b: there is no such folder$"):
        begin(Settings(state="memory://", models="/a--b", repository=tmp_path))
