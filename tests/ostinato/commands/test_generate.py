from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ostinato import Client, extras
from ostinato.cli import app
from ostinato.client.generation import GeneratedOutput, Generation
from ostinato.commands import attention_picture
from ostinato.commands import generate as generate_command
from ostinato.commands.attention_picture import Panel
from ostinato.commands.generation_view import JsonView
from tests.ostinato.conftest import RunCommand
from tests.server import ServerProcess

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("writing_server")

Write = Callable[..., Result]


@pytest.fixture
def write(writing_server: ServerProcess) -> Write:
    """Calls ``ostinato generate`` on the server, with standard input as given; none = empty."""
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "OSTINATO_URL": writing_server.url})

    def run(*arguments: object, lines: str = "") -> Result:
        return runner.invoke(app, ["generate", *(str(argument) for argument in arguments)], input=lines)

    return run


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def cells(result: Result) -> list[list[str]]:
    """Of the lines of a table."""
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def whole(server: ServerProcess, model: str, inputs: Any = None, **options: Any) -> Generation:
    with Client(server.url) as client:
        return client.generate(model, inputs, **options)


def test_a_line_for_each_text(write: Write, writing_server: ServerProcess) -> None:
    result = write("g2p", "sought", "Knighted")
    expected = whole(writing_server, "g2p", ["sought", "Knighted"]).firsts
    assert cells(result) == [
        ["sought", expected[0].value, f"{expected[0].score:.3f}", "stop"],
        ["Knighted", expected[1].value, f"{expected[1].score:.3f}", "stop"],
    ]
    assert "g2p/1\n" in result.stdout.replace(" ", "")
    cut = write("g2p", "knighted", "--max-steps", 2)
    assert cells(cut)[0][1::2] == ["N AY", "length"]


def test_the_best_of_a_beam_with_their_log_probabilities(write: Write, writing_server: ServerProcess) -> None:
    options: dict[str, Any] = {"method": "beam", "num_beams": 4, "num_return": 2, "length_penalty": 0.6}
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    made = whole(writing_server, "g2p", ["rough", "sought"], return_log_probs=True, **options)
    rows = cells(write("g2p", "rough", "sought", *flags, "--log-probs"))
    assert [row[0] for row in rows] == ["rough", "", "sought", ""]
    assert [row[1] for row in rows] == [output.value for outputs in made.outputs for output in outputs]
    first = made.outputs[0][0]
    assert rows[0][4] == " ".join(f"{each:.2f}" for each in first.log_probs or ())


def test_objects_for_programs(write: Write, writing_server: ServerProcess) -> None:
    options: dict[str, Any] = {
        "method": "sample",
        "num_return": 2,
        "seed": 3,
        "temperature": 2.0,
        "top_k": 9,
        "top_p": 0.9,
    }
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    made = whole(writing_server, "g2p", ["rough", "sought"], **options)
    assert objects(write("g2p", "rough", "sought", "--json", *flags)) == [
        {
            "model": "g2p",
            "version": "1",
            "index": index,
            "place": place,
            "input": ["rough", "sought"][index],
            "output": made.outputs[index][place].value,
            "score": made.outputs[index][place].score,
            "finish_reason": "stop",
            "seed": 3,
        }
        for index in range(2)
        for place in range(2)
    ]


def test_lines_of_standard_input_are_texts(write: Write) -> None:
    expected = cells(write("g2p", "rough", "sought"))
    assert cells(write("g2p", "-", lines="rough\n\nsought\r\n")) == expected
    assert cells(write("g2p", "rough", "-", lines="sought")) == expected
    assert cells(write("g2p", lines="rough\nsought\n")) == expected


def test_from_nothing_or_from_a_prompt(write: Write) -> None:
    arguments = ("letters", "--method", "sample", "--seed", 5, "--json")
    [nothing] = objects(write(*arguments))
    assert (nothing["input"], nothing["seed"]) == (None, 5)
    assert "(nothing)" in write("letters").stdout
    [prompted] = objects(write(*arguments, "abc"))
    assert prompted["input"] == "abc"


