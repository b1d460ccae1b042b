"""``ostinato evaluate``: how good a forecaster is, by how far ahead it forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ostinato.commands.horizon_view import horizon_table
from ostinato.commands.options import (
    SERIES_OPTION,
    FirstRow,
    GapsOption,
    KnownNames,
    RenamedColumns,
    RowLimit,
    SeriesName,
    TimeNames,
    renamed_columns,
    split_names,
)
from ostinato.commands.progress import late_progress
from ostinato.commands.run import find_version
from ostinato.commands.tables import table_console
from ostinato.errors import CommandError, TableError
from ostinato.extras import install_sentence, require
from ostinato.tables.table import Table
from ostinato.tools import horizon_report
from ostinato.tools.ets import has_ets
from ostinato.tools.evaluation import EvaluationOptions, season_of
from ostinato.tools.evaluation import evaluate as evaluate_series
from ostinato.tools.input_table import InputRows, InputTable
from ostinato.tools.merged_input import merged_input
from ostinato.tools.model_shape import told_by_time
from ostinato.tools.offline_forecasts import OfflineForecaster
from ostinato.tools.output_place import check_output_place
from ostinato.tools.service_settings import settings_of_the_service
from ostinato.tools.tensor_files import read_context

if TYPE_CHECKING:
    from ostinato.service.artifact.manifest import Manifest

_ALL_ROWS = 2**62
_SHARE_SCORED = 5


def evaluate(
    model_directory: Annotated[
        Path, typer.Argument(help="A version's directory, or a model's: its latest version.", metavar="MODEL_DIRECTORY")
    ],
    file: Annotated[Path, typer.Argument(help="Table with a header: CSV, Parquet or JSON.", metavar="FILE")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps ahead to forecast and score.")] = 24,
    origins: Annotated[
        int, typer.Option(min=0, help="Steps of each series from which forecasts are made; 0 = all.")
    ] = 100,
    season: Annotated[
        int,
        typer.Option(min=0, help="Steps of a season; 1 = no season.", show_default="by the model's step"),
    ] = 0,
    ets: Annotated[
        bool | None,
        typer.Option("--ets/--no-ets", help="Fit ETS at each origin, too.", show_default="where it is installed"),
    ] = None,
    known: KnownNames = "",
    series: SeriesName = "",
    first: FirstRow = "",
    limit: RowLimit = 0,
    column: RenamedColumns = None,
    time: TimeNames = "",
    gaps: GapsOption = None,
    context: Annotated[
        str,
        typer.Option(
            help="The model's context, which is the same in all steps: a JSON object, or a file with one.",
            show_default="the first row of each series, by the names of its columns",
        ),
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the scores: .json or .md.", show_default="none")
    ] = None,
) -> None:
    """Evaluate a forecaster offline by rolling origins. It forecasts from many steps of a table, and each number of
    steps ahead is scored. It is compared with persistence (the last value seen), the seasonal naive forecast (the
    value one season before) and ETS (exponential smoothing, fitted again at each origin; the extra 'evaluate').

    The forecasts are equal, to the bit, to those of a live session after the same rows. All forecasts are scored on the
    same values. MASE is the error divided by that of the seasonal naive forecast one season ahead, on the rows before
    the first origin. Where the model answers quantiles, their pinball loss is shown, and the share of the values
    between the lowest and the highest.

    The rows before the first origin are run and not scored. The first origin is --from. Without it, it is where the
    model's test part began, if the manifest and the table say when that was, and otherwise the last fifth.

    [bold]Examples[/]

    ostinato evaluate repository/beijing-lstm hours.csv.xz --horizon 24 --known hour

    ostinato evaluate repository/beijing-seq2seq/1 hours.parquet --origins 300 --season 24 --output scores.json

    ostinato evaluate repository/panel days.csv --id station --horizon 7 --no-ets
    """
    require("onnxruntime", __name__)
    from ostinato.service.catalogue.recurrent_checks import load_model
    from ostinato.service.catalogue.tried import try_version

    console = Console(stderr=True)
    if output is not None:
        horizon_report.check_can_write(output, "--output")
        check_output_place(output, file)
    if ets and not has_ets():
        raise CommandError(install_sentence("--ets", "evaluate"))
    Table(file)  # what is wrong with the file is told before a model is loaded
    directory, settings = find_version(model_directory), settings_of_the_service()
    with late_progress(console, f"evaluating {escape(directory.parent.name)}", "forecasts") as report:
        try_version(directory, settings)
        loaded = load_model(directory, settings)
        forecaster, manifest = OfflineForecaster(loaded), loaded.manifest
        inputs = [part.model_dump(mode="json") for part in manifest.inputs]
        features = [feature for part in inputs for feature in part["features"]]
        if unknown := [name for name in split_names(known) if name not in features]:
            raise TableError(f"--known {unknown[0]}: the model's inputs are {', '.join(features)}")
        merged = merged_input(inputs)
        table = InputTable(
            file, merged, renamed_columns(column), time=split_names(time), gaps=gaps, series_option=SERIES_OPTION
        )
        rows, where = _read(table, series, manifest, first, limit or None)
        for name, found in rows.items():
            for warning in found.warnings:
                _tell(console, f"{file}: {f'{name}: ' if name else ''}{warning}")
        static = [part.model_dump(mode="json") for part in manifest.context]
        options = EvaluationOptions(
            horizon=horizon,
            num_origins=origins,
            season_steps=season or season_of((merged.get("times") or {}).get("step")),
            known=tuple(dict.fromkeys([*split_names(known), *told_by_time(manifest.model_dump(mode="json"))])),
            with_ets=has_ets() if ets is None else ets,
            context=read_context(context),
            contexts={} if context else table.contexts(static, series),
        )
        scores, num_origins = evaluate_series(forecaster, inputs, rows, options, report)
    if ets is None and not has_ets():
        _tell(console, f"without ETS: {install_sentence('it', 'evaluate')}")
    about: dict[str, Any] = {"model": manifest.name, "version": manifest.version, "file": str(file), "origins": where}
    about |= {"num_origins": num_origins, "num_series": len(rows), "horizon": horizon}
    about |= {"season_steps": options.season_steps, "known": list(options.known)}
    shown = table_console()
    for each in scores:
        shown.print(horizon_table(f"{manifest.name}/{manifest.version}", each))
    console.print(
        f"{num_origins:,} origins {where}, season {options.season_steps}", highlight=False, soft_wrap=True, markup=False
    )
    if output is not None:
        horizon_report.write(output, about, scores)
        console.print(f"scores written to {escape(str(output))}", highlight=False, soft_wrap=True)


def _read(
    table: InputTable, series: str, manifest: Manifest, first: str, limit: int | None
) -> tuple[Mapping[str, InputRows], str]:
    """The rows of each series, with those ahead of the first to be scored; and in words, which that is."""

    def read(begin: str) -> Mapping[str, InputRows]:
        if series:
            return table.read_each(series, first=begin, before=_ALL_ROWS, limit=limit)
        return {"": table.read(first=begin, before=_ALL_ROWS, limit=limit)}

    if first:
        return read(first), f"from {first} on"
    test = ((manifest.provenance.get("data") or {}).get("test") or {}).get("first")
    if test:
        try:
            return read(test), f"from {test} on, where the model's test part began"
        except TableError:  # no times, or none so late; what else is wrong is raised again
            pass
    rows = read("")
    return {
        name: replace(each, num_ahead=len(each.rows) - len(each.rows) // _SHARE_SCORED) for name, each in rows.items()
    }, "in the last fifth of the rows"


def _tell(console: Console, sentence: str) -> None:
    console.print(f"[yellow]{escape(sentence)}[/]", highlight=False, soft_wrap=True)
