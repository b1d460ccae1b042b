"""Beam search and greedy decoding by the trained network alone, to score it after training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ostinato.models.networks.seq2seq import Seq2Seq


@dataclass(frozen=True)
class Hypothesis:
    """An output that was found, without its stop code; the log-probability is the sum over its codes and the stop."""

    codes: tuple[int, ...]
    log_probability: float


@torch.no_grad()
def write(
    network: Seq2Seq, source: Tensor, lengths: Tensor, start: int, stop: int, num_beams: int = 1, max_steps: int = 64
) -> list[Hypothesis]:
    """The best output found for each source by beam search; one beam is greedy.

    In each step the ``num_beams`` best of all continuations are kept. An output that has written its stop code keeps
    its place among them by its score; once it is the best, nothing can pass it, as scores only fall. (Graves, 2012,
    "Sequence Transduction with Recurrent Neural Networks", algorithm 1; Sutskever et al., 2014.) A score is the plain
    sum of log-probabilities: it is divided neither by the length, as there, nor by a penalty of it (Wu et al., 2016,
    "Google's Neural Machine Translation System", section 7).

    Args:
        source: ``[B, S]`` or ``[B, S, F]``; lengths: int64 ``[B]``.
        max_steps: an output that is longer is cut off there.
    """
    memory, states = network.encode(source, lengths)
    num_sources, device = len(lengths), lengths.device
    beams, sources = torch.arange(num_beams, device=device), torch.arange(num_sources, device=device)
    rows = sources.repeat_interleave(num_beams)
    memory, states, lengths = tuple(part[rows] for part in memory), _select(states, rows), lengths[rows]
    # All beams begin alike, so only one of them may count in the first step.
    scores = torch.where(beams == 0, 0.0, -torch.inf).repeat(num_sources, 1)
    stopped = torch.zeros(num_sources, num_beams, dtype=torch.bool, device=device)
    codes = torch.full((num_sources, num_beams, 0), stop, device=device)
    previous = torch.full((num_sources * num_beams,), start, device=device)
    for _ in range(max_steps):
        output, states, _ = network.decode(previous, states, memory, lengths)
        steps = _step_scores(output.reshape(num_sources, num_beams, -1), stopped, stop)
        num_codes = steps.shape[-1]
        scores, chosen = (scores.unsqueeze(-1) + steps).flatten(1).topk(num_beams)
        beam, code = chosen // num_codes, chosen % num_codes
        history = codes.gather(1, beam.unsqueeze(-1).expand(-1, -1, codes.shape[-1]))
        codes = torch.cat([history, code.unsqueeze(-1)], dim=-1)
        stopped = stopped.gather(1, beam) | (code == stop)
        if bool(stopped[:, 0].all()):
            break
        previous = code.flatten()
        states = _select(states, (beam + sources.unsqueeze(1) * num_beams).flatten())
    best = zip(codes[:, 0].tolist(), scores[:, 0].tolist(), strict=True)
    return [Hypothesis(tuple(_before(stop, written)), score) for written, score in best]


def _step_scores(output: Tensor, stopped: Tensor, stop: int) -> Tensor:
    """Log-probabilities of one more code, ``[B, beams, V]``; after the stop code, nothing but it, at no cost."""
    only_stop = output.new_full((output.shape[-1],), -torch.inf)
    only_stop[stop] = 0.0
    return torch.where(stopped.unsqueeze(-1), only_stop, torch.log_softmax(output, dim=-1))


def _select(states: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, ...]:
    """The states of some rows: the batch is the axis before the last, in ``[L, B, H]`` as in ``[B, H]``."""
    return tuple(state.index_select(state.dim() - 2, rows) for state in states)


def _before(stop: int, codes: list[int]) -> list[int]:
    return codes[: codes.index(stop)] if stop in codes else codes
