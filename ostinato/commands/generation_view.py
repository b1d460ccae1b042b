"""Views of `ostinato generate`: a table of outputs, one that grows while they are made, or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from ostinato.client.arrays import to_json
from ostinato.client.generation import GeneratedStep, Generation, Source, Value
from ostinato.commands.tables import WholeTable

NOTHING = "(nothing)"
Tell = Callable[[GeneratedStep], None]


@dataclass(frozen=True)
class WriterShape:
    """What must be known of a model that writes, from its manifest; all of it is empty where no version is served.

    Attributes:
        model_input: its source's entry; None where it reads none.
        features: of outputs that are numbers.
        source_separator, target_separator: what stands between the symbols of a text; None where there are no texts.
    """

    model_input: Mapping[str, Any] | None
    features: tuple[str, ...]
    source_separator: str | None
    target_separator: str | None

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> WriterShape:
        """The shape of what ``GET /v1/models/{model}`` answered."""
        manifest = model.get("manifest") or {}
        vocabularies = manifest.get("vocabularies") or {}
        source, target = (
            vocabularies[name]["separator"] if name in vocabularies else None for name in ("source", "target")
        )
        decoder = manifest.get("decoder") or {"output": {"features": ()}}
        inputs = manifest.get("inputs") or [None]
        return cls(inputs[0], tuple(decoder["output"]["features"]), source, target)


def symbols_of(value: Source | None, separator: str | None) -> list[str] | None:
    """The symbols of a text or of codes, as they are shown; None of numbers."""
    if isinstance(value, str):
        return value.split(separator) if separator else list(value)
    if value is None or isinstance(value, np.ndarray) or any(not isinstance(code, int) for code in value):
        return None
    return [str(code) for code in value]


class View(Protocol):
    """Shows what comes of each request; ``first_index`` is the number of inputs in the requests before."""

    def growing(self, inputs: Sequence[Source | None], first_index: int) -> AbstractContextManager[Tell]:
        """For as long as the steps of a request are told."""

    def whole(self, made: Generation, inputs: Sequence[Source | None], first_index: int) -> None:
        """The outputs of a request."""


def outputs_table(
    made: Generation, inputs: Sequence[Source | None], shape: WriterShape, first_index: int = 0
) -> WholeTable:
    """A line for each output; for each step of outputs that are numbers."""
    table = _table(made)
    if any(isinstance(output.value, np.ndarray) for outputs in made.outputs for output in outputs):
        return _numbers_table(table, made, shape, first_index)
    has_several = any(len(outputs) > 1 for outputs in made.outputs)
    has_log_probs = any(output.log_probs is not None for outputs in made.outputs for output in outputs)
    table.add_column("input", overflow="fold")
    table.add_column("output", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("end")
    if has_log_probs:
        table.add_column("log-probabilities", overflow="fold")
    for index, outputs in enumerate(made.outputs):
        for place, output in enumerate(outputs):
            cells = [
                "" if place else _name(inputs[index], first_index + index),
                _text(output.value),
                _score(output.score),
            ]
            cells.append("stop" if output.finish_reason == "stop" else "[yellow]length[/]")
            if has_log_probs:
                cells.append(" ".join(f"{each:.2f}" for each in output.log_probs or ()))
            table.add_row(*cells, end_section=has_several and place + 1 == len(outputs))
    return table


class Growing:
    """The outputs of one request while they are made: what has come of each, and its log-probability so far."""

    def __init__(self, inputs: Sequence[Source | None], shape: WriterShape) -> None:
        self._inputs = inputs
        self._separator = " " if shape.target_separator is None else shape.target_separator
        self._steps: dict[tuple[int, int], list[GeneratedStep]] = {(index, 0): [] for index in range(len(inputs))}

    def add(self, step: GeneratedStep) -> None:
        """Take a step in."""
        self._steps.setdefault((step.index, step.place), []).append(step)

    def __rich__(self) -> WholeTable:
        table = WholeTable(box=None, pad_edge=False)
        table.add_column("input", overflow="fold")
        table.add_column("output", overflow="fold")
        table.add_column("log-probability", justify="right")
        for (index, place), steps in sorted(self._steps.items()):
            written = [_number(step.value) if isinstance(step.value, np.ndarray) else step.value for step in steps]
            text = self._separator.join(str(each) for each in written if each not in ("", None))
            likely = sum(step.log_prob or 0.0 for step in steps)
            table.add_row("" if place else _name(self._inputs[index], index), escape(text), f"{likely:.3f}")
        return table


class TableView:
    """Tables on a terminal."""

    def __init__(self, console: Console, shape: WriterShape) -> None:
        self._console, self._shape = console, shape

    @contextmanager
    def growing(self, inputs: Sequence[Source | None], first_index: int) -> Iterator[Tell]:
        """A table that grows, and gives way to the whole one."""
        del first_index
        table = Growing(inputs, self._shape)
        with Live(table, console=self._console, refresh_per_second=20, transient=True):
            yield table.add

    def whole(self, made: Generation, inputs: Sequence[Source | None], first_index: int) -> None:
        """A table."""
        self._console.print(outputs_table(made, inputs, self._shape, first_index))


class JsonView:
    """A JSON object a line."""

    @contextmanager
    def growing(self, inputs: Sequence[Source | None], first_index: int) -> Iterator[Tell]:
        """A line for each step."""
        del inputs

        def tell(step: GeneratedStep) -> None:
            members = {"index": first_index + step.index, "place": step.place, "step": step.step}
            _print_json({**members, "output": step.value, "log_prob": step.log_prob})

        yield tell

    def whole(self, made: Generation, inputs: Sequence[Source | None], first_index: int) -> None:
        """A line for each output."""
        for index, outputs in enumerate(made.outputs):
            for place, output in enumerate(outputs):
                known = {"log_probs": output.log_probs, "attention": output.attention, "seed": made.seed}
                members = {
                    "model": made.model,
                    "version": made.version,
                    "index": first_index + index,
                    "place": place,
                    "input": inputs[index],
                    "output": output.value,
                    "score": output.score,
                    "finish_reason": output.finish_reason,
                    **{name: value for name, value in known.items() if value is not None},
                }
                _print_json(members)


def _table(made: Generation) -> WholeTable:
    seed = "" if made.seed is None else f", seed {made.seed}"
    return WholeTable(title=f"{escape(made.model)}/{escape(made.version)}{seed}", title_justify="left")


def _numbers_table(table: WholeTable, made: Generation, shape: WriterShape, first_index: int) -> WholeTable:
    table.add_column("input")
    table.add_column("step", justify="right")
    for name in shape.features:
        table.add_column(escape(name), justify="right")
    for index, [output, *_] in enumerate(made.outputs):
        rows = np.asarray(output.value)
        for step, row in enumerate(rows):
            name = _name([], first_index + index) if step == 0 else ""
            table.add_row(name, str(step + 1), *(f"{value:.6g}" for value in row), end_section=step + 1 == len(rows))
    return table


def _name(source: Source | None, index: int) -> str:
    if isinstance(source, str) or source is None:
        return escape(source or NOTHING)
    return f"#{index + 1}"


def _print_json(members: Mapping[str, Any]) -> None:
    typer.echo(to_json(members).decode())


def _text(value: Value) -> str:
    return escape(value if isinstance(value, str) else " ".join(str(code) for code in value))


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _number(row: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in row)
