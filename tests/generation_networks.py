"""Small networks that write: fixed weights, one for each shape of the contracts, and how each gets into a repository.

None is trained. Their weights are large, so that what they write depends on what they have read.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ostinato.export.exporter import export_module
from ostinato.export.generation_exporter import export_encoder_decoder, export_generator
from ostinato.export.version_directory import Exported
from ostinato.models.networks.attention import Attention
from ostinato.models.networks.ragged import run_ragged
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input
from ostinato.service.artifact.vocabulary import Vocabulary
from tests import operators

operators.read_once()

States = tuple[Tensor, ...]

STOP, START = "</s>", "<s>"
LETTERS = Vocabulary(symbols=tuple("abcdefghijklmnopqrstuvwxyz'"), lowercase=True)
SOUNDS = Vocabulary(symbols=(STOP, START, "AA", "B", "CH", "D", "EH", "F"), separator=" ", special=(STOP, START))
CHARACTERS = Vocabulary(symbols=(STOP, START, *"abcdefgh "), special=(STOP, START))
STOP_CODE, START_CODE = 0, 1
HIDDEN_SIZE = 6
IMAGE_SIZE = 8
NUM_PLACES = (IMAGE_SIZE // 2) ** 2
MEMORY_STEPS = 5
MAX_SOURCE_STEPS = 64

LETTER_SOURCE = Input(
    name="source", dtype="int64", shape=("B", "S"), features=("letter",), num_codes=len(LETTERS.symbols)
)
HOURLY_SOURCE = Input(name="source", dtype="float32", shape=("B", "S", 2), features=("load", "temperature"))
IMAGE_SOURCE = Input(
    name="image",
    dtype="float32",
    shape=("B", IMAGE_SIZE, IMAGE_SIZE),
    features=tuple(f"pixel_{row}_{column}" for row in range(IMAGE_SIZE) for column in range(IMAGE_SIZE)),
)
STREAM_INPUT = Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("load", "temperature"))


def _enlarge(module: nn.Module, seed: int, factor: float = 3.0) -> None:
    """Weights drawn anew, of a size that lets what was read matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim():
                weight.copy_(torch.randn(weight.shape, generator=generator) * factor / weight.shape[-1] ** 0.5)


