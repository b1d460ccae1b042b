"""Descriptions by the Open Inference Protocol: what the server and its models are, and what they have done.

All are plain objects whose keys are the protocol's own field names, so that HTTP writes them as JSON and gRPC as its
messages.
"""

from __future__ import annotations

from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.metrics.series import Metrics


class Descriptions:
    """Describes the server and its models.

    Args:
        metrics: where statistics come from.
    """

    def __init__(self, catalogue: Catalogue, metrics: Metrics) -> None:
        self._catalogue = catalogue
        self._metrics = metrics

    def server(self) -> dict[str, Any]:
        """``name``, ``version`` and ``extensions`` of the server (``ServerMetadataResponse``)."""
        raise NotImplementedError

    def model(self, name: str, version: str | None = None) -> dict[str, Any]:
        """``name``, ``versions``, ``platform``, ``inputs`` and ``outputs`` (``ModelMetadataResponse``).

        Raises:
            UnknownModel: no such model or version is served.
            Starting: that cannot be said yet.
        """
        raise NotImplementedError

    def is_ready(self, name: str, version: str | None = None) -> bool:
        """Whether a model, or a version of it, is served; raises Starting, and UnknownModel where there is none."""
        raise NotImplementedError

    def config(self, name: str, version: str | None = None) -> dict[str, Any]:
        """What of Triton's ``ModelConfig`` has a meaning here; raises as ``model``."""
        raise NotImplementedError

    def statistics(self, name: str | None = None, version: str | None = None) -> dict[str, Any]:
        """``model_stats``: what each served version has done, over all workers; of one model where it is named.

        Raises as ``model``.
        """
        raise NotImplementedError

    def index(self, ready_only: bool = False) -> list[dict[str, Any]]:
        """``name``, ``version``, ``state`` and ``reason`` of each version, served or not (``RepositoryIndexResponse``).

        ``ready_only``: the served ones alone.
        """
        raise NotImplementedError
