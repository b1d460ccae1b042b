"""The trial of a version, as it runs in the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings


def load(directory: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Load a version as the service does, and tell what came of it."""
    loaded = load_version(Path(directory), Settings(**settings))
    return {
        "manifest": loaded.manifest.model_dump(mode="json"),
        "golden_difference": float(loaded.golden_difference),
        "step_seconds": loaded.step_seconds,
    }
