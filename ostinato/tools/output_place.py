"""Place of an output: a file that is written is none of those that are read."""

from __future__ import annotations

import glob
from fnmatch import fnmatch
from pathlib import Path

from ostinato.errors import InputError


def check_output_place(output: Path, given: Path) -> None:
    """Refuse an output that would take the place of what is read, or be read with it the next time.

    Args:
        given: a file, a folder whose files are read, or a pattern of their paths.

    Raises:
        InputError: it is there; says to write it elsewhere.
    """
    place, source = output.resolve(), given.resolve()
    if place == source or (output.exists() and given.exists() and output.samefile(given)):
        raise InputError(f"{output}: it is what is read, and would be overwritten: give the output another name")
    if given.is_dir() and source in place.parents:
        raise InputError(f"{output}: it lies in {given}, whose files are all read: write it elsewhere")
    if not given.exists() and glob.has_magic(str(given)) and _is_of_pattern(place, source):
        raise InputError(f"{output}: the pattern of what is read fits it, too: give the output another name")


def _is_of_pattern(place: Path, pattern: Path) -> bool:
    """Whether ``glob`` would find it; a star stands for a part of one name, and two for any folders."""
    if "**" not in pattern.parts and len(place.parts) != len(pattern.parts):
        return False
    return fnmatch(str(place), str(pattern).replace("/**/", "/*"))
