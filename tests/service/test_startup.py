from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.config import Settings
from ostinato.service.startup import begin, settings_or_exit


def test_a_wrong_setting_ends_the_process_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_WORKERS", "none")
    with pytest.raises(SystemExit, match=r"^error: OSTINATO_WORKERS 'none': [^\n]+$"):
        settings_or_exit()


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
        ({"grpc_port": 0, "grpc_key": "/nowhere"}, "OSTINATO_GRPC_CERTIFICATE and OSTINATO_GRPC_KEY belong together"),
        (
            {"grpc_port": 0, "grpc_key": "/nowhere", "grpc_certificate": "/nowhere"},
            "OSTINATO_GRPC_CERTIFICATE /nowhere: no such file",
        ),
        ({"grpc_key": "/nowhere"}, "OSTINATO_GRPC_CERTIFICATE, OSTINATO_GRPC_KEY and"),
    ],
)
def test_grpc_that_cannot_be_served_ends_it_before_there_is_a_worker(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=rf"^error: {sentence}[^\n]*$"):
        begin(Settings(state="memory://", repository=tmp_path, **options))


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
