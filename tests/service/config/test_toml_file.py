from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config.toml_file import read_file


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"port = 1\nport = 2\n", ", line 2, column 9: cannot overwrite a value"),
        (b"port =\n", ", line 1, column 7: invalid value"),
        (b"a = 1\n\nport = [1,\n", ", line 4, column 1: invalid value"),
        (b"a = 1\nb = '\xff'\n", ", line 2, column 6: it is no UTF-8"),
        (b"port 1", ", line 1, column 6: expected '=' after a key in a key/value pair"),
        (b"a = " + b"[" * 100_000, ": it is nested too deeply"),
    ],
)
def test_a_file_that_is_no_toml_is_one_sentence_with_its_place(content: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "ostinato.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="ostinato") as caught:
        read_file(path)
    assert str(caught.value) == f"{path}{fault}"


def test_a_file_as_windows_writes_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ostinato.toml"
    path.write_bytes(b"\xef\xbb\xbf# mine\r\nport = 3_000\r\n")
    file = read_file(path)
    assert (file.members, file.place_of("port")) == ({"port": 3000}, f"{path}, line 2")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("port=1", 1),
        ("# port = 2\n  port\t= 1", 2),
        ('a = 1\n"port" = 1', 2),
        ("a = 1\n\n[port]\nb = 1", 3),
        ("[[port]]", 1),
        ("import = 1\nport.a = 1", 2),
    ],
)
def test_a_member_is_found_in_its_line(text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "ostinato.toml"
    path.write_text(text)
    assert read_file(path).place_of("port") == f"{path}, line {line}"
