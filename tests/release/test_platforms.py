from __future__ import annotations

import pytest
from packaging.version import Version

from release.platforms import BEGIN, CLIENT, END, NO_WHEEL, PYTHONS, ROOT, SYSTEMS, Cell, extras, table, with_table


def cells(extra: str, system: str, missing: dict[str, str] | None = None, **versions: str) -> list[Cell]:
    found = {name: Version(text) for name, text in versions.items()}
    return [Cell(extra, system, python, found, (missing or {}).get(python, "")) for python in PYTHONS]


def test_a_row_has_the_pythons_of_each_system_and_what_is_missing() -> None:
    linux, arm, mac = SYSTEMS
    made = [
        *cells("serve", linux, lmdb="3.0"),
        *cells("serve", arm, {"3.14": "lmdb"}, lmdb="3.0"),
        *cells("serve", mac, dict.fromkeys(PYTHONS, "lmdb==3.0")),
    ]
    row = "| `serve` | 3.11 to 3.14 | 3.11 to 3.13; not 3.14: `lmdb` has no wheel | no: `lmdb==3.0` has no wheel |"
    assert row in table(made).splitlines()
    assert "Older" not in table(made)


def test_a_library_that_is_older_than_in_the_same_extra_elsewhere_is_told() -> None:
    linux, arm, mac = SYSTEMS
    made = [
        *cells(CLIENT, linux, numpy="2.5"),
        *cells(CLIENT, arm, numpy="2.5"),
        *cells(CLIENT, mac, numpy="2.4"),
        # Another extra has its own reasons.
        *cells("plot", linux, numpy="2.3"),
    ]
    assert table(made).endswith("\n- numpy 2.4 and not 2.5: macOS 14 arm64 (3.11 to 3.14).\n")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Because onnxruntime-gpu[cuda]==1.31.1 has no wheels with a matching platform tag", "onnxruntime-gpu==1.31.1"),
        ("And because lmdb>=1.24.1 has no wheels with a matching Python ABI tag", "lmdb>=1.24.1"),
        ("because lmdb has no wheels with a matching Python ABI tag", "lmdb"),
    ],
)
def test_the_library_that_has_no_wheel_is_found_in_what_uv_says(said: str, name: str) -> None:
    found = NO_WHEEL.search(said)
    assert found is not None
    assert f"{found[1]}{found[2] or ''}" == name


def test_the_page_has_a_table_of_all_extras() -> None:
    page = (ROOT / "docs" / "platforms.md").read_text("utf-8")
    assert all(f"\n| {name if name == CLIENT else f'`{name}`'} | " in page for name in extras())
    assert with_table(page, "new") == f"{page.partition(BEGIN)[0]}{BEGIN}\n\nnew\n{END}{page.partition(END)[2]}"
    with pytest.raises(ValueError, match="the page has no"):
        with_table("# Platforms\n", "new")
