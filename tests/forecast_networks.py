"""A small forecaster with missing values, of each kind of answer, and what its sessions count, number by number.

Both references are plain Python and numpy: they know nothing of the service.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from ostinato.service.artifact.tensors import Input, Output, State
from tests.networks import Array, Network, build_network

LEVELS = (0.2, 0.5, 0.8, 0.95)
RATE = 0.1
LAGS = (2, 4)
SCORES = (0.25, 0.5, 1.0, 2.0)
CHANGES = ((0.5, 1.0, 1.5, 3.0), (0.75, 1.25, 2.0, 4.0))
SCALES = ((1.0, 1.0, 1.0, 1.0), (1.5, 1.25, 1.25, 1.0), (1.25, 1.5, 1.0, 1.0), (0.5, 1.5, 1.0, 2.0))
MOST_REPEATS = 2
"""Drawn loads never repeat, so what is counted here is that it is kept."""
ALARM = {"begin": 0.9, "end": 0.5}
CROSSINGS = ({"feature": "load", "above": 2.0, "until": 1.0}, {"feature": "load", "below": -1.5})
FEATURES = {
    "point": ("load",),
    "gaussian": ("load_mean", "load_std"),
    "quantiles": ("load_p10", "load_p50", "load_p90"),
    "counts": ("load_mean", "load_dispersion"),
    "direct": tuple(f"load{part}_ahead_{step}" for step in (1, 2) for part in ("_p10", "_p50", "_p90")),
}


def calibration(*, lags: bool = True) -> dict[str, Any]:
    """As a manifest has it."""
    return {
        "levels": LEVELS,
        "raises": [math.exp(RATE * level) for level in LEVELS],
        "lowers": [math.exp(-RATE * (1 - level)) for level in LEVELS],
        "lags": LAGS if lags else (),
        "targets": [
            {
                "name": "load",
                "scores": SCORES,
                "changes": CHANGES if lags else (),
                "scales": SCALES,
                "most_repeats": MOST_REPEATS,
            }
        ],
        "alarm": ALARM,
        "crossings": CROSSINGS,
    }


def forecaster(kind: str = "point", *, seed: int = 0) -> Network:
    """``[B, 2]`` (load and hour, either may be missing) to a forecast of the next load, one step at a time.

    ``h' = tanh(x W + h U)``, and what is answered is the load plus ``h' V``, and spreads of the same.
    """
    generator = np.random.default_rng(seed)
    weights = {
        name: generator.normal(0, 0.5, shape).astype(np.float32)
        for name, shape in (("w", (2, 4)), ("u", (4, 4)), ("v", (4, 3)))
    }
    nodes = [
        helper.make_node("IsNaN", ["x"], ["absent"]),
        helper.make_node("Where", ["absent", "seen", "x"], ["seen_n"]),
        helper.make_node("MatMul", ["seen_n", "w"], ["xw"]),
        helper.make_node("MatMul", ["h", "u"], ["hu"]),
        helper.make_node("Add", ["xw", "hu"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h_n"]),
        helper.make_node("MatMul", ["h_n", "v"], ["made"]),
        helper.make_node("Split", ["made"], ["change", "one", "two"], axis=1, num_outputs=3),
        helper.make_node("Split", ["seen_n"], ["load", "hour"], axis=1, num_outputs=2),
        helper.make_node("Add", ["load", "change"], ["point"]),
        helper.make_node("Abs", ["one"], ["size"]),
        helper.make_node("Add", ["size", "half"], ["spread"]),
        *{
            "point": [helper.make_node("Identity", ["point"], ["y"])],
            "gaussian": [helper.make_node("Concat", ["point", "spread"], ["y"], axis=1)],
            "quantiles": [
                helper.make_node("Sub", ["point", "spread"], ["low"]),
                helper.make_node("Abs", ["two"], ["other"]),
                helper.make_node("Add", ["other", "half"], ["reach"]),
                helper.make_node("Add", ["point", "reach"], ["high"]),
                helper.make_node("Concat", ["low", "point", "high"], ["y"], axis=1),
            ],
            "direct": [
                helper.make_node("Sub", ["point", "spread"], ["low"]),
                helper.make_node("Add", ["point", "spread"], ["high"]),
                helper.make_node("Sub", ["low", "spread"], ["lower"]),
                helper.make_node("Add", ["high", "spread"], ["higher"]),
                helper.make_node("Concat", ["low", "point", "high", "lower", "point", "higher"], ["y"], axis=1),
            ],
            "counts": [
                helper.make_node("Abs", ["point"], ["above"]),
                helper.make_node("Add", ["above", "half"], ["mean"]),
                helper.make_node("Concat", ["mean", "spread"], ["y"], axis=1),
            ],
        }[kind],
    ]
    names = FEATURES[kind]
    inputs = (Input(name="x", dtype="float32", shape=("B", 2), features=("load", "hour"), missing=True),)
    outputs = (Output(name="y", dtype="float32", shape=("B", len(names)), features=names),)
    states = (
        State(name="h", input="h", output="h_n", shape=("B", 4), dtype="float32"),
        State(name="seen", input="seen", output="seen_n", shape=("B", 2), dtype="float32"),
    )

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        h, seen = np.zeros((len(sequences), 4), np.float32), np.zeros((len(sequences), 2), np.float32)
        answers = []
        for step in range(sequences.shape[1]):
            seen = np.where(np.isnan(sequences[:, step]), seen, sequences[:, step])
            h = np.tanh(seen @ weights["w"] + h @ weights["u"])
            made = h @ weights["v"]
            point, size = seen[:, 0] + made[:, 0], np.abs(made[:, 1]) + 0.5
            answers.append(
                {
                    "point": [point],
                    "gaussian": [point, size],
                    "quantiles": [point - size, point, point + np.abs(made[:, 2]) + 0.5],
                    "direct": [point - size, point, point + size, point - 2 * size, point, point + 2 * size],
                    "counts": [np.abs(point) + 0.5, size],
                }[kind]
            )
        y = np.stack([np.stack(answer, axis=1) for answer in answers], axis=1).astype(np.float32)
        return y, {"h": h.astype(np.float32), "seen": seen.astype(np.float32)}

    constants = {**weights, "half": np.array(0.5, np.float32)}
    network = build_network("loads", nodes, inputs, outputs, states, constants, reference)
    feedback = {} if kind == "direct" else {names[1 if kind == "quantiles" else 0]: "load"}
    return network.named("loads", feedback=feedback)


def write(repository: Path, kind: str = "point", version: str = "1", name: str = "loads", **changes: Any) -> Path:
    """Lay a version into a repository."""
    numbers = np.random.default_rng(0).normal(size=(3, 1, 2)).astype(np.float32)
    return forecaster(kind, seed=int(version)).named(name, version, **changes).write(repository, numbers)


def offline(directory: Path, inputs: Array) -> Array:
    """The answers ``[n, O]`` to steps ``[n, 2]``, one plain run after another."""
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    h, seen = np.zeros((1, 4), np.float32), np.zeros((1, 2), np.float32)
    answers = []
    for row in inputs:
        y, h, seen = session.run(["y", "h_n", "seen_n"], {"x": row[None], "h": h, "seen": seen})
        answers.append(y[0])
    return np.stack(answers)


def drawn_steps(seed: int, num_steps: int) -> Array:
    """Loads that wander and jump, with holes, ``[n, 2]`` float32."""
    generator = np.random.default_rng(seed)
    load = np.cumsum(generator.normal(0, 0.3, num_steps)) + 3.0 * (generator.random(num_steps) < 0.08)
    steps = np.stack([load, np.arange(num_steps) % 24], axis=1)
    steps[generator.random((num_steps, 2)) < 0.1] = np.nan
    made: Array = steps.astype(np.float32)
    return made


class Count:
    """What a session keeps count of, of a point forecaster: one number after the other."""

    def __init__(self, *, lags: bool = True) -> None:
        self.lags = LAGS if lags else ()
        self.tracked = [list(numbers) for numbers in (SCORES, *(CHANGES if lags else ()))]
        self.begun = [list(numbers) for numbers in self.tracked]
        self.readings: list[float] = []
        self.forecast: tuple[float, float, float] | None = None
        self.is_on = [False] * (1 + len(CROSSINGS))

    def step(self, reading: float, point: float, below: float = 1.0, above: float = 1.0) -> float | None:
        """Take a reading in, and the forecast of the next; how surprising it was."""
        scores: list[float | None] = [None] * (1 + len(self.lags))
        if not math.isnan(reading):
            if self.forecast is not None:
                before, down, up = self.forecast
                scores[0] = abs(reading - before) / (down if reading < before else up)
            for place, lag in enumerate(self.lags, start=1):
                if len(self.readings) >= lag and not math.isnan(self.readings[-lag]):
                    scores[place] = abs(reading - self.readings[-lag])
        anomaly = None if scores[0] is None else self._place(scores[0])
        for numbers, begun, score in zip(self.tracked, self.begun, scores, strict=True):
            if score is not None:
                for place, level in enumerate(LEVELS):
                    factor = math.exp(RATE * level) if score > numbers[place] else math.exp(-RATE * (1 - level))
                    numbers[place] = min(max(numbers[place] * factor, begun[place] / 256), begun[place] * 1024)
        self.readings.append(reading)
        self.forecast = (point, below, above)
        return anomaly

    def events(self, anomaly: float | None, reading: float, step: int) -> list[dict[str, Any]]:
        """What begins and ends with a step."""
        told = []
        begins = [anomaly is not None and anomaly >= ALARM["begin"], reading > 2.0, reading < -1.5]
        ends = [anomaly is not None and anomaly <= ALARM["end"], reading <= 1.0, reading >= -1.5]
        words: list[tuple[str, dict[str, Any]]] = [("anomaly", {"anomaly": anomaly})]
        words += [
            ("level", {"feature": "load", **side, "value": reading}) for side in ({"above": 2.0}, {"below": -1.5})
        ]
        for place, (what, told_of) in enumerate(words):
            is_on = begins[place] or (self.is_on[place] and not ends[place])
            if is_on != self.is_on[place]:
                told.append({"event": f"{what}_{'began' if is_on else 'ended'}", **told_of, "step": step})
            self.is_on[place] = is_on
        return told

    def interval(self, level: float, ahead: int, point: float, below: float = 1.0, above: float = 1.0) -> list[float]:
        """The interval of one of the levels so many steps ahead."""
        place = LEVELS.index(level)
        basis = 0 if ahead == 1 or not self.lags else 1 if ahead <= self.lags[0] else 2
        numbers = [number * scale for number, scale in zip(self._rising(basis), SCALES[ahead - 1], strict=True)]
        half = max(numbers[: place + 1])
        if basis:
            below = above = 1.0
        return [point - half * below, point + half * above]

    def _rising(self, basis: int) -> list[float]:
        return [max(self.tracked[basis][: place + 1]) for place in range(len(LEVELS))]

    def _place(self, score: float) -> float:
        numbers = self._rising(0)
        low, at = 0.0, 0.0
        for level, number in zip(LEVELS, numbers, strict=True):
            if score <= number:
                return at + (score - low) / (number - low) * (level - at)
            low, at = number, level
        return at + (1.0 - (low / score) * (low / score)) * (1.0 - at)
