"""Drafts of recipes for text: whether a file is a running text or lines, and how long it is learned from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ostinato.models.data.files import read_text_lines
from ostinato.models.data.lexicon import looks_like_lexicon
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError

_LOOKED_AT = 200
# Lines of fewer words and characters than this, which end without a full stop, are names, each a text of its own.
_WORDS_OF_A_NAME = 3.0
_LENGTH_OF_A_NAME = 24.0
_FULL_STOPS = tuple(".!?:;…。\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}")
_SHORT = 2_000
# So many updates teach a small network a short text by heart; and a training of two minutes has this many symbols.
_LEAST_UPDATES = 300
_SYMBOLS = 5_000_000


def draft_of_text(file: Path) -> Draft:
    """A recipe for a text file.

    Raises:
        DataError: the file cannot be read, or has no text.
    """
    lines = [line for line in read_text_lines(file) if line.strip()]
    if not lines:
        raise DataError(f"{file}: has no text")
    if looks_like_lexicon(lines[:_LOOKED_AT]) and len(lines) > 1:
        names = [line.split(maxsplit=1)[0] for line in lines]
        return _draft(file, {"form": "cmudict"}, sum(map(len, names)), len(names), is_lines=True)
    num_symbols = sum(len(line) + 1 for line in lines)
    is_lines = _are_names(lines) if len(lines) > 1 else num_symbols < _SHORT
    return _draft(file, {"unit": "characters", "lines": is_lines}, num_symbols, len(lines), is_lines=is_lines)


def _are_names(lines: Sequence[str]) -> bool:
    words, length = fmean(len(line.split()) for line in lines), fmean(map(len, lines))
    num_sentences = sum(line.rstrip().endswith(_FULL_STOPS) for line in lines)
    return words < _WORDS_OF_A_NAME and length < _LENGTH_OF_A_NAME and num_sentences < len(lines) / 2


def _draft(file: Path, data: dict[str, Any], num_symbols: int, num_lines: int, *, is_lines: bool) -> Draft:
    batch_size, window_steps = (64, 64) if is_lines else (32, 64)
    # A short running text is cut into fewer streams, each of four windows at least.
    num_updates = num_lines / batch_size if is_lines else max(4.0, num_symbols / (batch_size * window_steps))
    max_epochs = max(4, min(20, _SYMBOLS // num_symbols), math.ceil(_LEAST_UPDATES / max(1.0, num_updates)))
    training: dict[str, Any] = {"batch_size": batch_size, "max_epochs": max_epochs, "warm_up_epochs": 0.5}
    if not is_lines:
        training["window_steps"] = window_steps
    network = {"cell": "lstm", "embedding_size": 32, "hidden_size": 128, "num_layers": 1, "dropout": 0.1}
    return Draft(
        f"A language model of {file.name}",
        {
            "data": {**data, "lowercase": False, "validation_fraction": 0.05, "test_fraction": 0.05},
            "network": network,
            "training": {**training, "learning_rate": 5e-3, "seed": 0},
        },
        {
            "data.form": "a dictionary of words and phonemes, of which the words are learned",
            "data.unit": "or words, what is between spaces, or byte_pairs, parts of words that are learned first",
            "data.lines": "true: each line is a text of its own; false: all of it is one",
            "data.lowercase": "true: capitals are small letters",
            "data.test_fraction": "held out and scored",
            "network.cell": "or gru, rnn, or a list with the cell of each layer",
            "training.window_steps": "over how many steps the gradient flows back; the state is carried on",
        },
    )
