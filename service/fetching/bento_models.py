"""Models of BentoML's store: one by its tag, and those that a Bento names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.sources import ModelSource


def stored_folder(source: ModelSource) -> Path:
    """The folder of a model in the store.

    Raises:
        FetchFailed: the store has none of this tag.
    """
    import bentoml  # its import takes seconds, and only these sources want it
    from bentoml.exceptions import BentoMLException

    tag = source.path
    try:
        return Path(bentoml.models.get(tag).path)
    except (BentoMLException, ValueError) as error:
        raise FetchFailed(
            f"{source.shown}: BentoML's store has no such model; 'bentoml models list' has those that it has, and "
            "BENTOML_HOME says where it is"
        ) from error


def sources_of(bento: Any) -> list[ModelSource]:
    """The models that a Bento names, as sources: those that lie in it, and else those of the store.

    Args:
        bento: BentoML's; None = the service was not started from one.
    """
    if bento is None:
        return []
    sources = []
    for model in bento.info.all_models:
        if getattr(model, "registry", "bentoml") == "bentoml":
            within = Path(bento.path) / "models" / model.tag.name / str(model.tag.version)
            sources.append(ModelSource(str(within) if within.is_dir() else f"bentoml:{model.tag}"))
    return sources


def repository_of(bento: Any, home: Path) -> Path:
    """Where a Bento's models are brought to that has no repository of its own: it is not to be written into."""
    return home / "ostinato" / f"{bento.tag.name}-{bento.tag.version}"
