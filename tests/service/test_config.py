from __future__ import annotations

import pytest
from pydantic import ValidationError

from ostinato.service.config import Settings
from ostinato.service.state.address import open_store


def test_every_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_PORT", "4000")
    monkeypatch.setenv("OSTINATO_TTL_SECONDS", "0")
    settings = Settings()
    assert (settings.port, settings.ttl_seconds) == (4000, 0.0)


def test_a_setting_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_MAX_BATCH_SIZE", "0")
    with pytest.raises(ValidationError, match="max_batch_size"):
        Settings()


def test_a_store_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no such store; there is memory://, lmdb://PATH"):
        open_store(Settings(state="sqlite://"))
    with pytest.raises(ValueError, match="memory:// serves one worker"):
        open_store(Settings(state="memory://", workers=2))
