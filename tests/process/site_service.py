"""The service with the site of the archive that ``SITE`` names, in the place of the package's."""

from __future__ import annotations

import os
from pathlib import Path

from ostinato.service.edge.site import pages

pages.ARCHIVE = Path(os.environ["SITE"])

from ostinato.service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
