"""Sources: where models come from, as an operator writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from ostinato.service.config.places import is_folder, split_sources
from ostinato.service.errors import FetchFailed

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_CHECKSUM = re.compile(r"(?:sha256[:=])?([0-9a-f]{64})", re.IGNORECASE)


HIDDEN = "***"
_TAG = re.compile(r"[\w.-]+(?::[\w.-]+)?")
_HOST = re.compile(r"(?:[\w.-]*|\[[\da-f:.]+\])(?::\d+)?", re.IGNORECASE)
_DIGEST = re.compile(r"@sha256:\w+$")


@dataclass(frozen=True)
class ModelSource:
    """A place that models come from.

    Attributes:
        address: as it was written, without its checksum.
        checksum: the SHA-256 that its archive, its OCI manifest or its only ``model.json`` has, in hexadecimal; empty
            = any. The files are held to their manifest's all the same.
    """

    address: str
    checksum: str = ""

    @property
    def scheme(self) -> str:
        """``https``; empty for a path of this machine."""
        return "" if is_folder(self.address) else self.address.partition(":")[0].lower()

    @property
    def path(self) -> str:
        """What is behind the scheme; of a URL, without what it asks."""
        if not self.scheme or self.scheme == "file":
            path = re.sub(r"^file:(?=/)(?://(?=/))?", "", self.address, flags=re.IGNORECASE)
            return unquote(path) if self.scheme else path
        return re.split(r"[?]", self.address.partition(":")[2].removeprefix("//"), maxsplit=1)[0]

    @property
    def is_archive(self) -> bool:
        """Whether its name is that of an archive."""
        return PurePosixPath(self.path).name.lower().endswith(ARCHIVES)

    @property
    def shown(self) -> str:
        """What may be said of it: without user and password, and without what a URL asks, which may be a signature.

        A password may hold each sign that ends one. So nothing before the last ``@`` is shown, and nothing at all of
        what is no plain address.
        """
        if not self.scheme:
            return HIDDEN if "://" in self.address else _behind_users(self.address)
        scheme, _, rest = self.address.partition(":")
        if self.scheme == "bentoml":
            return self.address if _TAG.fullmatch(rest) else HIDDEN
        if self.scheme == "file" and _is_local(rest):
            return f"{scheme}:{_behind_users(rest)}"
        return f"{self.scheme}://{_shown_url(rest.removeprefix('//'))}" if rest.startswith("//") else HIDDEN

    @property
    def is_plain(self) -> bool:
        """Whether it holds nothing that may not be shown."""
        return self.shown == self.address


def read_sources(text: str) -> list[ModelSource]:
    """The sources of a setting: separated by commas or spaces.

    Raises:
        FetchFailed: one of them cannot be; names it.
    """
    return [read_source(each) for each in split_sources(text)]


def read_source(text: str, checksum: str = "") -> ModelSource:
    """A source, with its checksum behind a ``#`` or by itself.

    Raises:
        FetchFailed: it cannot be; names it.
    """
    address, sign, own = text.partition("#")
    source = ModelSource(address)
    if not address:
        raise FetchFailed("a source is empty; give a folder, an archive or an address, as https://...")
    if "@" in own:
        raise FetchFailed(f"{ModelSource(text).shown}: write a # within a user or password as %23, a / as %2F")
    if source.scheme in ("http", "https", "oci") and not _is_whole(address):
        raise FetchFailed(
            f"{source.shown}: it is no address; write it as {source.scheme}://HOST/PATH, and what is special within a "
            "user or password as %2F, %3F, %23"
        )
    if source.scheme == "file" and not _is_local(address.partition(":")[2]):
        raise FetchFailed(f"{source.shown}: it is of another machine; write it as file:///PATH")
    return ModelSource(address, _read_checksum(source, own or checksum)) if sign or checksum else source


def _is_whole(address: str) -> bool:
    try:
        split = urlsplit(address)
        return bool(split.hostname) and (split.port or 1) > 0
    except ValueError:
        return False


def _read_checksum(source: ModelSource, text: str) -> str:
    found = _CHECKSUM.fullmatch(text)
    if found is None:
        raise FetchFailed(f"{source.shown}: what is behind # is no checksum; write sha256: and 64 hexadecimal digits")
    return found[1].lower()


def _is_local(rest: str) -> bool:
    """Whether a ``file:`` names a path, and no machine before it."""
    return re.match(r"/(?!/)|///", rest) is not None


def _shown_url(rest: str) -> str:
    """What may be shown of what is behind ``//``."""
    path, _, asked = re.sub("[?#]", "?", rest).partition("?")
    authority, slash, below = path.partition("/")
    if "@" in asked or "::" in below or not _HOST.fullmatch(authority.rpartition("@")[2]):
        return HIDDEN
    if "@" in _DIGEST.sub("", below):  # an address in the path, or a password with a slash
        return f"{HIDDEN}@{path.rpartition('@')[2]}"
    return f"{authority.rpartition('@')[2]}{slash}{below}"


def _behind_users(path: str) -> str:
    """A path, of which everything before the last ``@`` may be part of an address that is torn apart."""
    before, at, behind = path.rpartition("@")
    return f"{HIDDEN}@{behind}" if at and before else path
