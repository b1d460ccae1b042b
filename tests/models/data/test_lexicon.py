from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.models.data.lexicon import load_lexicon, part_of
from ostinato.models.data.parts import PARTS
from ostinato.models.errors import DataError

CMUDICT = Path(__file__).parents[3] / "examples" / "cmudict" / "cmudict.dict.xz"
# One word of each part: which they are never changes.
WORDS = {"training": "abacus", "validation": "headless", "test": "topknot"}


def lexicon_file(folder: Path, *lines: str) -> Path:
    path = folder / "small.dict"
    path.write_text("\n".join([*lines, *(f"{word} AH0 K" for word in WORDS.values())]) + "\n", encoding="utf-8")
    return path


def test_the_parts_of_cmudict_are_fixed_disjoint_and_near_90_5_and_5_percent() -> None:
    lexicon = load_lexicon(CMUDICT, stress=False)
    words = [set(lexicon.parts[part]) for part in PARTS]
    num_words = sum(map(len, words))
    assert len(set.union(*words)) == num_words == 126_052
    assert [len(part) for part in words] == [113_484, 6_221, 6_347]
    assert [len(part) / num_words for part in words] == pytest.approx([0.90, 0.05, 0.05], abs=0.003)
    # 135,166 lines, of which 306 differ by stress alone from another or not at all.
    assert sum(len(spoken) for entries in lexicon.parts.values() for spoken in entries.values()) == 134_860
    assert len(lexicon.phonemes) == 39
    assert {"AH", "ZH", "NG"} <= set(lexicon.phonemes)
    assert "".join(lexicon.letters) == "'-.abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(("part", "word"), WORDS.items())
def test_a_words_part_depends_on_nothing_but_the_word(part: str, word: str) -> None:
    assert part_of(word) == part


def test_all_pronunciations_of_a_word_are_in_one_part(tmp_path: Path) -> None:
    path = lexicon_file(tmp_path, "tomato T AH0 M EY1 T OW2", "tomato(2) T AH0 M AA1 T OW2 # the other one")
    entries = load_lexicon(path, stress=True).parts[part_of("tomato")]
    assert entries["tomato"] == (("T", "AH0", "M", "EY1", "T", "OW2"), ("T", "AH0", "M", "AA1", "T", "OW2"))


def test_pronunciations_that_differ_by_stress_alone_are_one_without_it(tmp_path: Path) -> None:
    path = lexicon_file(tmp_path, "record R EH1 K ER0 D", "record(2) R EH0 K ER1 D")
    for stress, expected in ((True, 2), (False, 1)):
        assert len(load_lexicon(path, stress).parts[part_of("record")]["record"]) == expected


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"small\.dict: line 2: 'tomato t@meItoU' is not a word and its phonemes"):
        load_lexicon(lexicon_file(tmp_path, "a AH0", "tomato t@meItoU"), stress=True)


def test_a_word_without_phonemes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: 'tomato' is not a word"):
        load_lexicon(lexicon_file(tmp_path, "tomato"), stress=True)


def test_too_few_words_for_a_part_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.dict").write_text("abacus AE1 B AH0 K AH0 S\n")
    with pytest.raises(DataError, match=r"one\.dict: no word falls into the validation part"):
        load_lexicon(tmp_path / "one.dict", stress=True)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.dict: cannot be read"):
        load_lexicon(tmp_path / "nowhere.dict", stress=True)
    (tmp_path / "bad.dict.xz").write_bytes(b"no xz")
    with pytest.raises(DataError, match=r"bad\.dict\.xz: is not an xz file"):
        load_lexicon(tmp_path / "bad.dict.xz", stress=True)
