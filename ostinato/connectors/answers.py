"""Answers as they are published: one object of JSON for each reading, with its key, its place in the source, its time,
the outputs by their names, and of a calibrated model how surprising the reading was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ostinato.connectors.arrivals import Refusal, Released, bytes_of
from ostinato.connectors.ends import Published
from ostinato.connectors.watched import WatchedReadings


class AnswerForm:
    """Writes answers. ``outputs``: the names of the O outputs."""

    def __init__(self, outputs: Sequence[str]) -> None:
        self._form = ",".join(f"{json.dumps(name).replace('%', '%%')}:%r" for name in outputs)
        self._keys: dict[str, str] = {}

    def write(
        self,
        part: Released,
        outputs: NDArray[Any],
        reasons: dict[int, str],
        watched: WatchedReadings | None = None,
        corrections: Sequence[int | None] | None = None,
    ) -> list[Published]:
        """The answers to a partition's readings, without those that were refused.

        Args:
            outputs: ``[n, O]``, of each reading.
            reasons: place among them -> why it has none.
            watched: of each reading.
            corrections: of each the offset of the late reading that it is answered again for; None = it is not.
        """
        partition = part.partition
        source = f',"source":{json.dumps(partition)},"offset":'
        times = [f',"time":{json.dumps(time)}' for time in part.shown_times]
        rows = outputs.tolist()
        words = self._words(part.keys)
        if not (times or reasons or watched or corrections):
            whole = f'{{"key":%s{source.replace("%", "%%")}%d,"outputs":{{{self._form}}}}}'
            return [
                Published(partition, offset, key, (whole % (word, offset, *row)).encode())
                for key, word, offset, row in zip(part.keys, words, part.offsets, rows, strict=True)
            ]
        form = ',"outputs":{' + self._form + "}%s}"
        made = []
        for place, (key, word, offset, row) in enumerate(zip(part.keys, words, part.offsets, rows, strict=True)):
            if place in reasons:
                continue
            more = "" if watched is None else f",{json.dumps(watched.members(place))[1:-1]}"
            cause = None if corrections is None else corrections[place]
            if cause is not None:
                more += f',"correction":{cause}'
            text = f'{{"key":{word}{source}{offset}{times[place] if times else ""}{form % (*row, more)}'
            made.append(Published(partition, offset, key, text.encode(), cause))
        return made

    def _words(self, keys: Sequence[str]) -> list[str]:
        """Keys as JSON has them; each is written once."""
        for key in set(keys) - self._keys.keys():
            self._keys[key] = json.dumps(key)
        return [self._keys[key] for key in keys]


def refusals_of(part: Released, reasons: dict[int, str]) -> list[Refusal]:
    """The dead letters of readings that the service refused; what they held is told as numbers."""
    found = []
    for place, reason in sorted(reasons.items()):
        value = json.dumps(part.inputs[place].tolist()).encode()
        key = bytes_of(part.keys[place])
        found.append(Refusal(part.partition, part.offsets[place], key, value, reason))
    return found
