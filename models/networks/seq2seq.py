"""Encoder-decoder networks: one sequence read whole, another of a different length written.

The encoder turns the source into outputs ``h_1 .. h_S``; the decoder writes step by step, with ``y_{t-1}`` the code it
wrote before and ``c_t`` the context, what it knows of the source::

    s_t      = g([e(y_{t-1}); extra_t], s_{t-1})     LSTM or GRU (models/networks/encoders.py), s_0 = tanh(W_0 c_0)
    a_t      = tanh(W_a [c_t; s_t])                  the attentional vector
    scores_t = W_o a_t                               log-probabilities up to a constant

Contexts:

- ``last``: ``c = h_last``, the same for every step (Sutskever et al., 2014, "Sequence to Sequence Learning with Neural
  Networks"; given to every step as in Cho et al., 2014, "Learning Phrase Representations using RNN Encoder-Decoder").
- ``q_last``: ``c = tanh(W_q h_last)`` (Cho et al., 2014, appendix A).
- ``q_all``: ``c = tanh(W_q sum of beta_k h_k)``, ``beta = softmax(w h_k)`` over the true steps: a learned pooling.
- ``attention``: ``c_t = sum of alpha_tk h_k``, ``alpha_t = softmax(score(s_t, h_k))`` (models/networks/attention.py;
  the order of the steps is that of Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
  Translation").

``extra_t`` is the context where it is fixed, ``a_{t-1}`` with input feeding (Luong et al., 2015, section 3.3), else
nothing. ``c_0`` is the context where it is fixed, else ``h_last``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ostinato.models.networks.attention import Attention, ScoreFunction, masked_softmax
from ostinato.models.networks.encoders import Cell, RecurrentEncoder, recurrent_layers
from ostinato.models.recipe import Count, Fraction, Section

Context: TypeAlias = Literal["attention", "last", "q_last", "q_all"]
Tensors: TypeAlias = tuple[Tensor, ...]


class Seq2SeqRecipe(Section):
    """Sizes and choices of an encoder-decoder.

    ``cell``: the cell of encoder and decoder.
    ``context``: what the decoder knows of the source. With ``attention``, it looks at all of it in each step. Otherwise
    it knows one vector: the ``last`` output of the encoder, a function of it (``q_last``), or a learned sum of all
    outputs (``q_all``).
    ``score``: how attention compares a step of the source with the decoder; only with the context ``attention``.
    ``input_feeding``: whether the decoder is also given the vector of its former attention; only with the context
    ``attention``.
    ``embedding_size``: numbers that represent a symbol.
    ``encoder_size``: hidden units of a direction of the encoder; ``dot`` and ``cosine`` need all directions together to
    have ``decoder_size``.
    ``encoder_layers``: layers of the encoder.
    ``bidirectional``: whether the encoder reads from both ends.
    ``decoder_size``: hidden units of the decoder.
    ``decoder_layers``: layers of the decoder.
    ``dropout``: on embeddings, between layers and before the output.
    """

    cell: Cell = "lstm"
    context: Context = "attention"
    score: ScoreFunction = "general"
    input_feeding: bool = False
    embedding_size: Count = 64
    encoder_size: Count = 128
    encoder_layers: Count = 1
    bidirectional: bool = True
    decoder_size: Count = 256
    decoder_layers: Count = 1
    dropout: Fraction = 0.0

    @property
    def memory_size(self) -> int:
        """Features of an encoder's output."""
        return self.encoder_size * (2 if self.bidirectional else 1)

    @model_validator(mode="after")
    def _check(self) -> Seq2SeqRecipe:
        if self.input_feeding and self.context != "attention":
            raise ValueError(f"input_feeding: the context {self.context!r} has no attention whose vector could be fed")
        if self.context == "attention" and self.score in ("dot", "cosine") and self.memory_size != self.decoder_size:
            raise ValueError(
                f"score: {self.score!r} compares vectors of one size: decoder_size is {self.decoder_size}, "
                f"the encoder's outputs have {self.memory_size} features"
            )
        return self


