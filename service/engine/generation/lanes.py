"""Lanes: the rows of the decoder's batch, one for each output under way, or for each beam of it.

A decoding joins between two iterations and leaves between two, whatever the others do. What its lanes attend to stays
where it is from the first step to the last; only a lane that closes a gap is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.generation.decoding import Decoding, Scores
from ostinato.service.engine.generation.graphs import DecoderRunner, DecoderStep, Start, batch_first
from ostinato.service.engine.generation.tallies import Tallies, grown
from ostinato.service.errors import OstinatoError, RunFailed

_LEAST_ROWS = 16
_SHARE_OF_ENDED = 4
"""Several steps are run in a row until more than one lane of so many has ended."""


class Lanes:
    """Decodings that run together: the sources of all of them are padded to one length.

    A row that becomes free is taken by the next that joins. Where fewer join than have left, the last lanes move there
    before the next run.

    Attributes:
        decodings: each with the rows of its lanes.
        num_steps_made: steps of outputs so far, of all that ever had a lane.
    """

    def __init__(self, decoder: DecoderRunner) -> None:
        self._decoder = decoder
        self.decodings: dict[Decoding, list[int]] = {}
        self.num_steps_made = 0
        self._num_steps_run = 0
        # By row; None where it is free.
        self._owners: list[Decoding | None] = []
        self._free: list[int] = []
        # Those that are shown each of their steps, in the order in which they came; the others are tallied.
        self._stepping: dict[Decoding, None] = {}
        self._tallies = Tallies()
        # The states in the graph's own axes, of as many rows as there are owners; the others have the batch first, and
        # room for more.
        self._states: list[NDArray[Any]] = []
        self._memory: list[NDArray[Any]] = []
        self._lengths = np.empty(0, np.int64)
        self._previous = decoder.no_lanes_fed()
        self._state_axes = [state.batch_axis for state in decoder.part.states]

    def __repr__(self) -> str:
        return f"<Lanes {len(self.decodings)} decodings, {self.num_lanes} lanes>"

    @property
    def num_lanes(self) -> int:
        """Lanes in use."""
        return len(self._owners) - len(self._free)

    def join(self, joining: Sequence[tuple[Decoding, Start]]) -> None:
        """Give each decoding a lane, from the next run on."""
        num_before, num_filled = len(self._owners), min(len(self._free), len(joining))
        rows = [self._free.pop() for _ in range(num_filled)]
        rows += range(num_before, num_before + len(joining) - num_filled)
        self._owners += [None] * (len(joining) - num_filled)
        self._reserve(len(self._owners), joining[0][1])
        for row, (decoding, start) in zip(rows, joining, strict=True):
            self.decodings[decoding] = [row]
            self._owners[row] = decoding
            self._lengths[row] = start.num_source_steps
            self._previous[row] = decoding.previous[0]
            for kept, given in zip(self._memory, start.memory, strict=True):
                kept[row] = given
        for index, axis in enumerate(self._state_axes):
            begun = np.array([start.states[index] for _, start in joining])
            batch_first(self._states[index], axis)[rows[:num_filled]] = begun[:num_filled]
            if num_filled < len(joining):
                behind = np.moveaxis(begun[num_filled:], 0, axis)
                self._states[index] = np.concatenate([self._states[index], behind], axis)
        self._begin([decoding for decoding, _ in joining])

    def leave(self, leaving: Sequence[Decoding]) -> None:
        """Free the lanes of decodings that nobody waits for."""
        for decoding in leaving:
            for row in self.decodings[decoding]:
                if self._tallies.are_kept[row]:
                    decoding.num_steps_tallied = partial(int, self._tallies.num_steps[row])
                    self._tallies.end(row)
                self._owners[row] = None
                self._free.append(row)
            self._stepping.pop(decoding, None)
            del self.decodings[decoding]

    def advance(self, max_steps: int = 1) -> tuple[list[Decoding], dict[Decoding, OstinatoError]]:
        """Run a step of every lane; or several, ``max_steps`` at most, where nobody is shown each of them.

        Returns:
            the decodings that finished, and those that failed with the reason; both have left. The others are as
            they would be without those.
        """
        self._close_gaps()
        failures: dict[Decoding, OstinatoError] = {}
        try:
            steps = self._run_several(1 if self._stepping else max_steps)
        except RunFailed as error:
            steps = self._run_apart(failures, error)
        self.leave(list(failures))
        if not steps:
            return [], failures
        self._states = steps[-1].states
        output = steps[0].output if len(steps) == 1 else np.concatenate([step.output for step in steps])
        scores = Scores(output, steps[0].attention, has_codes=self._decoder.part.num_codes is not None)
        finished = self._advance_tallied(scores, len(steps), failures)
        finished += self._advance_stepping(scores)
        return finished, failures

    def _advance_tallied(
        self, scores: Scores, num_steps: int, failures: dict[Decoding, OstinatoError]
    ) -> list[Decoding]:
        """Take the steps of those that are tallied in: which of them finished. Of all lanes, add those that failed in
        a step of theirs to ``failures``; both have left.
        """
        num_rows = len(self._owners)
        made, ended = np.ones(num_rows, np.int64), np.zeros(num_rows, bool)
        if len(self._stepping) < len(self.decodings):
            codes = scores.best_codes.reshape(num_steps, num_rows)
            made, ended = self._tallies.take(codes, scores.best_log_probabilities.reshape(num_steps, num_rows))
            self._previous[:num_rows] = codes[-1]
        self._num_steps_run += num_steps
        self.num_steps_made += int(made.sum())
        failing: list[Decoding] = []
        if scores.failed is not None:
            failed = scores.failed.reshape(num_steps, num_rows) & (np.arange(num_steps)[:, None] < made)
            rows = np.flatnonzero(np.logical_or.reduce(failed)).tolist()
            failing = list(dict.fromkeys(self._owner(row) for row in rows))
            failures.update((decoding, RunFailed("the model's output is not finite")) for decoding in failing)
        finished = []
        for row in np.flatnonzero(ended).tolist():
            decoding = self._owner(row)
            if decoding not in failures:
                decoding.outputs = [self._tallies.read(row)]
                finished.append(decoding)
        self.leave([*failing, *finished])
        return finished

    def _owner(self, row: int) -> Decoding:
        owner = self._owners[row]
        assert owner is not None
        return owner

    def _advance_stepping(self, scores: Scores) -> list[Decoding]:
        """Show each of the others its step: which of them finished; they have left."""
        finished: list[Decoding] = []
        moved: dict[Decoding, list[int]] = {}
        for decoding in self._stepping:
            rows = self.decodings[decoding]
            parents = decoding.advance(scores, rows)
            if not parents:
                finished.append(decoding)
            elif len(rows) > 1 or len(parents) > 1:
                moved[decoding] = [rows[parent] for parent in parents]
        self.leave(finished)
        if moved:
            self._settle(moved)
        rows, fed = [], []
        for decoding in self._stepping:
            rows += self.decodings[decoding]
            fed += decoding.previous
        if rows:
            self._previous[rows] = fed
        self._begin([decoding for decoding in self._stepping if decoding.is_tallied])
        return finished

    def _begin(self, decodings: Sequence[Decoding]) -> None:
        """Have those tallied from now on that can be."""
        tallied = [decoding for decoding in decodings if decoding.is_tallied]
        self._stepping.update(dict.fromkeys(decodings))
        for decoding in tallied:
            del self._stepping[decoding]
            decoding.num_steps_tallied = partial(self._num_steps_since, self._num_steps_run)
        if tallied:
            rows = [self.decodings[decoding][0] for decoding in tallied]
            self._tallies.begin(rows, [decoding.plan for decoding in tallied])

    def _num_steps_since(self, began_at: int) -> int:
        """Steps of an output that began after so many, as long as it is here; another thread may ask."""
        return self._num_steps_run - began_at

    def _run_several(self, max_steps: int) -> list[DecoderStep]:
        """Steps of all lanes; of more than one all lanes are tallied. What follows the end of an output is wasted, so
        they stop where many have ended.

        Raises:
            RunFailed: the first step failed. One behind it is left for the next time.
        """
        num_lanes = self.num_lanes
        steps = [self._run(range(num_lanes))]
        ended = np.zeros(num_lanes, bool)
        while len(steps) < max_steps:
            codes = steps[-1].output.argmax(axis=1)
            ended |= self._tallies.ends(codes, len(steps))
            if np.count_nonzero(ended) * _SHARE_OF_ENDED > num_lanes:
                break
            self._previous[:num_lanes], self._states = codes, steps[-1].states
            try:
                steps.append(self._run(range(num_lanes)))
            except RunFailed:
                break
        return steps

    def _run(self, rows: Sequence[int]) -> DecoderStep:
        """A step of some lanes, in their order; no row is free."""
        if len(rows) == self.num_lanes:
            states, memory = self._states, [kept[: len(rows)] for kept in self._memory]
            return self._decoder.run(self._previous[: len(rows)], states, memory, self._lengths[: len(rows)])
        wanted = list(rows)
        states = [kept.take(wanted, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
        memory = [kept[wanted] for kept in self._memory]
        return self._decoder.run(self._previous[wanted], states, memory, self._lengths[wanted])

    def _run_apart(self, failures: dict[Decoding, OstinatoError], error: OstinatoError) -> list[DecoderStep]:
        """A step of each decoding on its own, so that only the one at fault fails; none where all do."""
        if len(self.decodings) == 1:
            failures.update(dict.fromkeys(self.decodings, error))
            return []
        steps: dict[Decoding, DecoderStep] = {}
        for decoding, rows in self.decodings.items():
            try:
                steps[decoding] = self._run(rows)
            except RunFailed as reason:
                failures[decoding] = reason
        if not steps:
            return []
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
                batch_first(kept, axis)[rows] = batch_first(made, axis)
        return [DecoderStep(output, attention, states)]

    def _settle(self, moved: dict[Decoding, list[int]]) -> None:
        """Have decodings continue from other rows than they are on, and leave no row free.

        Args:
            moved: for each decoding that changes, the rows that its next lanes continue.
        """
        num_lanes = sum(len(moved.get(decoding, rows)) for decoding, rows in self.decodings.items())
        source = np.arange(num_lanes)
        taken = np.zeros(num_lanes, bool)
        homeless: list[tuple[Decoding, list[int]]] = []
        for decoding, rows in self.decodings.items():
            parents = moved.get(decoding, rows)
            kept = [row for row in rows if row < num_lanes][: len(parents)]
            source[kept] = parents[: len(kept)]
            taken[kept] = True
            if len(kept) < len(parents):
                homeless.append((decoding, parents[len(kept) :]))
            self.decodings[decoding] = kept or [parents[0]]
        self._reserve(num_lanes)
        free = iter(np.flatnonzero(~taken).tolist())
        to: list[int] = []
        models: list[int] = []
        for decoding, parents in homeless:
            # Any lane of the decoding has what all of them attend to; one that stays is never written over.
            model = self.decodings[decoding][0]
            stays = model < num_lanes and bool(taken[model])
            rows = self.decodings[decoding] if stays else []
            for parent in parents:
                row = next(free)
                source[row] = parent
                rows.append(row)
                to.append(row)
                models.append(model)
            self.decodings[decoding] = rows
        self._move(to, models)
        if num_lanes != len(self._owners) or (source != np.arange(num_lanes)).any():
            self._states = [kept.take(source, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
        self._free.clear()
        self._owners = [None] * num_lanes
        for decoding, rows in self.decodings.items():
            for row in rows:
                self._owners[row] = decoding

    def _close_gaps(self) -> None:
        """Move the last lanes to the rows that are free."""
        if not self._free:
            return
        num_lanes = self.num_lanes
        to = [row for row in self._free if row < num_lanes]
        moving = [row for row in range(num_lanes, len(self._owners)) if self._owners[row] is not None]
        self._move(to, moving)
        for row, new in zip(moving, to, strict=True):
            owner = self._owners[new] = self._owners[row]
            assert owner is not None
            rows = self.decodings[owner]
            rows[rows.index(row)] = new
        source = np.arange(num_lanes)
        source[to] = moving
        self._states = [kept.take(source, axis) for kept, axis in zip(self._states, self._state_axes, strict=True)]
        del self._owners[num_lanes:]
        self._free.clear()

    def _move(self, to: list[int], rows: list[int]) -> None:
        """Have at rows that are free what other lanes are fed, attend to and have tallied; not their states."""
        if to:
            for kept in (self._previous, self._lengths, *self._memory):
                kept[to] = kept[rows]
            self._tallies.move(to, rows)

    def _reserve(self, num_lanes: int, like: Start | None = None) -> None:
        """Have room for so many lanes, and for what one begins with."""
        if like is not None and not self._memory and like.memory:
            self._memory = [np.empty((0, *given.shape), given.dtype) for given in like.memory]
        if like is not None and not self._states:
            self._states = [
                np.empty((*given.shape[:axis], 0, *given.shape[axis:]), given.dtype)
                for given, axis in zip(like.states, self._state_axes, strict=True)
            ]
        if num_lanes <= len(self._lengths):
            return
        room = max(_LEAST_ROWS, 1 << (num_lanes - 1).bit_length())
        self._lengths, self._previous = grown(self._lengths, room), grown(self._previous, room)
        self._memory = [grown(kept, room) for kept in self._memory]
        self._tallies.reserve(room)
