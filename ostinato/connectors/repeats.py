"""Repeats: readings that came before, where messages count themselves and the source cannot be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ostinato.connectors.arrivals import Refusal, Released
from ostinato.connectors.service_line import Reached

_Pieces: TypeAlias = list[tuple[Released, list[int]]]
"""Places of what came, and of what came after that."""


class ReadingRepeats:
    """Tells readings that this run has applied, and those that one before it may have.

    What this run applied is dropped. What a run before it applied is given apart, as soon as the last that its session
    has is among it: the chunk that was applied last is then whole, and is answered again. A session is asked for when
    its key is first met.
    """

    def __init__(
        self, reached: Callable[[Iterable[str]], Mapping[str, Reached]], session_id: Callable[[str], str]
    ) -> None:
        self._reached = reached
        self._session_id = session_id
        self._before: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._early: dict[str, _Pieces] = {}
        self._num_dropped = 0

    def split(self, part: Released) -> tuple[Released, Released]:
        """What a run before this one applied, and what is new; each in its order."""
        self._ask(set(part.keys) - self._last.keys() - self._before.keys(), part.partition)
        again: _Pieces = []
        early: dict[str, list[int]] = {}
        new = []
        for place, (key, offset) in enumerate(zip(part.keys, part.offsets, strict=True)):
            if key not in self._last and offset <= self._before[key]:
                early.setdefault(key, []).append(place)
                if offset == self._before[key]:
                    again += [*self._early.pop(key, []), (part, early.pop(key))]
            elif offset > self._last.get(key, -1):
                self._last[key] = offset
                new.append(place)
            else:
                self._num_dropped += 1
        for key, places in early.items():
            self._early.setdefault(key, []).append((part, places))
        for key in self._early.keys() & self._last.keys():
            # Messages come in their order: the last that the session has was answered for, and does not come again.
            self._num_dropped += sum(len(places) for _, places in self._early.pop(key))
        return _chosen(again or [(part, [])], []), _chosen([(part, new)], part.refusals)

    def take_dropped(self) -> int:
        """How many readings were dropped since this was asked last."""
        dropped, self._num_dropped = self._num_dropped, 0
        return dropped

    def _ask(self, keys: set[str], partition: str) -> None:
        """See how far the sessions of keys are that were not met before."""
        asked = {self._session_id(key): key for key in sorted(keys)}
        told = self._reached(asked) if asked else {}
        self._before.update(dict.fromkeys(keys, -1))
        self._before.update({asked[name]: one.offset for name, one in told.items() if one.source == partition})


def _chosen(pieces: _Pieces, refusals: list[Refusal]) -> Released:
    def column(of: Callable[[Released], Sequence[Any]]) -> list[Any]:
        return [of(part)[place] for part, places in pieces for place in places]

    return Released(
        pieces[0][0].partition,
        column(lambda part: part.offsets),
        column(lambda part: part.triggers),
        column(lambda part: part.keys),
        column(lambda part: part.shown_times) if pieces[0][0].shown_times else [],
        np.concatenate([part.inputs[np.array(places, np.int64)] for part, places in pieces]),
        refusals,
    )
