"""Documents: the service's own description and the page that shows it, in the place of BentoML's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.catalogue import AnyEngine, Catalogue
from ostinato.service.edge.message import JSON, Response, json_line
from ostinato.service.edge.openapi.document import build
from ostinato.service.edge.openapi.examples import Examples
from ostinato.service.edge.openapi.page import Page

_ALWAYS_ASK = (b"cache-control", b"no-cache")


class Render(Protocol):
    """Gives an answer that needs nothing of the request."""

    def __call__(self) -> Response:
        """The answer."""


class Documents:
    """``/openapi.json`` and ``/docs``; and ``/`` and ``/docs.json``, where BentoML has others, lead to them.

    They are made when they are asked for, and made again when other versions are served.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._made_of: tuple[Manifest, ...] | None = None
        self._openapi = self._page = Response(404, b"")

    @property
    def answers(self) -> Mapping[str, Render]:
        """What answers each path."""
        return {
            "/openapi.json": self._show_openapi,
            "/docs": self._show_page,
            "/": lambda: lead_to("docs"),
            "/docs.json": lambda: lead_to("openapi.json"),
        }

    def _show_openapi(self) -> Response:
        self._make()
        return self._openapi

    def _show_page(self) -> Response:
        self._make()
        return self._page

    def _make(self) -> None:
        newest = self._newest()
        manifests = tuple(engine.manifest for engine in newest)
        if manifests == self._made_of:
            return
        document = build(Examples(newest))
        page = Page(document)
        self._openapi = Response(200, json_line(document), JSON, (_ALWAYS_ASK,))
        headers = (
            _ALWAYS_ASK,
            (b"content-security-policy", page.policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        )
        self._page = Response(200, page.html, "text/html; charset=utf-8", headers)
        self._made_of = manifests

    def _newest(self) -> list[AnyEngine]:
        """The newest served version of each model."""
        return list({engine.manifest.name: engine for engine in self._catalogue.served}.values())


def lead_to(place: str) -> Response:
    """An answer that leads to another path, ``place``."""
    # Relative, so that it holds behind a proxy that puts a path before ours.
    return Response(307, b"", "text/plain", ((b"location", place.encode()),))
