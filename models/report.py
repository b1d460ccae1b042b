"""Reports of training: how far it is, and what it comes to, in tables and charts.

They hold numbers and words alone; ``report_page.py`` draws them, and the command line prints the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, get_args

# report(done, total, text): how many of how many epochs, and what to show next to the bar.
# With a total of 0 the text is a sentence of its own.
Report: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ScoreTable:
    """What a network scores, ready to be shown: the first column is text, the others are numbers.

    ``note``: a sentence to show below it; empty for none.
    ``printed``: whether it is shown at the end of the training too, and not in ``report.html`` alone.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    printed: bool = True


@dataclass(frozen=True)
class LineChart:
    """Lines over numbers; NaN is a hole in a line.

    ``lines``: what each is called, to its ``x`` and ``y``.
    ``bands``: shaded between two lines, as an interval's ends: name, to ``x``, lower and upper.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    bands: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]] | None = None
    note: str = ""


@dataclass(frozen=True)
class BarChart:
    """Groups of bars: ``labels`` along the axis, and for each of ``bars`` a height at each of them."""

    title: str
    x_label: str
    y_label: str
    labels: Sequence[str]
    bars: Mapping[str, Sequence[float]]
    note: str = ""


@dataclass(frozen=True)
class HistogramChart:
    """How often numbers are where, as residuals."""

    title: str
    x_label: str
    values: Sequence[float]
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """Numbers in rows and columns, the larger the darker: a confusion, an alignment."""

    title: str
    x_label: str
    y_label: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    note: str = ""


ReportPart: TypeAlias = ScoreTable | LineChart | BarChart | HistogramChart | Matrix
_SECTIONS: dict[str, type[ReportPart]] = {section.__name__: section for section in get_args(ReportPart)}


def as_content(section: ReportPart) -> dict[str, Any]:
    """A section as JSON can hold it: a hole in a line is null."""
    content: dict[str, Any] = _without_holes({"section": type(section).__name__, **asdict(section)})
    return content


def of_content(content: Mapping[str, Any]) -> ReportPart:
    """The section that ``as_content`` made this of.

    Raises:
        KeyError, TypeError: it is none.
    """
    given = dict(content)
    return _SECTIONS[given.pop("section")](**_with_holes(given))


def _without_holes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_holes(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_holes(inner) for inner in value]
    if isinstance(value, (str, int)) or value is None:
        return value
    # A number, NumPy's among them.
    return float(value) if math.isfinite(value) else None


def _with_holes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: None if key == "bands" and inner is None else _with_holes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_with_holes(inner) for inner in value)
    return math.nan if value is None else value
