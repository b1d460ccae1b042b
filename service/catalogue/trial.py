"""The trial: a child process in which graphs are opened and versions loaded before any other process does.

A graph is code of somebody else's, and onnxruntime a library that trusts it: there are graphs at which it dies, never
ends, or takes all memory. In the child that costs one answer. It is started with the first question, which takes some
0.4 s, and kept for those behind it; one that was too slow is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, NamedTuple

import ostinato
from ostinato.service.catalogue.memory import available_bytes, readable
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from ostinato.service.tether import describe_end, signal_name

CHILD = "ostinato.service.catalogue.trial_process"
BYTES_PER_SECOND = 1_000_000
"""Of a version's files: a second more is allowed for each."""
BASE_BYTES, BYTES_PER_BYTE = 8 * 2**30, 8
"""Of memory, where nothing was set: so much, and so many for each byte of the files."""
SHARE_OF_AVAILABLE = 0.9
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
LAST_WORDS_BYTES = 4096
NOT_ITS_OWN_DOING = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
"""Signals that come from outside."""


class Allowance(NamedTuple):
    """What one question may take.

    Attributes:
        seconds: by the clock on the wall; 0 = any number.
        memory_bytes: of data, besides what the child has.
        is_scarce: the machine has no more just now; another time it may.
    """

    seconds: float
    memory_bytes: int
    is_scarce: bool = False


class Allowances(NamedTuple):
    """What questions may take.

    Attributes:
        seconds: for a file of next to no bytes; 0 = any number.
        memory_bytes: None = by the size of the files. In any case no more than the machine has left.
    """

    seconds: float
    memory_bytes: int | None

    @classmethod
    def of(cls, settings: Settings) -> Allowances:
        """What the operator allows."""
        return cls(settings.load_seconds, settings.load_memory)

    def for_files(self, num_bytes: int) -> Allowance:
        """What a question about files of so many bytes may take."""
        wanted = self.memory_bytes or BASE_BYTES + BYTES_PER_BYTE * num_bytes
        there = available_bytes()
        most = wanted if there is None else min(wanted, int(SHARE_OF_AVAILABLE * there))
        seconds = self.seconds + num_bytes / BYTES_PER_SECOND if self.seconds else 0.0
        return Allowance(seconds, most, most < wanted)


class TrialAnswer(NamedTuple):
    """What a function gave in the child, and what it warned of."""

    made: Any
    warnings: tuple[str, ...]


class Trial:
    """Asks the child, one question at a time, from any thread."""

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._process_id = os.getpid()

    def call(
        self,
        function: str,
        *arguments: Any,
        place: Path,
        doing: str = "loaded",
        errors: tuple[type[Exception], ...] = (ModelRejected,),
    ) -> TrialAnswer:
        """What a function gives in the child.

        Args:
            function: ``package.module:name``.
            arguments, and what it gives: as JSON can hold.
            place: the file or folder that it is about, by whose size memory and time are allowed.
            doing: what is done with that, for anyone who reads the error.
            errors: those that the function raises with a sentence; raised here, too.

        Raises:
            ModelRejected: the child died, took too long or too much memory, or raised another error; says so in a line.
        """
        with self._lock:
            allowance = self._allowances.for_files(_num_bytes(place))
            question = {
                "function": function,
                "arguments": arguments,
                "memory": allowance.memory_bytes,
                "seconds": allowance.seconds,
            }
            child = self._ready_child(place)
            try:
                answer = child.ask(question, allowance.seconds)
            except (TimeoutError, EOFError) as error:
                used = child.cpu_seconds()
                self._close()
                failure = _lost(place, doing)
                if isinstance(error, TimeoutError):
                    failure = _too_slow(place, doing, allowance, used)
                raise failure from failure.__cause__
            if "died" in answer:
                raise _died(place, doing, answer["died"], child.last_words())
        if "too_much" in answer:
            raise _too_large(place, doing, allowance)
        if "error" in answer:
            raise _raised(answer, errors)
        return TrialAnswer(answer["made"], tuple(answer["warnings"]))

    def close(self) -> None:
        """End the child, whatever it is asked just now; another is started where one is asked again."""
        if self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()
        elif (child := self._child) is not None:
            child.end()  # anyone who asks it is told so

    def _close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ready_child(self, place: Path) -> _Child:
        if self._process_id != os.getpid():  # a fork of who started it, who continues asking it
            self._child, self._process_id = None, os.getpid()
        if self._child is not None and self._child.has_ended:  # since the last answer: no question's fault
            self._close()
        if self._child is None:
            try:
                self._child = _Child()
            except OSError as error:
                raise ModelRejected(f"{place}: no process could be started to try it: {error}") from error
        return self._child


