"""``python -m ostinato.tools.reference FOLDER`` writes all generated pages into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from ostinato.tools.reference.pages import PAGES


def main() -> None:
    """Write each page that is made of the code."""
    folder = Path(sys.argv[1])
    for name, make in PAGES.items():
        path = folder / name
        path.write_text(make(path.read_text("utf-8") if path.exists() else ""), "utf-8")


if __name__ == "__main__":
    main()
