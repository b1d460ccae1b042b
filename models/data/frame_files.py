"""Files of frames as they are stored: NumPy arrays, folders of pictures, and tables that list pictures."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field, model_validator

from ostinato.models.data.frame_lists import PICTURES, FrameList, read_list
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe, Fraction, meant

Stored: TypeAlias = NDArray[Any]
ChannelLayout: TypeAlias = Literal["none", "first", "last"]
MAX_SIDE = 128
# Larger pictures are made smaller where no size is told: a small network sees no more in them.
_USUAL_SIDE = 64
ARRAYS = (".npz", ".npy")
_LISTS = (".csv", ".tsv", ".txt")
_FRAMES = ("frames", "x", "X", "sequences", "images", "videos", "data", "arr_0")
_LABELS = ("labels", "label", "y", "Y", "classes", "targets", "target", "tags", "arr_1")
# So many channels may be told from height and width.
_MAX_CHANNELS = 4
_MAX_FILE_PIXELS = 50_000_000


class FrameFilesRecipe(FileRecipe):
    """Where sequences of frames lie, and what is to be answered.

    ``file``: an ``.npz`` or ``.npy`` file of ``[N, T, H, W]`` or ``[N, T, C, H, W]``; a folder with a folder of
    pictures for each sequence, in the order of their names; or a table whose rows name pictures.
    ``predict``: the next frame, or the label of each frame or sequence.
    ``frames``: of several arrays, the one with the frames. ``label``: the array of the labels, ``[N]`` or ``[N, T]``,
    or the table's column. ``id``, ``picture``: the columns of a table that tell sequences apart and name files, whose
    paths start at the table. What is not told is looked for by name and content.
    ``channels``: whether they are the first or the last axis of a frame; None = what its sizes tell.
    ``time_first``: arrays are ``[T, N, ...]``.
    ``colour``: pictures are read with three channels, and not in grey. ``height``, ``width``: they are made so large;
    None = as the first one, 64 at most.
    ``window``: longer sequences are cut into pieces of so many frames. None = they are not; where there are fewer than
    three sequences, they are.
    ``horizon``: frames ahead that are scored, each made of the one before. None = half of a sequence, 10 at most.
    ``validation_fraction``, ``test_fraction``: the part of all sequences that training stops by, and that is scored.
    """

    predict: Literal["next_frame", "label"] = "next_frame"
    frames: str = ""
    label: str = ""
    id: str = ""
    picture: str = ""
    channels: Literal["first", "last"] | None = None
    time_first: bool = False
    colour: bool = False
    height: Annotated[int, Field(ge=4, le=MAX_SIDE)] | None = None
    width: Annotated[int, Field(ge=4, le=MAX_SIDE)] | None = None
    window: Annotated[int, Field(ge=2)] | None = None
    horizon: Count | None = None
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width: give both, or none of them")
        return self


@dataclass(frozen=True)
class StoredSequence:
    """Frames ``[T, H, W]``, ``[T, C, H, W]`` or ``[T, H, W, C]`` of the file's dtype, and labels: one for each frame,
    one for all of them, or none.
    """

    name: str
    frames: Stored
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredFrames:
    """All sequences of a file or folder; ``layout``: whether frames have channels, and which axis they are."""

    sequences: tuple[StoredSequence, ...]
    layout: ChannelLayout
    sha256: str


def read_frames(recipe: FrameFilesRecipe) -> StoredFrames:
    """The sequences of a file or folder.

    Raises:
        DataError: it cannot be read, or frames have not all one size.
    """
    if recipe.file.is_dir():
        return _of_folder(recipe)
    if recipe.file.suffix.lower() in ARRAYS:
        return _of_arrays(recipe)
    return _of_list(recipe, read_list(recipe.file, recipe.id, recipe.picture, recipe.label))


def read_arrays(path: Path) -> dict[str, Stored]:
    """The arrays of an ``.npz`` file by their names, or the one of an ``.npy`` file.

    Raises:
        DataError: the file is neither, or holds Python objects.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"frames": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as NumPy arrays of numbers: {error}; write it with np.savez_compressed(path, "
            "frames=..., labels=...)"
        ) from error


