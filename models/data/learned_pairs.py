"""Byte pairs that a text is best written in, learned by the library ``tokenizers``."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Sequence, Split
from tokenizers.trainers import BpeTrainer

from ostinato.byte_pairs import LETTERS, PIECES

_LEAST_COUNT = 2


def learn_byte_pairs(
    texts: Iterable[str], max_symbols: int, min_count: int
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Symbols, those of the 256 bytes first, and the merges that lead to them, the most frequent pair first.

    Args:
        min_count: a pair that is seen less often is not merged; nor is one that is seen once.
    """
    tokenizer = byte_tokenizer(BPE())
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=max_symbols,
            min_frequency=max(_LEAST_COUNT, min_count),
            initial_alphabet=list(LETTERS),
            show_progress=False,
        ),
    )
    learned = json.loads(tokenizer.to_str())["model"]
    merges = tuple((left, right) for left, right in learned["merges"])
    return tuple(sorted(learned["vocab"], key=learned["vocab"].__getitem__)), merges


def byte_tokenizer(model: BPE) -> Tokenizer:
    """The library's own tokenizer, which cuts text as ``PIECES`` says."""
    tokenizer = Tokenizer(model)
    pieces: list[PreTokenizer] = [
        Split(Regex(PIECES.pattern), "isolated"),
        ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = Sequence(pieces)
    return tokenizer
