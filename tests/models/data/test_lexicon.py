from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.models.data.lexicon import looks_like_lexicon, read_lexicon
from ostinato.models.data.parts import PARTS, split_by_name
from ostinato.models.errors import DataError

CMUDICT = Path(__file__).parents[3] / "examples" / "cmudict" / "cmudict.dict.xz"


def lexicon_file(folder: Path, *lines: str) -> Path:
    path = folder / "small.dict"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_parts_of_cmudict_are_fixed_disjoint_and_near_90_5_and_5_percent() -> None:
    entries = read_lexicon(CMUDICT, stress=False)
    where = split_by_name(entries, 0.05, 0.05)
    words = [{word for word in entries if part in where[word]} for part in PARTS]
    assert len(set.union(*words)) == len(entries) == 126_052
    assert [len(part) for part in words] == [113_484, 6_221, 6_347]
    # 135,166 lines, of which 306 differ by stress alone from another or not at all.
    assert sum(map(len, entries.values())) == 134_860
    phonemes = {phoneme for spoken in entries.values() for one in spoken for phoneme in one}
    assert len(phonemes) == 39
    assert {"AH", "ZH", "NG"} <= phonemes
    assert "".join(sorted(set("".join(entries)))) == "'-.abcdefghijklmnopqrstuvwxyz"


def test_all_pronunciations_of_a_word_are_one_entry(tmp_path: Path) -> None:
    path = lexicon_file(tmp_path, "tomato T AH0 M EY1 T OW2", "tomato(2) T AH0 M AA1 T OW2 # the other one")
    entries = read_lexicon(path, stress=True)
    assert entries["tomato"] == (("T", "AH0", "M", "EY1", "T", "OW2"), ("T", "AH0", "M", "AA1", "T", "OW2"))


def test_pronunciations_that_differ_by_stress_alone_are_one_without_it(tmp_path: Path) -> None:
    path = lexicon_file(tmp_path, "record R EH1 K ER0 D", "record(2) R EH0 K ER1 D")
    for stress, expected in ((True, 2), (False, 1)):
        assert len(read_lexicon(path, stress)["record"]) == expected


def test_a_line_that_is_no_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"small\.dict: line 2: 'tomato t@meItoU' is not a word and its phonemes"):
        read_lexicon(lexicon_file(tmp_path, "a AH0", "tomato t@meItoU"), stress=True)


def test_a_word_without_phonemes_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: 'tomato' is not a word"):
        read_lexicon(lexicon_file(tmp_path, "tomato"), stress=True)


def test_a_dictionary_is_told_from_other_text() -> None:
    assert looks_like_lexicon(["ox AA1 K S", "", "tomato(2) T AH0 M AA1 T OW2 # other"])
    assert not looks_like_lexicon(["THE CLOUDS ARE IN THE SKY"])
    assert not looks_like_lexicon(["ox AA1 K S", "the clouds are in the sky"])
    assert not looks_like_lexicon([])


def test_a_file_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"small\.dict: has no word"):
        read_lexicon(lexicon_file(tmp_path, "# nothing"), stress=True)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.dict: cannot be read"):
        read_lexicon(tmp_path / "nowhere.dict", stress=True)
    (tmp_path / "bad.dict.xz").write_bytes(b"no xz")
    with pytest.raises(DataError, match=r"bad\.dict\.xz: is not an xz file"):
        read_lexicon(tmp_path / "bad.dict.xz", stress=True)
