from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError, field_validator

from ostinato.service.config import Settings, read_configuration, reading, redacted
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
def test_a_wrong_setting_is_one_sentence(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^OSTINATO_") as caught:
        read_configuration({}, {variable: value})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://me:s@cr/et@host:1/0", "redis://***@host:1/0"),
        ("rediss://:secret@host", "rediss://***@host"),
        ("redis:/me:secret@host", "redis:/***@host"),
        ("secret@host", "***@host"),
        ("redis://host?password=secret&timeout_seconds=2", "redis://host?password=***&timeout_seconds=2"),
        ("lmdb:///var/a@b", "lmdb:///var/a@b"),
        ("https://h/a?X-Amz-Signature=secret&b=c", "https://h/a?X-Amz-Signature=***&b=c"),
        ("az://h/a?sig=secret,https://me:secret@h/b", "az://***@h/b"),
        ("https://h/a?token=secret, s3://h/b", "https://h/a?token=***, s3://h/b"),
    ],
)
def test_no_password_is_shown(address: str, shown: str) -> None:
    assert redacted(address) == shown
    assert "secret" not in repr(Settings(state=address))


def test_an_error_of_a_flag_names_what_was_given_in_its_place(tmp_path: Path) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text("port = 80\n\nworkers = 2\n")
    configuration = read_configuration({"config": file, "port": 81}, {"OSTINATO_HOST": "::1"})
    sentence = "--host ::1 --port 81 --workers 2 --grpc-port 1: taken; --port 0 takes any"
    expected = f"OSTINATO_HOST ::1 --port 81 workers ({file}, line 3) 2 --grpc-port 1: taken; --port 0 takes any"
    assert configuration.named(sentence) == expected


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text("prot = 1\nmax_beams = 0\n")
    with pytest.raises(ValueError, match="prot") as caught:
        read_configuration({"config": file, "port": -1}, {"OSTINATO_WORKERS": "0"})
    for told in (
        f"{file}, line 1: prot is no setting; did you mean port?",
        f"max_beams ({file}, line 2) '0': input should be greater than or equal to 1",
        "--port '-1': input should be greater than or equal to 0",
        "OSTINATO_WORKERS '0': input",
    ):
        assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["s3cret", "a://b:s3cret@c", "a://s3cret@"])
def test_a_wrong_secret_is_not_told(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(Settings):
        @field_validator("state")
        @classmethod
        def refuse(cls, state: str) -> str:
            del state
            raise ValueError("no such store")

    monkeypatch.setattr(reading, "Settings", Strict)
    secret = tmp_path / "state"
    secret.write_text(value)
    for variables in ({"OSTINATO_STATE": value}, {"OSTINATO_STATE_FILE": str(secret)}):
        with pytest.raises(ValueError, match=r"^OSTINATO_STATE.*: value error, no such store$") as caught:
            read_configuration({}, variables)
        assert "s3cret" not in str(caught.value)


def test_the_environment_that_counts_is_the_one_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTINATO_PORT", "4000")
    assert read_configuration({}, {"ostinato_workers": "2"}).settings == Settings(port=3000, workers=2)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('repository = ["a", "b"]', "repository (FILE) \"['a', 'b']\": input is not a valid path"),
        ("state_file = 5", "state_file (FILE) 5: no such file or directory"),
        ('state = ["redis://:s3cret@h"]', "state (FILE) "),
        ("drain_seconds = nan", "drain_seconds (FILE) 'nan': input should be a finite number"),
        ("max_beams = 2.5", "max_beams (FILE) '2.5': input should be a valid integer"),
        ("host = 1979-05-27", "host (FILE) '1979-05-27': input should be a valid string"),
        ('memory_budget = "half"', "memory_budget (FILE) 'half': could not parse value"),
        ("[[workers]]", "workers (FILE) '[{}]': input should be a valid integer"),
    ],
)
def test_a_value_of_another_kind_is_told_with_its_line(line: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text(line)
    with pytest.raises(ValueError, match="line 1") as caught:
        read_configuration({"config": file}, {})
    assert str(caught.value).startswith(fault.replace("FILE", f"{file}, line 1"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OSTINATO_MAX_QUEUE_ROWS", "1_000", 1000),
        ("OSTINATO_DRAIN_SECONDS", "1e1", 10.0),
        ("OSTINATO_REQUIRE_MODELS", "Yes", True),
        ("OSTINATO_REQUIRE_MODELS", "off", False),
        ("OSTINATO_MEMORY_BUDGET", "2GB", 2_000_000_000),
    ],
)
def test_a_value_may_be_written_as_people_do(variable: str, value: str, expected: object) -> None:
    settings = read_configuration({}, {variable: value}).settings
    assert getattr(settings, variable.removeprefix("OSTINATO_").lower()) == expected
