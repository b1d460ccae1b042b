from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ostinato.errors import InputError
from ostinato.tables.table import Table


def written(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def test_a_parquet_file_is_the_table_that_it_could_be_written_as(tmp_path: Path) -> None:
    moments = [datetime(2024, 1, 1), datetime(2024, 1, 1, 1, 30)]
    path = written(
        tmp_path / "load.parquet",
        time=pa.array(moments, pa.timestamp("ns")),
        zoned=pa.array([moment.replace(tzinfo=UTC) for moment in moments], pa.timestamp("us", "UTC")),
        load=pa.array([0.1, None], pa.float32()),
        level=pa.array([1e-7, float("nan")], pa.float64()),
        count=pa.array([7, None], pa.int64()),
        wind=pa.array(["N", None]).dictionary_encode(),
        is_open=pa.array([True, False]),
    )
    table = Table(path)
    assert table.header == ("time", "zoned", "load", "level", "count", "wind", "is_open")
    first, second = table.rows()
    assert first.line == 2
    assert first.cells == [
        *("2024-01-01T00:00:00", "2024-01-01T00:00:00+00:00", "0.1", "1e-07", "7", "N", "1"),
    ]
    assert second.cells == ["2024-01-01T01:30:00", "2024-01-01T01:30:00+00:00", "", "", "", "", "0"]


def test_a_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "load.data", load=[1.5])
    assert [row.cells for row in Table(path).rows()] == [["1.5"]]


def test_what_is_no_parquet_file_or_holds_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.parquet").write_text("time,load\n")
    with pytest.raises(InputError, match=r"wrong\.parquet: cannot be read"):
        Table(tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match=r"column 'loads' holds list<"):
        Table(written(tmp_path / "lists.parquet", loads=[[1.0], [2.0]]))
    with pytest.raises(InputError, match=r"nowhere\.parquet: cannot be read"):
        Table(tmp_path / "nowhere.parquet")
