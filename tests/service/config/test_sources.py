from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.service.config import unknown_variables
from ostinato.service.config.sources import GivenValue, gather


def given(
    file: Path, text: str, environment: dict[str, str] | None = None, **flags: Any
) -> tuple[dict[str, GivenValue], list[str]]:
    file.write_text(text)
    return gather({"config": file, **flags}, environment or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a configuration may be written."""
    return tmp_path / "ostinato.toml"


def test_flags_go_before_variables_and_these_before_the_file(file: Path) -> None:
    values, faults = given(
        file, "port = 1\nworkers = 2\nmax_beams = 3\n", {"OSTINATO_PORT": "4", "OSTINATO_WORKERS": "5"}, port=6
    )
    assert faults == []
    assert {name: (each.value, each.source) for name, each in values.items()} == {
        "port": (6, "--port"),
        "workers": ("5", "OSTINATO_WORKERS"),
        "max_beams": (3, f"{file}, line 3"),
    }


def test_the_file_is_named_by_a_flag_or_else_by_a_variable(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 7\n")
    variables = {"OSTINATO_CONFIG": str(tmp_path / "other.toml")}
    assert given(file, "port = 8\n", variables)[0]["port"].value == 8
    assert gather({}, variables)[0]["port"].value == 7


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("absent.toml", "OSTINATO_CONFIG absent.toml: no such file or directory"),
        (".", "OSTINATO_CONFIG .: is a directory"),
        ("", "OSTINATO_CONFIG is empty; give a value, or leave it out"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_who_named_it(
    path: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert gather({}, {"OSTINATO_CONFIG": path}) == ({}, [fault])
    assert gather({"config": Path("none.toml")}, {"OSTINATO_CONFIG": path}) == (
        {},
        ["--config none.toml: no such file or directory"],
    )


def test_paths_of_the_file_are_written_from_its_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    values, _ = given(
        file, 'repository = "a/models"\nstate = "lmdb://state"\ncertificate_key = "/k.pem"\n', certificate="c.pem"
    )
    assert values["repository"].value == f"{tmp_path}/a/models"
    assert values["state"].value == f"lmdb://{tmp_path}/state"
    assert values["certificate_key"].value == "/k.pem"
    assert values["certificate"].value == "c.pem"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_the_one_line_of_its_file(end: str, tmp_path: Path) -> None:
    secret = tmp_path / "state"
    secret.write_bytes(f"redis://:s3cret@h/0{end}".encode())
    for flags, variables in (({"state_file": secret}, {}), ({}, {"OSTINATO_STATE_FILE": str(secret)})):
        values, faults = gather(flags, variables)
        assert faults == []
        assert values["state"].value == "redis://:s3cret@h/0"
        assert values["state"].secret_file == secret


def test_the_file_of_a_secret_that_another_source_goes_before_is_not_asked_for(file: Path) -> None:
    values, faults = given(file, 'state_file = "absent"\n', {"OSTINATO_STATE": "memory://"})
    assert (values["state"].value, faults) == ("memory://", [])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file or directory"),
        (b"", "it is to hold one line, and nothing else"),
        (b"\n", "it is to hold one line, and nothing else"),
        (b"s3cret\ns3cret\n", "it is to hold one line, and nothing else"),
        (b"s3cret" * 20_000, "it is to hold one line, and nothing else"),
        (b"s3cret\xff", "it is no UTF-8"),
        (b"  ", None),
    ],
)
def test_a_file_that_holds_no_secret_is_named_without_what_is_in_it(
    content: bytes | None, fault: str | None, tmp_path: Path
) -> None:
    secret = tmp_path / "state"
    if content is not None:
        secret.write_bytes(content)
    values, faults = gather({}, {"OSTINATO_STATE_FILE": str(secret)})
    assert values == {}
    expected = (
        f"OSTINATO_STATE_FILE {secret}: {fault}"
        if fault
        else "OSTINATO_STATE_FILE is empty; give a value, or leave it out"
    )
    assert faults == [expected]


@pytest.mark.parametrize(
    ("text", "environment", "flags", "fault"),
    [
        ("", {"OSTINATO_PORT": ""}, {}, "OSTINATO_PORT is empty; give a value, or leave it out"),
        ("", {"OSTINATO_REPOSITORY": " "}, {}, "OSTINATO_REPOSITORY is empty; give a value, or leave it out"),
        ("", {}, {"repository": ""}, "--repository is empty; give a value, or leave it out"),
        ('repository = ""', {}, {}, "repository (<FILE>, line 1) is empty; give a value, or leave it out"),
        ('state_file = ""', {}, {}, "state_file (<FILE>, line 1) is empty; give a value, or leave it out"),
        (
            "",
            {"OSTINATO_PORT": "1", "ostinato_port": "2"},
            {},
            "OSTINATO_PORT and ostinato_port differ; one of them is enough",
        ),
        (
            "",
            {"OSTINATO_STATE": "a", "OSTINATO_STATE_FILE": "b"},
            {},
            "OSTINATO_STATE and OSTINATO_STATE_FILE give the same setting; leave one of them out",
        ),
        (
            "",
            {},
            {"state": "a", "state_file": "b"},
            "--state and --state-file give the same setting; leave one of them out",
        ),
        ("prot = 1", {}, {}, "<FILE>, line 1: prot is no setting; did you mean port?"),
        ("# port\n\nMax-Beams = 1", {}, {}, "<FILE>, line 3: 'Max-Beams' is no setting; did you mean max_beams?"),
        ("'OSTINATO_PORT' = 1", {}, {}, "<FILE>, line 1: OSTINATO_PORT is no setting; did you mean port?"),
        ("state_fil = 'a'", {}, {}, "<FILE>, line 1: state_fil is no setting; did you mean state_file?"),
        ("qx = 1", {}, {}, "<FILE>, line 1: qx is no setting"),
        ("config = 'a'", {}, {}, "<FILE>, line 1: config is no setting"),
        ("\n[limits]\nmax_beams = 1", {}, {}, "<FILE>, line 2: limits is a table; settings are in none"),
        ("[state]", {}, {}, "<FILE>, line 1: state is a table; settings are in none"),
        ('"a\\nb" = 1', {}, {}, "<FILE>: 'a\\nb' is no setting"),
        ('"max beams" = 1', {}, {}, "<FILE>, line 1: 'max beams' is no setting; did you mean max_beams?"),
        ("port = true", {}, {}, "port (<FILE>, line 1) true: it is no switch"),
        ('repository = "a\\u0000b"', {}, {}, "repository (<FILE>, line 1): there is a NUL in it"),
    ],
)
def test_what_no_source_can_say_is_told(
    text: str, environment: dict[str, str], flags: dict[str, Any], fault: str, file: Path
) -> None:
    assert fault.replace("<FILE>", str(file)) in given(file, text, environment, **flags)[1]


def test_one_variable_in_two_spellings_with_one_value_is_no_conflict() -> None:
    values, faults = gather({}, {"OSTINATO_PORT": "1", "ostinato_port": "1"})
    assert (values["port"].source, faults) == ("OSTINATO_PORT", [])


def test_an_empty_value_is_one_where_it_means_something() -> None:
    assert gather({}, {"OSTINATO_ALLOW_ORIGIN": ""})[0]["allow_origin"].value == ""


def test_a_list_of_words_is_what_a_variable_has_with_commas(file: Path) -> None:
    assert given(file, 'allow_origin = ["https://a", "https://b"]')[0]["allow_origin"].value == "https://a,https://b"


def test_variables_that_are_no_settings_are_named() -> None:
    names = [
        "OSTINATO_PORT",
        "OSTINATO_DRAIN_SECOND",
        "ostinato_port",
        "OSTINATO_QX",
        "OSTINATO_CONFIG",
        "OSTINATO_STATE_FILE",
        "HOME",
        "_OSTINATO_TETHER",
    ]
    assert unknown_variables(names) == [
        "OSTINATO_DRAIN_SECOND is no setting and is not heeded; did you mean OSTINATO_DRAIN_SECONDS?",
        "OSTINATO_QX is no setting and is not heeded",
    ]
