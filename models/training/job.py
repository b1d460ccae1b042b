"""A job: what is asked of one training besides its recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ostinato.models.report import Report
from ostinato.models.training.checkpoints import Checkpoints


@dataclass(frozen=True)
class Job:
    """Where a training keeps itself while it runs, and who is told how far it is.

    ``checkpoints``: of a training that may be resumed; those of nowhere write nothing.
    """

    report: Report = lambda _done, _total, _text: None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def tell(self, sentence: str) -> None:
        """Show a sentence of its own."""
        self.report(0, 0, sentence)

    def relay(self, label: str) -> Job:
        """A job for something that is trained before what this one counts, and is never resumed."""

        def report(done: int, total: int, text: str) -> None:
            self.report(0, total, f"{label}  epoch {min(done + 1, total)}/{total}  {text}")

        return Job(report)

    def of_member(self, number: int, members: int) -> Job:
        """The job of one of an ensemble's members, which has a checkpoint of its own."""

        def report(done: int, total: int, text: str) -> None:
            self.report(done, total, f"member {number + 1}/{members}  {text}" if total else text)

        return Job(report, replace(self.checkpoints, member=number))
