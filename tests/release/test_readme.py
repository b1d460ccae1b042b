from __future__ import annotations

import re
from pathlib import Path

import pytest

from release.readme import readme_of_index

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# A

![It](docs/it.png)

See [b](docs/b.md#c), [how to
cite](CITATION.cff), [d](https://d.example) and [e](#e).

```text
[b](docs/b.md)
```
"""


@pytest.mark.parametrize(
    ("address", "made"),
    [
        (None, "# A\n\nSee b, how to\ncite, [d](https://d.example) and [e](#e)."),
        (
            "https://f.example/o",
            "# A\n\n![It](https://f.example/o/raw/main/docs/it.png)\n\n"
            "See [b](https://f.example/o/blob/main/docs/b.md#c), [how to\n"
            "cite](https://f.example/o/blob/main/CITATION.cff), [d](https://d.example) and [e](#e).",
        ),
    ],
)
def test_links_of_an_indexs_readme_lead_somewhere_or_are_text(address: str | None, made: str) -> None:
    assert readme_of_index(TEXT, address) == f"{made}\n\n```text\n[b](docs/b.md)\n```\n"


def test_the_projects_own_has_no_link_into_a_folder_that_no_index_has() -> None:
    own = (ROOT / "README.md").read_text("utf-8")
    labels = re.findall(r"(?<!!)\[([^]]+)\]\((?!https?:)", own)
    made = readme_of_index(own, None)
    assert "](" not in made
    assert labels
    assert all(label in made for label in labels)
