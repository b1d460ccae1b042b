"""A small registry of OCI artifacts, with a login where it is asked for."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from ostinato.service.fetching.registry import MANIFESTS, TITLE
from tests.service.fetching.web_server import Reply

USER, PASSWORD, TOKEN = "me", "secret", "a-token"


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Registry:
    """Blobs and manifests by digest, manifests by tag, too; it is what a ``WebServer`` answers by.

    ``login``: none, basic or bearer.
    """

    def __init__(self, login: str = "") -> None:
        self.login = login
        self.blobs: dict[str, bytes] = {}
        self.tags: dict[str, bytes] = {}
        self.address = ""

    def add(self, content: bytes) -> dict[str, Any]:
        """A blob, and what a manifest says of it."""
        self.blobs[digest_of(content)] = content
        return {
            "mediaType": "application/octet-stream",
            "digest": f"sha256:{digest_of(content)}",
            "size": len(content),
        }

    def push_files(self, tag: str, folder: Path) -> str:
        """An artifact as ``oras push`` makes it of the files of a folder; its digest."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return self.push(
            tag,
            [
                {**self.add(path.read_bytes()), "annotations": {TITLE: path.relative_to(folder).as_posix()}}
                for path in files
            ],
        )

    def push(self, tag: str, layers: list[dict[str, Any]]) -> str:
        """A manifest of layers; its digest."""
        return self.put(tag, {"schemaVersion": 2, "mediaType": MANIFESTS[0], "layers": layers})

    def put(self, tag: str, document: Any) -> str:
        """Any document as a manifest; its digest."""
        content = json.dumps(document).encode()
        self.tags[tag] = self.tags[f"sha256:{digest_of(content)}"] = content
        return digest_of(content)

    def __call__(self, path: str, headers: dict[str, str]) -> Reply:
        """The reply to a request."""
        shown = headers.get("authorization", "")
        basic = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        if path.startswith("/token?"):
            assert "scope=repository%3Ateam%2Fsums%3Apull" in path
            return Reply(200, json.dumps({"token": TOKEN}).encode()) if shown == basic else Reply(401, b"{}")
        if self.login and shown != {"basic": basic, "bearer": f"Bearer {TOKEN}"}.get(self.login):
            asked = f'Bearer realm="http://{self.address}/token",service="here",scope="repository:team/sums:pull"'
            asked = {"basic": 'Basic realm="here"', "bearer": asked}.get(self.login, self.login)
            return Reply(401, headers={"WWW-Authenticate": asked})
        kind, _, reference = path.removeprefix("/v2/team/sums/").partition("/")
        content = self.tags.get(reference) if kind == "manifests" else self.blobs.get(reference.removeprefix("sha256:"))
        return Reply(404) if content is None else Reply(200, content)
