from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.service.config import handed_on, read_configuration
from ostinato.service.config.handing import HELD

ADDRESS = "redis://:s3cret@h/0?password_file=p"


@pytest.fixture
def held() -> Iterator[list[str]]:
    """Paths of what is held in memory, which is let go in the end."""
    paths: list[str] = []
    yield paths
    for path in set(paths):
        os.close(int(path.removeprefix(HELD)))


def test_what_a_file_says_becomes_variables_and_the_file_is_not_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text('port = 1\nrepository = "models"\nworkers = 2\nstate = "memory://"\nmemory_budget = "1MiB"\n')
    environment = {"OSTINATO_CONFIG": str(file), "ostinato_workers": "3", "HOME": "/h", "OSTINATO_QX": "1"}
    configuration = read_configuration({"max_beams": 4}, environment)
    handed = handed_on(configuration, environment, Path("/srv"))
    os.close(int(handed.pop("OSTINATO_STATE_FILE").removeprefix(HELD)))
    assert handed == {
        "HOME": "/h",
        "OSTINATO_QX": "1",
        "OSTINATO_PORT": "1",
        "OSTINATO_REPOSITORY": f"{tmp_path}/models",
        "OSTINATO_WORKERS": "3",
        "OSTINATO_MEMORY_BUDGET": "1MiB",
        "OSTINATO_MAX_BEAMS": "4",
    }


def test_paths_depend_on_no_folder_any_more() -> None:
    environment = {"OSTINATO_CERTIFICATE_KEY": "k.pem", "OSTINATO_STATE": "lmdb://state"}
    handed = handed_on(read_configuration({}, environment), environment, Path("/srv"))
    assert handed == {
        "OSTINATO_CERTIFICATE_KEY": "/srv/k.pem",
        "OSTINATO_STATE": "lmdb:///srv/state",
        "OSTINATO_REPOSITORY": "/srv/repository",
    }


def test_a_secret_of_a_file_is_in_no_variable_and_read_again_as_it_was(tmp_path: Path, held: list[str]) -> None:
    secret = tmp_path / "state"
    secret.write_text(ADDRESS)
    environment = {"OSTINATO_STATE_FILE": str(secret)}
    handed = handed_on(read_configuration({}, environment), environment, Path("/srv"))
    held.append(handed["OSTINATO_STATE_FILE"])
    assert [value for value in handed.values() if "s3cret" in value] == []
    secret.write_text("memory://")
    for _ in range(2):
        read = read_configuration({}, handed)
        assert read.settings.state == "redis://:s3cret@h/0?password_file=/srv/p"
    # A process that reads it hands it on as it is.
    again = handed_on(read, handed, Path("/elsewhere"))
    held.append(again["OSTINATO_STATE_FILE"])
    assert again == handed | {"OSTINATO_REPOSITORY": "/srv/repository"}
    assert os.get_inheritable(int(held[0].removeprefix(HELD)))


def test_a_secret_within_the_configuration_file_is_in_no_variable_either(tmp_path: Path, held: list[str]) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text(f'state = "{ADDRESS}"\n')
    handed = handed_on(read_configuration({"config": file}, {}), {}, Path("/srv"))
    held.append(handed["OSTINATO_STATE_FILE"])
    assert "OSTINATO_STATE" not in handed
    assert read_configuration({}, handed).settings.state == f"{ADDRESS.removesuffix('p')}{tmp_path}/p"
