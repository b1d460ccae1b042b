"""Drafts of recipes for frames: what a file's arrays, folders or columns are most likely to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ostinato.models.data.frame_files import (
    ARRAYS,
    FrameFilesRecipe,
    Stored,
    StoredFrames,
    frames_and_labels,
    read_arrays,
    read_frames,
)
from ostinato.models.data.frame_lists import PICTURES, FrameList, read_list
from ostinato.models.data.frames import FrameForm
from ostinato.models.data.picture_files import VIDEOS, list_in, pictures_in, sequence_folders, sequences_in
from ostinato.models.data.pictures import are_coloured
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError

_WINDOW = 20
_MAX_CLASSES = 100
# Of arrays, so many frames of so many sequences are compared; and how much less is clearly less.
_COMPARED, _CLEARLY = 12, 0.7
# Products of a training that take about a minute and a half on one core, and limits of what that may come to.
_PRODUCTS = 1e12
_EPOCHS = (3, 40)
# Pixels of a side, in patches, that are as many as a small network needs.
_SIDE = 20


def draft_of_frames(file: Path) -> Draft:
    """A recipe for arrays, a folder of folders of pictures, or a table that lists pictures.

    Raises:
        DataError: the file is none of these.
    """
    found = _found(file)
    stored = _stored(file, found)
    predict = found["predict"]
    form = FrameForm.of(stored.sequences[0].frames.shape[1:], stored.layout)
    lengths = [len(one.frames) for one in stored.sequences]
    if len(lengths) < 3 or max(lengths) > 2 * _WINDOW:
        found["window"] = max(2, min(_WINDOW, max(lengths) // 10)) if len(lengths) < 3 else _WINDOW
    longest = min(max(lengths), found.get("window", max(lengths)))
    if predict == "next_frame":
        found["horizon"] = max(1, min(10, longest // 2))
    found |= {"validation_fraction": 0.15, "test_fraction": 0.15}
    patch = _patch(form, 4 if predict == "label" else 1)
    network: dict[str, Any] = {"num_channels": 16, "patch_size": patch}
    training: dict[str, Any] = {"batch_size": 8}
    pixels = form.height * form.width / patch**2
    if predict == "next_frame":
        network |= {"num_layers": 2, "kernel_size": 3, "within_range": True}
        products = 4 * 9 * pixels * 16 * (form.channels * patch**2 + 3 * 16)
        training |= {"loss": "squared"}
    else:
        network |= {"cell": "lstm", "hidden_size": 64, "num_layers": 1, "dropout": 0.2}
        products = 9 * pixels * 16 * (form.channels * patch**2 + 4) + pixels * 16 * 64 / 4
    epochs = int(_PRODUCTS / (3 * products * sum(lengths)))
    training |= {"max_epochs": max(_EPOCHS[0], min(_EPOCHS[1], epochs)), "patience_epochs": 8}
    training |= {"learning_rate": 5e-3 if predict == "next_frame" else 2e-3, "seed": 0}
    what = "The next frames" if predict == "next_frame" else "Classes of the frames"
    return Draft(f"{what} of {file.name}", {"data": found, "network": network, "training": training}, _words(predict))


def _words(predict: str) -> dict[str, str]:
    return {
        "data.predict": 'or "label"' if predict == "next_frame" else 'or "next_frame"',
        "data.frames": "the array of the frames",
        "data.label": "the labels: one for each frame, or for each sequence",
        "data.id": "tells sequences apart; their rows are in order",
        "data.picture": "the pictures' files; paths start at the table",
        "data.colour": "true: three channels",
        "data.time_first": "arrays are [T, N, ...]: frames change less along the first axis",
        "data.channels": "whether they are the first or the last axis of a frame",
        "data.window": "longer sequences are cut into pieces of so many frames",
        "data.horizon": "frames ahead that are scored, each made of the one before",
        "data.test_fraction": "held out and scored",
        "network.num_channels": "of the states" if predict == "next_frame" else "of the CNN",
        "network.kernel_size": "odd; the further things move in a step, the larger",
        "network.patch_size": "so many pixels each way are one with more channels: faster",
        "network.within_range": "frames stay within what training had",
        "training.loss": "or absolute, or cross_entropy for ink on paper",
    }


def _found(file: Path) -> dict[str, Any]:
    """What the data are: keys of ``[data]``."""
    if file.is_dir():
        folders = sequence_folders(file)
        if not folders:
            raise DataError(f"{file}: has no folder with pictures in it: one for each sequence")
        listed = list_in(file)
        words = None if listed is None else read_list(listed)
        is_nested = all(len(name.split("/")) == 2 for folder in folders for name, _ in sequences_in(folder, file))
        has_labels = is_nested if words is None else words.has_labels
        named = {} if words is None else _columns(words)
        pictures = [picture for picture in pictures_in(folders[0]) if picture.suffix.lower() != ".npy"]
        return {**_predict(has_labels), **named, "colour": are_coloured(pictures)}
    if file.suffix.lower() in ARRAYS:
        return _of_arrays(file)
    if file.suffix.lower() in PICTURES:
        return {**_predict(has_labels=False), "colour": are_coloured((file,))}
    if file.suffix.lower() in VIDEOS:
        read_frames(FrameFilesRecipe(file=file))  # says what to do
    words = read_list(file)
    if not words.has_pictures:
        raise DataError(f"{file}: no column names pictures; frames are an .npz file, folders of pictures, or a list")
    first = words.rows[0]
    paths = (file.parent / first.picture, file.parent / first.sequence / first.picture)
    path = next((path for path in paths if path.exists()), paths[0])
    return {**_predict(words.has_labels), **_columns(words), "colour": are_coloured((path,))}


def _of_arrays(file: Path) -> dict[str, Any]:
    frames_name, label_name = frames_and_labels(FrameFilesRecipe(file=file))
    names = {"frames": frames_name, "label": label_name} if file.suffix.lower() == ".npz" else {}
    found = {**_predict(bool(label_name)), **{key: name for key, name in names.items() if name}}
    arrays = read_arrays(file)
    frames = arrays[frames_name]
    if frames.ndim == 4 and frames.shape[-1] in (1, 3, 4) and min(frames.shape[1:3]) > frames.shape[-1]:
        # One sequence in colour: no frame is so narrow.
        return {**found, "channels": "last"}
    labels = arrays.get(label_name) if label_name else None
    if frames.ndim >= 4 and _is_time_first(frames, None if labels is None or labels.ndim != 1 else len(labels)):
        found["time_first"] = True
    return found


def _is_time_first(frames: Stored, num_labels: int | None) -> bool:
    """Whether frames follow each other along the first axis and not the second: there they change less."""
    first, second = frames.shape[:2]
    if num_labels is not None and first != second and num_labels in (first, second):
        return bool(num_labels == second)
    some = frames[:_COMPARED, :_COMPARED].astype(np.float64)
    if min(some.shape[:2]) < 2:
        return False
    along = [float(np.abs(np.diff(some, axis=axis)).mean()) for axis in (0, 1)]
    return bool(along[0] < _CLEARLY * along[1])


def _predict(has_labels: bool) -> dict[str, Any]:
    return {"predict": "label" if has_labels else "next_frame"}


def _columns(words: FrameList) -> dict[str, Any]:
    names = {"id": words.id, "picture": words.picture, "label": words.label}
    # Columns of a list without a header have no names.
    return {} if words.has_no_header else {key: name for key, name in names.items() if name}


def _stored(file: Path, found: dict[str, Any]) -> StoredFrames:
    stored = read_frames(FrameFilesRecipe.model_validate({"file": file, **found}))
    if found["predict"] == "label":
        labels = {label for one in stored.sequences for label in one.labels}
        if not 2 <= len(labels) <= _MAX_CLASSES:
            found["predict"] = "next_frame"
    return stored


def _patch(form: FrameForm, least_side: int) -> int:
    """The smallest divisor of both sides, 8 at most, that leaves few enough patches; 1 where none does."""
    for patch in (1, 2, 3, 4, 5, 6, 7, 8):
        if form.height % patch or form.width % patch or min(form.height, form.width) // patch < least_side:
            continue
        if form.height * form.width <= (_SIDE * patch) ** 2:
            return patch
    divisors = [patch for patch in range(1, 9) if form.height % patch == 0 and form.width % patch == 0]
    fitting = [patch for patch in divisors if min(form.height, form.width) // patch >= least_side]
    return fitting[-1] if fitting else 1
