"""LayersRecipe: what a recipe's ``[network]`` says of its recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from ostinato.models.networks.activations import Activation, GateActivation
from ostinato.models.networks.gated_feedback import FeedbackCell
from ostinato.models.networks.initialisers import Initialiser
from ostinato.models.recipe import Count, Fraction, Positive, Section, meant

CellName: TypeAlias = Literal[
    "rnn",
    "jordan",
    "lstm",
    "gru",
    "clockwork",
    "gated_feedback",
    "echo_state",
    "time_delay",
    "narx",
    "minimal",
    "minimal_gated",
    "min_gru",
    "min_lstm",
    "slstm",
    "mlstm",
    "rg_lru",
    "lru",
    "s5",
    "mamba",
    "rwkv7",
    "cfc",
]
OPTIONS: Mapping[str, tuple[CellName, ...]] = {
    "activation": ("rnn", "jordan", "lstm", "gru", "clockwork", "time_delay", "narx"),
    "gate_activation": ("lstm", "gru"),
    "peepholes": ("lstm",),
    "reset_after": ("gru",),
    "fed_back_size": ("jordan", "narx"),
    "periods": ("clockwork",),
    "feedback_cell": ("gated_feedback",),
    "taps": ("time_delay", "narx"),
    "delay": ("time_delay",),
    "output_taps": ("narx",),
    "spectral_radius": ("echo_state",),
    "sparsity": ("echo_state",),
    "input_scaling": ("echo_state",),
    "leak": ("echo_state",),
    "ridge": ("echo_state",),
    "washout_steps": ("echo_state",),
    "state_size": ("lru", "s5", "mamba"),
    "num_heads": ("mlstm", "rwkv7"),
    "interval": ("cfc",),
}
"""What a recipe may say of some cells only, and of which."""
_ALSO: Mapping[str, CellName] = {"elman": "rnn", "simple_rnn": "rnn"}
"""What cells are called, too."""
_FORGETTING: tuple[CellName, ...] = ("lstm", "gated_feedback", "min_lstm", "slstm", "mlstm")
_WITH_HEADS: tuple[CellName, ...] = OPTIONS["num_heads"]


def _form_of(cell: object) -> str:
    """So that what is wrong is told of the form that was meant."""
    return "name" if isinstance(cell, str) else "list"


class LayersRecipe(Section):
    """A stack of recurrent layers.

    ``cell``: the cell of every layer, or a list with the cell of each; ``num_layers`` is then the length of the list.
    ``hidden_size``: hidden units H of each layer.
    ``num_layers``: how many layers there are.
    ``dropout``: of what a layer gives to the next layer, never of what a step gives to the next step.
    ``recurrent_dropout``: of what a step gives to the next step, with one mask for each sequence; 0 = none.
    ``forget_bias``: first value of the forget gates' biases; None = as the initialiser has it (1 with ``keras``, else
    none).
    ``initialiser``: how the first weights are drawn: as torch or Keras does it, or recurrent weights ``orthogonal``.
    ``activation``: of the hidden units; ``rnn`` has no ``linear``.
    ``gate_activation``: of the gates of ``lstm`` and ``gru``; ``hard_sigmoid`` is the one of Keras 3.
    ``peepholes``: whether an ``lstm`` has peephole connections.
    ``reset_after``: of ``gru``, where the reset gate acts: True as in torch and Keras, False as in Cho et al.
    ``fed_back_size``: of ``jordan`` and ``narx``, how many features of the output are fed back; None = H.
    ``periods``: of ``clockwork``, the period of each group in steps; H is a multiple of their number.
    ``feedback_cell``: of ``gated_feedback``, the cell of its layers.
    ``taps``: of ``time_delay`` and ``narx``, how many steps of the input are read.
    ``delay``: of ``time_delay``, how many steps the taps are apart.
    ``output_taps``: of ``narx``, how many of its own outputs are read.
    ``spectral_radius``: of ``echo_state``, the largest absolute eigenvalue of its recurrent weights. These never learn.
    ``sparsity``: of ``echo_state``, the part of its recurrent weights that are 0.
    ``input_scaling``: of ``echo_state``, the largest weight from its input.
    ``leak``: of ``echo_state``, how much of its state is new at each step.
    ``ridge``: of ``echo_state``, how much the squared weights of the read-out cost. Only for a forecaster that has no
    other layers.
    ``washout_steps``: of ``echo_state``, steps at the beginning of a sequence that the read-out does not learn from.
    Only for a forecaster that has no other layers.
    ``state_size``: complex numbers in a state of ``lru`` (None = H) and ``s5`` (None = H / 2); of ``mamba``, numbers
    for each inner unit (None = 16).
    ``num_heads``: of ``mlstm`` and ``rwkv7``, memories that share the hidden units; H is a multiple of it.
    ``interval``: of ``cfc``, the feature with the time since the step before; None = steps are equally far apart.
    """

    cell: Annotated[
        Annotated[CellName, Tag("name")] | Annotated[tuple[CellName, ...], Field(min_length=1), Tag("list")],
        Discriminator(_form_of),
    ] = "lstm"
    hidden_size: Count = 64
    num_layers: Count = 1
    dropout: Fraction = 0.0
    recurrent_dropout: Fraction = 0.0
    forget_bias: float | None = None
    initialiser: Initialiser = "torch"
    activation: Activation = "tanh"
    gate_activation: GateActivation = "sigmoid"
    peepholes: bool = False
    reset_after: bool = True
    fed_back_size: Count | None = None
    periods: Annotated[tuple[Count, ...], Field(min_length=1)] = (1, 2, 4, 8)
    feedback_cell: FeedbackCell = "gru"
    taps: Count = 3
    delay: Count = 1
    output_taps: Count = 3
    spectral_radius: Positive = 0.9
    sparsity: Fraction = 0.9
    input_scaling: Positive = 0.5
    leak: Annotated[float, Field(gt=0, le=1)] = 1.0
    ridge: Positive = 1e-6
    washout_steps: Annotated[int, Field(ge=0)] = 100
    state_size: Count | None = None
    num_heads: Count = 4
    interval: str | None = None

    @field_validator("cell", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        names = [given] if isinstance(given, str) else given
        known = get_args(CellName)
        for name in names if isinstance(names, (list, tuple)) else [names]:
            if name not in (*known, *_ALSO):
                raise ValueError(f"{name!r} is none of {', '.join(known)}{meant(name, [*known, *_ALSO])}")
        return _ALSO.get(given, given) if isinstance(given, str) else tuple(_ALSO.get(name, name) for name in names)

    @property
    def cells(self) -> tuple[CellName, ...]:
        """Of each layer, the first first."""
        return (self.cell,) * self.num_layers if isinstance(self.cell, str) else self.cell

    @model_validator(mode="after")
    def _check(self) -> LayersRecipe:
        # A recipe that a run has kept says all of them: what is as it would be anyhow asks for nothing.
        fields = type(self).model_fields
        given = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        if "num_layers" in given and len(self.cells) != self.num_layers:
            raise ValueError(f"num_layers: is {self.num_layers}, but cell lists {len(self.cells)}")
        for option, cells in OPTIONS.items():
            if option in given and not set(cells) & set(self.cells):
                raise ValueError(f"{option}: is of {' and '.join(cells)}, and no layer is that")
        if self.forget_bias is not None and not set(_FORGETTING) & set(self.cells):
            raise ValueError(f"forget_bias: is of {' and '.join(_FORGETTING)}, and no layer is that")
        if "clockwork" in self.cells and self.hidden_size % len(self.periods):
            raise ValueError(
                f"hidden_size: {self.hidden_size} units make no {len(self.periods)} groups of one size, one for each "
                "of periods"
            )
        if set(_WITH_HEADS) & set(self.cells) and self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size: {self.hidden_size} units make no {self.num_heads} heads of one size")
        if self.activation == "linear" and "rnn" in self.cells:
            raise ValueError("activation: of rnn it is tanh or relu")
        return self


def with_a_part(network: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe's ``[network]`` that have a part in it: none of other cells, and none that is not set."""
    cell = network.get("cell", ())
    cells = {cell} if isinstance(cell, str) else set(cell)
    return {
        key: value
        for key, value in network.items()
        if value is not None and (key not in OPTIONS or cells & set(OPTIONS[key]))
    }
