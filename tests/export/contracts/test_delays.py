from __future__ import annotations

import pytest

from ostinato.export.contracts.delays import delay_of_words, with_delays
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input, Output

STEPS = Input(name="x", dtype="float32", shape=("B", "T", 1), features=("x",))
ONE_STEP = STEPS.model_copy(update={"shape": ("B", 1)})
MEAN = Output(name="mean", dtype="float32", shape=("B", "T", 1), features=("mean",))
KIND = MEAN.model_copy(update={"name": "kind", "features": ("kind",)})
WHOLE = Output(name="whole", dtype="float32", shape=("B", 1), features=("whole",))


def test_one_delay_is_of_all_that_is_made_at_each_step() -> None:
    assert [part.delay for part in with_delays([MEAN, KIND, WHOLE], STEPS, 3)] == [3, 3, 0]
    assert [part.delay for part in with_delays([WHOLE], ONE_STEP, 2)] == [2]


def test_each_output_may_have_its_own() -> None:
    assert [part.delay for part in with_delays([MEAN, KIND], STEPS, {"kind": 2})] == [0, 2]


def test_a_delay_changes_nothing_else() -> None:
    assert with_delays([MEAN], STEPS, 0) == (MEAN,)
    assert with_delays([MEAN], STEPS, 1)[0].model_copy(update={"delay": 0}) == MEAN


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        ({"mode": 1}, "delay of 'mode': the outputs are mean, whole"),
        ({"whole": 1}, "'whole': it is made once a run"),
        (-1, "0 or more"),
    ],
)
def test_a_delay_that_no_output_can_have_is_refused(delay: int | dict[str, int], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        with_delays([MEAN, WHOLE], STEPS, delay)


def test_words_say_one_delay_or_one_for_each() -> None:
    assert delay_of_words(()) == 0
    assert delay_of_words(("3",)) == 3
    assert delay_of_words(("mean=3", "kind=0")) == {"mean": 3, "kind": 0}


@pytest.mark.parametrize("words", [("-3",), ("3", "4"), ("mean",), ("mean=x",), ("=3",)])
def test_other_words_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ExportError, match="write a number of steps"):
        delay_of_words(words)
