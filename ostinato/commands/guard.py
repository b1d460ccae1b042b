"""A guard: a command that runs somebody else's graph does so in a fork, which may die of it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import typer

from ostinato.errors import CommandError
from ostinato.tools.service_settings import settings_of_the_service

UNFINISHED = ".export-{process}-"
"""How folders begin in which a version is made, and which a process that died leaves behind."""
CPU_SHARE = 20
"""Of the time that a load may take: a proof is many runs."""


def run_in_a_fork(file: Path, repository: Path) -> None:
    """Go on in a fork of this process, with limits; the process itself waits, and tells how that ended.

    Raises:
        CommandError: the fork died; says of what.
        typer.Exit: it ended, with its status.
    """
    exit_code = fork_under_limits(file, repository)
    if exit_code is not None:
        raise typer.Exit(exit_code)


def fork_under_limits(file: Path, repository: Path) -> int | None:
    """The same, of one of several graphs: the fork's status, for the process that waited; None for the fork itself,
    and where there is none.

    Raises:
        CommandError: the fork died; says of what.
    """
    if not is_forked():
        return None
    for stream in (sys.stdout, sys.stderr):
        print(end="", file=stream, flush=True)
    fork = os.fork()
    if not fork:
        _limit(file)
        return None
    exit_code = _wait(fork)
    if exit_code >= 0:
        return exit_code
    for left in repository.glob(f"{UNFINISHED.format(process=fork)}*"):
        shutil.rmtree(left, ignore_errors=True)
    from ostinato.service.tether import describe_end

    cause = "kills onnxruntime in some of its runs"
    if exit_code == -signal.SIGXCPU:
        cause = "has a loop without an end, it seems"
    raise CommandError(
        f"{file}: the process that ran it was {describe_end(exit_code)}: its graph {cause}. Nothing was written"
    )


def is_forked() -> bool:
    """Whether commands go on in forks: whoever took the standard output, as a test does, would not see what one
    writes.
    """
    return sys.stdout is sys.__stdout__ and sys.__stdout__ is not None


def _wait(fork: int) -> int:
    while True:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        except KeyboardInterrupt:  # the fork has it, too
            continue


def _limit(file: Path) -> None:
    from ostinato.service.catalogue.trial import Allowances
    from ostinato.service.tether import end_with_parent

    end_with_parent()
    files = [file] if file.is_file() else list(file.rglob("*.onnx")) if file != Path() else []
    sizes = [each.stat().st_size for each in files]
    allowance = Allowances.of(settings_of_the_service()).for_files(sum(sizes))
    seconds = CPU_SHARE * allowance.seconds * max(1, len(sizes))
    limits = {
        resource.RLIMIT_DATA: allowance.memory_bytes,
        resource.RLIMIT_CPU: int(seconds) or resource.RLIM_INFINITY,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a system without, or that allows less already
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
