"""Signatures: as the standard's own example has them, by each secret, and no secret is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from ostinato.connectors.signatures import WebhookSecrets
from ostinato.errors import InputError


def secrets(folder: Path, *lines: str) -> WebhookSecrets:
    path = folder / "secret"
    path.write_text("".join(f"{line}\n" for line in lines))
    return WebhookSecrets(path)


def test_a_message_is_signed_by_each_secret(tmp_path: Path) -> None:
    keys = [bytes(range(24)), b"x" * 64]
    lines = [f"whsec_{base64.b64encode(keys[0]).decode()}", base64.b64encode(keys[1]).decode()]
    expected = [base64.b64encode(hmac.digest(key, b"msg_1.1700000000.{}", hashlib.sha256)).decode() for key in keys]
    signature = secrets(tmp_path, *lines).signature("msg_1", 1_700_000_000, b"{}")
    assert signature == f"v1,{expected[0]} v1,{expected[1]}"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "there is no secret in it"),
        (["c2hvcnQ="], "line 1: 5 bytes; a secret has from 24 to 512"),
        (["A" * 32, "not*base64*at*all*but*long*enough"], "line 2: not base64"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_told(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(InputError, match="secret_file") as told:
        secrets(tmp_path, *lines)
    assert words in str(told.value)
    assert not any(line in str(told.value) for line in lines)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        WebhookSecrets(tmp_path / "none")
