from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ostinato.export.errors import ExportError
from ostinato.service.catalogue import trial as trial_module
from ostinato.service.catalogue.passing import is_passing
from ostinato.service.catalogue.trial import Allowances, Trial
from ostinato.service.catalogue.trial_process import SPARE_CPU_SECONDS
from ostinato.service.catalogue.tried import try_graph
from ostinato.service.errors import ModelRejected
from tests.hostile.dangerous_files import DEADLY, DangerousFile, identity, in_one_another, saved
from tests.waiting import until

HELPERS = "tests.service.catalogue.trial_helpers"
WATCHED = """
import sys, time
from pathlib import Path
from ostinato.service.catalogue.trial import Allowances, Trial
trial = Trial(Allowances(0.0, None))
print(trial.call("os:getpid", place=Path("/")).made, flush=True)
trial.call("time:sleep", 600, place=Path("/"))
"""


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    trial = Trial(Allowances(seconds=60.0, memory_bytes=2 * 2**30))
    yield trial
    trial.close()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.onnx"
    saved(identity())(path)
    return path


@pytest.mark.parametrize("file", DEADLY, ids=lambda file: file.name)
def test_a_graph_that_no_process_survives_costs_one_answer(
    file: DangerousFile, trial: Trial, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    file.build(path)
    assert try_graph(sound, trial) == ""
    if file.name == "never ends":
        monkeypatch.setattr(trial, "_allowances", Allowances(seconds=0.5, memory_bytes=2**30))
    with pytest.raises(ModelRejected) as refusal:
        try_graph(path, trial)
    said = str(refusal.value)
    assert said.startswith(f"{path}: ")
    assert file.says in said
    assert "\n" not in said
    monkeypatch.undo()  # another child has to start
    assert try_graph(sound, trial) == ""


def test_graphs_in_graphs_are_opened_or_refused(trial: Trial, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    saved(in_one_another(24))(path)
    assert try_graph(path, trial) == ""


@pytest.mark.parametrize(
    ("number", "passes"),
    [(signal.SIGSEGV, False), (signal.SIGABRT, False), (signal.SIGKILL, True), (signal.SIGTERM, True)],
)
def test_who_is_killed_from_outside_is_tried_again_and_who_dies_of_itself_is_not(
    number: signal.Signals, passes: bool, trial: Trial
) -> None:
    with pytest.raises(ModelRejected, match=f"killed by {number.name}") as refusal:
        trial.call(f"{HELPERS}:die", int(number), place=Path("/model"))
    assert is_passing(refusal.value) == passes


def test_its_last_words_are_told(trial: Trial) -> None:
    with pytest.raises(ModelRejected, match="saying 'terminate called'"):
        trial.call(f"{HELPERS}:die_saying", "first\nterminate called\n", place=Path("/model"))


def test_what_it_warned_of_and_raised_comes_back(trial: Trial) -> None:
    assert trial.call(f"{HELPERS}:warn", "odd", place=Path("/model")) == ("done", ("odd",))
    with pytest.raises(ExportError, match=r"^refused$"):
        trial.call(f"{HELPERS}:refuse", place=Path("/model"), errors=(ExportError,))
    with pytest.raises(ModelRejected, match=r"^ExportError: refused$"):
        trial.call(f"{HELPERS}:refuse", place=Path("/model"))
    with pytest.raises(ModelRejected, match="No module named"):
        trial.call("tests.nowhere:anything", place=Path("/model"))


def test_what_the_system_refused_in_it_may_be_tried_again(trial: Trial) -> None:
    with pytest.raises(ModelRejected, match="Too many open files") as refusal:
        trial.call(f"{HELPERS}:have_no_descriptors", place=Path("/model"))
    assert is_passing(refusal.value)


def test_too_little_memory_of_the_machine_is_no_fault_of_the_version_s(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "available_bytes", lambda: 10_000_000)
    with pytest.raises(ModelRejected, match="that this machine has left") as refusal:
        trial.call(f"{HELPERS}:take", 100_000_000, place=Path("/model"))
    assert is_passing(refusal.value)
    monkeypatch.undo()
    assert trial.call(f"{HELPERS}:take", 100_000_000, place=Path("/model")).made == 100_000_000


def test_one_that_waited_more_than_it_worked_is_tried_again(monkeypatch: pytest.MonkeyPatch, trial: Trial) -> None:
    monkeypatch.setattr(trial, "_allowances", Allowances(seconds=0.2, memory_bytes=2**30))
    with pytest.raises(ModelRejected, match="it took longer than") as refusal:
        trial.call("time:sleep", 600, place=Path("/model"))
    assert is_passing(refusal.value)


def test_a_child_that_was_killed_between_two_questions_is_replaced(trial: Trial) -> None:
    child = psutil.Process(trial.call("os:getppid", place=Path("/model")).made)
    child.kill()
    until(lambda: child.status() == psutil.STATUS_ZOMBIE, "its end")
    assert trial.call("os:getppid", place=Path("/model")).made != child.pid


def test_a_question_has_limits_of_its_own(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds_of_processor() -> int:
        return int(trial.call("resource:getrlimit", resource.RLIMIT_CPU, place=Path("/model")).made[0])

    assert seconds_of_processor() == 60 + SPARE_CPU_SECONDS
    monkeypatch.setattr(trial, "_allowances", Allowances(seconds=90.0, memory_bytes=2**30))
    assert seconds_of_processor() == 90 + SPARE_CPU_SECONDS
    assert trial.call("resource:getrlimit", resource.RLIMIT_CORE, place=Path("/model")).made == [0, 0]


def test_more_is_allowed_for_larger_files() -> None:
    small, large = (Allowances(60.0, None).for_files(size) for size in (0, 10**8))
    assert (small.seconds, large.seconds) == (60.0, 160.0)
    assert Allowances(0.0, None).for_files(10**8).seconds == 0


def test_it_ends_with_its_parent_whatever_it_is_busy_with() -> None:
    with subprocess.Popen([sys.executable, "-c", WATCHED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            first = int(parent.stdout.readline())
            (child,) = psutil.Process(parent.pid).children()

            def forks() -> list[psutil.Process]:
                return [fork for fork in child.children() if fork.pid != first]  # which may not be waited for yet

            until(forks, "its fork")
            (fork,) = forks()
        finally:
            parent.kill()
    psutil.wait_procs([child, fork], timeout=60)
    assert not child.is_running()
    assert not fork.is_running()


def test_a_fork_has_a_child_of_its_own(trial: Trial) -> None:
    ours = trial.call("os:getppid", place=Path("/model")).made
    reading, writing = os.pipe()
    fork = os.fork()
    if not fork:
        os.write(writing, str(trial.call("os:getppid", place=Path("/model")).made).encode())
        trial.close()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        theirs = int(told.read())
    os.waitpid(fork, 0)
    assert theirs != ours
    assert trial.call("os:getppid", place=Path("/model")).made == ours
