from __future__ import annotations

import re
from pathlib import Path

from ostinato.cli import COMMANDS
from ostinato.service.config import Settings
from ostinato.service.edge.problems import INTERNAL, PROBLEMS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_every_setting_stands_there_with_its_default() -> None:
    written = {cells[0].strip("`"): cells[1].strip("`") for cells in table("Settings")}
    expected = {
        f"--{name.replace('_', '-')}": f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert written == expected


def test_every_error_stands_there_with_its_status() -> None:
    written = {(int(status), code) for status, codes, _ in table("Errors") for code in re.findall(r"`(\w+)`", codes)}
    assert written == {*PROBLEMS.values(), INTERNAL}


def test_every_route_stands_there() -> None:
    written = {route for cells in table("Routes") for route in re.findall(r"`([A-Z]+ /v1[^`]*)`", cells[0])}
    source = (ROOT / "service" / "edge" / "v1" / "routes.py").read_text()
    served = {f"{method} {path}" for method, path in re.findall(r'\("([A-Z]+)", "(/v1[^"]*)"\)', source)}
    assert {re.sub(r"\{\w+\}", "{}", route) for route in written} == served


def test_every_command_stands_there() -> None:
    assert [cells[0].split()[1].strip("`") for cells in table("Command line")] == list(COMMANDS)


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert "docs/images/demo.png" in links
