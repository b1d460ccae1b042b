"""Models under ``/v1/models``: which there are, and which of their versions are served."""

from __future__ import annotations

from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.message import Request, Response, json_response
from ostinato.service.edge.v1.codec import decode_query
from ostinato.service.edge.v1.schemas import ModelQuery


class ModelRoutes:
    """Handlers of ``GET /v1/models`` and ``GET /v1/models/{model}``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def list(self, _: Request) -> Response:
        """All models, served or not."""
        return json_response({"models": [self._content(name) for name in self._catalogue.models]})

    async def show(self, request: Request) -> Response:
        """One model with the manifest of a version; where the query names none, of the one that is meant then."""
        version = decode_query(request.query_string, ModelQuery).version
        content = self._content(request.name)
        if version is None:
            meant = self._catalogue.engine_meant(request.name)
        else:
            meant = self._catalogue.resolve_any(request.name, version)
        content["version"] = meant.manifest.version if meant else None
        content["task"] = meant.manifest.task if meant else content["task"]
        content["manifest"] = meant.manifest.model_dump(mode="json") if meant else None
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
