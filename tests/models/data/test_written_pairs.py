from __future__ import annotations

import json
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from ostinato.models.data.pairs_draft import draft_of_pairs
from ostinato.models.data.parts import PARTS
from ostinato.models.data.written_pairs import Entries, PairsData, WrittenPairs, load_pairs
from ostinato.models.errors import DataError


def loaded(folder: Path, content: str, name: str = "pairs.csv", **rules: object) -> WrittenPairs:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    return load_pairs(PairsData.model_validate({"file": folder / name, **rules}))


def entries(data: WrittenPairs) -> Entries:
    return {source: targets for part in PARTS for source, targets in data.parts[part].items()}


def test_several_targets_of_a_source_are_all_right_and_in_one_part(tmp_path: Path) -> None:
    rows = "".join(f"w{number},x{number}\nw{number},y{number}\n" for number in range(200))
    data = loaded(tmp_path, "source,target\n" + rows)
    assert all(len(targets) == 2 for part in data.parts.values() for targets in part.values())
    assert sum(map(len, data.parts.values())) == 200
    assert all(data.parts[part] for part in PARTS)


@pytest.mark.parametrize(
    ("name", "content", "rules"),
    [
        ("a.csv", "source,target\r\ncat,chat\r\n", {}),
        ("a.csv", "\ufeffen;fr;note\ncat;chat;x\n", {"source_column": "en", "target_column": "fr"}),
        ("a.tsv", "cat\tchat\tCC-BY, 2.0, France\n", {"header": False, "source_column": "1", "target_column": "2"}),
        ("a.txt", "target|source\nchat|cat\n", {}),
        ("a.csv", "source,target\n cat , chat\n,empty\nempty,\n", {}),
    ],
)
def test_tables_of_many_forms_are_read(tmp_path: Path, name: str, content: str, rules: dict[str, object]) -> None:
    assert entries(loaded(tmp_path, content, name, **rules)) == {"cat": (tuple("chat"),)}


def test_quotes_in_sentences_cut_at_tabs_are_quotes(tmp_path: Path) -> None:
    content = 'source\ttarget\n"Hi", she said.\t« Salut », dit-elle.\n"so ""it"" is"\tah\n'
    assert list(entries(loaded(tmp_path, content, "a.tsv"))) == ['"Hi", she said.', 'so "it" is']


def test_words_and_characters_are_cut_side_by_side(tmp_path: Path) -> None:
    data = loaded(tmp_path, "source,target\nThe  Cat,LE chat\n", source_unit="words", target_lowercase=True)
    assert entries(data) == {"The Cat": (tuple("le chat"),)}
    assert data.sources.names[:2] == ("Cat", "The")


def test_start_and_stop_are_no_symbols_of_the_data(tmp_path: Path) -> None:
    data = loaded(tmp_path, "source,target\na,<start> <stop>\n", target_unit="words")
    assert data.targets.special == ("<<start>>", "<<stop>>")
    assert data.targets.text(data.targets.encode(["<start>", "<stop>"])) == "<start> <stop>"


def test_rows_without_a_source_or_a_target_are_passed_over_and_counted(tmp_path: Path) -> None:
    assert loaded(tmp_path, "source\ttarget\na\tb\nc\t\nd\te\n\tf\ng\t").num_passed_over == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sorce,target\na,b\n", r"pairs\.csv: has no column 'source' \(data\.source_column\); did you mean 'sorce'\?"),
        ("source,target\n", r"pairs\.csv: has no row with a source and a target"),
        ("source,target\na,b\nc\n", r"pairs\.csv: line 3: 1 cells, the header has 2"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,english,french\n1,a cat,un chat\n2,a dog,un chien\n", (True, "english", "french")),
        ("Go.\tVa !\tCC-BY\nHi.\tSalut !\tCC-BY\n", (False, "1", "2")),
        ("output,input\nx,y\nz,w\n", (True, "input", "output")),
        ("third of May,2001-05-03\nfirst of June,1999-06-01\n", (False, "1", "2")),
        ("date,iso\nthird of May,2001-05-03\nfirst of June,1999-06-01\n", (True, "date", "iso")),
    ],
)
def test_a_draft_finds_header_and_columns(tmp_path: Path, content: str, expected: tuple[bool, str, str]) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    data = draft_of_pairs(tmp_path / "pairs.csv").tables["data"]
    assert (data["header"], data["source_column"], data["target_column"]) == expected


def test_a_draft_of_one_column_says_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("sky\n")
    with pytest.raises(DataError, match=r"line 1: 'sky' has one column; a source and a target are needed"):
        draft_of_pairs(tmp_path / "pairs.csv")


PAIRS = [(f"{number} days", f"d{number * 7}") for number in range(40)]


@pytest.mark.parametrize("form", ["rows.jsonl", "nested.jsonl", "lists.json", "mapped.json", "columns.parquet"])
def test_pairs_of_json_and_parquet_are_drafted_and_read(tmp_path: Path, form: str) -> None:
    file = tmp_path / form
    match form:
        case "rows.jsonl":
            rows = [{"id": place, "prompt": a, "completion": b} for place, (a, b) in enumerate(PAIRS)]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "nested.jsonl":
            file.write_text("".join(json.dumps({"translation": {"en": a, "de": b}}) + "\n" for a, b in PAIRS))
        case "lists.json":
            file.write_text(json.dumps(PAIRS))
        case "mapped.json":
            file.write_text(json.dumps(dict(PAIRS)))
        case _:
            columns = {"number": list(range(40)), "en": [a for a, _ in PAIRS], "iso": [b for _, b in PAIRS]}
            parquet.write_table(arrow.table(columns), file)
    draft = draft_of_pairs(file)
    data = load_pairs(PairsData.model_validate({"file": file, **draft.tables["data"]}))
    source_unit, target_unit = data.sources.unit, data.targets.unit
    cuts = {"words": " ".join, "characters": "".join}
    assert {cuts[source_unit](data.source_units(a)): cuts[target_unit](b[0]) for a, b in entries(data).items()} == dict(
        PAIRS
    )


def test_one_name_of_two_turns_nothing_round(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,word\n" + "".join(f"{place},w{place}\n" for place in range(30)))
    data = draft_of_pairs(tmp_path / "a.csv").tables["data"]
    assert (data["source_column"], data["target_column"]) == ("n", "word")


def test_columns_without_a_cell_are_none_of_the_two(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"cat {place} ||| chat {place}\n" for place in range(30)))
    data = draft_of_pairs(tmp_path / "a.txt").tables["data"]
    assert (data["source_column"], data["target_column"]) == ("1", "4")


def test_a_folder_is_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder; pairs are one table with two columns"):
        draft_of_pairs(tmp_path)
