"""Train a policy that balances poles without being told their velocities, and write it as ONNX: ``policy.onnx``.

It learns to push as one pushes who sees the velocities. It acts itself, and is told at each step what the other would
have done (S. Ross, G. Gordon and D. Bagnell, "A reduction of imitation learning and structured prediction to no-regret
online learning", AISTATS 2011). The export is what any library would write, with nothing of Ostinato in it:
``obs, h_in, c_in -> actions, h_out, c_out``.

    python -m examples.control_policy.train
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from examples.control_policy.poles import MAX_STEPS, Poles, teacher

POLICY = Path(__file__).with_name("policy.onnx")
HIDDEN, NUM_POLES, NUM_ROUNDS, STEPS_A_ROUND = 24, 64, 10, 60


class Policy(nn.Module):
    """What it sees, ``[B, 2]``, and its memory to a push in [-1, 1], ``[B, 1]``, and the memory after it."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTM(2, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, obs: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h_out, c_out) = self.memory(obs.unsqueeze(0), (h_in, c_in))
        return torch.tanh(self.head(y.squeeze(0))), h_out, c_out

    def follow(self, seen: Tensor) -> Tensor:
        """The pushes of whole episodes, ``[T, N, 2]`` to ``[T, N]``."""
        return torch.tanh(self.head(self.memory(seen)[0])).squeeze(-1)


class Memoryless(nn.Module):
    """The same without a memory, and with more weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, obs: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.tanh(self.layers(obs)), h_in, c_in

    def follow(self, seen: Tensor) -> Tensor:
        return torch.tanh(self.layers(seen)).squeeze(-1)


AnyPolicy = Policy | Memoryless


def first_memory(num_poles: int) -> tuple[Tensor, Tensor]:
    """What nothing was seen with yet."""
    return torch.zeros(1, num_poles, HIDDEN), torch.zeros(1, num_poles, HIDDEN)


@torch.no_grad()
def play(policy: AnyPolicy | None, num_poles: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Episodes of a policy, or of the teacher: what was seen ``[T, N, 2]``, what the teacher would have done and which
    stood, ``[T, N]`` each.
    """
    poles, memory = Poles(num_poles, seed), first_memory(num_poles)
    seen, wanted, standing = [], [], []
    stands = np.ones(num_poles, np.bool_)
    while stands.any() and len(seen) < MAX_STEPS:
        seen.append(torch.from_numpy(poles.seen()))
        right = teacher(poles.states)
        wanted.append(torch.from_numpy(right.astype(np.float32)))
        standing.append(torch.from_numpy(stands.astype(np.float32)))
        push = right
        if policy is not None:
            actions, *memory = policy(seen[-1], *memory)
            push = actions[:, 0].numpy()
        poles.push(push)
        stands = stands & ~poles.fallen()
    return torch.stack(seen), torch.stack(wanted), torch.stack(standing)


def train(policy: AnyPolicy) -> AnyPolicy:
    """Round by round: act, be told what would have been right, and learn from all rounds until now."""
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    rounds = [play(None, NUM_POLES, seed=0)]
    for number in range(1, NUM_ROUNDS + 1):
        for step in range(STEPS_A_ROUND):
            seen, wanted, standing = rounds[step % len(rounds)]
            loss = (((policy.follow(seen) - wanted) ** 2) * standing).sum() / standing.sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimiser.step()
        rounds.append(play(policy, NUM_POLES, seed=number))
        print(f"round {number:2}: it stands for {score(rounds[-1]):5.1f} steps of {MAX_STEPS}, loss {loss.item():.4f}")
    return policy


def score(played: tuple[Tensor, Tensor, Tensor]) -> float:
    """How many steps the poles stood on average."""
    return float(played[2].sum() / played[2].shape[1])


def write(policy: Policy, path: Path = POLICY) -> None:
    """The policy as a file: one step, any number of carts."""
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        policy,
        (torch.zeros(2, 2), *first_memory(2)),
        input_names=["obs", "h_in", "c_in"],
        output_names=["actions", "h_out", "c_out"],
        dynamic_shapes=({0: batch}, {1: batch}, {1: batch}),
        verbose=False,
    )
    assert program is not None
    ClearMetadataAndDocStringPass()(program.model)  # file names and lines of this machine
    program.save(path)


def main() -> None:
    torch.set_num_threads(1)
    scores = {"who sees the velocities": score(play(None, 1_000, seed=1_000))}
    for name, kind in (("without a memory", Memoryless), ("an LSTM of 24 units", Policy)):
        torch.manual_seed(0)
        print(name)
        policy = train(kind())
        scores[name] = score(play(policy, 1_000, seed=1_000))
        if isinstance(policy, Policy):
            write(policy.eval())
    print("steps of 500 that a pole stays up, on average over 1,000 episodes that nothing learned from:")
    for name, steps in scores.items():
        print(f"  {name:24} {steps:5.1f}")


if __name__ == "__main__":
    main()
