"""Damage to the journal: what is said of it, and whether the journal is read all the same."""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path

from ostinato.service.state.lmdb.salvage import Salvaged
from ostinato.service.state.lmdb.segment import Segment

logger = logging.getLogger(__name__)

WAY_OUT = (
    "some sessions may be older than what was acknowledged, and which is not known. Put the whole folder back as it "
    "was, or take what is there with lmdb://PATH?recover=yes"
)


class JournalDamaged(OSError):
    """The journal has lost what was committed, and whose it was is not known; the message names the file."""


class Damage:
    """Tells of damage, and keeps the damaged files.

    Args:
        recovers: take what there is, where something is lost and whose it was is not known.

    Attributes:
        session_ids: those of which a record was found damaged; perhaps not the newest.
    """

    def __init__(self, *, recovers: bool) -> None:
        self._recovers = recovers
        self.session_ids: set[str] = set()

    def found(self, segment: Segment, salvaged: Salvaged) -> None:
        """At the segment's end is none of its sound entries, and further on is what was salvaged.

        Raises:
            JournalDamaged: there is something between them, which nobody can name.
        """
        if salvaged.start > segment.end:
            self.lost(segment, salvaged.start)
        self.session_ids.update(salvaged.damaged_ids)
        if salvaged.start == segment.end or salvaged.damaged_ids:
            logger.error(
                "%s is damaged in its entry at byte %d. Sessions of which a record is lost there, so that they are "
                "refused unless they have a newer one: %s. The file is kept as %s",
                segment.path,
                salvaged.start,
                ", ".join(salvaged.damaged_ids) or "none, as all its records are sound",
                _keep(segment),
            )

    def torn(self, segment: Segment) -> None:
        """What is behind the segment's end was being written when the machine ended."""
        logger.warning(
            "%s: what follows byte %d was written in the last moments before the machine ended, and did not reach the "
            "disk whole. It is not taken",
            segment.path,
            segment.end,
        )

    def compare(self, last: Segment, number: int, end: int) -> None:
        """The journal ended in segment ``number``, at ``end``; what can be read ends with the last segment. A file
        that was cut short ends like a sound one.

        Raises:
            JournalDamaged: as ``lost``.
        """
        if number > last.number:
            self.missing(last.path.with_name(f"journal.{number:08d}"))
        elif number == last.number and end > last.end:
            self.lost(last, end)

    def lost(self, segment: Segment, end: int) -> None:
        """Nobody can name whose records was between the segment's end and ``end``.

        Raises:
            JournalDamaged: that is not to be accepted.
        """
        kept = _keep(segment)
        self._accept(f"{segment.path.name} is damaged from byte {segment.end} to {end}, and is kept as {kept}")

    def missing(self, path: Path) -> None:
        """A segment is not there; raises as ``lost``."""
        self._accept(f"{path.name} is missing, which holds what is not in the database yet")

    def _accept(self, what: str) -> None:
        if not self._recovers:
            raise JournalDamaged(f"{what}: {WAY_OUT}")
        logger.error("%s. What is left is taken: sessions not stepped since may be older than acknowledged", what)


def _keep(segment: Segment) -> str:
    """Put a copy of a damaged file aside; its name."""
    copy = segment.path.with_name(f"{segment.path.name}.damaged-at-{segment.end}")
    if not copy.exists():
        try:
            shutil.copyfile(segment.path, copy)
        except OSError as error:
            logger.error("%s could not be kept: %s", segment.path, error)
            with contextlib.suppress(OSError):
                copy.unlink()
    return copy.name
