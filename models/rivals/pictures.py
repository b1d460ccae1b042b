"""The rivals of what names pictures: nearest pictures, support vectors, the most frequent text."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.pictures import PictureParts, Pictures, Pixels
from ostinato.models.rivals.rival import Rival

_CHUNK = 64
# What a wrong side costs, and how narrow a kernel is, in parts of the usual.
_COSTS, _NARROWNESSES = (1.0, 10.0, 100.0), (0.3, 1.0, 3.0)
# Every vector is compared with every other, and texts that are all different are no classes.
_MOST_PICTURES, _MOST_TEXTS = 10_000, 100


def nearest_texts(known: Pictures, pixels: Pixels, num_neighbours: int = 1) -> list[str]:
    """For each picture ``[N, C, H, W]`` the text that most of the known ones nearest to it have (squared differences).

    Of texts that equally many have, it is that of the nearest among them.
    """
    ours = known.pixels.reshape(len(known.texts), -1).astype(np.float64)
    squares = (ours**2).sum(axis=1)
    found: list[str] = []
    for start in range(0, len(pixels), _CHUNK):
        asked = pixels[start : start + _CHUNK].reshape(-1, ours.shape[1]).astype(np.float64)
        for apart in squares - 2 * asked @ ours.T:
            nearest = np.argsort(apart, kind="stable")[:num_neighbours]
            # `most_common` keeps the order in which equals came: the nearest first.
            found.append(Counter(known.texts[place] for place in nearest).most_common(1)[0][0])
    return found


def nearest_pictures(data: PictureParts, num_neighbours: int = 1) -> list[str]:
    """The text of the nearest, or of most of the nearest."""
    return nearest_texts(data.parts["training"], data.parts["test"].pixels, num_neighbours)


def nearest_mean(data: PictureParts) -> list[str]:
    """The text whose mean picture is nearest."""
    training = data.parts["training"]
    places: dict[str, list[int]] = {}
    for row, text in enumerate(training.texts):
        places.setdefault(text, []).append(row)
    means = Pictures(np.stack([training.pixels[rows].mean(axis=0) for rows in places.values()]), tuple(places))
    return nearest_texts(means, data.parts["test"].pixels)


def support_vectors(data: PictureParts) -> list[str] | None:
    """A support vector machine with Gaussian kernels, a text a class (Cortes and Vapnik, 1995, "Support-Vector
    Networks"); the validation part chooses its cost and the kernels' width.

    None = there are too many pictures, or no classes among the texts.
    """
    training, validation, test = (data.parts[part] for part in ("training", "validation", "test"))
    if len(training.texts) > _MOST_PICTURES or not 1 < len(set(training.texts)) <= _MOST_TEXTS:
        return None
    from sklearn.svm import SVC

    x, asked, tested = (_flat(one, data.most) for one in (training, validation, test))
    unit = 1.0 / max(x.shape[1] * float(x.var()), 1e-12)
    best, chosen = -1, None
    for cost in _COSTS:
        for narrowness in _NARROWNESSES:
            machine = SVC(C=cost, gamma=narrowness * unit).fit(x, training.texts)
            right = _num_right(list(machine.predict(asked)), validation)
            if right > best:
                best, chosen = right, machine
    assert chosen is not None
    return [str(text) for text in chosen.predict(tested)]


def most_frequent_text(data: PictureParts) -> list[str]:
    """The text that most pictures have, for each."""
    (text, _), *_ = Counter(data.parts["training"].texts).most_common(1)
    return [text] * len(data.parts["test"].texts)


RIVALS: tuple[Rival[PictureParts, list[str]], ...] = (
    Rival("nearest picture", nearest_pictures),
    Rival("3 nearest pictures", partial(nearest_pictures, num_neighbours=3)),
    Rival("support vector machine", support_vectors, library="sklearn"),
    Rival("nearest mean picture", nearest_mean),
    Rival("most frequent", most_frequent_text),
)


def _flat(pictures: Pictures, most: float) -> NDArray[np.float64]:
    return pictures.pixels.reshape(len(pictures.texts), -1).astype(np.float64) / most


def _num_right(found: list[str], pictures: Pictures) -> int:
    return sum(one == two for one, two in zip(found, pictures.texts, strict=True))
