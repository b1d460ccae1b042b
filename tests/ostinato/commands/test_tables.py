"""Tables of all commands, with names of more than forty characters, in terminals of 80 and of 60 columns, and piped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ostinato.cli import app
from ostinato.client.generation import GeneratedOutput, Generation
from ostinato.commands.export_view import export_summary, proof_table
from ostinato.commands.found_table import found_table
from ostinato.commands.generation_view import WriterShape, outputs_table
from ostinato.commands.tables import PIPED_COLUMNS, WholeTable, table_console
from ostinato.commands.train import score_table
from ostinato.export.importing.found import FileSummary, FoundTensor
from ostinato.export.proofs.proof import Measured, Proof
from ostinato.export.version_directory import Exported
from ostinato.models.report import ScoreTable
from ostinato.service.artifact.manifest import Manifest, Parity
from ostinato.service.artifact.promise import Promise
from tests.ostinato.conftest import total_of_loads
from tests.server import ServerProcess, running_server

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("tables_server")

NAME = "loads-of-the-northern-stations-of-2026-by-hour"
OTHER = "loads-of-the-southern-stations-of-2026-by-hour"
SESSION = "station-number-seven-in-the-street-of-the-mill"
WIDTHS = (80, 60)
"""Of terminals; the names take 46 columns each."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r")
    for name in (NAME, OTHER):
        total_of_loads().named(name).write(folder, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("home")) as process:
        process.post(f"/v1/models/{NAME}/sessions", json={"session_id": SESSION})
        yield process


def printed(columns: int | None, *arguments: object) -> str:
    """What a command prints in a terminal so wide; None = in none."""
    environment = {"COLUMNS": "" if columns is None else str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner(env=environment).invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def assert_whole(text: str, columns: int, names: tuple[str, ...]) -> None:
    assert "…" not in text
    for name in names:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), (name, text)
    sentences = ("note:", "right:")  # which a terminal wraps
    assert max(len(line) for line in text.splitlines() if not line.startswith(sentences)) <= columns, text


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_repository_and_its_scores_and_plans(columns: int, repository: Path, tmp_path: Path) -> None:
    checked = printed(columns, "verify", repository)
    assert_whole(checked, columns, (NAME, OTHER))
    assert checked.count("ok") == 2
    table, bench = tmp_path / "loads.csv", tmp_path / "bench.jsonl"
    table.write_text("load\n1\n2\n3\n4\n6\n")
    bench.write_text('{"sequences": 1, "steps_per_second": 900.0}\n')
    evaluated = printed(
        columns, "evaluate", repository / NAME, table, "--horizon", 2, "--origins", 0, "--no-ets", "--from", 1
    )
    assert_whole(evaluated, columns, (f"{NAME}/1", "persistence", "skill"))
    planned = printed(
        columns, "plan", "--sessions", 100, "--rate", "1/s", "-m", NAME, "--repository", repository, "--bench", bench
    )
    assert_whole(planned, columns, (NAME,))


@pytest.mark.parametrize("columns", WIDTHS)
def test_keys(columns: int, tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    printed(None, "keys", "new", NAME, "--tenant", OTHER, "--rate", "100", "--keys", file)
    assert_whole(printed(columns, "keys", "list", "--keys", file), columns, (NAME, OTHER))


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_service(columns: int, server: ServerProcess, tmp_path: Path) -> None:
    url = ("--url", server.url)
    table = tmp_path / "loads.csv"
    table.write_text("load\n1\n2\n3\n4\n6\n")
    for command, names in {
        ("models", "list"): (NAME, OTHER),
        ("sessions", "list"): (SESSION, NAME),
        ("sessions", "show", SESSION): (SESSION, NAME),
        ("replay", table, "-m", NAME): (f"{NAME}/1", "load"),
        ("bench", "-m", NAME, "--sessions", 2, "--seconds", 0.1): (NAME,),
    }.items():
        assert_whole(printed(columns, *command, *url), columns, names)


def test_what_is_piped_has_a_row_in_a_line_however_wide(server: ServerProcess, repository: Path) -> None:
    for command, name in {
        ("verify", repository): NAME,
        ("models", "list", "--url", server.url): NAME,
        ("sessions", "list", "--url", server.url): SESSION,
    }.items():
        row = next(line for line in printed(None, *command).splitlines() if name in line)
        assert "1" in row.split()  # the version is in it too


def shown(table: WholeTable, columns: int) -> str:
    console = Console(width=columns, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def proved(repository: Path) -> Exported:
    directory = repository / NAME / "1"
    lines = (Measured("chunks of 1, 2 and 3 steps", "batches 1 to 64, lengths 1 to 50", 1.2e-7, bit_identical=True),)
    manifest = Manifest.read(directory).model_copy(update={"promise": Promise(holds="any")})
    return Exported(
        directory,
        manifest,
        Proof(lines, Parity(max_difference=1.2e-7, batch_sizes=(1,), lengths=(1,), num_chunkings=1)),
    )


@pytest.mark.parametrize("columns", WIDTHS)
def test_tables_of_what_takes_long_or_needs_a_network_of_its_own(columns: int, repository: Path) -> None:
    errors = tuple(f"error_{place}" for place in range(9))
    scores = shown(score_table(ScoreTable("scores", ("forecast", *errors), ((NAME, *["0.123456789"] * 9),))), columns)
    assert_whole(scores, columns, (NAME, *errors, "0.123456789"))
    output = GeneratedOutput(value="letters", score=-1.0, finish_reason="stop", log_probs=[-0.1] * 30)
    generation = Generation(model=NAME, version="1", seed=1, outputs=((output,),))
    assert_whole(shown(outputs_table(generation, [OTHER], WriterShape(None, (), "", "")), columns), columns, (OTHER,))
    exported = proved(repository)
    assert_whole(shown(proof_table(exported, "proved"), columns), columns, (NAME, "difference", "alone"))
    assert_whole(shown(export_summary(exported, NAME), columns), columns, (NAME, "total"))
    found = FileSummary(NAME, "recurrent", (FoundTensor(OTHER, "input", "float32 [1, 2]", axes="[B, T]", how="so"),))
    assert_whole(shown(found_table(found), columns), columns, (NAME, OTHER))


def test_a_table_that_is_piped_is_as_wide_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert table_console().width == PIPED_COLUMNS
    assert table_console(stderr=True).width == PIPED_COLUMNS
    monkeypatch.setenv("COLUMNS", "100")
    assert table_console().width == 100
