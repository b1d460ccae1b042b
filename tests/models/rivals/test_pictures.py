from __future__ import annotations

import numpy as np
import pytest

from ostinato.models.data.pictures import PictureParts, Pictures
from ostinato.models.rivals.pictures import RIVALS, nearest_texts, support_vectors
from ostinato.models.rivals.rival import answers_of


def pictures(levels: list[float], texts: str) -> Pictures:
    """Pictures ``[N, 1, 2, 2]``, each of one level."""
    return Pictures(np.stack([np.full((1, 2, 2), level, np.float32) for level in levels]), tuple(texts))


def parts(training: Pictures, validation: Pictures, test: Pictures) -> PictureParts:
    return PictureParts({"training": training, "validation": validation, "test": test}, (), 16.0, "")


def test_each_rival_answers_by_what_it_learned_of_the_training_part() -> None:
    known = pictures([0, 2, 3, 10, 16], "abbba")
    found, _ = answers_of(RIVALS, parts(known, known, pictures([1.1, 0.1, 15], "aaa")))
    found.pop("support vector machine", None)
    assert found == {
        "nearest picture": ["b", "a", "a"],
        # Of 0, 2 and 3 two are b; of 16, 10 and 3, too.
        "3 nearest pictures": ["b", "b", "b"],
        # The means are 8 and 5.
        "nearest mean picture": ["b", "b", "a"],
        "most frequent": ["b", "b", "b"],
    }


def test_of_as_many_neighbours_the_nearest_decides() -> None:
    known = pictures([0, 4, 7], "abc")
    assert nearest_texts(known, pictures([3], "?").pixels, 2) == ["b"]
    assert nearest_texts(known, pictures([1], "?").pixels, 2) == ["a"]
    assert nearest_texts(known, pictures([6], "?").pixels, 3) == ["c"]


def test_texts_that_are_one_or_all_different_are_no_classes() -> None:
    one = pictures([1, 2], "aa")
    assert support_vectors(parts(one, one, one)) is None
    many = Pictures(np.zeros((101, 1, 2, 2), np.float32), tuple(map(str, range(101))))
    assert support_vectors(parts(many, many, many)) is None


@pytest.mark.long
def test_support_vectors_bound_a_ring_that_no_mean_tells() -> None:
    draw = np.random.default_rng(3)

    def ring(count: int) -> Pictures:
        pixels = draw.uniform(-1, 1, (count, 1, 2, 2)).astype(np.float32)
        inside = (pixels**2).sum(axis=(1, 2, 3)) < 1.2
        return Pictures(pixels, tuple(np.where(inside, "in", "out").tolist()))

    data = parts(ring(400), ring(100), ring(200))
    found, missing = answers_of(RIVALS, data)
    right = {
        name: np.mean([one == two for one, two in zip(texts, data.parts["test"].texts, strict=True)])
        for name, texts in found.items()
    }
    assert missing == ""
    assert right["support vector machine"] > 0.9 > right["nearest mean picture"]
