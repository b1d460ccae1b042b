"""``ostinato run`` over files of columns: what is asked for, how far it is, and what it came to."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from ostinato.commands.progress import progress_bar
from ostinato.commands.tables import WholeTable
from ostinato.errors import SettingsError
from ostinato.extras import require
from ostinato.tables.parquet import SUFFIXES
from ostinato.tools.backfill.asked import Backfill, OnError

if TYPE_CHECKING:
    from ostinato.tools.backfill.part_files import PartTally
    from ostinato.tools.backfill.plan import BackfillPlan


AS_THEY_STAND = (
    "--time ordered the rows, and no missing step was put in between them: a session that is told times fills such in, "
    "so what it answers behind a gap is another number"
)

IdColumn: TypeAlias = Annotated[
    str,
    typer.Option(
        "--id",
        help="Of columns with a row for each step: the column that says which sequence a row is of; --time orders "
        "the rows.",
        metavar="COLUMN",
        show_default="none",
    ),
]
LastOnly: TypeAlias = Annotated[bool, typer.Option("--last", help="Of columns: only the last answer of each sequence.")]
OnWrongRow: TypeAlias = Annotated[
    OnError,
    typer.Option(help="Of columns: at a row that the model does not take, stop, or skip the rest of its sequence."),
]
MemoryLimit: TypeAlias = Annotated[
    str, typer.Option(help="Of columns: memory for the rows under way, of all workers together.")
]
WorkerCount: TypeAlias = Annotated[
    int, typer.Option(min=0, help="Of columns: processes, or actors of Ray; 0 = one for each processor.")
]
PartRows: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Of columns: rows of a part, at least; a worker that is killed loses one part.")
]
Restart: TypeAlias = Annotated[
    bool, typer.Option("--restart", help="Of columns: delete what was begun for this output, and start again.")
]
RayAddress: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Of columns: run on Ray, at this address or 'auto', or with 'local' on one that is started here. The "
        "output is a folder.",
        metavar="ADDRESS",
        show_default="none",
    ),
]


@dataclass(frozen=True)
class BackfillOptions:
    """Flags of the command, as they were typed."""

    renamed: Mapping[str, str]
    id_column: str
    time_column: str
    is_last: bool
    on_error: OnError
    memory: str
    num_workers: int
    part_rows: int
    restart: bool
    ray: str


def is_backfill(file: Path, output: Path | None, id_column: str, ray: str) -> bool:
    """Whether the file is read as columns of many sequences.

    Raises:
        SettingsError: it must be, by its name or a flag, and nothing fit to be written is named.
    """
    from_columns = bool(id_column or ray) or file.is_dir() or file.suffix.lower() in (".arrow", ".feather")
    to_parquet = output is not None and output.suffix.lower() in SUFFIXES
    if from_columns and not to_parquet and not (ray and output is not None):
        raise SettingsError(f"{file}: of columns, Parquet is written: --output OUT.parquet")
    return from_columns or to_parquet


def run_columns(console: Console, directory: Path, file: Path, output: Path | None, options: BackfillOptions) -> None:
    """Run a version over files of columns.

    Raises:
        SettingsError: a flag cannot be. InputError: a file has not what the model takes.
    """
    assert output is not None
    require("pyarrow", __name__)
    if options.ray:
        require("ray", __name__)
    from ostinato.service.artifact.manifest import Manifest
    from ostinato.service.catalogue.tried import try_version
    from ostinato.tools.backfill.column_files import find_files
    from ostinato.tools.backfill.finishing import finish
    from ostinato.tools.backfill.plan import begun
    from ostinato.tools.service_settings import settings_of_the_service

    asked = Backfill(
        directory,
        find_files(file),
        options.id_column,
        options.time_column,
        options.renamed,
        options.is_last,
        options.on_error,
        bytes_of(options.memory),
    )
    output = output.absolute()
    begun_at = clock.monotonic()
    bar = progress_bar(console, "rows", has_remaining=True, transient=True)
    with bar:
        shown = _Shown(bar)
        with begun(asked, output, restart=options.restart, part_rows=options.part_rows, report=shown.add) as plan:
            missing = plan.missing()
            if missing:
                try_version(directory, settings_of_the_service())
            num_found = plan.num_parts - len(missing)
            if num_found:
                found = f"{num_found:,} of {plan.num_parts:,} parts are there already"
                console.print(f"{escape(str(output))}: {found}", highlight=False, soft_wrap=True)
            num_done = sum(map(plan.rows_of, range(plan.num_parts))) - sum(map(plan.rows_of, missing))
            shown.begin("running", plan.num_rows, num_done)
            _make(plan, missing, options, shown)
            seconds = clock.monotonic() - begun_at
            total = finish(plan, output, is_folder=bool(options.ray), report=shown.add)
    _tell(console, output, total, seconds)
    if options.time_column and Manifest.read(directory).time is not None:
        console.print(f"[yellow]{escape(AS_THEY_STAND)}[/]", highlight=False, soft_wrap=True)


def bytes_of(memory: str) -> int:
    """A size in words, as ``1GiB``.

    Raises:
        SettingsError: it is none, or less than a MiB.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        size = 0
    if size < 1 << 20:
        raise SettingsError(f"--memory {memory}: a size of 1MiB at least, as 512MiB or 4GiB")
    return size


