"""What the run directories of networks that write text say to their exporters: the vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ostinato.models.errors import RunError
from ostinato.models.run_files import RUN_FILE
from ostinato.service.artifact.vocabulary import Vocabulary


def vocabularies_of(run_directory: Path, content: dict[str, Any]) -> dict[str, Vocabulary]:
    """The vocabularies that a run's content names, ``source`` and ``target``.

    Raises:
        RunError: one of them is not valid.
    """
    try:
        return {role: Vocabulary.model_validate(given) for role, given in content["vocabularies"].items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise RunError(f"{run_directory}: {RUN_FILE} is damaged: vocabularies: {fault['msg']}") from error
