"""A report of scores by horizon, as lines of cells: for a table in the terminal, and for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.errors import InputError
from ostinato.tools.horizon_scores import MODEL, PERSISTENCE, HorizonScores

SUFFIXES = (".md", ".json")
_MOST_LINES = 24


def check_can_write(path: Path, option: str) -> None:
    """Whether a report can be written, before anything is asked for it.

    Raises:
        InputError: its name has another end, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{option} {path}: its name should end in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.parent}")


def header(scores: HorizonScores) -> list[str]:
    """The names of the cells: ``n`` is what was scored, MAE is the model's, with that of the others behind it;
    skill is by how much it is below that of persistence.
    """
    others = [name for name in scores.mae if name != MODEL]
    names = ["step", "n", "MAE", *others, "skill", "RMSE", "MASE"]
    return [*names, f"in {scores.nominal:.0%}"] if scores.coverage else names


def lines(scores: HorizonScores) -> list[list[str]]:
    """A line of cells for each step ahead, of many for some of them, and one for the mean."""
    horizon = len(scores.num_scored)
    shown = sorted({int(step) for step in np.linspace(1, horizon, min(horizon, _MOST_LINES)).round()})
    made = [_line(scores, str(ahead), [ahead - 1]) for ahead in shown]
    return [*made, _line(scores, "mean", list(range(horizon)))] if horizon > 1 else made


def _line(scores: HorizonScores, label: str, places: Sequence[int]) -> list[str]:
    def mean(values: Sequence[float]) -> float:
        return float(np.mean([values[place] for place in places]))

    base = mean(scores.mae[PERSISTENCE])
    skill = 1 - mean(scores.mae[MODEL]) / base if base else float("nan")
    count = sum(scores.num_scored[place] for place in places)
    cells = [label, f"{count:,}", *(_number(mean(values)) for values in scores.mae.values())]
    cells += [f"{skill:.1%}" if skill == skill else "-", _number(mean(scores.rmse[MODEL]))]
    mase = mean(scores.mase[MODEL])
    cells.append("-" if mase != mase else f"{mase:.3f}")
    if scores.coverage:
        share = mean(scores.coverage)
        cells.append(f"{share:.1%}" if share == share else "-")
    return cells


def write(path: Path, about: dict[str, Any], scores: Sequence[HorizonScores]) -> None:
    """Write all scores and what they are about, as its name says: JSON, or tables in Markdown.

    Raises:
        InputError: it cannot be written.
    """
    content = {**about, "targets": {each.target: each.content() for each in scores}}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if path.suffix.lower() == ".md":
        text = _markdown(about, scores)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _markdown(about: dict[str, Any], scores: Sequence[HorizonScores]) -> str:
    parts = [f"# {about['model']}/{about['version']}: forecasts by horizon", ""]
    parts += [f"- {name}: {value}" for name, value in about.items() if name not in ("model", "version")]
    for each in scores:
        names = header(each)
        parts += ["", f"## {each.target}", "", _row(names), _row(["---"] + ["---:"] * (len(names) - 1))]
        parts += [_row(line) for line in lines(each)]
    return "\n".join(parts) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
