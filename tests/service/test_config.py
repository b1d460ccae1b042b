from __future__ import annotations

import pytest
from pydantic import ValidationError

from ostinato.service.config import Settings, read_settings, redacted, unknown_variables
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
    with pytest.raises(ValueError, match="there is no such store; there is memory://, lmdb://PATH") as caught:
        open_store(Settings(state="sqlite://me:secret@host"))
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="memory:// serves one worker"):
        open_store(Settings(state="memory://", workers=2))


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("OSTINATO_MAX_BATCH_SIZE", "0", "OSTINATO_MAX_BATCH_SIZE '0': input should be greater than or equal to 1"),
        (
            "OSTINATO_PORT",
            "redis://me:secret@host",
            "OSTINATO_PORT 'redis://***@host': input should be",
        ),
        ("OSTINATO_REQUIRE_MODELS", "perhaps", "OSTINATO_REQUIRE_MODELS 'perhaps': input should be a valid boolean"),
        ("OSTINATO_HEAD_SECONDS", "inf", "OSTINATO_HEAD_SECONDS 'inf': input should be a finite number"),
        ("OSTINATO_TTL_SECONDS", "nan", "OSTINATO_TTL_SECONDS 'nan': input should be a finite number"),
        ("OSTINATO_DEADLINE_SECONDS", "1e300", "OSTINATO_DEADLINE_SECONDS '1e300': input should be less than or equal"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=r"^OSTINATO_") as caught:
        read_settings({})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_variables_that_are_no_settings_are_named() -> None:
    names = ["OSTINATO_PORT", "OSTINATO_DRAIN_SECOND", "ostinato_port", "OSTINATO_QX", "HOME", "_OSTINATO_TETHER"]
    assert unknown_variables(names) == [
        "OSTINATO_DRAIN_SECOND is no setting and is not heeded; did you mean OSTINATO_DRAIN_SECONDS?",
        "OSTINATO_QX is no setting and is not heeded",
    ]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://me:s@cr/et@host:1/0", "redis://***@host:1/0"),
        ("rediss://:secret@host", "rediss://***@host"),
        ("redis:/me:secret@host", "redis:/***@host"),
        ("secret@host", "***@host"),
        ("redis://host?password=secret&timeout_seconds=2", "redis://host?password=***&timeout_seconds=2"),
        ("lmdb:///var/a@b", "lmdb:///var/a@b"),
    ],
)
def test_no_password_is_shown(address: str, shown: str) -> None:
    assert redacted(address) == shown
    assert "secret" not in repr(Settings(state=address))
