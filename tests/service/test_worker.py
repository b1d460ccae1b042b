from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.worker import Worker


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
