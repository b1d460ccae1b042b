from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ostinato.service.metrics.families import SeriesNumbers
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.metrics.workers import (
    MAX_FOLDED_NAMES,
    WorkerMetrics,
    decode,
    encode,
    lasting,
    merge,
    remove_stale_folders,
    server_folder,
    started_at,
    tell_restarts,
)

MODEL = ("lstm", "1")
PAST = "past.json"


def worker(folder: Path, name: str, steps: int = 0, queue_depth: int = 0) -> WorkerMetrics:
    """A worker with so much on its account, which has written it once."""
    metrics = Metrics()
    model = ModelMetrics(metrics, *MODEL)
    model.steps.inc(steps)
    model.queue_depth.set(queue_depth)
    made = WorkerMetrics(metrics, folder, name)
    made.refresh()
    return made


def kill(worker: WorkerMetrics) -> None:
    """What the kernel does when a process ends, however it ends."""
    assert worker._descriptor is not None
    os.close(worker._descriptor)
    worker._descriptor = None


def counts(numbers: SeriesNumbers) -> tuple[float, float, float]:
    """Steps, queue depth, workers."""
    return numbers["steps_total"][MODEL][0], numbers["queue_depth"][MODEL][0], numbers["workers"][()][0]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.json")}


def test_counters_histograms_and_most_gauges_are_added_and_what_all_workers_share_is_not() -> None:
    first: SeriesNumbers = {
        "steps_total": {MODEL: [5.0]},
        "rejected_total": {("overloaded",): [1.0]},
        "queue_depth": {MODEL: [2.0]},
        "models_failed": {(): [1.0]},
        "iteration_batch_size": {MODEL: [1.0, 2.0, 0.0, 9.5]},
    }
    second: SeriesNumbers = {
        "steps_total": {MODEL: [7.0], ("gru", "2"): [4.0]},
        "queue_depth": {MODEL: [1.0]},
        "models_failed": {(): [1.0]},
        "model_info": {("lstm", "1", "recurrent", "true"): [1.0]},
        "iteration_batch_size": {MODEL: [0.0, 1.0, 3.0, 20.0]},
    }
    assert merge([first, second]) == {
        "steps_total": {MODEL: [12.0], ("gru", "2"): [4.0]},
        "rejected_total": {("overloaded",): [1.0]},
        "queue_depth": {MODEL: [3.0]},
        "models_failed": {(): [1.0]},
        "iteration_batch_size": {MODEL: [1.0, 3.0, 3.0, 29.5]},
        "model_info": {("lstm", "1", "recurrent", "true"): [1.0]},
    }
    assert first["steps_total"] == {MODEL: [5.0]}, "what is merged stays as it was"


def test_nothing_merged_is_nothing() -> None:
    assert merge([]) == {}


def test_counters_and_histograms_outlast_a_worker_and_gauges_do_not() -> None:
    snapshot = Metrics().numbers()
    assert {name for name in snapshot if name not in lasting(snapshot)} == {
        "sessions_live",
        "shadows_live",
        "streams_live",
        "queue_depth",
        "generation_lanes",
        "state_bytes",
        "model_info",
        "run_mode",
        "models_failed",
        "workers",
        "sessions_stored",
        "queue_saturation",
        "version_failed",
        "versions_missing",
        "missing_version_sessions",
        "ready",
        "draining",
        "limit",
        "store_up",
        "store_bytes",
        "build_info",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "input_distance",
        "input_missing_expected",
    }


def test_a_file_holds_the_numbers_to_the_last_bit() -> None:
    numbers: SeriesNumbers = {"steps_total": {MODEL: [0.1 + 0.2]}, "workers": {(): [1.0]}}
    assert decode(encode(numbers, ["7-1"])) == (numbers, ["7-1"])


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"series":{"steps_total":[[["lstm"]]]}}', encode({}).replace(b":", b":1", 1)]
)
def test_a_file_that_cannot_be_read_or_is_another_releases_counts_nothing(text: bytes) -> None:
    assert decode(text) == ({}, [])