def frames_and_labels(recipe: FrameFilesRecipe) -> tuple[str, str]:
    """The names of the array of the frames, and of that of the labels, empty where there is none.

    Raises:
        DataError: no array, or one of several, can be the frames.
    """
    return _named(recipe, read_arrays(recipe.file))


def _named(recipe: FrameFilesRecipe, arrays: dict[str, Stored]) -> tuple[str, str]:
    told = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items()) or "none"
    for name in filter(None, (recipe.frames, recipe.label)):
        if name not in arrays:
            raise DataError(f"{recipe.file}: has no array {name!r}{meant(name, list(arrays))}; there are: {told}")
    possible = [name for name, array in arrays.items() if 3 <= array.ndim <= 5 and array.dtype.kind in "biuf"]
    frames = recipe.frames or next((name for name in _FRAMES if name in possible), "")
    frames = frames or (possible[0] if len(possible) == 1 else "")
    if frames not in possible:
        raise DataError(
            f"{recipe.file}: which array has the frames, [N, T, H, W] or [N, T, C, H, W]? Say it as data.frames; there "
            f"are: {told}"
        )
    others = [name for name, array in arrays.items() if name != frames and 1 <= array.ndim <= 2]
    label = recipe.label or next((name for name in _LABELS if name in others), "")
    return frames, label or (others[0] if len(others) == 1 else "")


def _of_arrays(recipe: FrameFilesRecipe) -> StoredFrames:
    arrays = read_arrays(recipe.file)
    frames_name, label_name = _named(recipe, arrays)
    frames = arrays[frames_name]
    labels = arrays[label_name] if label_name and recipe.predict == "label" else None
    is_one = frames.ndim == 3 or (frames.ndim == 4 and recipe.channels is not None)
    if is_one:
        frames, labels = frames[None], None if labels is None else labels[None]
    elif recipe.time_first:
        frames = frames.swapaxes(0, 1)
        labels = labels.T if labels is not None and labels.ndim == 2 else labels
    if 0 in frames.shape:
        raise DataError(f"{recipe.file}: {frames_name} has the shape {list(frames.shape)}: there is nothing in it")
    layout: ChannelLayout = "none" if frames.ndim == 4 else recipe.channels or _channels(frames.shape[2:])
    if frames.dtype.kind == "f" and not (finite := np.isfinite(frames)).all():
        at = [int(place) for place in np.argwhere(~finite)[0]]
        raise DataError(f"{recipe.file}: {frames_name}{at} is no finite number: fill what is missing, or leave it out")
    answers = [()] * len(frames) if labels is None else _labels(recipe.file, label_name, labels, frames.shape[:2])
    named = (
        StoredSequence(str(number), own, tuple(answer))
        for number, (own, answer) in enumerate(zip(frames, answers, strict=True))
    )
    return StoredFrames(tuple(named), layout, hashlib.sha256(recipe.file.read_bytes()).hexdigest())


def _channels(frame: tuple[int, ...]) -> Literal["first", "last"]:
    return "last" if frame[-1] <= _MAX_CHANNELS and frame[-1] < frame[0] else "first"


