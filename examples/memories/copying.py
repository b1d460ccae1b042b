"""An LSTM with a memory outside of it, which it writes to and reads from: it is told a list of bits, and repeats it.

python -m examples.memories.copying --repository repository
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.memories.exporting import export_from_command_line
from ostinato.service.artifact.tensors import Input

NUM_BITS, NUM_SLOTS, HIDDEN_SIZE, MAX_TRAINED = 4, 24, 16, 10


class MemoryLSTM(nn.Module):
    """An LSTM that moves a head over slots, writes where it is, and reads there.

    After Graves et al. (2014, "Neural Turing Machines"), whose head is moved by shifts alone here, and by a jump to the
    first slot in place of a look for content. With the head p, a weight for each slot::

        h_t, c_t   = LSTM([x_t; r_{t-1}], h_{t-1}, c_{t-1})
        s, n, f    = softmax(W h_t)                         stay, go to the next, or to the first
        p_t        = s p_{t-1} + n shift(p_{t-1}) + f [1, 0, 0, ...]
        M_t        = M_{t-1} + sigmoid(w h_t) p_t (tanh(W h_t) - M_{t-1})^T
        r_t        = M_t^T p_t
        y_t        = sigmoid(V [h_t; r_t])
    """

    first: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(NUM_BITS + 1 + NUM_BITS, HIDDEN_SIZE)
        self.head = nn.Linear(HIDDEN_SIZE, 3 + 1 + NUM_BITS)
        self.answer = nn.Linear(HIDDEN_SIZE + NUM_BITS, NUM_BITS)
        nn.init.ones_(self.head.bias[1:2])  # rather onward than not, at first
        self.register_buffer("first", torch.eye(NUM_SLOTS)[0])

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """h, c ``[B, H]``, the memory ``[B, K, W]``, the head ``[B, K]`` at the first slot, and what was read."""
        h = self.first.new_zeros(batch_size, HIDDEN_SIZE)
        memory = self.first.new_zeros(batch_size, NUM_SLOTS, NUM_BITS)
        head = self.first.expand(batch_size, -1).clone()
        return h, h.clone(), memory, head, self.first.new_zeros(batch_size, NUM_BITS)

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, memory: Tensor, head: Tensor, read: Tensor
    ) -> tuple[Tensor, ...]:
        """``x [B, T, bits + 1]``, the last 1 where the list has ended, to how probably each bit is 1."""
        answers = []
        for given in x.unbind(1):
            h, c = self.cell(torch.cat([given, read], dim=-1), (h, c))
            told = self.head(h)
            stay, onward, to_first = torch.softmax(told[:, :3], dim=-1).chunk(3, dim=-1)
            head = stay * head + onward * torch.roll(head, 1, dims=-1) + to_first * self.first
            written = torch.tanh(told[:, 4:]).unsqueeze(1) - memory
            memory = memory + (torch.sigmoid(told[:, 3:4]) * head).unsqueeze(-1) * written
            read = torch.matmul(head.unsqueeze(1), memory).squeeze(1)
            answers.append(torch.sigmoid(self.answer(torch.cat([h, read], dim=-1))))
        return torch.stack(answers, dim=1), h, c, memory, head, read


def task(num_lists: int, length: int) -> tuple[Tensor, Tensor]:
    """Lists to repeat: the input ``[N, 2 L + 1, bits + 1]``, and the bits ``[N, L, bits]`` of its end."""
    bits = torch.randint(0, 2, (num_lists, length, NUM_BITS)).float()
    x = torch.zeros(num_lists, 2 * length + 1, NUM_BITS + 1)
    x[:, :length, :NUM_BITS] = bits
    x[:, length, NUM_BITS] = 1
    return x, bits


def learn(network: MemoryLSTM, num_updates: int) -> None:
    """Lists of 1 to ``MAX_TRAINED`` steps."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(num_updates, 1))
    for _ in range(num_updates):
        length = int(torch.randint(1, MAX_TRAINED + 1, ()))
        x, bits = task(64, length)
        made, *_ = network(x, *network.initial_state(64))
        loss = nn.functional.binary_cross_entropy(made[:, -length:], bits)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def right(network: MemoryLSTM, length: int) -> float:
    """The part of 256 lists that are repeated without a wrong bit."""
    x, bits = task(256, length)
    made, *_ = network(x, *network.initial_state(256))
    return float(((made[:, -length:] > 0.5) == (bits > 0.5)).all(dim=2).all(dim=1).float().mean())


def build(num_updates: int = 4000) -> MemoryLSTM:
    """A network that has learned to repeat."""
    torch.manual_seed(0)
    network = MemoryLSTM()
    learn(network, num_updates)
    return network.eval()


FEATURES = (*(f"bit_{number}" for number in range(NUM_BITS)), "end")
INPUTS = Input(name="given", dtype="float32", shape=("B", "T", NUM_BITS + 1), features=FEATURES)
STATE_NAMES = ("h", "c", "memory", "head", "read")

if __name__ == "__main__":
    trained = build()
    print({length: f"{right(trained, length):.0%}" for length in (3, MAX_TRAINED, 16, 20)})
    export_from_command_line(trained, INPUTS, "copying", state_names=STATE_NAMES)
