"""What the reader of pages makes of a block that does not do what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import Block, read_blocks, read_commands
from tests.docs.not_run import faults_of
from tests.docs.reader import Reader

ACTIVATE = "```console\n$ . .venv/bin/activate\n```\n"


def block(text: str) -> Block:
    [found] = read_blocks("page.md", text)
    return found


def follow(folder: Path, text: str) -> None:
    with Reader(folder) as reader:
        reader.follow(read_blocks("page.md", text))


def test_a_page_that_is_right_is_followed_to_its_end(tmp_path: Path) -> None:
    follow(
        tmp_path,
        ACTIVATE + "```console\n$ export WHAT=there\n$ echo $WHAT > said   # kept\n$ cat said\nthere\n```\n"
        "```python\nprint(open('said').read())\n```\n\n```text\nthere\n```\n"
        "```toml\n# recipe.toml\nname = 'load'\n```\n```console\n$ tail -n 1 \\\n    recipe.toml\nname = 'load'\n```\n"
        "```console not-run\n$ false\n```\n```python signature\nnobody(calls: this)\n```\n"
        "```console\n$ true\n$ echo one\n```\n\n```text\none\n```\n"
        "```console\n$ echo 'error: no such thing'; false\nerror: no such thing\n```\n",
    )


def test_what_commands_leave_behind_is_told_from_what_the_reader_saved(tmp_path: Path) -> None:
    text = "```toml\n# recipe.toml\nname = 'load'\n```\n```console\n$ mkdir -p runs/a\n$ touch runs/a/b key\n```\n"
    with Reader(tmp_path) as reader:
        reader.follow(read_blocks("page.md", text))
        assert reader.left_behind() == ["key", "runs/a/b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```console\n$ echo one\ntwo\n```\n", "page.md:2: echo one"),
        ("```console\n$ true\n$ echo one\n```\n\n```text\ntwo\n```\n", "page.md:3: echo one"),
        ("```console\n$ true\n$ false\n```\n", "page.md:3: false\nexited with 1"),
        ("```console\n$ echo one; false\none\n```\n", "exited with 1"),
        ("```console\n$ ostinato --version\n```\n", "command not found"),
        (ACTIVATE + "```python\nprint(1)\n```\n\nThat prints:\n\n```text\n1\n```\n", "page.md:4: python"),
        (ACTIVATE + "```python\nprint(1)\n```\n\n```text\n2\n```\n", "page.md:4: python"),
        (ACTIVATE + "```python\nraise SystemExit(3)\n```\n", "python exited with 3"),
        ("```console\n$ curl localhost:3000/livez\n```\n", "exited with 7"),
        (ACTIVATE + "```console\n$ ostinato serve --port 3001 --repository nowhere\n```\n", "is not ready"),
    ],
)
def test_a_page_that_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        follow(tmp_path, text)
    assert told in str(failure.value)


def test_a_server_and_what_asks_it_are_typed_in_two_terminals(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="share a block"):
        follow(tmp_path, "```console\n$ ostinato serve\n$ curl localhost:3000/livez\n```\n")


def test_a_command_goes_on_below_where_a_shell_would_ask_for_more() -> None:
    found = read_commands(block("```console\n$ echo 'a\n  b' \\\n  c\na\n$ true\n```\n"))
    assert [(command.line, command.words, command.printed) for command in found] == [
        (2, ["echo", "a\n  b", "c"], "a\n"),
        (6, ["true"], ""),
    ]


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("make everything", "make has no target everything"),
        ("ostinato train examples/nothing.toml --output runs/x", "examples/nothing.toml is not in the checkout"),
        ("ostinato train examples/digits/captions.toml --outputs runs/x", "--outputs"),
        ("ostinato practise", "practise"),
        ("ostinato sessions lists", "lists"),
        ("ostinato serve --workers many", "valid int"),
        ("rm -r repository", "rm is no program"),
    ],
)
def test_a_command_that_is_not_run_and_could_not_be(command: str, fault: str) -> None:
    [typed] = read_commands(block(f"```console not-run\n$ {command}\n```\n"))
    [found] = faults_of(typed)
    assert fault in found


@pytest.mark.parametrize(
    "command",
    [
        "make faults FAULTS=--quick   # minutes",
        "ostinato train examples/digits/captions.toml --output runs/x",
        "ostinato sessions export station-7 --output states",
        "kubectl apply --kustomize deploy/kubernetes/overlays/single",
    ],
)
def test_a_command_that_is_not_run_and_could_be(command: str) -> None:
    [typed] = read_commands(block(f"```console not-run\n$ {command}\n```\n"))
    assert faults_of(typed) == []
