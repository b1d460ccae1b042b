"""Pictures as files, of ``--plot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ostinato.errors import PictureError
from ostinato.extras import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def check_can_draw(path: Path) -> None:
    """Whether a picture can be drawn at all, before anything is asked for it.

    Raises:
        PictureError: the file is of a kind that is not written.
        ModuleNotFoundError: the library is missing.
    """
    require("matplotlib", __name__)
    if path.suffix.lower() not in SUFFIXES:
        raise PictureError(f"--plot {path}: its name should end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not path.parent.is_dir():
        raise PictureError(f"--plot {path}: there is no folder {path.parent}")


def save(figure: Figure, path: Path) -> None:
    """Write a picture, as the end of the name says; the same picture is the same file.

    Raises:
        PictureError: the file cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    without_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    try:
        figure.savefig(path, dpi=144, bbox_inches="tight", pad_inches=0.15, metadata=without_date)
    except OSError as error:
        raise PictureError(f"--plot {path}: {error.strerror or error}") from error
