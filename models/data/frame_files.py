"""Files of frames as they are stored: NumPy arrays, folders of pictures, and tables that list pictures."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ostinato.models.data.frame_lists import PICTURES, FrameList, read_list
from ostinato.models.data.picture_files import (
    VIDEOS,
    ChannelLayout,
    PictureReader,
    list_in,
    sequence_folders,
    sequences_in,
)
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe, Fraction, meant

Stored: TypeAlias = NDArray[Any]
MAX_SIDE = 128
ARRAYS = (".npz", ".npy")
_FRAMES = ("frames", "x", "X", "sequences", "images", "videos", "data", "arr_0", "X_train", "x_train", "train")
_LABELS = ("labels", "label", "y", "Y", "classes", "targets", "target", "tags", "arr_1", "y_train")
# So many channels may be told from height and width.
_MAX_CHANNELS = 4


class FrameFilesRecipe(FileRecipe):
    """Where sequences of frames are, and what is to be answered.

    ``file``: an ``.npz`` or ``.npy`` file of ``[N, T, H, W]`` or ``[N, T, C, H, W]``. Or a folder that has, for each
    sequence, a folder of pictures in the order of their names, a GIF or an ``.npy`` file. Or a table whose rows name
    pictures.
    ``predict``: the next frame, or the label of each frame or sequence.
    ``frames``: of several arrays, the one with the frames.
    ``label``: the array of the labels, ``[N]`` or ``[N, T]``, or the column of a table.
    ``id``: of a table, the column that says which sequence a row belongs to. Without it, it is found by name and
    content.
    ``picture``: of a table, the column that names the files; their paths start at the table. Without it, it is found by
    name and content.
    ``channels``: whether channels are the first or the last axis of a frame; None = as its sizes show.
    ``time_first``: whether arrays are ``[T, N, ...]``.
    ``colour``: whether pictures are read with three channels, and not in grey.
    ``height``: pictures are resized to this; None = as the first one, 64 at most.
    ``width``: pictures are resized to this; None = as the first one, 64 at most.
    ``window``: longer sequences are cut into pieces of so many frames. None = they are cut only where there are fewer
    than three sequences.
    ``horizon``: how many frames ahead are scored, each made from the one before. None = half of a sequence, 10 at most.
    ``validation_fraction``: the part of all sequences that decides when training ends.
    ``test_fraction``: the part of all sequences that is scored.
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
    suffix = recipe.file.suffix.lower()
    if recipe.file.is_dir():
        stored = _of_folder(recipe)
    elif suffix in ARRAYS:
        stored = _of_arrays(recipe)
    elif suffix in PICTURES:
        reader = PictureReader(recipe.height, recipe.width, colour=recipe.colour)
        sequence = StoredSequence(recipe.file.stem, np.stack(reader.read_all(recipe.file, str(recipe.file))))
        stored = StoredFrames((sequence,), reader.layout, reader.digest.hexdigest())
    elif suffix in VIDEOS:
        raise DataError(
            f"{recipe.file}: is a video, and pictures are read: ffmpeg -i {recipe.file.name} frames/%05d.png makes them"
        )
    else:
        stored = _of_list(recipe, read_list(recipe.file, recipe.id, recipe.picture, recipe.label))
    first = stored.sequences[0]
    for one in stored.sequences:
        if one.frames.shape[1:] != first.frames.shape[1:]:
            raise DataError(
                f"{recipe.file}: frames of {one.name!r} are {list(one.frames.shape[1:])}, and of {first.name!r} "
                f"{list(first.frames.shape[1:])}: all frames have one size"
            )
    return stored


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


def _of_folder(recipe: FrameFilesRecipe) -> StoredFrames:
    root, folders = recipe.file, sequence_folders(recipe.file)
    if not folders:
        raise DataError(f"{root}: has no folder with pictures ({', '.join(PICTURES)}) in it: one for each sequence")
    listed = list_in(root)
    words = None if listed is None else read_list(listed, recipe.id, recipe.picture, recipe.label)
    if words is not None and words.has_pictures:
        return _of_list(recipe, words)
    reader = PictureReader(recipe.height, recipe.width, colour=recipe.colour)
    sequences = []
    for folder in folders:
        path = folder.relative_to(root)
        for name, files in sequences_in(folder, root):
            frames = _frames(reader, files)
            labels: tuple[str, ...] = ()
            if recipe.predict == "label":
                is_labelled = words is None and len(name.split("/")) == 2
                labels = path.parts[:1] if is_labelled else ()
                labels = labels if words is None else words.labels_of((name, Path(name).name), len(frames))
            sequences.append(StoredSequence(name, frames, labels))
    return StoredFrames(tuple(sequences), reader.layout, reader.digest.hexdigest())


def _frames(reader: PictureReader, files: Sequence[Path]) -> Stored:
    """The frames of a sequence: of its pictures, or of the one file that has all."""
    if files[0].suffix.lower() != ".npy":
        return np.stack([frame for file in files for frame in reader.read_all(file, str(file))])
    (file,) = files
    frames = read_arrays(file)["frames"]
    reader.digest.update(file.read_bytes())
    if frames.ndim not in (3, 4) or frames.dtype.kind not in "biuf" or 0 in frames.shape:
        raise DataError(
            f"{file}: has the shape {list(frames.shape)}; a sequence is [T, H, W], [T, C, H, W] or [T, H, W, C]"
        )
    reader.layout = "none" if frames.ndim == 3 else _channels(frames.shape[1:])
    return frames


def _of_list(recipe: FrameFilesRecipe, words: FrameList) -> StoredFrames:
    if not words.has_pictures:
        raise DataError(f"{words.file}: no column names pictures ({', '.join(PICTURES)}); say it as data.picture")
    reader = PictureReader(recipe.height, recipe.width, colour=recipe.colour)
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
