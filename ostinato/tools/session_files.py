"""Files that hold the state of a session each: written, read, and made a session of a running service."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load

from ostinato.client.client import Client
from ostinato.client.session import Session
from ostinato.errors import CommandError, ServiceError

SUFFIX = ".safetensors"
FORMAT = "ostinato-session"

_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def import_session(
    client: Client,
    path: Path,
    content: bytes,
    *,
    model: str | None,
    session_id: str | None,
    version: str | None,
    former_version: str | None,
    ttl_seconds: float | None,
) -> tuple[Session, list[str]]:
    """Open a session and put a file's state there; where that is refused, the session is closed again.

    Returns:
        the session, and what of it is otherwise than where it was exported, in sentences.

    Args:
        model, session_id, version: of the session; None = no model is known; the client makes an id up; see below.
        former_version: of the session that was exported: taken where ``version`` is None and it is served, and else
            the latest is.
        ttl_seconds: as of ``Client.session``.

    Raises:
        CommandError: the file names no model, or the service refused it; names the file.
    """
    if model is None:
        raise CommandError(f"{path}: it names no model; say which with --model")
    try:
        served = client.model(model)
        if version is None and former_version in served["versions"]:
            version = former_version
        opened = client.session(
            model,
            session_id=session_id,
            version=version,
            ttl_seconds=ttl_seconds,
            context=_context(content, served),
            keep=True,
        )
    except ServiceError as error:
        if error.code == "session_exists":
            raise CommandError(
                f"{path}: session {session_id!r} is live already; 'ostinato sessions close {session_id}' ends it, and "
                "--session-id imports under another id"
            ) from error
        raise CommandError(f"{path}: {error}") from error
    try:
        info = opened.put_state(content)
    except CommandError as error:
        with contextlib.suppress(CommandError):
            opened.close()
        raise CommandError(f"{path}: {error}") from error
    notes = [] if info.bits_may_differ is None else [info.bits_may_differ]
    if version is None and opened.version != (former_version or opened.version):
        notes.append(f"it was exported from version {former_version}, which is not served there")
    return opened, notes


def _context(content: bytes, served: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a file has of the context that a session of the model is opened with; None of a model without one."""
    names = [part["name"] for part in (served.get("manifest") or {}).get("context", ())]
    tensors = load(content) if names else {}
    return {name: tensors[name] for name in names if name in tensors} or None


def read_file(path: Path) -> tuple[bytes, dict[str, str]]:
    """A file and its metadata, which is empty where it is not of our format.

    Raises:
        CommandError: it cannot be read, or is no safetensors file.
    """
    try:
        content = path.read_bytes()
        with safe_open(path, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except FileNotFoundError as error:
        raise CommandError(f"{path}: there is no such file; 'ostinato sessions export ID' writes one") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise CommandError(f"{path}: it is not a safetensors file ({error})") from error
    return content, metadata if metadata.get("format") == FORMAT else {}


def file_ttl_seconds(path: Path, metadata: Mapping[str, str]) -> float | None:
    """How long the session that a file is of may be idle, 0 = for ever; None where the file does not say.

    Raises:
        CommandError: it says what is no such time.
    """
    text = metadata.get("ttl_seconds")
    if text is None:
        return None
    try:
        ttl_seconds = float(text)
    except ValueError:
        ttl_seconds = math.nan
    if not 0 <= ttl_seconds < math.inf:
        raise CommandError(f"{path}: its ttl_seconds {text[:40]!r} is no number of seconds; --ttl gives another")
    return ttl_seconds


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        CommandError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise CommandError(f"{path}: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Make a folder to write to, unless it is there.

    Raises:
        CommandError: it cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--output {folder}: {error.strerror}") from error


def file_name(session_id: str) -> str:
    """Of a session's file. With its suffix no id is ``.`` or ``..``; what is no id could lead anywhere.

    Raises:
        CommandError: it is no id.
    """
    if not _SESSION_ID.fullmatch(session_id):
        raise CommandError(f"{session_id!r} is no session: an id is 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return session_id + SUFFIX
