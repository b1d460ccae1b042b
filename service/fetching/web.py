"""Files at a web server: an archive, or a base address at which ``model.json`` lies and what it lists."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from http import HTTPStatus
from urllib.parse import quote, urlsplit, urlunsplit

import httpx2

from ostinato.service.artifact.manifest import MANIFEST_FILE
from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.retries import Interrupted, Retries, interrupted
from ostinato.service.fetching.tree import Pieces
from ostinato.service.fetching.watch import HeadWatch, paced

SECONDS = 60.0
"""For a connection, and without a byte."""
TRANSIENT = (429, 502, 503, 504)
"""What a server answers that may answer differently soon."""

AskedHeaders = Callable[[], Mapping[str, str]]
"""What a request carries, as it is at its moment."""


@contextmanager
def web_client() -> Iterator[httpx2.Client]:
    """A client of servers that give files."""
    with httpx2.Client(
        timeout=SECONDS,
        follow_redirects=True,
        max_redirects=5,
        limits=httpx2.Limits(max_keepalive_connections=0),  # a connection is watched from its beginning
        headers={"Accept-Encoding": "identity"},  # what a server packs would not be what a checksum is of
    ) as client:
        yield client


def content_of(
    client: httpx2.Client, url: str, shown: str, headers: AskedHeaders = dict, retries: Retries | None = None
) -> Pieces:
    """What a GET gives, piece by piece. Where it is interrupted, it is asked for again, and continues where it was.

    Raises:
        FetchFailed: the server refuses, again and again does not answer to the end, or leads from TLS to where there
            is none.
        FileNotFoundError: there is no such file.
    """
    retries = retries or Retries()
    came = _Came(shown)
    while True:
        try:
            with _answer_of(client, url, shown, headers()) as answer:
                yield from came.new_of(paced(answer.iter_raw(), shown))
            return
        except (httpx2.HTTPError, httpx2.InvalidURL, Interrupted) as error:
            retries.wait(interrupted(error, shown))


def document_of(client: httpx2.Client, url: str, shown: str, most_bytes: int, headers: AskedHeaders = dict) -> bytes:
    """The same at once, of what is small.

    Raises:
        FetchFailed: it is larger, too.
    """
    content = bytearray()
    with closing(content_of(client, url, shown, headers)) as chunks:
        for piece in chunks:
            content += piece
            if len(content) > most_bytes:
                raise FetchFailed(
                    f"{shown}: the server answers with more than {most_bytes:,} bytes; is it the right one?"
                )
    return bytes(content)


@contextmanager
def head_of(
    client: httpx2.Client, url: str, headers: Mapping[str, str], method: str = "HEAD"
) -> Iterator[httpx2.Response]:
    """An answer of which nothing has been read but the head."""
    with HeadWatch() as watch, client.stream(method, url, headers=headers, extensions=watch.extensions) as answer:
        watch.stop()
        yield answer


@contextmanager
def _answer_of(client: httpx2.Client, url: str, shown: str, headers: Mapping[str, str]) -> Iterator[httpx2.Response]:
    """An answer that has a file, of which nothing has been read."""
    with head_of(client, url, headers, "GET") as answer:
        schemes = [each.url.scheme for each in (*answer.history, answer)]
        if "http" in schemes[schemes.index("https") :] if "https" in schemes else False:
            raise FetchFailed(f"{shown}: it leads to {answer.url.host} without TLS; name that address if you mean it")
        if answer.status_code in (404, 410):
            raise FileNotFoundError(shown)
        if answer.status_code in TRANSIENT:
            raise Interrupted(f"{shown}: the server answers {status_of(answer)}", answer.headers.get("retry-after", ""))
        if not answer.is_success:
            advice = (
                "put user and password into the address, or of a registry, 'docker login' there first"
                if answer.status_code in (401, 403)
                else "ask those who run it, or name another address"
            )
            raise FetchFailed(f"{shown}: the server answers {status_of(answer)}; {advice}")
        yield answer


def status_of(answer: httpx2.Response) -> str:
    """A status in words that are not the server's, who may say anything."""
    try:
        return f"{answer.status_code} {HTTPStatus(answer.status_code).phrase}"
    except ValueError:
        return str(answer.status_code)


class _Came:
    """What has come of a file, of which more attempts begin at the beginning."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._num_bytes, self._found = 0, hashlib.sha256()

    def new_of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """What is new of another attempt.

        Raises:
            FetchFailed: what is not new is another than before.
        """
        left, again = self._num_bytes, hashlib.sha256()
        for piece in pieces:
            again.update(piece[:left])
            new = piece[left:]
            left -= len(piece) - len(new)
            if new and again.digest() != self._found.digest():
                raise FetchFailed(f"{self._shown}: it was changed while it was fetched; fetch it again")
            self._num_bytes += len(new)
            self._found.update(new)
            again.update(new)
            if new:
                yield new


class WebTree:
    """A base address; what is below it is not listed, so only the version that lies there is found."""

    def __init__(self, client: httpx2.Client, address: str, shown: str) -> None:
        self._client, self._address, self._shown = client, urlsplit(address), shown.rstrip("/")

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        return [MANIFEST_FILE]

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``; an empty path is the address itself."""
        below = f"{self._address.path.rstrip('/')}/{quote(path)}" if path else self._address.path
        url = urlunsplit(self._address._replace(path=below))
        return content_of(self._client, url, f"{self._shown}/{path}" if path else self._shown)
