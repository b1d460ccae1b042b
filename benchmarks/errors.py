"""Errors of a benchmark.

BenchmarkError
|- SubjectFailed   a server or a tool cannot be installed or started, or does not speak as it should: it is not measured
|- OwnFault        a measurement of our own code, or our own server, broke: it is not measured, and the run fails
`- WrongAnswer     a server answered fast and wrong, or not at all: what was measured of it does not count
"""

from __future__ import annotations


class BenchmarkError(Exception):
    """Base of every error that a benchmark raises on purpose."""


class SubjectFailed(BenchmarkError):
    """The subject cannot be measured; the message says why."""


class OwnFault(BenchmarkError):
    """What is ours cannot be measured; the message says why."""


class WrongAnswer(BenchmarkError):
    """An answer differs from the offline run, or steps are lost or doubled."""
