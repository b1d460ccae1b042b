from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.errors import SettingsError
from ostinato.tools.service_settings import settings_of_the_service
from tests.ostinato.conftest import RunCommand


def test_a_command_heeds_the_variables_and_the_file_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text("max_batch_size = 8\nmax_beams = 8\n")
    monkeypatch.setenv("OSTINATO_CONFIG", str(file))
    monkeypatch.setenv("OSTINATO_MAX_BEAMS", "9")
    settings = settings_of_the_service()
    assert (settings.max_batch_size, settings.max_beams) == (8, 9)
    file.write_text("max_batch = 8\n")
    with pytest.raises(SettingsError, match="max_batch is no setting; did you mean max_batch_size"):
        settings_of_the_service()


def test_a_wrong_variable_is_one_line_of_a_command_that_needs_the_settings(
    models: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTINATO_MAX_BATCH_SIZE", "many")
    result = run_command("verify", models)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: OSTINATO_MAX_BATCH_SIZE 'many': input should be a valid integer")
    assert result.stderr.count("\n") == 1
