"""The child of a ``Trial``. It imports what a question needs, forks for each, and tells how the fork ended.

So a question has a process of its own, with limits of its own, for the price of a fork, and nothing is imported twice.
The child has one thread, which a process that forks must have.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from ostinato.service.tether import end_with_parent

SPARE_CPU_SECONDS = 10
"""Beyond the time on the wall, which the parent looks at: for a fork without a parent."""
_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate memory", "cannot allocate memory")


class _Warnings(logging.Handler):
    """What was warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.taken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.taken.append(record.getMessage())


def main() -> None:
    """Answer until nobody asks."""
    end_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # if memory is short, let it be this process that the kernel kills
        Path("/proc/self/oom_score_adj").write_text("1000")
    answers = int(sys.argv[1])
    for line in sys.stdin.buffer:
        question = json.loads(line)
        ended = _import(question["function"]) or _ask_a_fork(question, answers)
        if ended is not None:
            _write(answers, ended)


def _import(function: str) -> dict[str, Any] | None:
    """Import what a question needs; the answer to it where that fails."""
    try:
        importlib.import_module(function.partition(":")[0])
    except Exception as error:
        return {**_failure(error), "warnings": []}
    return None


def _ask_a_fork(question: dict[str, Any], answers: int) -> dict[str, Any] | None:
    """None where it has answered."""
    try:
        fork = os.fork()
    except OSError as error:
        return {**_failure(error), "warnings": []}
    if fork == 0:
        status = 1
        try:
            end_with_parent()
            _write(answers, {"fork": os.getpid()})
            _write(answers, _answer(question))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
    return {"died": exit_code} if exit_code else None


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    """What the function asked for gives, or how it failed."""
    warnings = _Warnings()
    logging.getLogger("ostinato").addHandler(warnings)
    _limit(question["memory"], question["seconds"])
    module, _, name = question["function"].partition(":")
    try:
        made = {"made": getattr(sys.modules[module], name)(*question["arguments"])}
    except Exception as error:
        made = {"too_much": True} if _is_out_of_memory(error) else _failure(error)
    return {**made, "warnings": warnings.taken}


def _failure(error: Exception) -> dict[str, Any]:
    from ostinato.service.catalogue.passing import is_passing

    kind = type(error)
    return {"error": [f"{kind.__module__}.{kind.__qualname__}", str(error)], "passes": is_passing(error)}


def _write(answers: int, answer: dict[str, Any]) -> None:
    text = json.dumps(answer).encode() + b"\n"
    while text:
        text = text[os.write(answers, text) :]


def _limit(num_bytes: int, seconds: float) -> None:
    """Let this process take so much data in addition to what it has, and so much time."""
    _lower(resource.RLIMIT_DATA, _data_bytes() + num_bytes)
    if seconds:
        _lower(resource.RLIMIT_CPU, int(seconds) + SPARE_CPU_SECONDS)


def _lower(what: int, most: int) -> None:
    _, before = resource.getrlimit(what)
    if before == resource.RLIM_INFINITY or most < before:
        with contextlib.suppress(ValueError, OSError):  # a system that has no such limit
            resource.setrlimit(what, (most, most))


def _data_bytes() -> int:
    """What this process has of data now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _is_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
