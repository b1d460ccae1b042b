"""The code of docs/keras.md, and layers of Keras with what they answered."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.docs.markdown import blocks_of

LAYERS = Path(__file__).parent / "keras_layers.npz"
"""Made by Keras 3.15.1 on torch 2.13.0, weights and inputs at random: ``<layer>/weight_0`` ... are what its
``get_weights()`` gives, ``<layer>/y`` what it answers for ``x [3, 6, 2]``; ``gru_masked`` with ``mask [3, 6]``.
"""


def page_code() -> Any:
    """What ``from_keras.py`` of the page defines."""
    (block,) = (block for block in blocks_of("docs/keras.md") if block.text.startswith("# from_keras.py"))
    names: dict[str, Any] = {"__name__": "from_keras"}
    exec(compile(block.text, "from_keras.py", "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


class KerasLayers:
    """The layers of the file."""

    def __init__(self) -> None:
        self._arrays = dict(np.load(LAYERS))

    def __getitem__(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._arrays[name]
        return array

    def weights(self, layer: str) -> list[NDArray[Any]]:
        """What ``get_weights()`` of a layer gives."""
        count = sum(name.startswith(f"{layer}/weight_") for name in self._arrays)
        return [self._arrays[f"{layer}/weight_{index}"] for index in range(count)]
