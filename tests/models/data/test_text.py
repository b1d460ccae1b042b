from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from pydantic import ValidationError

from ostinato.models.data.symbols import UNKNOWN, Symbols
from ostinato.models.data.text import Text, TextData, load_text
from ostinato.models.data.text_draft import draft_of_text
from ostinato.models.errors import DataError


def loaded(folder: Path, content: str | bytes, **rules: object) -> Text:
    path = folder / "some.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_text(TextData.model_validate({"file": path, **rules}))


def written(text: Text, part: str = "training") -> list[str]:
    return [text.symbols.text(codes) for codes in text.parts[part]]  # type: ignore[index]


def test_one_sentence_is_all_parts_at_once(tmp_path: Path) -> None:
    for rules in ({}, {"lines": True}, {"unit": "words"}):
        text = loaded(tmp_path, "the clouds are in the sky", **rules)
        assert written(text) == written(text, "test") == ["the clouds are in the sky"]
        assert not text.held_out


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_are_alike_whoever_wrote_them_and_a_byte_order_mark_is_none(tmp_path: Path, end: str) -> None:
    content = "\ufeff" + end.join(["a\tb", "", "雲🙂", "e\u0301 ", ""])
    assert written(loaded(tmp_path, content)) == ["a\tb\n\n雲🙂\ne\u0301 "]
    lines = loaded(tmp_path, content, lines=True)
    assert sorted(written(lines)) == ["a\tb", "e\u0301", "雲🙂"]


def test_a_running_text_is_cut_where_the_fractions_say(tmp_path: Path) -> None:
    text = loaded(tmp_path, "abcd" * 500, validation_fraction=0.2, test_fraction=0.1)
    assert {part: len(codes) for part, (codes,) in text.parts.items()} == {
        "training": 1400,
        "validation": 400,
        "test": 200,
    }
    assert text.held_out


def test_what_the_training_part_does_not_have_is_unknown(tmp_path: Path) -> None:
    content = "ab" * 500 + "Ω" * 40
    text = loaded(tmp_path, content)
    assert UNKNOWN in written(text, "test")[0]
    assert "Ω" in loaded(tmp_path, content, unknown=False).symbols.names


def test_rare_symbols_are_unknown(tmp_path: Path) -> None:
    assert written(loaded(tmp_path, "aab bc", min_count=2)) == [f"aab{UNKNOWN}b{UNKNOWN}"]
    assert written(loaded(tmp_path, "x x x y y z", unit="words", max_symbols=2)) == [f"x x x y y {UNKNOWN}"]


def test_words_named_as_the_edge_stay_words(tmp_path: Path) -> None:
    text = loaded(tmp_path, "<edge> and <edge>", unit="words", lines=True)
    assert text.symbols.names[0] == "<<edge>>"
    assert written(text) == ["<edge> and <edge>"]


def test_capitals_become_small_letters_where_asked(tmp_path: Path) -> None:
    assert written(loaded(tmp_path, "The SKY", lowercase=True)) == ["the sky"]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: str) -> None:
    for lines in (True, False):
        with pytest.raises(DataError, match=r"some\.txt: has no text"):
            loaded(tmp_path, content, lines=lines)


def test_what_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"some\.txt: line 2: is not UTF-8 text"):
        loaded(tmp_path, b"sky\n\xff\xfe\n")


def test_a_compressed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "sky.txt.xz").write_bytes(lzma.compress(b"sky"))
    assert written(load_text(TextData(file=tmp_path / "sky.txt.xz"))) == ["sky"]


@pytest.mark.parametrize(
    ("content", "form", "lines"),
    [
        ("the clouds are in the sky", "text", True),
        ("Anna\nBert\nCarla Maria\n", "text", True),
        ("It was a bright cold day.\nThe clocks were striking, all of them.\n", "text", False),
        ("雲在天上飄、天是藍的。\n鳥在飛、魚在水裡游。\n", "text", False),
        ("OX AA1 K S\nAXE AE1 K S\n", "cmudict", True),
    ],
)
def test_a_draft_says_what_lines_are(tmp_path: Path, content: str, form: str, lines: bool) -> None:
    (tmp_path / "some.txt").write_text(content)
    data = draft_of_text(tmp_path / "some.txt").tables["data"]
    assert data.get("form", "text") == form
    assert form == "cmudict" or data["lines"] is lines


def test_byte_pairs_write_any_text_and_leave_nothing_unknown(tmp_path: Path) -> None:
    story = "the clouds are in the sky 雲🙂\n" * 60
    for rules in ({}, {"lines": True}, {"lowercase": True}):
        text = loaded(tmp_path, story + "\N{SNOWMAN}é" * 40, unit="byte_pairs", max_symbols=270, **rules)
        assert "\N{SNOWMAN}é" * 10 in "".join(each for part in text.parts for each in written(text, part))
        assert text.symbols.unknown is None
        assert len(text.symbols) == 271
        assert Symbols.of_content(json.loads(json.dumps(text.symbols.content()))) == text.symbols


def test_byte_pairs_are_learned_from_the_training_part_alone(tmp_path: Path) -> None:
    content = "ab " * 1000 + "xy " * 50
    for unknown in (True, False):
        names = loaded(tmp_path, content, unit="byte_pairs", unknown=unknown).symbols.names
        assert "ab" in names
        assert "xy" not in names


def test_byte_pairs_that_are_named_as_the_edge_stay_text(tmp_path: Path) -> None:
    text = loaded(tmp_path, "<edge><edge><edge><edge> <edge><edge><edge>", unit="byte_pairs")
    assert written(text) == ["<edge><edge><edge><edge> <edge><edge><edge>"]


def test_fewer_byte_pairs_than_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="max_symbols: byte pairs are 256 at least"):
        loaded(tmp_path, "abc", unit="byte_pairs", max_symbols=255)