class AttentionSpeller(nn.Module):
    """Letters to sounds: a bidirectional LSTM of two layers, and an LSTM that attends to it by a bilinear score."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS.symbols), 5)
        self.encoder = nn.LSTM(5, HIDDEN_SIZE, 2, batch_first=True, bidirectional=True)
        self.sounds = nn.Embedding(len(SOUNDS.symbols), 4)
        self.cell = nn.LSTM(4, HIDDEN_SIZE, batch_first=True)
        self.attention = Attention("general", HIDDEN_SIZE, 2 * HIDDEN_SIZE)
        self.head = nn.Linear(3 * HIDDEN_SIZE, len(SOUNDS.symbols))
        _enlarge(self, seed)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        outputs, last = run_ragged(self.encoder, self.letters(source), lengths)
        assert isinstance(last, tuple)
        h, c = (state[-2:-1] + state[-1:] for state in last)
        return (outputs, self.attention.keys(outputs)), (h, c)

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        hidden, (h, c) = self.cell(self.sounds(previous).unsqueeze(1), (states[0], states[1]))
        query = hidden.squeeze(1)
        context, weights = self.attention(query, *memory, lengths)
        return self.head(torch.cat([query, context], dim=-1)), (h, c), weights


class ContextSpeller(nn.Module):
    """Letters to sounds by a fixed context: the GRU's last state is all that the decoder knows of the source."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(LETTERS.symbols), 5)
        self.encoder = nn.GRU(5, HIDDEN_SIZE, batch_first=True)
        self.sounds = nn.Embedding(len(SOUNDS.symbols), 4)
        self.cell = nn.GRUCell(4, HIDDEN_SIZE)
        self.head = nn.Linear(HIDDEN_SIZE, len(SOUNDS.symbols))
        _enlarge(self, seed)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        _, last = run_ragged(self.encoder, self.letters(source), lengths)
        assert isinstance(last, Tensor)
        return (), (last[0],)

    def decode(
        self, previous: Tensor, states: States, _memory: States, _lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        h = self.cell(self.sounds(previous), states[0])
        return torch.log_softmax(self.head(h), dim=-1), (h,), None


class LetterModel(nn.Module):
    """A language model over ``CHARACTERS``: an LSTM of two layers, in the recurrent contract."""

    def __init__(self, seed: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(CHARACTERS.symbols), 5)
        self.layers = nn.LSTM(5, HIDDEN_SIZE, 2, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, len(CHARACTERS.symbols))
        _enlarge(self, seed, factor=2.5)

    def initial_state(self, batch_size: int) -> States:
        zeros = torch.zeros(2, batch_size, HIDDEN_SIZE)
        return zeros, zeros.clone()

    def forward(self, codes: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, (h, c) = self.layers(self.embedding(codes), (h, c))
        return self.head(hidden), h, c


class HoursAhead(nn.Module):
    """Hours of load and temperature to hours of load: what the decoder forecast last comes in again."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        self.encoder = nn.GRU(2, HIDDEN_SIZE, batch_first=True, bidirectional=True)
        self.begin = nn.Linear(2 * HIDDEN_SIZE, HIDDEN_SIZE)
        self.cell = nn.GRUCell(1, HIDDEN_SIZE)
        self.attention = Attention("additive", HIDDEN_SIZE, 2 * HIDDEN_SIZE)
        self.head = nn.Linear(3 * HIDDEN_SIZE, 1)
        _enlarge(self, seed, factor=1.0)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        outputs, last = run_ragged(self.encoder, source, lengths)
        assert isinstance(last, Tensor)
        begin = torch.tanh(self.begin(torch.cat([last[0], last[1]], dim=-1)))
        return (outputs, self.attention.keys(outputs)), (begin,)

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        h = self.cell(previous, states[0])
        context, weights = self.attention(h, *memory, lengths)
        return self.head(torch.cat([h, context], dim=-1)), (h,), weights


class Captioner(nn.Module):
    """An image of a fixed size to letters: a small CNN begins the decoder's state; there are no steps to attend to."""

    def __init__(self, seed: int = 4) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.begin = nn.Linear(4 * (IMAGE_SIZE // 2) ** 2, HIDDEN_SIZE)
        self.embedding = nn.Embedding(len(CHARACTERS.symbols), 4)
        self.cell = nn.LSTMCell(4, HIDDEN_SIZE)
        self.head = nn.Linear(HIDDEN_SIZE, len(CHARACTERS.symbols))
        _enlarge(self, seed)

    def encode(self, source: Tensor) -> tuple[States, States]:
        h = torch.tanh(self.begin(self.look(source.unsqueeze(1))))
        return (), (h, torch.zeros_like(h))

    def decode(
        self, previous: Tensor, states: States, _memory: States, _lengths: Tensor | None
    ) -> tuple[Tensor, States, Tensor | None]:
        h, c = self.cell(self.embedding(previous), (states[0], states[1]))
        return self.head(h), (h, c), None


class Gazer(nn.Module):
    """An image of a fixed size to codes without a stop: the decoder attends to ``NUM_PLACES`` patches of it."""

    def __init__(self, seed: int = 6) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, HIDDEN_SIZE, 2, stride=2)
        self.embedding = nn.Embedding(len(CHARACTERS.symbols), 4)
        self.cell = nn.GRUCell(4, HIDDEN_SIZE)
        self.attention = Attention("dot", HIDDEN_SIZE, HIDDEN_SIZE)
        self.head = nn.Linear(2 * HIDDEN_SIZE, len(CHARACTERS.symbols))
        _enlarge(self, seed, factor=1.0)

    def encode(self, source: Tensor) -> tuple[States, States]:
        places = self.look(source.unsqueeze(1)).flatten(2).transpose(1, 2)
        return (places,), (torch.tanh(places[:, 0]),)

    def decode(
        self, previous: Tensor, states: States, memory: States, _lengths: Tensor | None
    ) -> tuple[Tensor, States, Tensor | None]:
        h = self.cell(self.embedding(previous), states[0])
        all_of_them = torch.full((h.shape[0],), NUM_PLACES)
        context, weights = self.attention(h, memory[0], memory[0], all_of_them)
        return self.head(torch.cat([h, context], dim=-1)), (h,), weights


class StreamingForecaster(nn.Module):
    """A causal GRU whose session keeps its last ``MEMORY_STEPS`` outputs, newest last; the decoder attends to them.

    A state carries what the decoder forecast last, so that it takes no previous output.
    """

    decoder_begins: ClassVar = {"hidden": "h", "last": "last_load"}
    decoder_memory: ClassVar = {"memory": "seen"}
    decoder_lengths = "num_seen"

    def __init__(self, seed: int = 5) -> None:
        super().__init__()
        self.encoder = nn.GRU(2, HIDDEN_SIZE, batch_first=True)
        self.cell = nn.GRUCell(1, HIDDEN_SIZE)
        self.attention = Attention("dot", HIDDEN_SIZE, HIDDEN_SIZE)
        self.one_ahead = nn.Linear(HIDDEN_SIZE, 1)
        self.head = nn.Linear(2 * HIDDEN_SIZE, 1)
        _enlarge(self, seed, factor=1.0)

    def initial_state(self, batch_size: int) -> States:
        h = torch.zeros(batch_size, HIDDEN_SIZE)
        seen = torch.zeros(batch_size, MEMORY_STEPS, HIDDEN_SIZE)
        return h, seen, torch.zeros(batch_size, dtype=torch.int64), torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, h: Tensor, seen: Tensor, num_seen: Tensor, _last_load: Tensor) -> States:
        hidden, after = self.encoder(x, h.unsqueeze(0))
        kept = torch.cat([seen, hidden], dim=1)[:, -MEMORY_STEPS:]
        count = torch.clamp(num_seen + x.shape[1], max=MEMORY_STEPS)
        return x[..., :1] + self.one_ahead(hidden), after[0], kept, count, x[:, -1, :1]

    def decode(
        self, _previous: Tensor | None, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        hidden, last = states
        h = self.cell(last, hidden)
        # The newest stand last: turned around, what counts comes first.
        newest_first = memory[0].flip(1)
        context, weights = self.attention(h, newest_first, newest_first, lengths)
        output = self.head(torch.cat([h, context], dim=-1))
        return output, (h, output), weights.flip(1)


def export_attention_speller(repository: Path, name: str = "speller", *, seed: int = 0) -> Exported:
    """Text to text, with attention: strings in by ``LETTERS``, out by ``SOUNDS``."""
    return export_encoder_decoder(
        AttentionSpeller(seed),
        LETTER_SOURCE,
        repository,
        name=name,
        start=START_CODE,
        stop=STOP_CODE,
        vocabularies={"source": LETTERS, "target": SOUNDS},
        limits=Limits(max_source_steps=MAX_SOURCE_STEPS),
    )


def export_context_speller(repository: Path, name: str = "context-speller", *, seed: int = 1) -> Exported:
    """Text to text without attention or memory."""
    return export_encoder_decoder(
        ContextSpeller(seed),
        LETTER_SOURCE,
        repository,
        name=name,
        start=START_CODE,
        stop=STOP_CODE,
        vocabularies={"source": LETTERS, "target": SOUNDS},
    )


def export_letter_model(repository: Path, name: str = "letters", *, seed: int = 2) -> Exported:
    """A generator: text from nothing or from a prompt."""
    return export_generator(
        LetterModel(seed),
        repository,
        name=name,
        start=START_CODE,
        stop=STOP_CODE,
        vocabularies={"target": CHARACTERS},
    )


def export_hours_ahead(repository: Path, name: str = "hours-ahead", *, seed: int = 3) -> Exported:
    """Numbers to numbers, the output fed back."""
    return export_encoder_decoder(
        HoursAhead(seed), HOURLY_SOURCE, repository, name=name, output_features=("load",), feedback=True
    )


def export_captioner(repository: Path, name: str = "captioner", *, seed: int = 4) -> Exported:
    """A source of a fixed size, without steps or lengths, to text."""
    return export_encoder_decoder(
        Captioner(seed),
        IMAGE_SOURCE,
        repository,
        name=name,
        start=START_CODE,
        stop=STOP_CODE,
        vocabularies={"target": CHARACTERS},
    )


def export_gazer(repository: Path, name: str = "gazer", *, seed: int = 6) -> Exported:
    """A source of a fixed size, attended to by its places."""
    return export_encoder_decoder(
        Gazer(seed), IMAGE_SOURCE, repository, name=name, start=START_CODE, num_codes=len(CHARACTERS.symbols)
    )


def export_streaming_forecaster(repository: Path, name: str = "streaming", *, seed: int = 5) -> Exported:
    """A recurrent model whose sessions forecast by a decoder of their own."""
    return export_module(
        StreamingForecaster(seed),
        STREAM_INPUT,
        repository,
        name=name,
        output_features=("load",),
        state_names=("h", "seen", "num_seen", "last_load"),
    )
