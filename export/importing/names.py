"""Names of tensors: what two of them have in common, where one says what goes in and the other what comes out."""

from __future__ import annotations

import re

_DIRECTIONS = frozenset({
    "in", "input", "inputs", "out", "output", "outputs", "new", "next", "nxt", "prev", "previous", "pre", "past",
    "present", "init", "initial", "start", "final", "last", "cur", "curr", "current", "old", "updated", "update",
    "after", "before", "return", "ret", "returned", "tensor", "model", "result", "var",
})  # fmt: skip
_ENDS = re.compile(r"^([hcsm])(?:prev|next|new|out|in|n|t|x|y|o|i|p)$")
_SHORT_ENDS = frozenset({
    "n", "t", "y", "x", "o", "i", "p",
})  # fmt: skip
_SYNONYMS = {
    "hidden": "h", "hiddens": "h", "hid": "h", "cell": "c", "cells": "c", "states": "state", "caches": "cache",
    "cached": "cache", "buf": "buffer", "mem": "memory", "ctx": "context",
}  # fmt: skip
_STATES = frozenset({
    "h", "c", "hx", "cx", "hn", "cn", "state", "hidden", "cell", "cache", "buffer", "memory", "carry", "rnn",
    "lstm", "gru", "past", "recurrent",
})  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

EXACT, LETTERS, WITHOUT_NUMBERS, ALIKE, NOTHING = 4, 3, 2, 1, 0
"""How much two names have in common, the most first."""


def likeness(given: str, made: str) -> int:
    """How much the name of an input and that of an output have in common, once what tells which is which is left out.

    ``h_in`` and ``h_out``, ``cached_len_0`` and ``new_cached_len_0``: ``EXACT``. ``h0`` and ``hn``, ``initial_h`` and
    ``Y_h``: ``LETTERS`` or ``WITHOUT_NUMBERS``. Names that are numbers, or say nothing but which is which, have nothing
    in common.
    """
    if given == made:
        return EXACT
    one, other = (_bare(_tokens(name)) for name in (given, made))
    if not (_says_something(one) and _says_something(other)):
        return NOTHING
    if one == other:
        return EXACT
    short, short_other = _shortened(one), _shortened(other)
    if short == short_other and _says_something(short):
        return LETTERS
    letters, letters_other = _letters(short), _letters(short_other)
    if letters == letters_other and letters:
        return WITHOUT_NUMBERS
    alike, alike_other = _synonyms(letters), _synonyms(letters_other)
    if alike and alike_other and len(alike & alike_other) * 2 >= len(alike | alike_other):
        return ALIKE
    return NOTHING


def sounds_like_state(name: str) -> bool:
    """Whether a name is one that people give to what is carried from step to step."""
    tokens = _shortened(_tokens(name))
    return bool(_synonyms(_letters(tokens)) & _STATES)


def sounds_like_lengths(name: str) -> bool:
    """Whether a name is one that people give to how many steps a sequence has."""
    tokens = set(_tokens(name))
    return bool(tokens & {"len", "lens", "length", "lengths", "seqlen", "seqlens", "xlens", "xlen"})


def _tokens(name: str) -> tuple[str, ...]:
    bare = re.sub(r":\d+$", "", name)
    return tuple(word.lower() for word in _WORD.findall(bare))


def _bare(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(token for token in tokens if token not in _DIRECTIONS)


def _shortened(tokens: tuple[str, ...]) -> tuple[str, ...]:
    kept = [_ENDS.sub(r"\1", token) for token in tokens]
    if len([each for each in kept if not each.isdigit()]) > 1:
        kept = [token for token in kept if token not in _SHORT_ENDS]
    return tuple(kept)


def _letters(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(token for token in tokens if not token.isdigit())


def _synonyms(tokens: tuple[str, ...]) -> frozenset[str]:
    return frozenset(_SYNONYMS.get(token, token) for token in tokens)


def _says_something(tokens: tuple[str, ...]) -> bool:
    return any(not token.isdigit() for token in tokens)
