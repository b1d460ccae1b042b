from __future__ import annotations

import sys
from types import ModuleType

import pytest

from ostinato import extras
from ostinato.models.rivals import rival
from ostinato.models.rivals.rival import Rival, answers_of


def longest(lengths: list[int]) -> int | None:
    return max(lengths)


def shortest(lengths: list[int]) -> int | None:
    return min(lengths)


def test_what_learned_nothing_is_left_out_and_the_others_keep_their_order() -> None:
    rivals: tuple[Rival[list[int], int], ...] = (
        Rival("longest", longest),
        Rival("nothing", lambda _: None),
        Rival("shortest", shortest),
    )
    assert answers_of(rivals, [3, 1, 2]) == ({"longest": 3, "shortest": 1}, "")


def test_a_rival_whose_library_is_there_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("library_of_a_rival")
    module.__spec__ = ModuleType("spec")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert answers_of([Rival("longest", longest, library=module.__name__)], [3, 1]) == ({"longest": 3}, "")


def test_a_library_that_is_missing_is_told_once_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "requires", lambda _: ['a-library-of-nobody>=1; extra == "export"'])
    rivals = [Rival(name, longest, library="a_library_of_nobody") for name in ("one", "two")]
    found, sentence = answers_of([*rivals, Rival("longest", longest)], [3, 1])
    assert found == {"longest": 3}
    assert sentence == "the rival 'two' needs the extra export: pip install 'ostinato[export]'"


def test_a_library_that_cannot_be_loaded_is_told_with_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(rival, "require", lambda _module, _subject: None)
    monkeypatch.setattr(rival, "import_module", fail)
    assert answers_of([Rival("trees", longest, library="boosting")], [1]) == (
        {},
        "the rival 'trees' is left out, since boosting cannot be loaded: libgomp.so.1: cannot open shared object file",
    )


def test_a_rival_that_fails_is_left_out_with_the_cause_and_the_others_answer() -> None:
    def fail(_: list[int]) -> int | None:
        raise ZeroDivisionError("a singular matrix")

    assert answers_of([Rival("longest", longest), Rival("ridge", fail), Rival("shortest", shortest)], [3, 1]) == (
        {"longest": 3, "shortest": 1},
        "the rival 'ridge' is left out, since it failed: ZeroDivisionError: a singular matrix",
    )


def test_who_interrupts_a_rival_is_obeyed() -> None:
    def interrupted(_: list[int]) -> int | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers_of([Rival("trees", interrupted)], [1])
