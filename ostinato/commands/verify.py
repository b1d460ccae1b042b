"""``ostinato verify``: every check that the service makes when it loads a model, without starting it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape

from ostinato.commands.options import DeviceName
from ostinato.commands.progress import late_progress
from ostinato.commands.tables import WholeTable, table_console
from ostinato.errors import SettingsError
from ostinato.extras import require
from ostinato.tools.service_settings import choose_device, settings_of_the_service

if TYPE_CHECKING:
    from ostinato.service.artifact.manifest import Manifest
    from ostinato.service.catalogue.tried import TriedVersion


class Verified(NamedTuple):
    """What the checks of one version's directory found; ``reason`` says what failed, where ``loaded`` is None."""

    directory: Path
    loaded: TriedVersion | None
    reason: str

    @property
    def model(self) -> str:
        """The model's name; where it failed, by its folder."""
        return self.directory.parent.name if self.loaded is None else self.loaded.manifest.name

    @property
    def version(self) -> str:
        """The version's name; where it failed, by its folder."""
        return self.directory.name if self.loaded is None else self.loaded.manifest.version


def verify(
    directory: Annotated[
        Path, typer.Argument(help="A repository, a model in it, or one version.", metavar="DIRECTORY")
    ] = Path("repository"),
    device: DeviceName = None,
) -> None:
    """Check models as the service does when it loads them: the files, the graphs against the manifest, the golden
    answers of the trained network, and the promise. The promise is checked to the bit: a row is the same in any
    batch, or in runs of the one shape that is named, or alone. The exit status is 1 if a check fails. This needs no
    torch.

    The golden answers of an encoder-decoder are decoded from their sources, those of a generator from nothing. Each
    step is fed what the network was fed. A decoder of sessions forecasts from the states after their sequences. With
    [bold]--device cuda[/] models with sessions are checked on the GPU, too.

    [bold]Examples[/]

    ostinato verify repository

    ostinato verify repository/beijing-lstm/1
    """
    require("onnxruntime", __name__)
    choose_device(device)
    directories = find_directories(directory)
    console = table_console()
    results: list[Verified] = []
    with late_progress(console, "checking", "versions") as report:
        for place in directories:
            report(len(results), len(directories), f"{place.parent.name}/{place.name}")
            results.append(verify_version(place))
    console.print(results_table(results))
    for result in results:
        for warning in result.loaded.warnings if result.loaded is not None else ():
            console.print(f"[yellow]note:[/] {escape(warning)}", highlight=False, soft_wrap=True)
        if result.loaded is None:
            console.print(
                f"[red]{escape(result.model)}/{escape(result.version)} failed:[/] {escape(result.reason)}",
                highlight=False,
                soft_wrap=True,
            )
    if any(result.loaded is None for result in results):
        raise typer.Exit(1)


def find_directories(directory: Path) -> list[Path]:
    """The versions' directories below a repository, a model or a version.

    Raises:
        ModelRejected: there is no such folder.
        SettingsError: there is no version in it.
    """
    from ostinato.service.artifact.manifest import MANIFEST_FILE
    from ostinato.service.catalogue.repository import find_versions

    if (directory / MANIFEST_FILE).is_file():
        return [directory.absolute()]  # its name and its parent's count, also for "."
    if any(directory.glob(f"*/{MANIFEST_FILE}")):
        inside = directory.absolute().iterdir()
        return sorted(path for path in inside if path.is_dir() and not path.name.startswith("."))
    found = find_versions(directory)
    if not found:
        raise SettingsError(f"{directory}: there is no <model>/<version> in it; 'ostinato export' writes one")
    return found


def verify_version(directory: Path) -> Verified:
    """Run every check of one version's directory, in a process of its own, which may die of it; and of one that
    passed those of a device, in this one.
    """
    from ostinato.service.catalogue.loading import load_version
    from ostinato.service.catalogue.tried import TriedVersion, try_version
    from ostinato.service.errors import ModelRejected

    settings = settings_of_the_service()
    try:
        tried = try_version(directory, settings)
        if settings.device != "cpu":
            loaded = load_version(directory, settings)
            tried = TriedVersion(loaded.manifest, loaded.golden_difference, loaded.step_seconds, tried.warnings)
        return Verified(directory, tried, "")
    except ModelRejected as error:
        return Verified(directory, None, str(error))


def results_table(results: list[Verified]) -> WholeTable:
    """One line a version."""
    table = WholeTable(title="as the service would load them", title_justify="left")
    table.add_column("model")
    table.add_column("version")
    table.add_column("graphs")
    table.add_column("difference to\nthe trained network", justify="right")
    table.add_column("at most", justify="right")
    table.add_column("same to the bit\nin any batch")
    table.add_column("one step of\na full batch", justify="right")
    table.add_column("check")
    for model, version, loaded in ((escape(r.model), escape(r.version), r.loaded) for r in results):
        if loaded is None:
            table.add_row(model, version, *["-"] * 5, "[red]failed[/]")
            continue
        manifest = loaded.manifest
        table.add_row(
            model,
            version,
            ", ".join(manifest.graphs),
            f"{loaded.golden_difference:.1e}",
            f"{_tolerance(manifest):.1e}",
            _promise(manifest),
            f"{loaded.step_seconds * 1000:.2f} ms",
            "[green]ok[/]",
        )
    return table


def _promise(manifest: Manifest) -> str:
    """Whether a row is the same whatever shares its run; else how it is run to be."""
    promise = manifest.promise
    assert promise is not None, "loading finds it"
    if promise.holds == "any":
        return "yes" if promise.rows == 1 else f"yes, of {promise.rows} rows at least"
    return f"[yellow]no: {'run' if promise.holds == 'alone' else 'runs'} {promise}[/]"


def _tolerance(manifest: Manifest) -> float:
    """What the golden answers may be off by."""
    from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE

    return manifest.parity.tolerance if manifest.parity else DEFAULT_TOLERANCE
