"""Models under ``/v1/models``: which there are, and which of their versions are served."""

from __future__ import annotations

from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.message import Request, Response, json_response


class ModelRoutes:
    """Handlers of ``GET /v1/models`` and ``GET /v1/models/{model}``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def list(self, _: Request) -> Response:
        """All models, served or not."""
        return json_response({"models": [self._content(name) for name in self._catalogue.models]})

    async def show(self, request: Request) -> Response:
        """One model with the manifest of its latest served version."""
        content = self._content(request.name)
        versions = self._catalogue.versions(request.name)
        latest = next(reversed(versions.values()), None)
        content["manifest"] = latest.manifest.model_dump(mode="json") if latest else None
        return json_response(content)

    def _content(self, name: str) -> dict[str, Any]:
        versions, rejections = self._catalogue.versions(name), self._catalogue.rejected(name)
        task = next(reversed(versions.values())).manifest.task if versions else None
        return {
            "model": name,
            "task": task,
            "versions": list(versions),
            "status": "ready" if versions else "failed",
            "failed": [{"version": rejection.version, "reason": rejection.reason} for rejection in rejections],
        }
