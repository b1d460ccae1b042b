"""Options that several commands have, each written once."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

from ostinato.tables.gaps import Gaps

URL = "http://127.0.0.1:3000"
PATIENCE_SECONDS = 30.0

Url: TypeAlias = Annotated[str, typer.Option("--url", help="Where the service listens.", envvar="OSTINATO_URL")]
Patience: TypeAlias = Annotated[
    float, typer.Option("--patience", min=0, help="Seconds for which a refused request is retried.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of a table.")]
DeviceName: TypeAlias = Annotated[
    Literal["cpu", "cuda"] | None,
    typer.Option(
        "--device",
        help="Where models run, as in 'ostinato serve': the numbers are those of its sessions there.",
        show_default="OSTINATO_DEVICE, or cpu",
    ),
]
FirstRow: TypeAlias = Annotated[
    str,
    typer.Option(
        "--from",
        help="Of a table: the first row to take, by its number (from 1) or its time.",
        metavar="ROW|TIME",
        show_default="the first",
    ),
]
RowLimit: TypeAlias = Annotated[
    int, typer.Option("--limit", min=0, help="Of a table: how many rows to take; 0 = to the end of the file.")
]
RenamedColumns: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="An input (or time column of the training) and the column that holds it; may be repeated.",
        metavar="FEATURE=COLUMN",
        show_default="as the inputs are named",
    ),
]
TimeNames: TypeAlias = Annotated[
    str,
    typer.Option(
        "--time",
        help="Of a table: the column with the time, or several: year,month,day,hour.",
        metavar="COLUMN[,...]",
        show_default="as in training, or by its name",
    ),
]
SeriesName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--id",
        help="Of a table with several series: the column that says which series a row is of.",
        metavar="COLUMN",
        show_default="one series",
    ),
]
KnownNames: TypeAlias = Annotated[
    str,
    typer.Option(
        "--known",
        help="Inputs whose future values a longer forecast may read from the file: hour,TEMP",
        show_default="what follows from the time",
    ),
]
SERIES_OPTION = "--id {} takes each of them by itself"
"""What a table of several series is answered with, where a command has the option."""
GapsOption: TypeAlias = Annotated[
    Gaps | None,
    typer.Option(
        "--gaps",
        help="Of a table: fill in steps without a row as missing values, refuse them, or ignore them.",
        show_default="as in training, or fill",
    ),
]


def renamed_columns(pairs: list[str] | None) -> dict[str, str]:
    """Feature -> column, from values of ``--column``.

    Raises:
        BadParameter: one is not of the form FEATURE=COLUMN.
    """
    renamed = {}
    for pair in pairs or []:
        feature, equals, name = pair.partition("=")
        if not (feature and equals and name):
            raise typer.BadParameter(f"{pair!r} is not of the form FEATURE=COLUMN", param_hint="--column")
        renamed[feature] = name
    return renamed


def split_names(names: str) -> tuple[str, ...]:
    """Names written with commas between them."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


Quantize: TypeAlias = Annotated[
    str,
    typer.Option(
        help="int8-rows: LSTMs and GRUs of sessions in 8 bits, whose rows share runs. int8: matrix products and "
        "LSTMs in 8 bits, whose rows run alone.",
        show_default="none",
    ),
]
MaxLoss: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="With --quantize: refuse a graph that differs from the network by more (relative for numbers above 1).",
        metavar="DIFFERENCE",
        show_default="any",
    ),
]
