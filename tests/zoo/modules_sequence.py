"""Modules that answer whole sequences, as people write them: taggers, classifiers, attention over all steps.

Each function returns a module and what ``export_sequence`` is told of it; its docstring says what is particular.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ostinato.models.networks.ragged import run_ragged
from ostinato.service.artifact.tensors import Input
from tests.zoo.entries import Entry, amounts

WORDS = 30


def whole(*shape: int | str, **more: Any) -> dict[str, Any]:
    """Options of a module of whole sequences."""
    return {"task": "sequence", **amounts(*shape, **more)}


def words(num_codes: int | None = WORDS) -> dict[str, Any]:
    """The same for one that takes codes ``[B, T]``."""
    part = Input(name="inputs", dtype="int64", shape=("B", "T"), features=("word",), num_codes=num_codes)
    return {"task": "sequence", "inputs": part}


def packed(layers: nn.Module, x: Tensor, lengths: Tensor, batch_first: bool = True) -> tuple[Tensor, Any]:
    """Layers over packed sequences, padded again."""
    rows = pack_padded_sequence(x, lengths.cpu(), batch_first=batch_first, enforce_sorted=False)
    made, last = layers(rows)
    return pad_packed_sequence(made, batch_first=batch_first)[0], last


class Merged(nn.Module):
    """Layers that read both ways, what both directions make merged, and a head."""

    def __init__(self, layers: nn.RNNBase, merge: str = "concat", num_outputs: int = 3) -> None:
        super().__init__()
        self.layers, self.merge = layers, merge
        width = layers.hidden_size * (2 if merge == "concat" else 1)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        made, _ = packed(self.layers, x, lengths)
        ahead, back = made.chunk(2, dim=-1)
        merged = {
            "concat": lambda: made,
            "sum": lambda: ahead + back,
            "mean": lambda: (ahead + back) / 2,
            "product": lambda: ahead * back,
        }[self.merge]()
        return self.head(merged)


class Classifier(nn.Module):
    """The last hidden states of both directions, side by side, and a head: one answer a sequence."""

    def __init__(self, layers: nn.RNNBase, num_classes: int = 4) -> None:
        super().__init__()
        self.layers, self.head = layers, nn.Linear(2 * layers.hidden_size, num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        _, last = packed(self.layers, x, lengths)
        hidden = last[0] if isinstance(last, tuple) else last
        return self.head(torch.cat([hidden[-2], hidden[-1]], dim=1))


def whole_lstm_concat() -> Entry:
    """A two-way LSTM of two layers, concatenated, a number at each step."""
    return Merged(nn.LSTM(3, 8, 2, batch_first=True, bidirectional=True)), whole()


def whole_gru_sum() -> Entry:
    """Keras' ``Bidirectional(GRU, merge_mode="sum")``."""
    return Merged(nn.GRU(3, 8, batch_first=True, bidirectional=True), "sum"), whole()


def whole_lstm_mean() -> Entry:
    """``merge_mode="ave"``."""
    return Merged(nn.LSTM(3, 7, batch_first=True, bidirectional=True), "mean"), whole()


def whole_gru_product() -> Entry:
    """``merge_mode="mul"``, a stack of three."""
    return Merged(nn.GRU(3, 6, 3, batch_first=True, bidirectional=True), "product"), whole()


def whole_rnn() -> Entry:
    """``nn.RNN``, whose operator rounds a batch of one otherwise."""
    return Merged(nn.RNN(3, 8, batch_first=True, bidirectional=True)), whole()


def whole_lstm_classifier() -> Entry:
    """One answer a sequence, from the last states of both directions."""
    return Classifier(nn.LSTM(3, 8, batch_first=True, bidirectional=True)), whole()


def whole_gru_classifier() -> Entry:
    """The same of a stack of GRU layers with dropout between them."""
    return Classifier(nn.GRU(3, 6, 2, batch_first=True, bidirectional=True, dropout=0.3)), whole()


