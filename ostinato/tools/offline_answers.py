"""Answers of an offline run to what a file holds, whatever the model's inputs and task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import InputError
from ostinato.tools.sequence_files import SequenceFile
from ostinato.tools.tensor_files import TensorFile, count_steps, plain_context

if TYPE_CHECKING:
    from ostinato.service.artifact.manifest import Manifest
    from ostinato.service.engine.recurrent.runner import Runner
    from ostinato.service.engine.sequence.runner import SequenceRunner


def answers(
    runner: Runner | SequenceRunner, file: Path, given: SequenceFile, report: Callable[[int, int], None]
) -> list[NDArray[Any]]:
    """The outputs ``[n, O]`` of each sequence; those of one length are given to the runner together.

    Raises:
        InputError: a sequence is none of the model's; names it and the place.
        RunFailed: the graph failed.
    """
    from ostinato.service.engine.recurrent.offline import run_offline
    from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
    from ostinato.service.errors import InvalidInput
    from ostinato.service.inputs.sequences import to_sequence

    part = runner.manifest.inputs[0]
    by_length: dict[int, list[int]] = {}
    sequences = []
    for index, rows in enumerate(given.sequences):
        try:
            sequences.append(to_sequence(rows, part, given.names[index] if given.names else f"sequences[{index}]"))
        except InvalidInput as error:
            raise InputError(f"{file}: {error.field}: {error}") from error
        by_length.setdefault(len(rows), []).append(index)
    if isinstance(runner, SequenceRunner):
        return [run_alone(runner, sequence) for sequence in sequences]
    total, done = sum(map(len, sequences)), 0
    outputs: dict[int, NDArray[Any]] = {}
    for length, alike in by_length.items():
        made, _ = run_offline(
            runner, np.stack([sequences[index] for index in alike]), partial(_add, report, done, total)
        )
        outputs |= dict(zip(alike, made, strict=True))
        done += length * len(alike)
    return [outputs[index] for index in range(len(sequences))]


def tensor_answers(
    manifest: Manifest,
    runner: Runner | SequenceRunner,
    file: Path,
    given: TensorFile,
    report: Callable[[int, int], None],
) -> list[NDArray[Any]]:
    """The outputs of each sequence, rows ``[n, width]``, each begun from the initial state with its context; of a model
    with framing, which is in its ``manifest``, a row for each frame.

    Raises:
        InputError: a sequence or context is none of the model's; names it and the place.
        RunFailed: the graph failed.
    """
    from ostinato.service.engine.recurrent.offline import run_offline
    from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
    from ostinato.service.errors import InvalidInput
    from ostinato.service.inputs.framing import Framer
    from ostinato.service.inputs.rows import to_context, to_rows

    framer = None if manifest.framing is None else Framer(manifest)
    total, done = sum(map(count_steps, given.sequences)), 0
    outputs = []
    for index, (sequence, context) in enumerate(zip(given.sequences, given.contexts, strict=True)):
        try:
            rows = to_rows(sequence, manifest.given, f"sequences[{index}]")
            known = to_context(plain_context(context), manifest.context, f"context[{index}]")
        except InvalidInput as error:
            raise InputError(f"{file}: {error.field}: {error}") from error
        if isinstance(runner, SequenceRunner):
            outputs.append(run_alone(runner, rows, tuple(known)))
            continue
        initial = runner.initial_states(1)[: len(manifest.states)]
        begin = (*initial, *(each[None] for each in known))
        steps = rows if framer is None else framer.whole(rows)
        if len(steps):
            made, _ = run_offline(runner, steps[None], partial(_add, report, done, total), begin=begin)
            outputs.append(made[0])
        else:
            outputs.append(manifest.made.zeros(0))
        done += len(rows)
    return outputs


def _add(report: Callable[[int, int], None], before: int, total: int, done: int, _of: int) -> None:
    report(before + done, total)