def test_each_worker_speaks_for_all(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    workers = [worker(folder, "1-1", 10, 1), worker(folder, "2-1", 200, 2), worker(folder, "3-1", 3000, 3)]
    assert [counts(each.gather()) for each in workers] == [(3210, 6, 3)] * 3


def test_what_a_worker_showed_is_in_its_file_before_it_is_shown(tmp_path: Path) -> None:
    first, second = worker(tmp_path / "shared", "1-1"), worker(tmp_path / "shared", "2-1")
    first._metrics.steps.labels(model="lstm", version="1").inc(5)
    assert counts(first.gather()) == (5, 0, 2)
    kill(first)
    assert counts(second.gather()) == (5, 0, 1)


def test_a_worker_that_ended_leaves_its_counters_and_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living, dead = worker(folder, "1-1", 10, 1), worker(folder, "2-1", 200, 2)
    kill(dead)
    assert counts(living.gather()) == (210, 1, 1)
    living.refresh()
    assert files(folder) == {"1-1.json", PAST}
    assert counts(living.gather()) == (210, 1, 1)
    reborn = worker(folder, "2-2", 3000, 3)
    assert counts(living.gather()) == counts(reborn.gather()) == (3210, 4, 2)


def test_many_deaths_leave_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living = worker(folder, "0-0")
    for number in range(50):
        kill(worker(folder, f"{number}-1", 2))
        if number % 10 == 9:
            living.refresh()
    assert files(folder) == {"0-0.json", PAST}
    assert counts(living.gather()) == (100, 0, 1)


def test_names_of_the_dead_are_kept_for_a_while_only(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living = worker(folder, "0-0")
    (folder / PAST).write_bytes(encode({}, [f"{number}-0" for number in range(MAX_FOLDED_NAMES)]))
    kill(worker(folder, "1-1", 2))
    living.refresh()
    _, folded = decode((folder / PAST).read_bytes())
    assert (len(folded), folded[0], folded[-1]) == (MAX_FOLDED_NAMES, "1-0", "1-1")


def test_a_fold_that_was_cut_short_counts_nobody_twice(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living, dead = worker(folder, "1-1", 10), worker(folder, "2-1", 200)
    kill(dead)
    text = (folder / "2-1.json").read_bytes()
    living.refresh()
    (folder / "2-1.json").write_bytes(text)  # as if the folding worker had been killed before it removed the file
    assert counts(living.gather()) == (210, 0, 1)
    living.refresh()
    assert counts(living.gather()) == (210, 0, 1)
    assert files(folder) == {"1-1.json", PAST}


def test_no_reader_sees_a_wrong_sum_while_several_fold(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living = [worker(folder, f"{number}-0", 1) for number in range(4)]
    expected = 4 + 3 * 30
    seen: set[float] = set()
    dead = [worker(folder, f"{number}-1", 3) for number in range(30)]
    for each in dead:
        kill(each)

    def work(own: WorkerMetrics) -> None:
        for _ in range(5):
            own.refresh()
            seen.add(counts(own.gather())[0])

    threads = [threading.Thread(target=work, args=(each,)) for each in living]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {expected}
    assert files(folder) == {PAST, *(f"{each.name}.json" for each in living)}


def test_only_one_worker_folds_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living, dead = worker(folder, "1-1", 10), worker(folder, "2-1", 200)
    kill(dead)
    with (folder / "past.lock").open("wb") as elsewhere:
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        living.refresh()
        assert files(folder) == {"1-1.json", "2-1.json"}
        assert counts(living.gather()) == (210, 0, 1)
    living.refresh()
    assert files(folder) == {"1-1.json", PAST}


def test_a_worker_that_writes_is_never_taken_for_dead(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    reader, writer = worker(folder, "1-1"), worker(folder, "2-1", 200)
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            writer.refresh()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = {counts(reader.gather()) for _ in range(500)}
    finally:
        is_over.set()
        thread.join()
    assert seen == {(200, 0, 2)}


def test_the_kernel_lets_go_of_a_killed_workers_file(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    living = worker(folder, "1-1", 10)
    code = (
        "import sys, time; from pathlib import Path; from tests.service.metrics.test_workers import worker;"
        "kept = worker(Path(sys.argv[1]), '2-1', 200, 2); print('written', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert counts(living.gather()) == (210, 2, 2)
        process.kill()
        process.wait()
        assert counts(living.gather()) == (210, 0, 1)


def test_the_last_worker_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    first, second = worker(folder, "1-1", 10), worker(folder, "2-1", 200)
    first.leave()
    assert counts(second.gather()) == (210, 0, 1)
    second.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    only = worker(folder, "1-1", 10)
    shutil.rmtree(folder)
    assert counts(only.gather()) == (10, 0, 1)
    assert files(folder) == {"1-1.json"}


def test_a_folder_that_cannot_be_used_leaves_each_worker_its_own_numbers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    only = worker(tmp_path / "link", "1-1", 10)
    assert counts(only.gather()) == (10, 0, 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert caplog.text.count("speaks for this worker only") == 1, "once, not every second"


def test_a_folder_is_nobody_elses(tmp_path: Path) -> None:
    worker(tmp_path / "shared", "1-1")
    assert (tmp_path / "shared").stat().st_mode & 0o077 == 0


def test_a_server_is_told_from_an_earlier_one_with_its_pid() -> None:
    ticks = started_at(os.getpid())
    assert ticks is not None
    assert server_folder(Path("/there"), os.getpid(), 7) == Path(f"/there/ostinato-workers-7-{os.getpid()}-{ticks}")


def test_only_what_dead_servers_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    user, ended = os.geteuid(), process.pid
    assert started_at(ended) is None
    own = server_folder(tmp_path, os.getpid(), user)
    stale = tmp_path / f"ostinato-workers-{user}-{ended}-1"
    earlier = tmp_path / f"ostinato-workers-{user}-{os.getpid()}-1"
    busy = tmp_path / f"ostinato-workers-{user}-{ended}-2"
    others = [tmp_path / f"ostinato-workers-{user + 1}-{ended}-1", tmp_path / f"ostinato-workers-{user}-notes"]
    for folder in (own, stale, earlier, *others):
        folder.mkdir()
    kill(worker(stale, "1-1"))
    living = worker(busy, "1-1")  # its server is not seen from here, but it lives
    remove_stale_folders(tmp_path, user)
    assert set(tmp_path.iterdir()) == {own, busy, *others}
    kill(living)


def test_who_lives_on_knows_from_the_parent_how_often_others_were_replaced(tmp_path: Path) -> None:
    folder = server_folder(tmp_path, os.getpid(), os.geteuid())
    living = worker(folder, "1-1", 10)
    tell_restarts(tmp_path, {"SIGKILL": 2, "none": 1})
    assert living.gather()["worker_restarts_total"] == {("SIGKILL",): [2.0], ("none",): [1.0]}
    # The next to be started is told by another way, and that is no further restart.
    reborn = worker(folder, "2-1")
    reborn._metrics.worker_restarts.labels(signal="SIGKILL").inc(2)
    reborn.refresh()
    assert living.gather()["worker_restarts_total"] == {("SIGKILL",): [2.0], ("none",): [1.0]}
    assert counts(living.gather()) == (10, 0, 2)


def test_a_parent_that_cannot_tell_is_no_reason_to_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_restarts(tmp_path / "absent", {"SIGKILL": 1})
    assert "cannot be told" in caplog.text


def test_a_server_is_ready_where_every_worker_is_and_as_full_as_its_fullest() -> None:
    one: SeriesNumbers = {"ready": {(): [1.0]}, "queue_saturation": {MODEL: [0.2]}, "store_up": {(): [1.0]}}
    other: SeriesNumbers = {"ready": {(): [0.0]}, "queue_saturation": {MODEL: [0.9]}, "store_up": {(): [1.0]}}
    assert merge([one, other]) == {"ready": {(): [0.0]}, "queue_saturation": {MODEL: [0.9]}, "store_up": {(): [1.0]}}
