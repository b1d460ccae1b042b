"""Lanes: the rows of the decoder's batch, one for each output under way, or for each beam of it.

A decoding joins between two iterations and leaves between two, whatever the others do. What its lanes attend to stays
where it is from the first step to the last; only a lane that closes a gap is moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.generation.decoding import Decoding, Scores
from ostinato.service.engine.generation.graphs import DecoderRunner, DecoderStep, Start
from ostinato.service.errors import OstinatoError, RunFailed

_LEAST_ROWS = 16


class Lanes:
    """Decodings that run together: the sources of all of them are padded to one length.

    Attributes:
        decodings: each with the rows of its lanes.
        num_lanes: lanes in use.
    """

    def __init__(self, decoder: DecoderRunner) -> None:
        self._decoder = decoder
        self.decodings: dict[Decoding, list[int]] = {}
        self.num_lanes = 0
        # The states in the graph's own axes, of as many rows as there are lanes; the others have the batch first, and
        # room for more.
        self._states: list[NDArray[Any]] = []
        self._memory: list[NDArray[Any]] = []
        self._lengths = np.empty(0, np.int64)
        self._state_axes = [state.batch_axis for state in decoder.part.states]

    def __repr__(self) -> str:
        return f"<Lanes {len(self.decodings)} decodings, {self.num_lanes} lanes>"

    def join(self, joining: Sequence[tuple[Decoding, Start]]) -> None:
        """Give each decoding a lane, from the next run on."""
        first, last = self.num_lanes, self.num_lanes + len(joining)
        self._reserve(last, joining[0][1])
        for row, (decoding, start) in enumerate(joining, start=first):
            self.decodings[decoding] = [row]
            self._lengths[row] = start.num_source_steps
            for kept, given in zip(self._memory, start.memory, strict=True):
                kept[row] = given
        joined = []
        for index, axis in enumerate(self._state_axes):
            as_lane = (slice(None),) * axis + (None,)
            rows = [start.states[index][as_lane] for _, start in joining]
            joined.append(np.concatenate([self._states[index], *rows] if first else rows, axis=axis))
        self._states = joined
        self.num_lanes = last

    def leave(self, leaving: Sequence[Decoding]) -> None:
        """Free the lanes of decodings that nobody waits for."""
        self._settle({decoding: [] for decoding in leaving})

    def advance(self) -> tuple[list[Decoding], dict[Decoding, OstinatoError]]:
        """Run a step of every lane.

        Returns:
            the decodings that finished, and those that failed with the reason; both have left. The others are as
            they would be without those.
        """
        failures: dict[Decoding, OstinatoError] = {}
        step: DecoderStep | None
        try:
            step = self._run(range(self.num_lanes))
        except RunFailed as error:
            step = self._run_apart(failures, error)
        if step is None:
            self.leave(list(failures))
            return [], failures
        self._states = step.states
        scores = Scores(step.output, step.attention, has_codes=self._decoder.part.num_codes is not None)
        finished: list[Decoding] = []
        moved: dict[Decoding, list[int]] = {}
        for decoding, rows in self.decodings.items():
            if scores.failed is not None and scores.failed[rows].any() and decoding not in failures:
                failures[decoding] = RunFailed("the model's output is not finite")
            if decoding in failures:
                moved[decoding] = []
                continue
            parents = decoding.advance(scores, rows)
            if len(parents) != len(rows) or len(rows) > 1:
                moved[decoding] = [rows[parent] for parent in parents]
            if not parents:
                finished.append(decoding)
        if moved:
            self._settle(moved)
        return finished, failures

    def _run(self, rows: Sequence[int]) -> DecoderStep:
        """A step of some lanes, in their order."""
        previous: list[Any] = [None] * self.num_lanes
        for decoding, own in self.decodings.items():
            if len(own) == 1:
                previous[own[0]] = decoding.previous[0]
            else:
                for row, code in zip(own, decoding.previous, strict=True):
                    previous[row] = code
        if len(rows) == self.num_lanes:
            states, memory, lengths = self._states, [kept[: len(rows)] for kept in self._memory], self._lengths
        else:
            wanted = list(rows)
            states = [kept.take(wanted, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
            memory, lengths = [kept[wanted] for kept in self._memory], self._lengths[wanted]
            previous = [previous[row] for row in wanted]
        return self._decoder.run(previous, states, memory, lengths[: len(rows)])

    def _run_apart(self, failures: dict[Decoding, OstinatoError], error: OstinatoError) -> DecoderStep | None:
        """A step of each decoding on its own, so that only the one at fault fails; None where all do."""
        if len(self.decodings) == 1:
            failures.update(dict.fromkeys(self.decodings, error))
            return None
        steps: dict[Decoding, DecoderStep] = {}
        for decoding, rows in self.decodings.items():
            try:
                steps[decoding] = self._run(rows)
            except RunFailed as reason:
                failures[decoding] = reason
        if not steps:
            return None
        some = next(iter(steps.values()))
        output = np.zeros((self.num_lanes, some.output.shape[1]), some.output.dtype)
        attention = None
        if some.attention is not None:
            attention = np.zeros((self.num_lanes, some.attention.shape[1]), some.attention.dtype)
        states = [kept.copy() for kept in self._states]
        for decoding, step in steps.items():
            rows = self.decodings[decoding]
            output[rows] = step.output
            if attention is not None and step.attention is not None:
                attention[rows] = step.attention
            for kept, made, axis in zip(states, step.states, self._state_axes, strict=True):
                np.moveaxis(kept, axis, 0)[rows] = np.moveaxis(made, axis, 0)
        return DecoderStep(output, attention, states)

    def _settle(self, moved: dict[Decoding, list[int]]) -> None:
        """Have the decodings go on from other rows than they are on, and close the gaps.

        Args:
            moved: for each decoding that changes, the rows that its next lanes continue; none = it leaves.
        """
        if not any(moved.values()):
            self._close_gaps(moved)
            return
        num_lanes = sum(len(moved.get(decoding, rows)) for decoding, rows in self.decodings.items())
        source = np.arange(num_lanes)
        taken = np.zeros(num_lanes, bool)
        homeless: list[tuple[Decoding, list[int]]] = []
        for decoding, rows in list(self.decodings.items()):
            parents = moved.get(decoding, rows)
            if not parents:
                del self.decodings[decoding]
                continue
            kept = [row for row in rows if row < num_lanes][: len(parents)]
            source[kept] = parents[: len(kept)]
            taken[kept] = True
            if len(kept) < len(parents):
                homeless.append((decoding, parents[len(kept) :]))
            self.decodings[decoding] = kept or [parents[0]]
        free = iter(np.flatnonzero(~taken).tolist())
        for decoding, parents in homeless:
            # Any lane of the decoding has what all of them attend to; one that stays is never written over.
            model = self.decodings[decoding][0]
            stays = model < num_lanes and bool(taken[model])
            rows = self.decodings[decoding] if stays else []
            self._reserve(num_lanes)
            for parent in parents:
                row = next(free)
                source[row] = parent
                rows.append(row)
                self._lengths[row] = self._lengths[model]
                for kept_memory in self._memory:
                    kept_memory[row] = kept_memory[model]
            self.decodings[decoding] = rows
        if num_lanes != self.num_lanes or (source != np.arange(num_lanes)).any():
            self._states = [kept.take(source, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
        self.num_lanes = num_lanes

    def _close_gaps(self, leaving: Iterable[Decoding]) -> None:
        """``_settle`` where decodings leave and no other changes: the last lanes move to the rows that become free."""
        freed = [row for decoding in leaving for row in self.decodings.pop(decoding)]
        num_lanes = self.num_lanes - len(freed)
        free = [row for row in freed if row < num_lanes]
        moving: list[int] = []
        for rows in self.decodings.values():
            for place, row in enumerate(rows):
                if row >= num_lanes:
                    rows[place] = free[len(moving)]
                    moving.append(row)
        if free:
            for kept in (self._lengths, *self._memory):
                kept[free] = kept[moving]
        source = np.arange(num_lanes)
        source[free] = moving
        self._states = [kept.take(source, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
        self.num_lanes = num_lanes

    def _reserve(self, num_lanes: int, like: Start | None = None) -> None:
        """Have room for so many lanes."""
        if like is not None and not self._memory and like.memory:
            self._memory = [np.empty((0, *given.shape), given.dtype) for given in like.memory]
        if num_lanes <= len(self._lengths):
            return
        room = max(_LEAST_ROWS, 1 << (num_lanes - 1).bit_length())
        self._lengths = _grown(self._lengths, room)
        self._memory = [_grown(kept, room) for kept in self._memory]


def _grown(rows: NDArray[Any], num_rows: int) -> NDArray[Any]:
    grown = np.zeros((num_rows, *rows.shape[1:]), rows.dtype)
    grown[: len(rows)] = rows
    return grown
