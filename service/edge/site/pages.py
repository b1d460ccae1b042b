"""Site: the pages of ``docs/``, built, under ``/docs/``, read from one archive in the package."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ostinato.service.edge.message import Response
from ostinato.service.edge.openapi.documents import Render
from ostinato.service.errors import UnknownRoute

logger = logging.getLogger(__name__)

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

    The files are those that the archive names, unpacked once: a request costs no more than it sends, and its path
    never meets a disk. They hold nothing of the server's, so they are shown to who has no key.

    Args:
        archive: the built site, None = the package's. Where it is not there, or damaged, ``/docs/`` says how to build
            it: a server does without its pages.
    """

    def __init__(self, archive: Path | None = None) -> None:
        archive = archive or ARCHIVE
        self.answers: Mapping[str, Render] = {PLACE: _tell_how}
        """What answers each path."""
        if archive.is_file():
            try:
                self.answers = _read(archive)
            except Exception as error:  # of zipfile, of zlib, of a page that is missing: a server serves models
                logger.warning("%s is damaged, and %s shows no pages: %s", archive.name, PLACE, error)


def _read(archive: Path) -> dict[str, Render]:
    """What answers each path of an archive; raises what those raise who read it."""
    with zipfile.ZipFile(archive) as opened:
        files = {f"{PLACE}{file.filename}": _show(file, opened.read(file)) for file in opened.infolist()}
    return {**files, PLACE: files[f"{PLACE}{INDEX}"]}


def _show(file: zipfile.ZipInfo, content: bytes) -> Render:
    media_type = MEDIA_TYPES[PurePosixPath(file.filename).suffix]
    # Weak, as it leaves in several codings.
    mark = f'W/"{file.CRC:08x}-{file.file_size:x}"'.encode()
    is_packed = media_type == MEDIA_TYPES[".png"]
    answer = Response(200, content, media_type, (*HEADERS, (b"etag", mark)), is_plain=is_packed)
    return lambda: answer


def _tell_how() -> Response:
    raise UnknownRoute("the pages are not built here: `make docs` builds them in a checkout; /docs has the routes")
