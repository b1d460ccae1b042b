"""A small store of objects that speaks as much of S3 as reading takes: listing by prefix, and objects, to one key."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.service.fetching.web_server import serving

KEY = "reader"


class ObjectStore(ThreadingHTTPServer):
    """Buckets are the folders of ``root``."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets to reach it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }


@contextlib.contextmanager
def running_store(root: Path) -> Iterator[ObjectStore]:
    """A store for the length of a test."""
    with serving(ObjectStore(root)) as store:
        yield store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectStore

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        asked = parse_qs(url.query, keep_blank_values=True)
        if f"AWS4-HMAC-SHA256 Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>no such key</Message></Error>")
        elif "list-type" in asked:
            self._answer(200, self._listing(bucket, asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]))
        elif (file := self.server.root / bucket / key).is_file():
            self._object(file.read_bytes())
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>there is none</Message></Error>")

    def _object(self, content: bytes) -> None:
        if (asked := self.headers.get("Range")) is None:
            self._answer(200, content)
            return
        first, _, last = asked.removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
        self._answer(206, content[begin : end + 1], {"Content-Range": f"bytes {begin}-{end}/{len(content)}"})

    def _listing(self, bucket: str, prefix: str, delimiter: str) -> bytes:
        root = self.server.root / bucket
        keys = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        found = [key for key in keys if key.startswith(prefix)]
        folders = {
            f"{prefix}{key.removeprefix(prefix).partition('/')[0]}/"
            for key in found
            if delimiter and "/" in key.removeprefix(prefix)
        }
        objects = [key for key in found if not (delimiter and "/" in key.removeprefix(prefix))]
        told = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f'<ETag>"1"</ETag><Size>{(root / key).stat().st_size}</Size></Contents>'
            for key in objects
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(folders))
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(objects)}</KeyCount>"
        return f"<ListBucketResult>{head}<IsTruncated>false</IsTruncated>{told}</ListBucketResult>".encode()

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {
            "Content-Length": str(len(content)),
            "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
            "ETag": '"1"',
            **(headers or {}),
        }
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
