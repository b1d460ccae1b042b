"""Findings of a foreign graph, to be shown before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FoundTensor:
    """An input or output: what the file says of it, what it is taken for, and how that was found, in words.

    Attributes:
        name: in the file; ``served`` in the manifest.
        role: input, context, state, constant, output ...
        declared: dtype and sizes in the file.
        axes: in the manifest; empty where it is not in there.
        how: where this comes from.
    """

    name: str
    role: str
    declared: str
    served: str = ""
    axes: str = ""
    how: str = ""


@dataclass(frozen=True)
class FileSummary:
    """All that was found of a graph.

    Attributes:
        source: the file.
        task: what it is served as.
        tensors: in the file's order, inputs before outputs.
        pairs: of each state, input and output, in the file, and how that was found.
        rewired: sentences on what was rewritten so that it streams.
        obstacles: why it cannot stream; empty where it does.
        notes: what else a user must know.
        serving: how it is served, a sentence each.
    """

    source: str
    task: str
    tensors: tuple[FoundTensor, ...]
    pairs: tuple[tuple[str, str, str], ...] = ()
    rewired: tuple[str, ...] = ()
    obstacles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    serving: tuple[str, ...] = field(default=())