def _labels(file: Path, name: str, labels: Stored, shape: tuple[int, ...]) -> list[Sequence[str]]:
    if labels.shape not in (shape, shape[:1], (shape[0], 1)):
        raise DataError(
            f"{file}: {name} has the shape {list(labels.shape)}; for {shape[0]} sequences of {shape[1]} frames it is "
            f"[{shape[0]}] or [{shape[0]}, {shape[1]}]"
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise DataError(f"{file}: {name} has numbers that are not whole: they are no classes")
    whole = labels.astype(np.int64) if labels.dtype.kind == "f" else labels
    rows = whole.reshape(len(whole), -1).tolist()
    return [[label.decode() if isinstance(label, bytes) else str(label) for label in row] for row in rows]


def sequence_folders(root: Path) -> list[Path]:
    """The folders that hold pictures, in the order of their names."""
    found = {path.parent for path in root.rglob("*") if _is_picture(path) and "__MACOSX" not in path.parts}
    return sorted(found, key=lambda folder: natural(folder.relative_to(root).as_posix()))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers in them as numbers."""
    return sorted(filter(_is_picture, folder.iterdir()), key=lambda path: natural(path.name))


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A key by which ``frame_9`` is before ``frame_10``."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def list_in(folder: Path) -> Path | None:
    """The one table of a folder."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in _LISTS and not path.name.startswith(".")]
    return found[0] if len(found) == 1 else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def _of_folder(recipe: FrameFilesRecipe) -> StoredFrames:
    root, folders = recipe.file, sequence_folders(recipe.file)
    if not folders:
        raise DataError(f"{root}: has no folder with pictures ({', '.join(PICTURES)}) in it: one for each sequence")
    listed = list_in(root)
    words = None if listed is None else read_list(listed, recipe.id, recipe.picture, recipe.label)
    if words is not None and words.has_pictures:
        return _of_list(recipe, words)
    reader = _Reader(recipe)
    sequences = []
    for folder in folders:
        path = folder.relative_to(root)
        frames = [reader.read(picture, str(picture)) for picture in pictures_in(folder)]
        labels: tuple[str, ...] = ()
        if recipe.predict == "label":
            labels = path.parts[:1] if words is None and len(path.parts) == 2 else ()
            labels = labels if words is None else words.labels_of((path.as_posix(), folder.name), len(frames))
        sequences.append(StoredSequence(path.as_posix(), np.stack(frames), labels))
    return StoredFrames(tuple(sequences), reader.layout, reader.digest.hexdigest())


def _of_list(recipe: FrameFilesRecipe, words: FrameList) -> StoredFrames:
    if not words.has_pictures:
        raise DataError(f"{words.file}: no column names pictures ({', '.join(PICTURES)}); say it as data.picture")
    reader = _Reader(recipe)
    reader.digest.update(words.file.read_bytes())
    listed = words.sequences()
    # Rows are frames: where no sequence has two labels, a label is the sequence's.
    is_one_each = all(len({row.label for row in rows}) == 1 for rows in listed.values())
    sequences = []
    for name, rows in listed.items():
        frames = []
        for row in rows:
            beside, within = words.file.parent / row.picture, words.file.parent / name / row.picture
            path = within if not beside.exists() and within.exists() else beside
            frames.append(reader.read(path, f"{words.file}: line {row.line}: {path}"))
        labels = tuple(row.label for row in rows) if recipe.predict == "label" and words.has_labels else ()
        labels = labels[:1] if is_one_each else labels
        sequences.append(StoredSequence(name, np.stack(frames), labels))
    return StoredFrames(tuple(sequences), reader.layout, reader.digest.hexdigest())


class _Reader:
    """Pictures of one size, in grey or in three channels; what lies in 16 bits stays as it is."""

    def __init__(self, recipe: FrameFilesRecipe) -> None:
        self.digest = hashlib.sha256()
        self.layout: ChannelLayout = "last" if recipe.colour else "none"
        self._mode = "RGB" if recipe.colour else "L"
        self._size = None if recipe.height is None or recipe.width is None else (recipe.width, recipe.height)

    def read(self, path: Path, place: str) -> Stored:
        try:
            self.digest.update(path.read_bytes())
            with Image.open(path) as opened:
                if opened.width * opened.height > _MAX_FILE_PIXELS:
                    raise DataError(f"{place}: has {opened.width} x {opened.height} pixels: too many")
                is_deep = opened.mode.startswith(("I", "F")) and self._mode == "L"
                image: Image.Image = opened.convert("F") if is_deep else opened.convert(self._mode)
        except OSError as error:
            reason = "is no picture" if isinstance(error, UnidentifiedImageError) else error.strerror or str(error)
            raise DataError(f"{place}: {reason}") from error
        if self._size is None:
            shrunk = min(1.0, _USUAL_SIDE / max(image.size))
            self._size = (max(4, round(image.width * shrunk)), max(4, round(image.height * shrunk)))
        if image.size != self._size:
            image = image.resize(self._size, Image.Resampling.BILINEAR)
        return np.asarray(image)
