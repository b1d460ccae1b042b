"""Public words: what a client is told of a failure, without where things lie on the server; its log has all of it."""

from __future__ import annotations

import re
from pathlib import Path

from ostinato.service.config import Settings

ROUTES = ("v1", "v2", "docs")
_STORE = re.compile(r"rediss?(?:\+(?:sentinel|cluster))?://[^\s;]*[^\s;:,]")


class PublicWords:
    """Takes paths and addresses out of sentences: those in the repository stay from there on, of others the last part.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        repository = settings.repository.absolute()
        self._roots = sorted({f"{repository}/", f"{repository.resolve()}/"}, key=len, reverse=True)
        self._repository = {str(repository), str(repository.resolve())}
        # What begins with a folder of the system's root is a path of this machine, and no route.
        names = sorted(path.name for path in Path("/").iterdir())
        tops = "|".join(re.escape(name) for name in names if name not in ROUTES)
        self._path = re.compile(rf"(?<![\w/.:])/(?:{tops})(?:/[^\s'\",;:()\[\]]*)?")

    def of(self, text: str) -> str:
        """A sentence as it may be told to whoever asks."""
        if "/" not in text:
            return text
        for root in self._roots:
            text = text.replace(root, "")
        for place in self._repository:
            text = re.sub(rf"{re.escape(place)}(?![\w/.-])", "the repository", text)
        text = _STORE.sub("the store", text)
        return self._path.sub(lambda found: Path(found[0]).name or "a folder", text)
