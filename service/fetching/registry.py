"""Models in a registry of OCI artifacts, by the distribution API: a manifest, and layers by their digests.

Of an artifact each layer with a title is a file (``oras push HOST/NAME:TAG model.json model.onnx ...``). A layer that
is a packed folder, as of an image, is an archive.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx2

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.archive import ArchiveTree
from ostinato.service.fetching.registry_login import RegistryLogin
from ostinato.service.fetching.sources import ModelSource
from ostinato.service.fetching.tree import MAX_BYTES, Pieces, Report, check_count, check_sum, reading, save
from ostinato.service.fetching.web import content_of, document_of

INDICES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
"""Before the name of what a layer takes away from those below it; and the name that takes all of its folder away."""
MAX_DOCUMENT_BYTES = 4 * 1024**2
_ADDRESS = re.compile(
    r"(?:[^/@]*@)?(?P<host>[^/@]+)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
Read: TypeAlias = Callable[[], Pieces]


class RegistryTree:
    """The files of one artifact or image.

    Args:
        scratch: a folder for layers that are archives.

    Raises:
        FetchFailed: it cannot be read; names it.
    """

    def __init__(self, client: httpx2.Client, source: ModelSource, scratch: Path, report: Report) -> None:
        found = _ADDRESS.fullmatch(source.path)
        if found is None:
            raise FetchFailed(f"{source.shown}: write it as oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:DIGEST")
        self._client, self._scratch, self._report, self._shown = client, scratch, report, source.shown
        scheme = "http" if _is_this_machine(found["host"]) else "https"
        self._base = f"{scheme}://{found['host']}/v2/{found['name']}"
        self._login = RegistryLogin(client, source, found["host"], found["name"])
        self._files: dict[str, Read] = {}
        self._archives: dict[str, ArchiveTree] = {}
        self._left = MAX_BYTES
        digest = source.checksum or found["digest"] or ""
        if source.checksum and found["digest"] not in (None, source.checksum):
            raise FetchFailed(f"{self._shown}: its digest is not the checksum that is asked for")
        self._read(self._document(f"sha256:{digest}" if digest else found["tag"] or "latest", digest))

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        return list(self._files)

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``."""
        if path not in self._files:
            raise FileNotFoundError(path)
        yield from self._files[path]()

    def _document(self, reference: str, digest: str) -> dict[str, Any]:
        url = f"{self._base}/manifests/{reference}"
        try:
            headers = self._headers(url, ", ".join((*MANIFESTS, *INDICES)))
            content = document_of(self._client, url, self._shown, MAX_DOCUMENT_BYTES, headers)
        except FileNotFoundError as error:
            raise self._absent() from error
        check_sum(hashlib.sha256(content).hexdigest(), digest, self._shown)
        with reading(f"{self._shown}: its manifest is none of an OCI artifact or image"):
            document = json.loads(content)
            if not isinstance(document, dict):
                raise TypeError("it is no object")
            return document

    def _read(self, document: dict[str, Any]) -> None:
        with reading(f"{self._shown}: its manifest is none of an OCI artifact or image"):
            if "manifests" in document:
                # Models are the same for every machine: whichever image is there holds them.
                digest = _hex(document["manifests"][0]["digest"])
                document = self._document(f"sha256:{digest}", digest)
            layers = [
                (str(each.get("mediaType", "")), each.get("annotations") or {}, each) for each in document["layers"]
            ]
            check_count(len(layers), self._shown)
            for kind, annotations, layer in layers:
                digest, title = _hex(layer["digest"]), str(annotations.get(TITLE, ""))
                if not title and kind.endswith("zstd"):
                    raise FetchFailed(f"{self._shown}: it has a layer that is packed by zstd; pack it by gzip")
                if annotations.get(UNPACK) == "true" or (not title and _is_packed(kind)):
                    self._put_above(self._archive(digest))
                elif title:
                    self._files[title] = partial(self._blob, digest)
                check_count(len(self._files), self._shown)

    def _put_above(self, layer: ArchiveTree) -> None:
        """Have what is in a layer be in the place of what lies below it, without what it takes away."""
        own = {path: partial(layer.chunks, path) for path in layer.paths()}
        for path in (*own, *layer.others()):
            folder, slash, name = path.rpartition("/")
            if name == OPAQUE:
                self._take_away(f"{folder}{slash}", is_folder=True)
            elif name.startswith(WHITEOUT):
                self._take_away(f"{folder}{slash}{name.removeprefix(WHITEOUT)}")
            else:
                self._take_away(path)
        self._files |= {path: read for path, read in own.items() if not path.rpartition("/")[2].startswith(WHITEOUT)}

    def _take_away(self, path: str, *, is_folder: bool = False) -> None:
        """Have a file, or a folder with what is in it, be no more."""
        below = path if is_folder else f"{path}/"
        self._files.pop(path, None)
        for each in [each for each in self._files if each.startswith(below)]:
            del self._files[each]

    def _archive(self, digest: str) -> ArchiveTree:
        path = self._scratch / digest
        if digest not in self._archives:  # an image may have a layer twice, as the empty one
            with closing(self._blob(digest)) as chunks:
                save(chunks, path, self._shown, self._report, most_bytes=self._left)
            self._left -= path.stat().st_size
            self._archives[digest] = ArchiveTree(path, self._scratch, self._shown)
        return self._archives[digest]

    def _blob(self, digest: str) -> Pieces:
        found = hashlib.sha256()
        url = f"{self._base}/blobs/sha256:{digest}"
        try:
            with closing(content_of(self._client, url, self._shown, self._headers(url, "*/*"))) as chunks:
                for piece in chunks:
                    found.update(piece)
                    yield piece
        except FileNotFoundError as error:
            raise self._absent() from error
        check_sum(found.hexdigest(), digest, self._shown)

    def _headers(self, url: str, accept: str) -> Callable[[], dict[str, str]]:
        return lambda: {"Accept": accept, **self._login.headers_for(url)}

    def _absent(self) -> FetchFailed:
        return FetchFailed(f"{self._shown}: the registry has no such artifact")


def _is_packed(media_type: str) -> bool:
    return re.search(r"tar(?:[+.]gzip)?$", media_type) is not None


def _hex(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise ValueError(digest)
    return found[1]


def _is_this_machine(host: str) -> bool:
    """Whether a registry is this machine's own, and so asked without TLS, as other tools do."""
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
