from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ostinato.export import Window
from ostinato.export.errors import ExportError


class Last(nn.Module):
    """A horizon of 2 from a GRU over the window, which is normalised by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor]:
        mean = window.mean(dim=1, keepdim=True)
        out, hidden = self.gru(window - mean)
        return self.head(out[:, -1]) + mean[:, 0], hidden


@torch.no_grad()
def test_each_step_is_answered_as_the_window_that_ends_with_it() -> None:
    window = Window(Last(), 4, 2)
    x = torch.randn(3, 9, 2)
    answers, *_ = window(x, *window.initial_state(3))
    for step in range(3, 9):
        torch.testing.assert_close(answers[:, step], window.module(x[:, step - 3 : step + 1])[0])


@torch.no_grad()
@pytest.mark.parametrize("begin", ["first", "zeros"])
def test_before_its_sequence_a_window_holds_what_it_is_told(begin: str) -> None:
    window = Window(Last(), 4, 2, begin=begin)  # type: ignore[arg-type]
    x = torch.randn(2, 2, 2)
    filler = x[:, :1] if begin == "first" else torch.zeros(2, 1, 2)
    answers, *_ = window(x, *window.initial_state(2))
    torch.testing.assert_close(answers[:, 1], window.module(torch.cat([filler, filler, x], dim=1))[0])


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 5])
def test_steps_cut_anywhere_are_answered_as_a_whole(length: int) -> None:
    window = Window(Last(), length, 2)
    x = torch.randn(2, 8, 2)
    whole, *_ = window(x, *window.initial_state(2))
    state, made = window.initial_state(2), []
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        answer, *state = window(part, *state)
        made.append(answer)
    # torch itself rounds by the shape of a run on some processors; the exported graph is held to the bit elsewhere.
    torch.testing.assert_close(torch.cat(made, dim=1), whole)


@torch.no_grad()
def test_a_sequence_that_goes_on_keeps_its_window_beside_one_that_begins() -> None:
    window = Window(Last(), 3, 2)
    x = torch.randn(1, 6, 2)
    _, *after = window(x[:, :4], *window.initial_state(1))
    fresh = window.initial_state(1)
    both = [torch.cat([old, new]) for old, new in zip(after, fresh, strict=True)]
    made, *_ = window(x[:, 4:].repeat(2, 1, 1), *both)
    torch.testing.assert_close(made[0], window(x, *fresh)[0][0, 4:])
    torch.testing.assert_close(made[1], window(x[:, 4:], *fresh)[0][0])


@torch.no_grad()
def test_a_module_that_takes_another_form_is_called_as_told_and_may_be_copied() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Last()

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"prediction": self.inner(batch["x"])[0]}

    def call(module: nn.Module, window: Tensor) -> Tensor:
        made: Tensor = module({"x": window})["prediction"]
        return made

    window = Window(Wrapped(), 3, 2, call=call)
    x = torch.randn(1, 5, 2)
    plain, *_ = Window(Last(), 3, 2)(x, *window.initial_state(1))
    torch.testing.assert_close(window(x, *window.initial_state(1))[0], plain)


@pytest.mark.parametrize(
    ("length", "begin", "message"), [(0, "first", "a window of 0 steps"), (3, "last", "not with 'last'")]
)
def test_a_window_that_cannot_be_is_refused(length: int, begin: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        Window(nn.Identity(), length, begin=begin)  # type: ignore[arg-type]