def test_more_inputs_than_a_request_takes_go_in_several(
    write: Write, writing_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["rough", "sought", "eights", "knits", "knows"]
    expected = [output.value for output in whole(writing_server, "g2p", words).firsts]
    monkeypatch.setattr(generate_command, "LANES_PER_REQUEST", 11)
    found = objects(write("g2p", *words, "--json", "--method", "beam", "--num-beams", 5))  # 2 inputs a request
    assert [each["index"] for each in found] == list(range(5))
    assert [each["input"] for each in found] == words
    assert [each["output"] for each in objects(write("g2p", *words, "--json", "--stream"))[-5:]] == expected
    drawn = objects(write("g2p", *words, "--json", "--method", "sample", "--num-return", 11))
    assert len({each["seed"] for each in drawn}) == 1  # what was drawn first holds for all


def test_steps_as_they_are_made(write: Write, writing_server: ServerProcess) -> None:
    *steps, first, second = objects(write("g2p", "rough", "sought", "--stream", "--json"))
    assert all(step.keys() == {"index", "place", "step", "output", "log_prob"} for step in steps)
    for output in (first, second):
        own = [step["output"] for step in steps if step["index"] == output["index"]]
        assert " ".join(own).rstrip() == output["output"]
    assert cells(write("g2p", "rough", "sought", "--stream")) == cells(write("g2p", "rough", "sought"))
    numbers = write("hours-ahead", "--input", writing_server.log_path.with_name("no.npy"), "--stream")
    assert "no.npy: No such file or directory" in numbers.stderr


@pytest.mark.parametrize("name", ["rows.npy", "rows.json", "rows.csv"])
def test_numbers_and_codes_come_from_files(
    name: str, write: Write, writing_server: ServerProcess, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 2)).round(3).astype(np.float32)
    path = tmp_path / name
    if name == "rows.npy":
        np.save(path, rows)
    elif name == "rows.json":
        path.write_text(json.dumps([rows.tolist()]))
    else:
        lines = [f"{load},x,{temperature}" for temperature, load in rows[:, ::-1].tolist()]
        path.write_text("\n".join(["load,other,temperature", *lines]))
    [output] = whole(writing_server, "hours-ahead", [rows], max_steps=3).firsts
    found = write("hours-ahead", "--input", path, "--max-steps", 3)
    assert cells(found) == [
        ["#1" if step == 0 else "", str(step + 1), f"{value:.6g}"]
        for step, [value] in enumerate(np.asarray(output.value).tolist())
    ]
    assert " load " in found.stdout
    [content] = objects(write("hours-ahead", "--input", path, "--max-steps", 3, "--json"))
    np.testing.assert_array_equal(np.array(content["output"], np.float32), output.value)
    if name == "rows.csv":
        [some] = objects(write("hours-ahead", "-i", path, "--from", 2, "--limit", 3, "--json", "--max-steps", 1))
        np.testing.assert_array_equal(np.array(some["input"], np.float32), rows[1:4])


