"""The site, built once for all processes that run tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from docs.site.archive import write_archive
from tests.docs.markdown import ROOT
from tests.shared import Shared

ARCHIVE = "site.zip"


def built_site(shared: Shared) -> Path:
    """A folder with ``site/``, as ``make docs`` builds it, and its archive."""
    return shared.directory("docs-site", _build)


def _build(folder: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    built = [*command, "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "site")]
    done = subprocess.run(built, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    write_archive(folder / "site", folder / ARCHIVE)