class _Child:
    """The process, and the pipes to it."""

    def __init__(self) -> None:
        self._words: IO[bytes] | None = None
        try:
            self._words = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        except OSError:  # no room on any disk: then without its last words
            self._words = None
        self._answers, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", CHILD, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._words or subprocess.DEVNULL,
                pass_fds=[theirs],
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is the parent's, and the child ends with it
            )
        except BaseException:
            os.close(self._answers)
            raise
        finally:
            os.close(theirs)
        self._text = b""
        self._fork = 0

    @property
    def has_ended(self) -> bool:
        """Whether nobody is there to be asked."""
        return self._process.poll() is not None

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a question.

        Raises:
            TimeoutError: there was none in time.
            EOFError: the process ended instead.
        """
        assert self._process.stdin is not None
        give_up_at = time.monotonic() + seconds
        if self._words is not None:  # whose place the process shares
            self._words.seek(0)
            self._words.truncate()
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise EOFError from None
        answer = self._read(give_up_at if seconds else math.inf)
        if "fork" in answer:  # which says first who it is
            self._fork = answer["fork"]
            answer = self._read(give_up_at if seconds else math.inf)
        return answer

    def _read(self, give_up_at: float) -> dict[str, Any]:
        while b"\n" not in self._text:
            left = max(0.0, give_up_at - time.monotonic())
            if not _is_readable(self._answers, None if math.isinf(left) else left):
                raise TimeoutError
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise EOFError
            self._text += read
        line, _, self._text = self._text.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu_seconds(self) -> float:
        """What its fork has used of the processor; infinite where this system does not say."""
        try:
            fields = Path(f"/proc/{self._fork}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.inf
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def last_words(self) -> str:
        """The last line that was written during the last question."""
        if self._words is None:
            return ""
        size = self._words.seek(0, os.SEEK_END)
        self._words.seek(max(0, size - LAST_WORDS_BYTES))
        lines = [line for line in self._words.read().decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else ""

    def end(self) -> None:
        """End it and its fork, whatever they do."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End them, and all that is kept of them."""
        self.end()
        self._process.wait()
        os.close(self._answers)
        for each in (self._process.stdin, self._words):
            if each is not None:
                with contextlib.suppress(OSError):  # what was not yet sent to a process that is gone
                    each.close()


def _environment() -> dict[str, str]:
    """Ours, and this package's place before all others: the child must try with what we would load with."""
    code = str(Path(ostinato.__file__).absolute().parents[1])
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{before}" if before else code, **ONE_THREAD}


def _is_readable(descriptor: int, seconds: float | None) -> bool:
    waiting = select.poll()  # select() knows the first 1,024 descriptors only
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(None if seconds is None else seconds * 1000))


def _num_bytes(place: Path) -> int:
    """Of a file with what lies beside it, or of a folder; links are what they lead to."""
    folder = place if place.is_dir() else place.parent
    total = 0
    try:
        for path in folder.iterdir():
            if path == place or path.parent == place or path.name.startswith(place.name):
                total += path.stat().st_size
    except OSError:  # anyone who opens it will say so
        return total
    return total


def _lost(place: Path, doing: str) -> ModelRejected:
    error = ModelRejected(f"{place}: the process in which it was {doing} to try it was ended from outside")
    error.__cause__ = OSError(errno.EAGAIN, "the trial was ended")
    return error


def _died(place: Path, doing: str, exit_code: int, words: str) -> ModelRejected:
    number = f", signal {-exit_code}" if exit_code < 0 else ""
    said = f", saying {words!r}" if words else ""
    name = signal_name(exit_code)
    error = ModelRejected(
        f"{place}: onnxruntime died while it was {doing} in a process of its own: {describe_end(exit_code)}{number}"
        f"{said}. It is opened nowhere else: write the graph in another way, as in float32, or with another release of "
        "its exporter or of onnxruntime"
    )
    if name in NOT_ITS_OWN_DOING:
        error.__cause__ = OSError(errno.EAGAIN, f"the process was ended by {name}")
    return error


def _too_slow(place: Path, doing: str, allowance: Allowance, cpu_seconds: float) -> ModelRejected:
    error = ModelRejected(
        f"{place}: it took longer than {allowance.seconds:.3g} s to be {doing} and was given up: its graph has a loop "
        "without an end, or is too large for this machine (OSTINATO_LOAD_SECONDS)"
    )
    if cpu_seconds < allowance.seconds / 2:  # it waited more than it worked
        error.__cause__ = OSError(errno.EAGAIN, "the machine was busy")
    return error


def _too_large(place: Path, doing: str, allowance: Allowance) -> ModelRejected:
    amount = readable(allowance.memory_bytes)
    if allowance.is_scarce:
        error = ModelRejected(f"{place}: to be {doing}, it takes more than the {amount} that this machine has left")
        error.__cause__ = OSError(errno.ENOMEM, "what was left of memory did not do")
        return error
    return ModelRejected(
        f"{place}: to be {doing}, it takes more than {amount} of memory, and is allowed no more (OSTINATO_LOAD_MEMORY)"
    )


def _raised(answer: dict[str, Any], errors: tuple[type[Exception], ...]) -> Exception:
    """The error that the child raised."""
    name, message = answer["error"]
    classes = {f"{each.__module__}.{each.__qualname__}": each for each in (*errors, ModelRejected)}
    error = classes[name](message) if name in classes else ModelRejected(f"{name.rpartition('.')[2]}: {message}")
    if answer["passes"]:
        error.__cause__ = OSError(errno.EAGAIN, "the system refused it")
    return error