def _make(plan: BackfillPlan, missing: list[int], options: BackfillOptions, shown: _Shown) -> None:
    from ostinato.tools.backfill.workers import make_parts, usable_cores

    if not options.ray:
        make_parts(plan.asked, missing, options.num_workers or usable_cores(), shown.done)
        return
    from ostinato.tools.backfill.on_ray import connected, make_parts_on_ray

    with connected(options.ray, options.num_workers or usable_cores()):
        make_parts_on_ray(plan.asked, missing, options.num_workers, shown.done)


class _Shown:
    """A bar for each thing that is done, one behind the other, with how many rows a second."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._title = ""
        self._num_done = 0
        self._begun_at = 0.0

    def begin(self, title: str, total: int, num_done: int = 0) -> None:
        """Show something new, of which some is done."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(title, total=total, completed=num_done, text="")
        self._title, self._num_done, self._begun_at = title, 0, clock.monotonic()

    def add(self, title: str, num_rows: int, total: int) -> None:
        """More rows of something."""
        if title != self._title:
            self.begin(title, total)
        self.done(num_rows)

    def done(self, num_rows: int) -> None:
        """More rows of what is shown."""
        assert self._task is not None
        self._num_done += num_rows
        rate = self._num_done / max(1e-3, clock.monotonic() - self._begun_at)
        self._bar.update(self._task, advance=num_rows, text=f"{rate:,.0f}/s")


def _tell(console: Console, output: Path, total: PartTally, seconds: float) -> None:
    from ostinato.tools.backfill.finishing import skipped_path

    table = WholeTable(box=None, show_header=False)
    table.add_row("sequences", f"{total.sequences:,}")
    table.add_row("steps", f"{total.steps:,}")
    table.add_row("seconds", f"{seconds:,.1f}")
    table.add_row("steps a second", f"{total.steps / max(1e-3, seconds):,.0f}")
    if total.unanswered:
        table.add_row("[yellow]no answer (NaN or infinity)[/]", f"{total.unanswered:,} steps")
    if total.num_skipped:
        table.add_row("[yellow]not answered to their end[/]", f"{total.num_skipped:,} sequences")
    table.add_row("written", escape(str(output)))
    console.print(table)
    if total.num_skipped:
        first = "; ".join(f"row {row}: {reason}" for _, row, reason in total.skipped)
        told = f"{skipped_path(output)} lists what was left out: {first}"
        console.print(f"[yellow]{escape(told)}[/]", highlight=False, soft_wrap=True)
