"""Prose of a page as sentences, and what in it is not plain English.

The pages are for engineers who read English as a second language: the field's own words, and short sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_MEAN_WORDS = 25
MAX_WORDS = 45
"""Of a sentence; inline code is one word, and each item of a list is a sentence at least."""

BETTER = {
    r"beside": "compared with, next to, in addition to",
    r"but for|save for": "except, apart from, without",
    r"foretell(?:s|ing)?|foretold": "predict, forecast",
    r"(?:goes|go|went|going|gone) on": "continue",
    r"who(?:so)?ever": "anyone who, the client that",
    r"(?:stands|stand|stood|standing)(?! for\b)": "is, exists",
    r"wants": "needs, or of a person: asks for",
    r"sen[dt]s? again|sending again": "retry",
    r"sen[dt]s? (?:it|them|that|this|its \w+|the \w+|a \w+) again": "retry",
    r"(?:goes|go) before": "override, come first",
    r"anew|afresh": "again, new, from the start",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"hence|thus|whence": "so, therefore",
    r"thereof|therein|thereby|whereof|whereby|wherein": "of it, in it, by which",
    r"lest": "so that ... not",
    r"upon": "on",
    r"whilst|amid|ere": "while, during, before",
    r"albeit|notwithstanding": "although",
    r"likewise": "also, in the same way",
    r"otherwise than": "differently from",
    r"of late": "recently",
    r"have it known|has it that": "say",
    r"told from": "distinguished from",
    r"for who(?:m)? (?:wants|it)": "for those who want",
    r"parted": "split",
    r"(?:lie|lies|lay|lying) behind": "come after, follow",
    r"behind each other": "one after another",
    r"right behind": "directly after",
    r"sees? to (?:it|that)": "ensure",
    r"in vain": "without success",
    r"no sooner": "as soon as",
    r"one's own": "your own",
}
"""What is not written, as a regular expression, and what is written in its place."""

_WRONG = {re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE): better for words, better in BETTER.items()}
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TAG = re.compile(r"</?[a-z][^>\n]*>")
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)\s]*\)|\[[^\]]*\])?")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
_VALUES = re.compile(r"(?:`code`(?:, | or )?|(?:or )?a list of these|, not empty)+")
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bal)(?<!\bvs)[.!?][)\"'*]*(?:\s+|$)")


@dataclass(frozen=True)
class Sentence:
    """A sentence of a page's prose, with inline code as one word and links as their words."""

    text: str

    @property
    def num_words(self) -> int:
        """How many of its words have a letter or a digit."""
        return sum(1 for word in self.text.split() if re.search(r"\w", word))


def plain(text: str) -> str:
    """A page without fenced blocks, comments, and the syntax of links; inline code is one word."""
    text = _FENCED.sub("", _COMMENT.sub("", text))
    text = (
        re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.DOTALL | re.MULTILINE) if text[:4] == "---\n" else text
    )
    return _LINK.sub(r"\1", _CODE.sub("`code`", _TAG.sub("", text)))


def paragraphs(text: str) -> list[str]:
    """The paragraphs and the items of lists of a page, without its headings and tables."""
    found: list[str] = []
    is_open = False
    for line in plain(text).splitlines():
        bare = line.strip().lstrip("> ")
        if not bare or bare.startswith(("#", "|", ":::", "```")) or re.fullmatch(r"[-=*_ ]+", bare):
            is_open = False
            continue
        item = _ITEM.match(line)
        if is_open and item is None:
            found[-1] += f" {bare}"
        else:
            found.append(line[item.end() :].strip() if item else bare)
        is_open = True
    return found


def sentences(text: str) -> list[Sentence]:
    """All sentences of a page's prose, in its order."""
    return _cut(paragraphs(text))


def cell_sentences(text: str) -> list[Sentence]:
    """All sentences of a page's tables, in its order; a list of values in code is no sentence."""
    rows = [line for line in plain(text).splitlines() if line.startswith("|")]
    cells = [cell for row in rows for cell in re.split(r"(?<!\\)\|", row)]
    return _cut([cell for cell in cells if not _VALUES.fullmatch(cell.strip())])


def _cut(parts: list[str]) -> list[Sentence]:
    return [Sentence(each.strip()) for part in parts for each in _END.split(part) if re.search(r"\w", each)]


def wrong_words(text: str) -> list[str]:
    """The words that are not plain, each with its surroundings and the better word."""
    whole = " ".join(plain(text).split())
    return [
        f"'{found[0]}' in '...{whole[max(0, found.start() - 50) : found.end() + 40]}...': write {better}"
        for wrong, better in _WRONG.items()
        for found in wrong.finditer(whole)
    ]


def long_sentences(text: str) -> list[str]:
    """The sentences of prose and tables that are too long, each with its number of words."""
    return [
        f"{sentence.num_words} words, at most {MAX_WORDS}: '{sentence.text}'"
        for sentence in (*sentences(text), *cell_sentences(text))
        if sentence.num_words > MAX_WORDS
    ]


def mean_words(text: str) -> float:
    """How many words a sentence of the page has on average; 0 without a sentence."""
    found = sentences(text)
    return sum(sentence.num_words for sentence in found) / len(found) if found else 0.0
