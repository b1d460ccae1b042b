from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, planted
from tests.mutants.run import copy_tree, failing, is_noticed

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
        assert mutant.mutated
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
        _ = replace(SOUND, **change).mutated


def test_a_fault_is_noticed_and_taken_out_again_and_one_that_changes_nothing_is_not_noticed(tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    copy_tree(copy)
    assert is_noticed(SOUND, copy)
    assert not is_noticed(replace(SOUND, after="if num_rows + work.num_rows >= max_batch_size + 1:"), copy)
    assert (copy / SOUND.file).read_bytes() == Path(SOUND.file).read_bytes()
    with pytest.raises(RuntimeError, match=r"exited 4"):
        failing(copy, [f"{BATCHING}::test_that_nobody_wrote"])
