"""Training of language models: lines in batches of like length, or one running text in streams, the state carried.

A stream begins behind the edge, from nothing: what comes after the edge is what comes anywhere in a running text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ostinato.models.data.lines import EDGE_CODE, Lines, without
from ostinato.models.data.pairs import IGNORED
from ostinato.models.data.text import Text
from ostinato.models.networks.language_model import LanguageModel
from ostinato.models.recipe import Count, Fraction, TrainingRecipe
from ostinato.models.training.fitting import Epoch, Fitted, Validate, epoch_random, fit_epochs, fit_rows
from ostinato.models.training.job import Job

_SCORED_LINES = 512
_SCORED_STREAMS = 64
# A stream that is scored has at least so many symbols: its first ones are predicted from next to nothing.
_SCORED_STEPS = 1000
_WINDOW = 250
# A batch is cut into two parts of like length, or into parts of so many lines: nearly half of it would be padding
# otherwise. In batches that are of one length as a whole all lines end at once, and the gradient of the ends would pull
# one way.
_LINES_OF_PART = 64


class TextTraining(TrainingRecipe):
    """How it is trained.

    ``batch_size``: lines, or streams into which a running text is cut.
    ``window_steps``: of a running text, over how many steps the gradient flows back; the state is carried from window
    to window.
    ``unknown_rate``: how often a symbol is read as the unknown symbol, so that the network learns to handle it.
    """

    window_steps: Count = 64
    unknown_rate: Fraction = 0.01


def fit(network: LanguageModel, text: Text, recipe: TextTraining, job: Job) -> Fitted:
    """Train until the validation perplexity stops falling, or ``max_epochs``; the best epoch's weights stay.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    network.to(recipe.device)

    def validate() -> float:
        return perplexity(network, text.parts["validation"], text)

    train = _fit_running if text.is_running else _fit_lines
    fitted = train(network, text, recipe, validate, job)
    network.cpu()
    return fitted


