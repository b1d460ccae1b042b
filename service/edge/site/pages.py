"""Site: the pages of ``docs/``, built, under ``/docs/``, read from one archive in the package."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ostinato.service.edge.message import Response
from ostinato.service.edge.openapi.documents import Render
from ostinato.service.errors import UnknownRoute

ARCHIVE = Path(__file__).parent / "site.zip"
"""Written by ``make docs``; a wheel has it."""

PLACE = "/docs/"
INDEX = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # signs that its style sheet draws
        "connect-src 'self'",  # its search shows a piece of each page that it finds
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy: files of this server alone, none of them written into a page."""

HEADERS = (
    (b"cache-control", b"no-cache"),  # kept, and asked for anew by its ETag: another release has other pages
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Site:
    """What answers ``/docs/`` and all paths below it that there are.

    The files are those that the archive names, and no path of a request ever meets a disk. They hold nothing of the
    server's, so they are shown to who has no key.

    Args:
        archive: the built site, None = the package's; where it is not there, ``/docs/`` says how to build it.
    """

    def __init__(self, archive: Path | None = None) -> None:
        archive = archive or ARCHIVE
        self.answers: Mapping[str, Render]
        """What answers each path."""
        if not archive.is_file():
            self.answers = {PLACE: _tell_how}
            return
        self._archive = zipfile.ZipFile(io.BytesIO(archive.read_bytes()))
        files = {f"{PLACE}{file.filename}": self._show(file) for file in self._archive.infolist()}
        self.answers = {**files, PLACE: files[f"{PLACE}{INDEX}"]}

    def _show(self, file: zipfile.ZipInfo) -> Render:
        media_type = MEDIA_TYPES[PurePosixPath(file.filename).suffix]
        # Weak, as it leaves in several codings.
        mark = f'W/"{file.CRC:08x}-{file.file_size:x}"'.encode()
        headers = (*HEADERS, (b"etag", mark))
        return lambda: Response(200, self._archive.read(file), media_type, headers)


def _tell_how() -> Response:
    raise UnknownRoute("the pages are not built here: `make docs` builds them in a checkout; /docs has the routes")
