"""Pages of Markdown as what a reader meets in them: fenced blocks, the commands in one, links and paths."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
)

_FENCED = re.compile(r"^```([\w-]*) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``language`` and ``mark`` are the words behind its fence, ``line`` is the fence's, from 1."""

    page: str
    line: int
    language: str
    mark: str
    text: str
    follows_directly: bool
    """Whether nothing stands between it and the block before."""

    @property
    def is_run(self) -> bool:
        """Whether a reader can type it as it stands, on a machine that has the project and nothing else."""
        return not self.mark


@dataclass(frozen=True)
class Command:
    """What follows ``$ ``, and the lines below it: what is printed, empty where the page does not say."""

    line: int
    text: str
    printed: str

    @property
    def words(self) -> list[str]:
        """As a shell splits it, without its comment."""
        return shlex.split(self.text.replace("\\\n", ""), comments=True)

    @property
    def serves(self) -> bool:
        """Whether it runs until it is stopped."""
        return self.words[:2] in (["ostinato", "serve"], ["make", "serve"]) and "--print-config" not in self.words


def read_blocks(page: str, text: str) -> list[Block]:
    """All fenced blocks of a page, in its order."""
    blocks: list[Block] = []
    end = 0
    for fenced in _FENCED.finditer(text):
        language, mark, content = fenced.groups()
        follows = bool(blocks) and not text[end : fenced.start()].strip()
        line = text.count("\n", 0, fenced.start()) + 1
        blocks.append(Block(page, line, language, mark, content, follows))
        end = fenced.end()
    return blocks


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page of the project."""
    return read_blocks(page, (ROOT / page).read_text(encoding="utf-8"))


def without_blocks(text: str) -> str:
    """A page's prose and tables."""
    return _FENCED.sub("", text)


def read_commands(block: Block) -> list[Command]:
    """The commands of a console block; what stands before the first is nobody's output and an error."""
    commands: list[Command] = []
    lines = enumerate(block.text.splitlines(), block.line + 1)
    for line, text in lines:
        if not text.startswith("$ "):
            assert commands, f"{block.page}:{line}: output without a command"
            last = commands[-1]
            commands[-1] = Command(last.line, last.text, f"{last.printed}{text}\n")
            continue
        typed = text.removeprefix("$ ")
        while _goes_on(typed):
            typed += "\n" + next(lines)[1]
        commands.append(Command(line, typed, ""))
    return commands


def _goes_on(typed: str) -> bool:
    """Whether a shell would ask for another line."""
    if typed.endswith("\\"):
        return True
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # a quotation is open
        return True
    return False