def _fit_lines(network: LanguageModel, text: Text, recipe: TextTraining, validate: Validate, job: Job) -> Fitted:
    lines = Lines.of(text.parts["training"], text.symbols.unknown)
    part_size = math.ceil(recipe.batch_size / max(2, recipe.batch_size // _LINES_OF_PART))

    def loss(rows: Tensor) -> Tensor:
        total = torch.zeros((), device=recipe.device)
        for given, wanted in lines.batches(rows, part_size):
            own, _ = _surprise(network, _forgetful(given, text, recipe), wanted, network.initial_state(len(given)))
            total = total + own
        return total / lines.lengths[rows].sum()

    return fit_rows(network, len(lines), recipe, loss, validate, job, "validation perplexity")


def _fit_running(network: LanguageModel, text: Text, recipe: TextTraining, validate: Validate, job: Job) -> Fitted:
    (codes,) = text.parts["training"]
    wanted = torch.tensor([*codes, EDGE_CODE])
    window = min(recipe.window_steps, len(wanted))
    # Streams of at least four windows, one where there are not so many.
    num_streams = max(1, min(recipe.batch_size, len(wanted) // (4 * window)))
    can_move = len(wanted) >= 4 * window

    def begin_epoch(epoch: int) -> Epoch:
        # Windows begin at another step in each epoch, so that gradients are not always cut at the same place.
        offset = int(epoch_random(recipe, epoch).integers(window)) if can_move else 0
        windows = list(stream_windows(wanted[offset:], num_streams, window))
        return Epoch(len(windows), losses(windows))

    def losses(windows: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        states = network.initial_state(num_streams)
        for given, then in windows:
            known = without(then, text.symbols.unknown)
            total, after = _surprise(network, _forgetful(given, text, recipe), known, states)
            # What is carried on carries no gradient into the next window.
            states = tuple(state.detach() for state in after)
            yield total / max(1, int((known != IGNORED).sum()))

    return fit_epochs(network, recipe, begin_epoch, validate, job, "validation perplexity")


def stream_windows(codes: Tensor, num_streams: int, window: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Given and wanted ``[B, T]`` of each window, in the order in which the state is carried.

    Args:
        codes: int64 ``[N]``, what is to be predicted; N mod B at the end are left out.
    """
    num_steps = len(codes) // num_streams
    wanted = codes[: num_steps * num_streams].reshape(num_streams, num_steps)
    given = torch.cat([torch.full((num_streams, 1), EDGE_CODE), wanted[:, :-1]], dim=1)
    for start in range(0, num_steps, window):
        yield given[:, start : start + window], wanted[:, start : start + window]


@torch.no_grad()
def perplexity(network: nn.Module, texts: Sequence[Sequence[int]], text: Text) -> float:
    """``exp`` of the mean of ``-log p`` over all symbols of some texts, the end of each text among them.

    Symbols that are unknown count for nothing.
    """
    total, count = 0.0, 0
    for scores, wanted in scored_windows(network, texts, text):
        total, count = total + surprise(scores, wanted).item(), count + int((wanted != IGNORED).sum())
    return math.exp(min(total / max(1, count), 700.0))


@torch.no_grad()
def scored_windows(network: nn.Module, texts: Sequence[Sequence[int]], text: Text) -> Iterator[tuple[Tensor, Tensor]]:
    """The scores ``[B, T, V]`` of all symbols of some texts, with what came, ``[B, T]``: ``IGNORED`` where unknown."""
    network.eval()
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    for windows in _running_windows(texts[0]) if text.is_running else _line_windows(texts):
        states: tuple[Tensor, ...] | None = None
        for given, then in windows:
            begun = network.initial_state(len(given)) if states is None else states  # type: ignore[operator]
            scores, *after = network(given.to(device), *begun)
            states = tuple(after)
            yield scores, without(then, text.symbols.unknown).to(device)


def _line_windows(texts: Sequence[Sequence[int]]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    lines = Lines.of(texts)
    for batch in lines.batches(torch.arange(len(lines)), _SCORED_LINES):
        yield [batch]


def _running_windows(codes: Sequence[int]) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """All of the symbols, in streams of one length, and what is left over in one more."""
    wanted = torch.tensor([*codes, EDGE_CODE])
    num_streams = max(1, min(_SCORED_STREAMS, len(wanted) // _SCORED_STEPS))
    whole = len(wanted) // num_streams * num_streams
    yield stream_windows(wanted[:whole], num_streams, _WINDOW)
    if whole < len(wanted):
        yield stream_windows(wanted[whole:], 1, _WINDOW)


def _surprise(
    network: LanguageModel, given: Tensor, wanted: Tensor, states: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """That of what came, and the states after it."""
    device = next(network.parameters()).device
    scores, *after = network(given.to(device), *states)
    return surprise(scores, wanted.to(device)), tuple(after)


def surprise(scores: Tensor, wanted: Tensor) -> Tensor:
    """The sum of ``-log p``, in nats, of what came: ``[B, T]`` of ``[B, T, V]``."""
    return nn.functional.cross_entropy(
        scores.float().flatten(0, -2), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _forgetful(given: Tensor, text: Text, recipe: TextTraining) -> Tensor:
    """What is given, some of it unknown."""
    unknown = text.symbols.unknown
    if unknown is None or recipe.unknown_rate == 0.0:
        return given
    forgotten = (torch.rand(given.shape) < recipe.unknown_rate) & (given != EDGE_CODE)
    return given.masked_fill(forgotten, unknown)


@torch.no_grad()
def continue_text(network: LanguageModel, prompt: Sequence[int], max_steps: int, temperature: float = 0.0) -> list[int]:
    """What the network writes behind a prompt, until it ends: the likeliest, or drawn at a temperature."""
    network.eval()
    scores, *states = network(torch.tensor([[EDGE_CODE, *prompt]]), *network.initial_state(1))
    written: list[int] = []
    while len(written) < max_steps:
        last = scores[0, -1]
        drawn = last.argmax() if temperature == 0.0 else torch.multinomial((last / temperature).softmax(0), 1)[0]
        if (code := int(drawn)) == EDGE_CODE:
            break
        written.append(code)
        scores, *states = network(torch.tensor([[code]]), *states)
    return written