class Seq2Seq(nn.Module):
    """An encoder-decoder that writes codes.

    It keeps the exporter's contract: ``encode`` once for a source, ``decode`` once for each step of the output.

    Args:
        source: the source ``[B, S]`` of codes or ``[B, S, F]`` of numbers to ``[B, S, E]``, each step by itself.
        source_size: ``E``.
        num_codes: ``V``, the codes that an output may choose from, start and stop among them.
    """

    def __init__(self, source: nn.Module, source_size: int, num_codes: int, recipe: Seq2SeqRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.source = source
        self.encoder = RecurrentEncoder(
            recipe.cell, source_size, recipe.encoder_size, recipe.encoder_layers, recipe.bidirectional, recipe.dropout
        )
        self.bridge = Bridge(recipe)
        self.target = nn.Embedding(num_codes, recipe.embedding_size)
        memory_size, decoder_size = recipe.memory_size, recipe.decoder_size
        extra_size = decoder_size * recipe.input_feeding if recipe.context == "attention" else memory_size
        self.decoder = recurrent_layers(
            recipe.cell, recipe.embedding_size + extra_size, decoder_size, recipe.decoder_layers, dropout=recipe.dropout
        )
        if recipe.context == "attention":
            self.attention = Attention(recipe.score, decoder_size, memory_size)
        self.combine = nn.Linear(memory_size + decoder_size, decoder_size)
        self.head = nn.Linear(decoder_size, num_codes)
        self.dropout = nn.Dropout(recipe.dropout)

    @property
    def attends(self) -> bool:
        """Whether the context is attention, and not fixed."""
        return self.recipe.context == "attention"

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensors, Tensors]:
        """Read sources whole.

        Args:
            source: ``[B, S]`` codes or ``[B, S, F]``; what stands at and beyond ``lengths`` has no influence.
            lengths: int64 ``[B]``, from 1 to S.

        Returns:
            memory: the encoder's outputs ``[B, S, M]``, and the score's keys ``[B, S, K]`` where it has its own; empty
            where the context is fixed.
            states: the decoder's first, h ``[L, B, H]``, c ``[L, B, H]`` of an LSTM, and what is fed to each step
            with its code: ``a_0 = 0 [B, H]`` with input feeding, the context ``[B, M]`` where it is fixed.
        """
        outputs, h_last = self.encoder(self.dropout(self.source(source)), lengths)
        context, hidden = self.bridge(outputs, h_last, lengths)
        if not self.attends:
            return (), (*hidden, context)
        memory = (outputs,) if self.recipe.score == "dot" else (outputs, self.attention.keys(outputs))
        if self.recipe.input_feeding:
            return memory, (*hidden, torch.zeros_like(hidden[0][0]))
        return memory, hidden

    def decode(
        self, previous: Tensor, states: Tensors, memory: Tensors, lengths: Tensor
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        """Write one step.

        Args:
            previous: int64 ``[B]``, the codes of the step before; the start code for the first.
            states, memory: as ``encode`` or the step before gave them.
            lengths: int64 ``[B]`` of the sources.

        Returns:
            scores ``[B, V]``, the states after the step, and the weights ``[B, S]`` of attention, None without it.
        """
        hidden, extra = self._parts(states)
        embedded = torch.cat([self.dropout(self.target(previous)), *extra], dim=-1)
        steps, hidden = self._run_decoder(embedded.unsqueeze(1), hidden)
        step = steps[:, 0]
        if not self.attends:
            (context,) = extra
            return self.head(self._combine(context, step)), (*hidden, context), None
        context, weights = self.attention(step, memory[0], memory[-1], lengths)
        attentional = self._combine(context, step)
        fed = (attentional,) if self.recipe.input_feeding else ()
        return self.head(attentional), (*hidden, *fed), weights

    def forward(self, source: Tensor, lengths: Tensor, target_in: Tensor, sampling_rate: float = 0.0) -> Tensor:
        """Scores ``[B, T, V]`` of all steps, each after the true step before it (teacher forcing).

        Args:
            source, lengths: as for ``encode``.
            target_in: int64 ``[B, T]``, the start code and then the true output.
            sampling_rate: scheduled sampling (Bengio et al., 2015, "Scheduled Sampling for Sequence Prediction with
                Recurrent Neural Networks"): how probably a step is given the best code of the network's own step
                before in place of the true one, drawn for each code; 0 is teacher forcing throughout.
        """
        memory, states = self.encode(source, lengths)
        if sampling_rate == 0.0 and not self.recipe.input_feeding:
            return self._all_steps(target_in, states, memory, lengths)
        previous = target_in[:, 0]
        scores: list[Tensor] = []
        for step in range(target_in.shape[1]):
            if step > 0:
                previous = target_in[:, step]
            if step > 0 and sampling_rate > 0.0:
                sampled = torch.rand(len(previous), device=previous.device) < sampling_rate
                previous = torch.where(sampled, scores[-1].detach().argmax(dim=-1), previous)
            output, states, _ = self.decode(previous, states, memory, lengths)
            scores.append(output)
        return torch.stack(scores, dim=1)

    def _all_steps(self, target_in: Tensor, states: Tensors, memory: Tensors, lengths: Tensor) -> Tensor:
        """``[B, T, V]``: the layers run over all steps at once, which nothing they write can change."""
        hidden, extra = self._parts(states)
        embedded = self.dropout(self.target(target_in))
        fixed = [context.unsqueeze(1).expand(-1, target_in.shape[1], -1) for context in extra]
        steps, _ = self._run_decoder(torch.cat([embedded, *fixed], dim=-1), hidden)
        if self.attends:
            context, _ = self.attention.over_steps(steps, memory[0], memory[-1], lengths)
        else:
            (context,) = fixed
        scores: Tensor = self.head(self._combine(context, steps))
        return scores

    def _parts(self, states: Tensors) -> tuple[Tensors, Tensors]:
        """The layers' own states, and what is fed to each step with its code."""
        num_hidden = 2 if self.recipe.cell == "lstm" else 1
        return states[:num_hidden], states[num_hidden:]

    def _run_decoder(self, embedded: Tensor, hidden: Tensors) -> tuple[Tensor, Tensors]:
        if self.recipe.cell == "lstm":
            steps, after = self.decoder(embedded, hidden)
            return steps, after
        steps, h = self.decoder(embedded, hidden[0])
        return steps, (h,)

    def _combine(self, context: Tensor, step: Tensor) -> Tensor:
        attentional: Tensor = torch.tanh(self.combine(torch.cat([context, self.dropout(step)], dim=-1)))
        return attentional


class Bridge(nn.Module):
    """From the encoder to the decoder: the fixed context, and the states that the decoder begins with."""

    def __init__(self, recipe: Seq2SeqRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        size = recipe.memory_size
        if recipe.context in ("q_last", "q_all"):
            self.q = nn.Linear(size, size)
        if recipe.context == "q_all":
            self.pool = nn.Linear(size, 1, bias=False)
        self.num_states = 2 if recipe.cell == "lstm" else 1
        self.initial = nn.Linear(size, self.num_states * recipe.decoder_layers * recipe.decoder_size)

    def forward(self, outputs: Tensor, h_last: Tensor, lengths: Tensor) -> tuple[Tensor, Tensors]:
        """The context ``[B, M]`` and states ``[L, B, H]`` from outputs ``[B, S, M]`` and ``h_last [B, M]``."""
        context = self._context(outputs, h_last, lengths)
        shape = (self.num_states, self.recipe.decoder_layers, self.recipe.decoder_size)
        first = torch.tanh(self.initial(context)).view(-1, *shape).permute(1, 2, 0, 3)
        return context, tuple(first[index].contiguous() for index in range(self.num_states))

    def _context(self, outputs: Tensor, h_last: Tensor, lengths: Tensor) -> Tensor:
        if self.recipe.context in ("attention", "last"):
            return h_last
        summary = h_last
        if self.recipe.context == "q_all":
            weights = masked_softmax(self.pool(outputs).transpose(1, 2), lengths)
            summary = torch.matmul(weights, outputs).squeeze(1)
        context: Tensor = torch.tanh(self.q(summary))
        return context
