"""Features of the one input that a connector feeds: what a message's members have to be, by the model's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import CommandError, InputError

MISSING_WORDS = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "None", "?"})


@dataclass(frozen=True)
class ReadingFeatures:
    """A model's input, and the names of its output.

    Attributes:
        model, version: whose.
        names: of the F features, in their order.
        missing: whether a value may be missing.
        codes: feature -> word -> code, of those that are words.
        unknown: feature -> the code of words that are none of them; absent = they are refused.
        ranges: feature -> least and most.
        outputs: names of the O outputs.
        dtype: of the input.
    """

    model: str
    version: str
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: str
    missing: bool
    codes: Mapping[str, Mapping[str, int]]
    unknown: Mapping[str, int]
    ranges: Mapping[str, tuple[float, float]]
    missing_words: frozenset[str] = MISSING_WORDS

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> ReadingFeatures:
        """From what ``GET /v1/models/{model}`` answered.

        Raises:
            CommandError: the model is none that readings can be fed to one by one.
        """
        manifest = model.get("manifest")
        if not manifest:
            reasons = "; ".join(f"{failed['version']}: {failed['reason']}" for failed in model.get("failed", []))
            raise CommandError(f"no version of {model.get('model')!r} is served. {reasons}".rstrip(". ") + ".")
        name = manifest["name"]
        if manifest["task"] != "recurrent":
            raise CommandError(f"{name!r} is of task {manifest['task']!r}; sessions are for 'recurrent'")
        given, made = manifest["inputs"], manifest["outputs"]
        numbers = [[size for size in part["shape"] if isinstance(size, int)] for part in (*given, *made)]
        if len(given) != 1 or len(made) != 1 or any(len(sizes) > 1 for sizes in numbers):
            raise CommandError(f"{name!r} has several inputs or outputs, or nested ones; readings are rows of numbers")
        if manifest.get("framing") or manifest.get("context"):
            raise CommandError(f"{name!r} takes frames or a context, which a connector does not make of readings")
        part = given[0]
        if not str(part["dtype"]).startswith("float"):
            raise CommandError(f"{name!r} takes {part['dtype']}; a connector feeds models of floating-point numbers")
        codes = {
            feature: {word: code for code, word in enumerate(words)}
            for feature, words in (part.get("categories") or {}).items()
        }
        return cls(
            name,
            manifest["version"],
            tuple(part["features"]),
            tuple(made[0]["features"]),
            part["dtype"],
            bool(part.get("missing")),
            codes,
            {feature: codes[feature][word] for feature, word in (part.get("unknown") or {}).items()},
            {
                feature: (float(range_["least"]), float(range_["most"]))
                for feature, range_ in (part.get("ranges") or {}).items()
            },
            MISSING_WORDS | frozenset(part.get("missing_words") or ()),
        )

    def array(self, rows: Sequence[Sequence[Any]]) -> NDArray[Any] | None:
        """Rows ``[n, F]`` of a batch at once, None where one has to be looked at by itself."""
        if self.codes:
            return None
        try:
            array = np.array(rows, self.dtype)
        except (TypeError, ValueError, OverflowError):
            return None
        return array if array.ndim == 2 else None

    def faults(self, inputs: NDArray[Any]) -> dict[int, str]:
        """What is wrong with rows ``[n, F]``: row -> reason."""
        with np.errstate(over="ignore", invalid="ignore"):
            bad = np.isinf(inputs) if self.missing else ~np.isfinite(inputs)
            for place, name in enumerate(self.names):
                if name in self.ranges:
                    least, most = self.ranges[name]
                    bad[:, place] |= (inputs[:, place] < least) | (inputs[:, place] > most)
        found = {}
        for row in np.flatnonzero(bad.any(1)).tolist():
            place = int(np.argmax(bad[row]))
            found[row] = self._reason(self.names[place], float(inputs[row, place]))
        return found

    def row(self, values: Sequence[Any]) -> list[float]:
        """One reading's values ``[F]``, NaN where one is missing.

        Raises:
            ValueError: one is no number, or a word that the model does not know; says which.
        """
        return [self._number(name, value) for name, value in zip(self.names, values, strict=True)]

    def _number(self, name: str, value: Any) -> float:
        if value is None or (isinstance(value, str) and value.strip() in self.missing_words):
            return float("nan")
        if name in self.codes:
            code = self.codes[name].get(str(value), self.unknown.get(name))
            if code is None:
                raise ValueError(f"{name}: {str(value)[:60]!r} is none of the words that the model knows")
            return float(code)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: {str(value)[:60]!r} is no number") from None

    def _reason(self, name: str, value: float) -> str:
        if np.isnan(value):
            return f"{name} is missing, and the model takes no missing values"
        if np.isinf(value):
            return f"{name} is infinite, or too large for {self.dtype}"
        least, most = self.ranges[name]
        return f"{name} is {value:.9g}, which is not from {least:.9g} to {most:.9g}"


def check_feature_names(names: Sequence[str], given: Mapping[str, str], nearest: Any) -> None:
    """Refuse names of features that the model does not have.

    Raises:
        InputError: names one, and the nearest that there are.
    """
    for name in given:
        if name not in names:
            raise InputError(f"[mapping] inputs: the model has no feature {name!r}; {nearest(name, list(names))}")