def test_codes_come_from_a_file_and_go_to_a_table(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "codes.json"
    path.write_text("[[3, 4, 5], [6, 7]]")
    rows = cells(write("g2p", "--input", path))
    assert [row[0] for row in rows] == ["#1", "#2"]
    assert all(part.isdigit() for row in rows for part in row[1].split())


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("{}", "a.json", "a list of inputs is wanted"),
        ("[", "a.json", "a.json: Expecting value"),
        ("[1]", "a.json", "a list of inputs is wanted"),
        ("x", "a.npy", "a.npy: "),
        ("x", "a.txt", "should end in .json, .npy, .csv"),
        ("load\n1", "a.csv", "no column 'temperature'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: str, name: str, words: str, write: Write, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    result = write("hours-ahead", "--input", tmp_path / name)
    assert (result.exit_code, words in result.stderr, name in result.stderr) == (1, True, True), result.stderr


def test_a_table_is_refused_where_the_model_reads_text(write: Write, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("load\n1\n")
    result = write("g2p", "--input", tmp_path / "a.csv")
    assert (result.exit_code, "this model reads no rows of numbers" in result.stderr) == (1, True), result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody", "a"), "no model 'nobody'; there are: g2p, hours-ahead, letters [404 unknown_model]"),
        (("g2p", "a€"), "unknown character '€' at position 1; this model knows"),
        (("g2p",), "there is nothing to write from: give texts, '-' for the lines of standard input, or --input"),
        (("letters", "-"), "there is nothing to write from"),
        (("letters", "--plot", "PICTURE.png"), "this model has no attention (at return_attention) [422"),
        (("g2p", "a", "--top-k", 3), "top_k is for method 'sample', not 'greedy'"),
        (("g2p", "a", "--plot", "PICTURE.gif"), "should end in .png, .svg or .pdf"),
        (("g2p", "a", "--plot", "nowhere/a.png"), "there is no folder nowhere"),
        (("g2p", *"abcdefghijklm", "--plot", "PICTURE.png"), "has room for 12 inputs, and there are 13"),
        (("g2p", "--input", "absent.csv"), "absent.csv: cannot be read: No such file or directory"),
        (("nobody", "--input", "absent.json"), "absent.json: No such file or directory"),
    ],
    ids=str,
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    arguments: tuple[object, ...], words: str, write: Write, tmp_path: Path
) -> None:
    picture = tmp_path / "PICTURE"
    result = write(*(str(each).replace("PICTURE", str(picture)) for each in arguments))
    assert (result.exit_code, words in result.stderr, result.stderr.count("\n")) == (1, True, 1), result.stderr
    assert not list(tmp_path.iterdir())


def test_nobody_at_the_address_and_texts_beside_a_file(run_command: RunCommand, write: Write) -> None:
    result = run_command("generate", "g2p", "a", "--url", "http://127.0.0.1:1", "--patience", 0)
    assert (result.exit_code, "no service answers" in result.stderr) == (1, True)
    both = write("g2p", "a", "--input", "a.json")
    assert (both.exit_code, "and not both" in both.stderr) == (2, True)


def test_what_was_looked_at_is_drawn(
    write: Write, writing_server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []
    make = attention_picture.picture

    def seen(panels: list[Panel]) -> Any:
        figures.append(make(panels))
        return figures[-1]

    monkeypatch.setattr(attention_picture, "picture", seen)
    path = tmp_path / "attention.png"
    result = write("g2p", "knighted", "sought", "--plot", path)
    assert f"attention drawn to {path}\n" in result.stdout
    assert path.read_bytes().startswith(b"\x89PNG")
    made = whole(writing_server, "g2p", ["knighted", "sought"], return_attention=True).firsts
    first, second, scale = figures[0].axes
    for axes, word, output in ((first, "knighted", made[0]), (second, "sought", made[1])):
        assert [label.get_text() for label in axes.get_xticklabels()] == list(word)
        assert isinstance(output.value, str)
        assert [label.get_text() for label in axes.get_yticklabels()] == output.value.split()
        np.testing.assert_array_equal(axes.collections[0].get_array(), output.attention)
        assert [text.get_text().replace("\N{MINUS SIGN}", "-") for text in axes.texts] == [
            word,
            f"score {output.score:.3f}",
        ]
        assert axes.yaxis_inverted()  # the first symbol is on top
    assert [label.get_text() for label in scale.get_yticklabels()] == ["0.0", "0.5", "1.0"]


def test_the_picture_is_text_in_an_svg_and_leaves_json_alone(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "attention.svg"
    result = write("g2p", "knighted", "--plot", path, "--json")
    [content] = objects(result)
    assert np.shape(content["attention"]) == (len(content["output"].split()), 8)
    assert f"attention drawn to {path}" in result.stderr
    assert ">knighted<" in path.read_text()
    again = tmp_path / "again.svg"
    write("g2p", "knighted", "--plot", again)
    assert again.read_bytes() == path.read_bytes()


def test_attention_on_numbers_is_drawn_with_counted_steps(write: Write, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 30, 2))
    np.save(tmp_path / "rows.npy", rows)
    path = tmp_path / "attention.svg"
    assert write("hours-ahead", "--input", tmp_path / "rows.npy", "--max-steps", 4, "--plot", path).exit_code == 0
    assert ">hours-ahead, input 2<" in path.read_text()


def test_panels_go_to_the_next_row_where_there_is_no_room_and_keep_apart() -> None:
    sizes = [(3, 6), (13, 11), (9, 9), (1, 1), (24, 168)]
    panels = [Panel("$x$ " * 3, np.full((rows, columns), 0.5, np.float32), None, None, None) for rows, columns in sizes]
    figure = attention_picture.picture(panels)
    figure.draw_without_rendering()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox())]
    assert len(boxes) == len(sizes) + 1
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])
    assert all(0 <= axes.get_position().y0 <= axes.get_position().y1 <= 1 for axes in figure.axes)


def test_where_the_library_is_missing_the_extra_is_named(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    result = write("g2p", "a", "--plot", tmp_path / "a.png")
    assert (result.exit_code, "pip install 'ostinato[plot]'" in result.stderr) == (1, True)


def test_numbers_keep_their_bits_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    value = np.array([[0.1], [1 / 3]], np.float32)
    JsonView().whole(Generation("m", "1", None, ((GeneratedOutput(value, None, "length"),),)), [[[1.0]]], 7)
    content = json.loads(capsys.readouterr().out)
    np.testing.assert_array_equal(np.array(content["output"], np.float32), value, strict=True)
    assert (content["index"], content["score"]) == (7, None)
