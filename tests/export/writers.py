"""A small encoder-decoder of plain sums and products, quick to run and to trace, for tests to break in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ostinato.export.contracts.source_probes
import ostinato.export.proofs.generation
import ostinato.export.proofs.promise
import ostinato.export.proofs.recurrent
import ostinato.export.streaming_decoder
from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import Decoded, DecoderOptions
from ostinato.export.contracts.encoder_decoder import EncoderDecoder
from ostinato.export.contracts.module import Arrays
from ostinato.service.artifact.tensors import Input

States = tuple[Tensor, ...]

NUM_LETTERS = 5
NUM_SOUNDS = 6
SIZE = 4

LETTERS = Input(name="source", dtype="int64", shape=("B", "S"), features=("letter",), num_codes=NUM_LETTERS)
PAIRS = Input(name="source", dtype="float32", shape=("B", "S", 2), features=("load", "wind"))
PATCH = Input(name="patch", dtype="float32", shape=("B", 2, 2), features=("a", "b", "c", "d"))
SOUNDS = DecoderOptions(num_codes=NUM_SOUNDS, start=0, stop=1)


class Writer(nn.Module):
    """Codes to codes: the state begins with the mean of the source's embeddings; the decoder attends to them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def weights(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator))

        self.letters = weights(NUM_LETTERS, SIZE)
        self.sounds = weights(NUM_SOUNDS, SIZE)
        self.scores = weights(2 * SIZE, NUM_SOUNDS)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        memory = self.letters[source]
        kept = (torch.arange(source.shape[1]) < lengths.unsqueeze(1)).to(memory.dtype)
        mean = torch.matmul(kept.unsqueeze(1), memory).squeeze(1) / lengths.unsqueeze(1)
        return (memory,), (torch.tanh(mean),)

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        query = torch.tanh(states[0] + self.sounds[previous])
        weights = self.attend(query, memory[0], lengths)
        context = torch.matmul(weights.unsqueeze(1), memory[0]).squeeze(1)
        return torch.matmul(torch.cat([query, context], dim=1), self.scores), (query,), weights

    def attend(self, query: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Weights ``[B, S]``."""
        scores = torch.matmul(memory, query.unsqueeze(2)).squeeze(2)
        beyond = torch.arange(memory.shape[1]) >= lengths.unsqueeze(1)
        return torch.softmax(scores.masked_fill(beyond, -1e30), dim=1)


class NumberWriter(nn.Module):
    """Steps of two numbers to steps of one, which is fed back; no memory."""

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        last = torch.arange(source.shape[1]) == lengths.unsqueeze(1) - 1
        return (), (torch.matmul(last.to(source.dtype).unsqueeze(1), source).squeeze(1),)

    def decode(
        self, previous: Tensor, states: States, _memory: States, _lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        state = torch.tanh(states[0] + 0.5 * previous)
        return state[:, :1] - state[:, 1:], (state,), None


class PatchWriter(nn.Module):
    """A source of a fixed size, and a decoder of codes that does not look at it again."""

    def encode(self, source: Tensor) -> tuple[States, States]:
        return (), (source.flatten(1),)

    def decode(
        self, previous: Tensor, states: States, _memory: States, _lengths: Tensor | None
    ) -> tuple[Tensor, States, Tensor | None]:
        state = torch.tanh(states[0] + 0.1 * previous.unsqueeze(1))
        return torch.cat([state, -state[:, :2]], dim=1), (state,), None


class PuppetGraphs:
    """The network as its own graphs (an ``EncodeDecode``); what a subclass changes is a fault of the export."""

    def __init__(self, contract: EncoderDecoder) -> None:
        self.contract = contract

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        return self.contract.encode(source, lengths)

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        return self.contract.decode(previous, states, memory, lengths)


def off_by(amount: float, array: Array, row: int = -1) -> Array:
    """A copy whose first number of one row is off."""
    copy = array.copy()
    copy[row].flat[0] += np.float32(amount)
    return copy


@contextmanager
def small_proofs() -> Iterator[None]:
    """Proofs over fewer and smaller sizes, as many kinds of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ostinato.export.contracts.source_probes, "EXACT_LENGTHS", (1, 4))
        patch.setattr(ostinato.export.contracts.source_probes, "PADDED_LENGTHS", (16, 32))
        patch.setattr(ostinato.export.proofs.generation, "PADDED_LENGTHS", (16, 32))
        patch.setattr(ostinato.export.proofs.generation, "BATCH_SIZES", (1, 2, 5))
        patch.setattr(ostinato.export.proofs.generation, "LONG_RUN", (8, 20))
        patch.setattr(ostinato.export.proofs.generation, "_NUM_ROUNDED", 8)
        for module in (ostinato.export.proofs.recurrent, ostinato.export.streaming_decoder):
            patch.setattr(module, "BATCH_SIZES", (1, 2, 5))
            patch.setattr(module, "LENGTHS", (1, 7))
        patch.setattr(ostinato.export.proofs.promise, "NUM_SEEDS", 1)
        patch.setattr(ostinato.export.proofs.recurrent, "ONE_STEP_LENGTHS", (1, 30))
        patch.setattr(ostinato.export.proofs.recurrent, "LONG_RUN", (2, 40))
        patch.setattr(ostinato.export.proofs.recurrent, "NUM_CHUNKINGS", 2)
        yield
