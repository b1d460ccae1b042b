"""Signatures of webhooks, as Standard Webhooks 1.0.0 has them: HMAC-SHA256 of id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from pathlib import Path

from ostinato.errors import InputError

PREFIX = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 512


class WebhookSecrets:
    """The secrets that a file holds, one a line; with several, each signs, so that one can take another's place.

    Raises:
        InputError: it cannot be read, or a line of it is no secret. What it holds is not told.
    """

    def __init__(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="ascii").split()
        except OSError as error:
            raise InputError(f"[webhook] secret_file: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"[webhook] secret_file: {path}: not text in base64") from None
        if not lines:
            raise InputError(f"[webhook] secret_file: {path}: there is no secret in it")
        self._keys = [_key_of(line, f"[webhook] secret_file: {path}, line {at}") for at, line in enumerate(lines, 1)]

    def signature(self, message_id: str, timestamp: int, body: bytes) -> str:
        """The header ``webhook-signature`` of a message that is sent at ``timestamp`` (seconds since 1970)."""
        signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
        made = (hmac.new(key, signed, hashlib.sha256).digest() for key in self._keys)
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in made)


def _key_of(line: str, place: str) -> bytes:
    """The bytes of a secret as it is written down."""
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise InputError(f"{place}: not base64, as `openssl rand -base64 32` writes it") from None
    if not LEAST_BYTES <= len(key) <= MOST_BYTES:
        raise InputError(f"{place}: {len(key)} bytes; a secret has from {LEAST_BYTES} to {MOST_BYTES}")
    return key
