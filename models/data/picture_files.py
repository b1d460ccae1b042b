"""Files of pictures: in which order folders hold them, which are sequences, and their pixels in one size."""

from __future__ import annotations

import hashlib
import re
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from ostinato.models.data.frame_lists import PICTURES
from ostinato.models.errors import DataError

ChannelLayout: TypeAlias = Literal["none", "first", "last"]
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg")
# Larger pictures are made smaller where no size is told: a small network sees no more in them.
_USUAL_SIDE = 64
_LISTS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")
_MAX_FILE_PIXELS = 50_000_000


def sequence_folders(root: Path) -> list[Path]:
    """The folders that hold pictures or arrays of them, in the order of their names."""
    found = {path.parent for path in root.rglob("*") if _is_picture(path) and "__MACOSX" not in path.parts}
    return sorted(found, key=lambda folder: natural(folder.relative_to(root).as_posix()))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers in them as numbers."""
    return sorted(filter(_is_picture, folder.iterdir()), key=lambda path: natural(path.name))


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A key by which ``frame_9`` is before ``frame_10``."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def sequences_in(folder: Path, root: Path) -> list[tuple[str, list[Path]]]:
    """The sequences of a folder, each with its files, and called by where they lie below a root.

    Animations and arrays are a sequence each. Pictures of a folder are one; right in the root, they are one for each
    beginning of their names, as ``clip1_07.png`` and ``clip2_07.png`` are of two.
    """
    files, path = pictures_in(folder), folder.relative_to(root)
    if is_clip(files[0]):
        return [((path / file.stem).as_posix(), [file]) for file in files]
    if folder == root:
        groups: dict[str, list[Path]] = {}
        for file in files:
            groups.setdefault(re.sub(r"[_.\- ]*\d+$", "", file.stem), []).append(file)
        if len(groups) > 1 and min(map(len, groups.values())) > 1:
            return list(groups.items())
    return [(path.as_posix(), files)]


def is_clip(file: Path) -> bool:
    """Whether a file has several frames: an array, or an animation.

    Raises:
        DataError: it is no picture.
    """
    if file.suffix.lower() == ".npy":
        return True
    try:
        with Image.open(file) as image:
            return getattr(image, "n_frames", 1) > 1
    except OSError as error:
        reason = "is no picture" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
        raise DataError(f"{file}: {reason}") from error


def list_in(folder: Path) -> Path | None:
    """The one table of a folder."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in _LISTS and not path.name.startswith(".")]
    return found[0] if len(found) == 1 else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (*PICTURES, ".npy") and not path.name.startswith(".") and path.is_file()


class PictureReader:
    """Pictures of one size, in grey or in three channels; what lies in 16 bits stays as it is.

    Args:
        height, width: they are made so large; None = as the first one, 64 at most.
    """

    def __init__(self, height: int | None, width: int | None, *, colour: bool) -> None:
        self.digest = hashlib.sha256()
        self.layout: ChannelLayout = "last" if colour else "none"
        self._mode = "RGB" if colour else "L"
        self._size = None if height is None or width is None else (width, height)

    def read(self, path: Path, place: str) -> NDArray[Any]:
        """The first picture of a file, ``[H, W]`` or ``[H, W, 3]``.

        Raises:
            DataError: the file is no picture; ``place`` is what it names.
        """
        return self._read(path, place, 1)[0]

    def read_all(self, path: Path, place: str) -> list[NDArray[Any]]:
        """All pictures of a file: of an animation, its frames."""
        return self._read(path, place, None)

    def _read(self, path: Path, place: str, count: int | None) -> list[NDArray[Any]]:
        try:
            self.digest.update(path.read_bytes())
            with Image.open(path) as opened:
                if opened.width * opened.height > _MAX_FILE_PIXELS:
                    raise DataError(f"{place}: has {opened.width} x {opened.height} pixels: too many")
                return [self._made(frame) for frame in islice(ImageSequence.Iterator(opened), count)]
        except OSError as error:
            reason = "is no picture" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
            raise DataError(f"{place}: {reason}") from error

    def _made(self, opened: Image.Image) -> NDArray[Any]:
        is_deep = opened.mode.startswith(("I", "F")) and self._mode == "L"
        image = opened.convert("F") if is_deep else opened.convert(self._mode)
        if self._size is None:
            shrunk = min(1.0, _USUAL_SIDE / max(image.size))
            self._size = (max(4, round(image.width * shrunk)), max(4, round(image.height * shrunk)))
        if image.size != self._size:
            image = image.resize(self._size, Image.Resampling.BILINEAR)
        return np.asarray(image)
