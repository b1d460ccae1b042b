"""Console: a page in the browser to look through, and all that it is made of, read from the package once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ostinato.service.edge.message import Response
from ostinato.service.edge.openapi.documents import Render, lead_to

FOLDER = Path(__file__).parent / "page"
PLACE = "/console"
INDEX = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
}

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
"""The Content-Security-Policy: files of this server alone, none of them written into the page, and no markup out of
strings."""

HEADERS = (
    (b"cache-control", b"no-cache"),  # another release has other files under the same names
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(self)"),
)


class Console:
    """``/console`` and the files that it loads, which lie under it.

    They hold nothing of the server's, so they are served to who has no key; what they then ask needs one.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        files = sorted(path for path in folder.rglob("*") if path.suffix in MEDIA_TYPES)
        self.answers: Mapping[str, Render] = {
            **{f"{PLACE}/{path.relative_to(folder).as_posix()}": _shown(path) for path in files},
            PLACE: _shown(folder / INDEX),
            # Relative, as all of the page's addresses, so that it holds behind a proxy that puts a path before ours.
            f"{PLACE}/": lambda: lead_to("../console"),
        }
        """What answers each path."""


def _shown(path: Path) -> Render:
    content = path.read_bytes()
    mark = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
    response = Response(200, content, MEDIA_TYPES[path.suffix], (*HEADERS, (b"etag", mark)))
    return lambda: response