def whole_tagger() -> Entry:
    """Words to logarithms of the probabilities of their tags."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, 6, padding_idx=0)
            self.layers = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
            self.head = nn.Linear(16, 5)

        def forward(self, sentence: Tensor, sentence_lengths: Tensor) -> Any:
            made, _ = packed(self.layers, self.words(sentence), sentence_lengths)
            return F.log_softmax(self.head(made), dim=-1)

    return Tagger(), words(None)


def whole_sentiment() -> Entry:
    """Words, two-way GRU, a mean over the true steps."""

    class Sentiment(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, 6)
            self.layers = nn.GRU(6, 8, batch_first=True, bidirectional=True)
            self.head = nn.Linear(16, 2)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, self.words(x), lengths)
            return self.head(made.sum(dim=1) / lengths[:, None])

    return Sentiment(), words()


def whole_attention_pooling() -> Entry:
    """Attention pooling over the steps, the mask made by ``arange``."""

    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
            self.score, self.head = nn.Linear(16, 1), nn.Linear(16, 4)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, x, lengths)
            within = torch.arange(x.shape[1])[None, :] < lengths[:, None]
            scores = self.score(made).squeeze(-1).masked_fill(~within, float("-inf"))
            weights = torch.softmax(scores, dim=1)
            return self.head(torch.bmm(weights.unsqueeze(1), made).squeeze(1))

    return Pooling(), whole()


def whole_self_attention() -> Entry:
    """Attention of all steps to all, scaled, written out, over a two-way GRU."""

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.GRU(3, 4, batch_first=True, bidirectional=True)
            self.queries, self.keys, self.values = (nn.Linear(8, 8) for _ in range(3))
            self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, x, lengths)
            within = torch.arange(x.shape[1])[None, :] < lengths[:, None]
            scores = self.queries(made) @ self.keys(made).transpose(1, 2) / math.sqrt(8)
            weights = torch.softmax(scores.masked_fill(~within[:, None, :], -1e9), dim=-1)
            return self.head(self.norm(made + weights @ self.values(made)))

    return Attending(), whole()


def whole_multihead() -> Entry:
    """``nn.MultiheadAttention`` behind a two-way LSTM."""

    class Multihead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, x, lengths)
            padding = torch.arange(x.shape[1])[None, :] >= lengths[:, None]
            seen, _ = self.attention(made, made, made, key_padding_mask=padding, need_weights=False)
            return self.head(made + seen)

    return Multihead(), whole()


def whole_convolution() -> Entry:
    """A convolution over the steps, masked, and a two-way LSTM."""

    class Convolved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Conv1d(3, 6, kernel_size=3, padding=1)
            self.layers = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            within = (torch.arange(x.shape[1])[None, :] < lengths[:, None]).unsqueeze(-1)
            seen = torch.relu(self.below((x * within).transpose(1, 2))).transpose(1, 2)
            made, _ = packed(self.layers, seen, lengths)
            return self.head(made)

    return Convolved(), whole()


def whole_maximum() -> Entry:
    """A maximum over the true steps, those beyond put far below."""

    class Maximum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.GRU(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 4)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, x, lengths)
            within = torch.arange(x.shape[1])[None, :] < lengths[:, None]
            return self.head(made.masked_fill(~within.unsqueeze(-1), -1e9).max(dim=1).values)

    return Maximum(), whole()


def whole_time_major() -> Entry:
    """Steps first, and sorted rows, as torch asks of them by default."""

    class TimeMajor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.LSTM(3, 8, bidirectional=True), nn.Linear(16, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = self.layers(pack_padded_sequence(x, lengths.cpu()))
            return self.head(pad_packed_sequence(made)[0])

    return TimeMajor(), whole("T", "B", 3)


def whole_packed_data() -> Entry:
    """Layers applied to the packed data themselves, and two stacks of two directions."""

    class PackedData(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Linear(3, 5)
            self.first = nn.GRU(5, 4, batch_first=True, bidirectional=True)
            self.second = nn.LSTM(8, 4, batch_first=True, bidirectional=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            rows = PackedSequence(torch.tanh(self.below(rows.data)), *rows[1:])
            rows, _ = self.first(rows)
            rows, _ = self.second(rows)
            return pad_packed_sequence(rows, batch_first=True, total_length=x.shape[1])[0]

    return PackedData(), whole()


def whole_ragged_runs() -> Entry:
    """By the project's own ``run_ragged``."""

    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.LSTM(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            return self.head(run_ragged(self.layers, x, lengths)[0])

    return Ragged(), whole()


def whole_without_lengths() -> Entry:
    """``forward(x)``: each sequence at its own length."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.LSTM(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Any:
            made, _ = self.layers(x)
            return self.head(made)

    return Plain(), whole()


def whole_last_without_lengths() -> Entry:
    """``forward(x)``, one answer a sequence, the batch lost by ``squeeze`` where it is one."""

    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.GRU(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Any:
            _, last = self.layers(x)
            return torch.sigmoid(self.head(torch.cat([last[0], last[1]], dim=-1)))

    return Scored(), whole()


def whole_of_longest() -> Entry:
    """A mask as long as the longest sequence, which no padding goes beyond: each is run at its own length."""

    class Longest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.LSTM(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            made, _ = packed(self.layers, x, lengths)
            longest: Any = lengths.max()
            within = torch.arange(longest)[None, :] < lengths[:, None]
            return self.head((made * within.unsqueeze(-1)).sum(dim=1))

    return Longest(), whole()


def whole_sorted() -> Entry:
    """Sorted by length, packed, and put in order again by hand; the last true step of each is taken by ``gather``."""

    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.GRU(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            falling, order = lengths.sort(0, descending=True)
            made, _ = self.layers(pack_padded_sequence(x[order], falling.cpu(), batch_first=True))
            made = pad_packed_sequence(made, batch_first=True)[0][order.argsort()]
            last = (lengths - 1).view(-1, 1, 1).expand(-1, 1, made.shape[2])
            return self.head(made.gather(1, last).squeeze(1))

    return Sorted(), whole()


def whole_transformer() -> Entry:
    """Torch's encoder of a transformer, told where the padding is."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Linear(3, 8)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor, src_key_padding_mask: Tensor) -> Any:
            return self.head(self.layers(self.below(x), src_key_padding_mask=src_key_padding_mask))

    return Encoder(), whole()


def whole_reversed() -> Entry:
    """Two layers of one direction, one of them over ``flip``, as both directions were written by hand."""

    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.back = nn.GRU(3, 8, batch_first=True), nn.GRU(3, 8, batch_first=True)

        def forward(self, x: Tensor) -> Any:
            return torch.cat([self.ahead(x)[0], self.back(x.flip(1))[0].flip(1)], dim=-1)

    return Reversed(), whole()


def whole_mask_argument() -> Entry:
    """``forward(x, mask)``, the mask true within a sequence."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Linear(3, 8)
            self.layers = nn.GRU(8, 4, batch_first=True, bidirectional=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Any:
            made, _ = packed(self.layers, self.below(x), mask.sum(dim=1))
            weights = torch.softmax(made.mean(dim=-1).masked_fill(~mask, -1e9), dim=1)
            return self.head(made * weights.unsqueeze(-1))

    return Masked(), whole()


def whole_residual_norm() -> Entry:
    """Residual two-way layers with layer normalisation and gelu."""

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = nn.Linear(3, 8)
            self.layers = nn.ModuleList([nn.LSTM(8, 4, batch_first=True, bidirectional=True) for _ in range(2)])
            self.norms = nn.ModuleList([nn.LayerNorm(8) for _ in range(2)])
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            y = self.below(x)
            for layers, norm in zip(self.layers, self.norms, strict=True):
                made, _ = packed(layers, norm(y), lengths)
                y = y + F.gelu(made)
            return self.head(y)

    return Residual(), whole()


def whole_strided() -> Entry:
    """Halved by a stride, brought back by a transposed convolution, and cut to the steps: a small U-Net."""

    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv1d(3, 8, 4, stride=2, padding=2)
            self.up = nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1)
            self.out = nn.Conv1d(9, 2, 1)

        def forward(self, x: Tensor) -> Any:
            y = x.transpose(1, 2)
            up = torch.relu(self.up(torch.relu(self.down(y))))[:, :, : y.size(2)]
            return self.out(torch.cat([y, up], dim=1)).transpose(1, 2)

    return Strided(), whole()


def whole_two_outputs() -> Entry:
    """A class of the sequence and a number at each step, by name."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.LSTM(3, 8, batch_first=True, bidirectional=True)
            self.tags, self.kind = nn.Linear(16, 3), nn.Linear(16, 2)

        def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
            made, (last, _) = packed(self.layers, x, lengths)
            return {"tags": self.tags(made), "kind": self.kind(torch.cat([last[0], last[1]], dim=1))}

    return Two(), whole()


def whole_two_inputs_and_context() -> Entry:
    """Words with their amounts, and who they are about, which is the same in all steps."""

    class About(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(WORDS, 4)
            self.layers = nn.GRU(6, 5, batch_first=True, bidirectional=True)
            self.head = nn.Linear(12, 3)

        def forward(self, word: Tensor, amount: Tensor, lengths: Tensor, who: Tensor) -> Any:
            made, _ = packed(self.layers, torch.cat([self.words(word), amount], dim=-1), lengths)
            return self.head(torch.cat([made, who[:, None, :].expand(-1, made.shape[1], -1)], dim=-1))

    inputs = (
        Input(name="word", dtype="int64", shape=("B", "T"), features=("word",), num_codes=WORDS),
        Input(name="amount", dtype="float32", shape=("B", "T", 2), features=("a0", "a1")),
    )
    who = Input(name="who", dtype="float32", shape=("B", 2), features=("w0", "w1"))
    return About(), {"task": "sequence", "inputs": inputs, "context": (who,)}


def whole_missing() -> Entry:
    """Missing values are filled with zeros and said to be, before both directions."""

    class Missing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.LSTM(6, 8, batch_first=True, bidirectional=True), nn.Linear(16, 2)

        def forward(self, x: Tensor, lengths: Tensor) -> Any:
            seen = torch.cat([torch.nan_to_num(x), torch.isnan(x).float()], dim=-1)
            return self.head(packed(self.layers, seen, lengths)[0])

    return Missing(), whole(missing=True)
