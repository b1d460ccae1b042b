"""Places in a user's code, for messages: the line that is nearest to what failed."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

import ostinato.export.errors

_OURS = Path(ostinato.export.errors.__file__).parent
_LIBRARIES = (str(Path(torch.__file__).parent), str(_OURS), str(_OURS.resolve()))


def place_of(frames: Sequence[tuple[str, int | None, str | None]]) -> str:
    """The line in the user's code that is nearest to what failed, in brackets; empty where none is known.

    Args:
        frames: file, line and text of each, the innermost last.
    """
    users = [frame for frame in frames if not frame[0].startswith((*_LIBRARIES, "<"))]
    if not users:
        return ""
    file, line, code = users[-1]
    return f" ({Path(file).name}, line {line}{': ' + code.strip() if code else ''})"


def place_of_error(error: BaseException) -> str:
    """The line that raised, in brackets; empty where none of the user's did."""
    frames = traceback.extract_tb(error.__traceback__)
    return place_of([(frame.filename, frame.lineno, frame.line) for frame in frames])
