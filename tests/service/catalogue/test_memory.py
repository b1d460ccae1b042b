from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.catalogue.memory import available_bytes


@pytest.mark.parametrize(
    ("machine", "group", "expected"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   2000 kB\n", {}, 2_048_000),
        ("MemAvailable:   2000 kB\n", {"memory.max": "1000000", "memory.current": "400000"}, 600_000),
        ("MemAvailable:   2000 kB\n", {"memory.max": "max", "memory.current": "400000"}, 2_048_000),
        ("MemAvailable:   2000 kB\n", {"memory.max": "1000", "memory.current": "4000"}, 0),
        ("", {"memory/memory.limit_in_bytes": "5000", "memory/memory.usage_in_bytes": "1000"}, 4000),
        ("", {}, None),
    ],
)
def test_what_is_left_is_the_machine_s_or_the_container_s(
    machine: str, group: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(machine)
    for name, text in group.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_bytes(tmp_path / "meminfo", tmp_path) == expected
