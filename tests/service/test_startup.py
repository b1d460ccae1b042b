from __future__ import annotations

import os
from pathlib import Path

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


def test_a_damaged_store_ends_it_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(os.urandom(100_000))
    with pytest.raises(SystemExit, match=rf"^error: {tmp_path}: data.mdb is damaged[^\n]*$"):
        begin(Settings(state=f"lmdb://{tmp_path}", repository=tmp_path))
