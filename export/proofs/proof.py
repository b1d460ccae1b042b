"""A proof: what was measured of a graph, line by line, and what the manifest keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ostinato.export.contracts.axes import Array
from ostinato.service.artifact.manifest import Parity
from ostinato.service.artifact.numbers import DEFAULT_TOLERANCE, largest_difference

TOLERANCE = DEFAULT_TOLERANCE

# report(done, total): how much of the proof is done, and of how much.
ProofReport: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class Measured:
    """One line of the proof: one way of running, over several sizes."""

    what: str
    sizes: str
    max_difference: float
    bit_identical: bool


@dataclass(frozen=True)
class Proof:
    """What was measured, line by line; ``parity`` is what the manifest keeps of it, ``notes`` what a user must know."""

    lines: tuple[Measured, ...]
    parity: Parity
    notes: tuple[str, ...] = ()

    @property
    def batch_invariant(self) -> bool:
        """Whether every line was the same to the bit as each row alone and whole."""
        return all(line.bit_identical for line in self.lines)

    def joined(self, lines: Sequence[Measured], tolerance: float) -> Proof:
        """With more lines over the same sizes, which were let differ by ``tolerance``."""
        joined = {
            "max_difference": max(line.max_difference for line in (*self.lines, *lines)),
            "tolerance": max(self.parity.tolerance, tolerance),
        }
        return replace(self, lines=(*self.lines, *lines), parity=self.parity.model_copy(update=joined))


def measure(
    tasks: Sequence[Callable[[], Measured]],
    report: ProofReport,
    *,
    tolerance: float,
    batch_sizes: tuple[int, ...],
    lengths: tuple[int, ...],
    num_chunkings: int,
) -> Proof:
    """The proof of which each task measures a line.

    Args:
        report: called with the number of lines done and the number of all lines.
        tolerance, batch_sizes, lengths, num_chunkings: what the tasks hold to, for the manifest.
    """
    lines = []
    for done, task in enumerate(tasks, start=1):
        lines.append(task())
        report(done, len(tasks))
    parity = Parity(
        max_difference=max(line.max_difference for line in lines),
        tolerance=tolerance,
        batch_sizes=batch_sizes,
        lengths=lengths,
        num_chunkings=num_chunkings,
    )
    return Proof(tuple(lines), parity)


def worst_place(given: Mapping[str, Array], wanted: Mapping[str, Array]) -> tuple[str, float]:
    """Where the given numbers differ most from those that are wanted, and by how much."""
    differences = {place: largest_difference(given[place], wanted[place]) for place in wanted}
    place = max(differences, key=lambda name: differences[name])
    return place, differences[place]


def identical(given: Iterable[Array], wanted: Iterable[Array]) -> bool:
    """Whether all arrays are the same to the bit, one by one."""
    return all(a.tobytes() == b.tobytes() for a, b in zip(given, wanted, strict=True))
