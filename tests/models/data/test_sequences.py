from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from ostinato.models.data.sequence_draft import draft_of_sequences
from ostinato.models.data.sequence_files import read_folders
from ostinato.models.data.sequences import read_blocks, read_table, read_ts
from ostinato.models.errors import DataError

TS = """# a comment
@problemName Toy
@timeStamps false
@classLabel true a b
@data
1,2,3:4,5,6:a
7,?:8,9:b
"""


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_ts_file_is_sequences_of_dimensions_and_a_class(tmp_path: Path) -> None:
    found = read_ts(written(tmp_path, "toy.ts", TS))
    assert found.features == ("dimension_0", "dimension_1")
    first, second = found.sequences
    assert first.rows == (("1", "4"), ("2", "5"), ("3", "6"))
    assert first.answers == ("a",)
    assert second.rows == (("7", "8"), ("?", "9"))
    assert second.place.endswith("toy.ts: line 7")
    packed = tmp_path / "toy.ts.xz"
    packed.write_bytes(lzma.compress(TS.encode()))
    assert [one.rows for one in read_ts(packed).sequences] == [one.rows for one in found.sequences]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TS.replace("4,5,6", "4,5"), r"line 6: 2 dimensions of \[2, 3\] values"),
        (
            TS.replace("7,?:8,9:b", "7,8:b"),
            r"line 7: 1 dimensions of \[2\] values; all lines have as many dimensions, 2",
        ),
        (TS.replace("@classLabel true", "@classLabel false"), "line 4: the sequences have no class"),
        (
            TS.replace("@timeStamps false", "@timeStamps true"),
            r"line 6: 0 dimensions of \[\] values with time stamps, \(stamp,value\)",
        ),
        (TS.replace("@data\n", ""), "line 5: comes before @data"),
    ],
)
def test_a_ts_file_of_another_form_is_refused_by_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_ts(written(tmp_path, "toy.ts", text))


def test_rows_of_a_table_are_steps_of_the_sequence_that_they_name(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "id;x;y;label\n1;10;a;up\n2;20;b;down\n1;11;a;up\n")
    found = read_table(path, ("x", "y"), "label", "id")
    assert [(one.name, one.rows, one.answers) for one in found.sequences] == [
        ("1", (("10", "a"), ("11", "a")), ("up", "up")),
        ("2", (("20", "b"),), ("down",)),
    ]
    [whole] = read_table(path, ("x",), "label").sequences
    assert len(whole.rows) == 3
    with pytest.raises(DataError, match=r"has no column 'labels'; did you mean 'label'\?; it has id, x, y, label"):
        read_table(path, ("x",), "labels", "id")


def test_a_folder_has_a_folder_for_each_label(tmp_path: Path) -> None:
    for label, name in (("cat", "1.csv"), ("cat", "2.csv"), ("dog", "1.csv")):
        (tmp_path / label).mkdir(exist_ok=True)
        written(tmp_path / label, name, "x,y\n1,2\n3,4\n")
    found = read_folders(tmp_path, ())
    assert found.features == ("x", "y")
    assert [(one.name, one.answers) for one in found.sequences] == [
        ("cat/1.csv", ("cat",)),
        ("cat/2.csv", ("cat",)),
        ("dog/1.csv", ("dog",)),
    ]
    with pytest.raises(DataError, match="has no folders with files in them"):
        read_folders(tmp_path / "dog", ())


def test_words_with_their_tags_are_read_line_by_line(tmp_path: Path) -> None:
    text = "the\tDT\ndog\tNN\n\n\nruns\tVB\n# \t#\n"
    found = read_blocks(written(tmp_path, "a.conll", text))
    assert [(one.rows, one.answers) for one in found.sequences] == [
        ((("the",), ("dog",)), ("DT", "NN")),
        ((("runs",), ("# ",)), ("VB", "#")),
    ]
    spaced = read_blocks(written(tmp_path, "b.iob", "# a comment of words\nEU NNP B-ORG\nrejects VBZ O\n"))
    assert spaced.sequences[0].answers == ("B-ORG", "O")
    with pytest.raises(DataError, match="line 1: 'alone' has no word and tag"):
        read_blocks(written(tmp_path, "c.conll", "alone\n"))


def test_conllu_is_words_and_parts_of_speech(tmp_path: Path) -> None:
    lines = ["# text = can't", "1-2\tcan't\t_\t_\t_", "1\tca\tcan\tAUX\tMD", "2\tn't\tnot\tPART\tRB", "2.1\tx\tx\tX\tX"]
    [found] = read_blocks(written(tmp_path, "a.conllu", "\n".join(lines) + "\n\n")).sequences
    assert (found.rows, found.answers) == ((("ca",), ("n't",)), ("AUX", "PART"))


def test_an_id_that_is_written_in_the_first_row_of_a_sequence_alone_holds_for_the_rows_below(tmp_path: Path) -> None:
    path = written(tmp_path, "t.csv", "id,word,tag\n1,a,x\n,b,y\n,c,x\n2,d,y\n")
    found = read_table(path, ("word",), "tag", "id")
    assert [(one.name, one.answers) for one in found.sequences] == [("1", ("x", "y", "x")), ("2", ("y",))]


@pytest.mark.parametrize(("ids", "line"), [(("1", "1", "", "2"), 4), (("", "1", "2", ""), 2)])
def test_a_row_of_no_sequence_is_refused(tmp_path: Path, ids: tuple[str, ...], line: int) -> None:
    path = written(tmp_path, "t.csv", "id,word,tag\n" + "".join(f"{own},a,x\n" for own in ids))
    with pytest.raises(DataError, match=f"line {line}, column 'id': is empty"):
        read_table(path, ("word",), "tag", "id")


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [("a.ts", "", 0), ("a.conll", "\n\n", 0), ("a.csv", "", 0), ("a.txt", "the/DT dog/NN\na/DT cat/NN\n", 1)],
)
def test_a_draft_of_too_few_sequences_is_refused(tmp_path: Path, name: str, text: str, count: int) -> None:
    with pytest.raises(DataError, match=f"has {count} sequences, too few"):
        draft_of_sequences(written(tmp_path, name, text), tagged=True)


def test_the_more_steps_there_are_the_fewer_are_the_epochs_of_a_draft(tmp_path: Path) -> None:
    epochs = []
    for count in (100, 1000):
        rows = "".join(f"{number},{step},{number % 2}\n" for number in range(count) for step in range(25))
        file = written(tmp_path, f"{count}.csv", "id,x,label\n" + rows)
        epochs.append(draft_of_sequences(file, tagged=False).tables["training"]["max_epochs"])
    few, many = epochs
    assert 5 <= many < few
