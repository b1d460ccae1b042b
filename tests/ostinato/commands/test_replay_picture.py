from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.commands.replay_picture import draw, picture
from ostinato.errors import PictureError
from ostinato.tools.input_table import InputRow
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import SessionForecasts

SHAPE = ModelShape("m", "1", {}, ("load", "hour"), ("load_p10", "load_p50", "load_p90"), {"load_p50": "load"})


def session(num_rows: int, horizon: int, name: str = "") -> SessionForecasts:
    """The value of row r is r; what is forecast behind it of row s is s + r / 10, within 1."""
    rows = [InputRow(row + 2, row + 1, f"at {row}", [float(row), 0.0]) for row in range(num_rows)]
    made = {
        origin: [
            [origin + ahead + origin / 10 + spread for spread in (-1.0, 0.0, 1.0)] for ahead in range(1, horizon + 1)
        ]
        for origin in range(num_rows - horizon)
    }
    return SessionForecasts(name, rows, made)


def test_a_forecast_stands_above_the_row_that_it_is_of() -> None:
    (axes,) = picture(SHAPE, [session(6, 2)], 2).axes
    values, forecasts = axes.lines
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[1, 2, 3, 4, 5]] * 2
    assert np.asarray(values.get_ydata()).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    # Of row 2 it was made behind row 0; of row 1 there is none.
    np.testing.assert_allclose(np.asarray(forecasts.get_ydata()), [np.nan, 2.0, 3.1, 4.2, 5.3])
    (between,) = axes.collections
    corners = np.asarray(between.get_paths()[0].vertices)
    assert corners[:, 1].min() == pytest.approx(2.0 - 1)
    assert corners[:, 1].max() == pytest.approx(5.3 + 1)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["load", "forecast 2 steps before", "80% interval"]
    assert axes.get_xticklabels()[0].get_text() == "at 1"


def test_of_a_long_replay_the_last_rows_are_shown_and_of_many_sessions_the_first() -> None:
    figure = picture(SHAPE, [session(700, 1, f"s{number}") for number in range(9)], 1)
    assert len(figure.axes) == 6
    assert [axes.get_title("left") for axes in figure.axes][:2] == ["s0: load", "s1: load"]
    assert len(np.asarray(figure.axes[0].lines[0].get_xdata())) == 500


def test_without_a_forecast_there_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no forecast was made"):
        draw(tmp_path / "a.png", SHAPE, [session(2, 2)], 2)
