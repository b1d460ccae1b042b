from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.access.key import Right
from ostinato.service.access.keys import Keys
from tests.ostinato.conftest import RunCommand


def test_a_key_is_made_listed_and_revoked(tmp_path: Path, run_command: RunCommand) -> None:
    path = tmp_path / "keys.txt"
    options = ("--tenant", "acme", "--rights", "step,metrics", "--rate", 5, "--sessions", 1000)
    made = run_command("keys", "new", "robots", *options, "--keys", path)
    assert made.exit_code == 0, made.output
    secret = made.stdout.removesuffix("\n")
    key = Keys(path).find(secret.encode())
    assert key is not None
    assert (key.name, key.tenant, key.rights) == ("robots", "acme", frozenset({Right.STEP, Right.METRICS}))
    assert (key.rate, key.sessions) == (5.0, 1000)
    assert secret not in path.read_text()
    listed = run_command("keys", "list", "--keys", path)
    assert [word for word in ("robots", "acme", "step,metrics", "5", "1,000") if word not in listed.output] == []
    assert run_command("keys", "revoke", "robots", "--keys", path).exit_code == 0
    assert Keys(path).find(secret.encode()) is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("new", "ro/bots"), "a name is"),
        (("new", "robots", "--tenant", "a b"), "a tenant is"),
        (("new", "robots", "--rights", "fly"), "'fly' is no right"),
        (("revoke", "nobody"), "no key called 'nobody'"),
    ],
)
def test_what_cannot_be_is_said_and_no_key_is_printed(
    tmp_path: Path, run_command: RunCommand, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "keys.txt").touch()
    result = run_command("keys", *words, "--keys", tmp_path / "keys.txt")
    assert result.exit_code == 1
    assert told in " ".join(result.output.split())
    assert "ostinato_" not in result.output
    assert (tmp_path / "keys.txt").read_text() == ""
