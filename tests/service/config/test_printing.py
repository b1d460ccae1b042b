from __future__ import annotations

import tomllib
from pathlib import Path

from ostinato.service.config import Settings, as_toml, read_configuration

FLAGS = {"ttl_seconds": 0.1, "max_sessions": 5, "load_memory": "1536MiB", "certificate_key": 'a "key" \x7f\u00e9.pem'}


def test_what_is_printed_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    first = read_configuration(FLAGS, {"OSTINATO_REQUIRE_MODELS": "yes", "OSTINATO_STATE": "lmdb:///var/state"})
    file = tmp_path / "printed.toml"
    file.write_text(as_toml(first))
    second = read_configuration({"config": file}, {})
    absolute = {
        "repository": Path("repository").absolute(),
        "certificate_key": Path(str(FLAGS["certificate_key"])).absolute(),
    }
    assert second.settings == first.settings.model_copy(update=absolute)
    assert "# load_memory" not in as_toml(first)


def test_each_setting_stands_there_once_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "ostinato.toml"
    file.write_text("workers = 2\n")
    lines = as_toml(read_configuration({"config": file, "port": 1}, {"OSTINATO_MAX_BEAMS": "8"})).splitlines()
    for line in (
        "port = 1  # --port",
        "max_beams = 8  # OSTINATO_MAX_BEAMS",
        f"workers = 2  # {file}, line 1",
        "drain_seconds = 25  # default",
        'memory_budget = "1GiB"  # default',
        "# grpc_port is left out: no gRPC",
    ):
        assert line in lines
    for name in Settings.model_fields:
        assert len([line for line in lines if line.removeprefix("# ").split(" ")[0] == name]) == 1, name


def test_no_secret_is_printed(tmp_path: Path) -> None:
    secret = tmp_path / "state"
    secret.write_text("redis://:s3cret@h/0")
    by_file = as_toml(read_configuration({}, {"OSTINATO_STATE_FILE": str(secret)}))
    assert f'state_file = "{secret}"  # OSTINATO_STATE_FILE' in by_file
    by_flag = as_toml(read_configuration({"state": "redis://:s3cret@h/0"}, {}))
    assert '# state = "redis://***@h/0"  # --state; a secret, which is not shown' in by_flag
    assert "s3cret" not in by_file + by_flag
    assert "state" not in tomllib.loads(by_flag)
    assert tomllib.loads(by_file)["state_file"] == str(secret)
    # What is no address may be a secret as a whole.
    assert "s3cret" not in as_toml(read_configuration({"state": "s3cret"}, {}))
    # What is asked at the address of a model may be one, whatever it is called.
    models = as_toml(read_configuration({"models": "https://h/a?k=s3cret,s3://b,https://me:s3/cret@h/c?sr=s3cret"}, {}))
    assert '# models = "https://***@h/c?***"  # --models' in models
    options = as_toml(read_configuration({"state": "redis://:s3cret@h/0?prefix=a"}, {}))
    assert '# state = "redis://***@h/0?prefix=a"' in options
