from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, planted
from tests.mutants.notes import Notes
from tests.mutants.run import Copy, NotRun, copy_tree

BATCHING = "tests/service/engine/recurrent/test_batching.py"
SOUND = Mutant(
    what="a batch has a row too many",
    file="service/engine/recurrent/batching.py",
    before="if num_rows + work.num_rows > max_batch_size:",
    after="if num_rows + work.num_rows > max_batch_size + 1:",
    test=BATCHING,
)


def test_each_planted_fault_has_its_place_in_the_code_and_a_test() -> None:
    mutants = planted()
    assert len(mutants) > 50
    for mutant in mutants:
        assert mutant.mutated()
    assert [what for what, count in Counter(mutant.what for mutant in mutants).items() if count > 1] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"before": "no such line"}, "has 0 times, not once: 'no such line'"),
        ({"before": "num_rows"}, r"has \d+ times, not once: 'num_rows'"),
        ({"after": SOUND.before}, "changes nothing"),
        ({"test": "tests/no_such_file.py"}, "there is no file tests/no_such_file.py"),
        ({"test": f"{BATCHING}::test_that_nobody_wrote"}, "has no test_that_nobody_wrote"),
    ],
)
def test_a_fault_that_cannot_be_planted_is_told(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SOUND, **change).mutated()


@pytest.mark.long
def test_a_fault_is_noticed_and_taken_out_again_and_one_that_changes_nothing_is_not_noticed(tmp_path: Path) -> None:
    copy_tree(tmp_path / "tree")
    with Copy(tmp_path / "tree") as copy:
        assert copy.notices(SOUND)
        assert not copy.notices(replace(SOUND, after="if num_rows + work.num_rows >= max_batch_size + 1:"))
        assert (copy.root / SOUND.file).read_bytes() == Path(SOUND.file).read_bytes()
        with pytest.raises(NotRun, match=r"exited 4"):
            copy.failing([f"{BATCHING}::test_that_nobody_wrote"])
        assert copy.notices(SOUND), "one that did not run ends nothing"


def test_what_was_noticed_before_a_run_was_cut_is_left_out_until_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    Notes(resume=False, path=path).add(SOUND, SOUND.key())
    assert Notes(resume=True, path=path).has(SOUND)
    assert not Notes(resume=True, path=path).has(replace(SOUND, after="if False:"))
    assert not Notes(resume=False, path=path).has(SOUND)
    assert not Notes(resume=True, path=path).has(SOUND)


def test_a_fault_is_another_when_its_file_or_its_test_is(tmp_path: Path) -> None:
    copy_tree(tmp_path / "tree")
    found = {SOUND.key(tmp_path / "tree")}
    assert found == {SOUND.key()}
    for name in (SOUND.file, BATCHING):
        place = tmp_path / "tree" / name
        place.write_text(place.read_text(encoding="utf-8") + "# another\n", encoding="utf-8")
        found.add(SOUND.key(tmp_path / "tree"))
    assert len(found) == 3
