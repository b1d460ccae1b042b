"""``ostinato models fetch``: versions come into a repository from wherever they are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from ostinato.commands.progress import ProgressReport, late_progress
from ostinato.errors import SettingsError
from ostinato.extras import require
from ostinato.tools.service_settings import settings_of_the_service

if TYPE_CHECKING:
    from ostinato.service.fetching.sources import ModelSource


class BytesFetched:
    """A count of the bytes that have come, for a bar."""

    def __init__(self, report: ProgressReport) -> None:
        self._report = report
        self._num_bytes = 0
        self._begun_at = time.monotonic()

    def __call__(self, shown: str, num_bytes: int) -> None:
        """``num_bytes`` more have come, of what is called ``shown``."""
        self._num_bytes += num_bytes
        rate = self._num_bytes / max(1e-3, time.monotonic() - self._begun_at)
        self._report(self._num_bytes, None, f"{decimal(self._num_bytes)}, {decimal(int(rate))}/s: {shown}")


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

    ostinato models fetch s3://models/lstm/2 oci://registry.example.com/gru:1 --repository /models
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
    with late_progress(Console(stderr=True), "fetching", "") as report:
        for fetched in fetch_all(sources, repository, BytesFetched(report)):
            console.print(escape(str(fetched)), highlight=False, soft_wrap=True)
