"""``ostinato models fetch``: versions come into a repository from wherever they are."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import FileSizeColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from ostinato.errors import SettingsError
from ostinato.extras import require
from ostinato.tools.service_settings import settings_of_the_service

if TYPE_CHECKING:
    from ostinato.service.fetching.sources import ModelSource

PATIENCE_SECONDS = 2.0
"""What takes no longer shows no bar."""


class ByteBar:
    """A bar that counts bytes, shown as soon as that has taken a while."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), FileSizeColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._show_at = time.monotonic() + PATIENCE_SECONDS
        self._is_shown = False

    def __call__(self, shown: str, num_bytes: int) -> None:
        """``num_bytes`` more have come, of what is called ``shown``."""
        self._progress.update(self._task, description=escape(shown), advance=num_bytes)
        if not self._is_shown and self._progress.console.is_terminal and time.monotonic() >= self._show_at:
            self._progress.start()
            self._is_shown = True

    def __enter__(self) -> ByteBar:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._is_shown:  # else it would end a line that there is not
            self._progress.stop()


def fetch(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, archives (.tar.gz, .zip) or addresses: https://, s3://, oci://HOST/NAME:TAG, "
            "bentoml:NAME:TAG. With #sha256:HEX after it, a source must have that checksum.",
            show_default="those of OSTINATO_MODELS",
            metavar="SOURCE...",
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            help="Folder into which the versions are copied.", show_default="OSTINATO_REPOSITORY, or repository"
        ),
    ] = None,
    checksum: Annotated[
        str, typer.Option(help="SHA-256 of the archive, the OCI manifest or model.json.", show_default="any")
    ] = "",
) -> None:
    """Bring versions into a repository. Each file must have the SHA-256 in its model.json. A version appears complete
    or not at all, so a server with --watch can load it. A version that is there and equal is not changed.

    [bold]Examples[/]

    ostinato models fetch other/repository

    ostinato models fetch https://models.example.com/beijing-lstm-2.tar.gz --checksum sha256:...

    ostinato models fetch s3://models/beijing-lstm/2 oci://registry.example.com/beijing-gru:1 --repository /models
    """
    require("pydantic", __name__)
    from ostinato.service.config.places import split_sources
    from ostinato.service.fetching.sources import read_source

    settings = settings_of_the_service()
    wanted = sources or split_sources(settings.models)
    if not wanted:
        raise SettingsError("there is nothing to fetch; name a source, or put several into OSTINATO_MODELS")
    if checksum and len(wanted) > 1:
        raise SettingsError("--checksum is of one source; put #sha256:... behind each of several")
    fetch_models([read_source(source, checksum) for source in wanted], repository or settings.repository)


def fetch_models(sources: list[ModelSource], repository: Path) -> None:
    """Fetch with a bar, and a line for each version.

    Raises:
        FetchFailed: one cannot be fetched.
    """
    from ostinato.service.fetching.fetching import fetch_all

    console = Console()
    with ByteBar(Console(stderr=True)) as bar:
        for fetched in fetch_all(sources, repository, bar):
            console.print(escape(str(fetched)), highlight=False, soft_wrap=True)
