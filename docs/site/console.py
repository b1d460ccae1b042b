"""Console lexer: commands behind ``$ `` as a shell reads them, with the lines that they need, and what they print."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import ClassVar

from pygments.lexer import Lexer
from pygments.lexers.shell import BashLexer
from pygments.token import Generic, _TokenType

PROMPT = "$ "


class ConsoleLexer(Lexer):  # type: ignore[misc]
    """Marks the prompt and what is printed, which the copy button leaves out.

    A command takes further lines as a shell would: after a backslash at a line's end, or while a quotation is open.
    """

    name = "console"
    aliases: ClassVar[list[str]] = ["console"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """The pieces of a block: place, kind and text of each."""
        bash = BashLexer()
        place = 0
        lines = iter(text.splitlines(keepends=True))
        for line in lines:
            if not line.startswith(PROMPT):
                yield place, Generic.Output, line
                place += len(line)
                continue
            yield place, Generic.Prompt, PROMPT
            place += len(PROMPT)
            typed = line.removeprefix(PROMPT)
            while needs_more(typed):
                typed += next(lines)
            yield from ((place + begin, kind, piece) for begin, kind, piece in bash.get_tokens_unprocessed(typed))
            place += len(typed)


def needs_more(typed: str) -> bool:
    """Whether a shell would ask for another line."""
    if typed.rstrip("\n").endswith("\\"):
        return True
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # a quotation is open
        return True
    return False
