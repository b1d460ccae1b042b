"""A recipe: the TOML file that says what to train, on which data, and how; what recipes of all kinds have in common."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar, get_args

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator

from ostinato.models.errors import RecipeError

Count: TypeAlias = Annotated[int, Field(ge=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
RecipeName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Optimizer: TypeAlias = Literal["adamw", "adam", "nadam", "rmsprop", "adagrad", "sgd"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
Schedule: TypeAlias = Literal["cosine", "linear", "constant", "step", "exponential", "plateau"]
AnyRecipe = TypeVar("AnyRecipe", bound="Section")


class Section(BaseModel):
    """A table of a recipe: it cannot be changed, and takes no key that it does not know, and finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileRecipe(Section):
    """What is learned from; a relative path starts at the recipe's own folder.

    ``file``: the path of the data.
    ``source``: where the data come from; it is written into the model's manifest.
    ``licence``: the licence of the data; it is written into the model's manifest.
    """

    file: Path
    source: str = ""
    licence: str = ""

    def located(self, folder: Path) -> Self:
        """With paths made absolute, which start at the recipe's own folder."""
        return self.model_copy(update={"file": folder / self.file})


class TrainingRecipe(Section):
    """How a network is trained; a kind adds what only it has.

    ``seed``: decides the first weights, the order of batches and dropout. The same recipe, data, libraries and kind of
    machine give the same weights.
    ``num_threads``: threads of torch. Another number rounds sums differently, so it belongs to the recipe.
    ``members``: how many networks are trained, with consecutive seeds, and joined into an ensemble: one network whose
    answers are the means of theirs.
    ``device``: where the network is trained, as torch names it: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    ``precision``: of matrix products and recurrent layers in training. ``bfloat16`` (Kalamkar et al., 2019, "A Study of
    BFLOAT16 for Deep Learning Training") is faster where the processor has it. Weights, and the trained model, are
    ``float32`` in both.
    ``batch_size``: sequences in one step of the optimiser.
    ``max_epochs``: training ends after so many epochs; the weights of the best epoch are kept. ``num_epochs`` is a
    former name.
    ``patience_epochs``: training ends earlier after so many epochs without a better validation error; None = it does
    not.
    ``optimizer``: AdamW (Loshchilov and Hutter, 2019), Adam (Kingma and Ba, 2015), NAdam (Dozat, 2016), RMSprop
    (Tieleman and Hinton, 2012), Adagrad (Duchi et al., 2011), or stochastic gradient descent (``sgd``).
    ``momentum``: of ``sgd`` (Nesterov's) and ``rmsprop``; 0 = none.
    ``weight_decay``: each update takes away this part, times the learning rate, of each weight. With ``adam`` and the
    older optimisers it is added to the gradient, as is usual for them.
    ``learning_rate``: the highest learning rate.
    ``warm_up_epochs``: epochs in which the learning rate rises from nearly 0, fewer than ``max_epochs``.
    ``schedule``: how the learning rate falls after the warm-up. ``cosine`` (Loshchilov and Hutter, 2017, "SGDR") and
    ``linear`` fall to 0 at ``max_epochs``. ``constant`` does not fall. ``step`` multiplies it by ``decay_factor`` every
    ``decay_epochs``, and ``exponential`` does the same smoothly. ``plateau`` multiplies it each time that
    ``decay_epochs`` brought no better validation error.
    ``decay_factor``: of the schedules ``step``, ``exponential`` and ``plateau``: what the learning rate is multiplied
    by.
    ``decay_epochs``: of the schedules ``step``, ``exponential`` and ``plateau``: after how many epochs.
    ``max_gradient_norm``: longer gradients are shortened to this (Pascanu et al., 2013).
    ``max_gradient_value``: each number of a gradient is clipped to this; None = not.
    ``l1``: this times the sum of ``|w|`` over all weight matrices, without biases, is added to the loss.
    ``l2``: this times the sum of ``w^2`` over all weight matrices, without biases, is added to the loss.
    """

    seed: int = 0
    members: Annotated[int, Field(ge=1, le=99)] = 1
    num_threads: Count = 1
    device: str = "cpu"
    precision: Precision = "float32"
    batch_size: Count = 64
    max_epochs: Count = Field(default=10, validation_alias=AliasChoices("max_epochs", "num_epochs"))
    patience_epochs: Count | None = None
    optimizer: Optimizer = "adamw"
    momentum: Fraction = 0.0
    weight_decay: NotNegative = 0.0
    learning_rate: Annotated[float, Field(gt=0, le=1e36)] = 2e-3
    schedule: Schedule = "cosine"
    warm_up_epochs: NotNegative = 0.0
    decay_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    decay_epochs: Count = 5
    max_gradient_norm: Positive | None = 1.0
    max_gradient_value: Positive | None = None
    l1: NotNegative = 0.0
    l2: NotNegative = 0.0

    def check_warm_up(self, path: Path) -> None:
        """Whether it ends before training does. Asked of what is trained: runs of earlier releases are still read.

        Args:
            path: of the recipe.

        Raises:
            RecipeError: it does not.
        """
        if self.warm_up_epochs < self.max_epochs:
            return
        default = "" if "warm_up_epochs" in self.model_fields_set else ", its default,"
        raise RecipeError(
            f"{path}: training.warm_up_epochs: {self.warm_up_epochs:g}{default} is no less than training.max_epochs "
            f"({self.max_epochs}), so the learning rate would only rise"
        )

    @field_validator("device")
    @classmethod
    def _is_there(cls, name: str) -> str:
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{name!r} cannot be trained on here ({reason}); 'cpu' always can") from error
        return name


class RunRecipe(Section):
    """Everything that one training run of some kind depends on; each kind says more about its parts.

    ``kind``: what is learned; without it, ``forecaster``.
    ``name``: the name by which the model is served.
    ``description``: a sentence for people.
    ``data``: what is learned from.
    ``network``: the network and its sizes.
    ``training``: how it is trained.
    """

    kind: str
    name: RecipeName
    description: str = ""
    data: FileRecipe
    network: Section
    training: TrainingRecipe

    @classmethod
    def read(cls, path: Path, seed: int | None = None) -> Self:
        """The recipe in a TOML file; its paths are made absolute.

        Args:
            seed: replaces the recipe's own where it is not None.

        Raises:
            RecipeError: the file is absent, is not TOML, or a key is unknown, missing or wrong.
        """
        recipe = read_recipe(path, cls).located(path.parent.resolve())
        recipe.training.check_warm_up(path)
        return recipe if seed is None else recipe.seeded(seed)

    def located(self, folder: Path) -> Self:
        """The recipe with its paths, which start at its own folder, made absolute."""
        return self.model_copy(update={"data": self.data.located(folder)})

    def seeded(self, seed: int) -> Self:
        """The recipe with another seed."""
        return self.model_copy(update={"training": self.training.model_copy(update={"seed": seed})})

    def portable(self) -> dict[str, Any]:
        """The recipe without where on this machine its data lay."""
        content = self.model_dump(mode="json")
        content["data"]["file"] = self.data.file.name
        return content


def read_recipe(path: Path, kind: type[AnyRecipe]) -> AnyRecipe:
    """The recipe of one kind in a TOML file, paths as they are written there.

    Raises:
        RecipeError: the file is absent, is not TOML, or keys are unknown, missing or wrong; it names all of them, and
            for one that is misspelt the nearest that there is.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(_fault(fault, kind) for fault in error.errors(include_url=False))
        raise RecipeError(f"{path}: {faults}") from error


def meant(word: object, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` where one of the known words is near, else nothing."""
    near = difflib.get_close_matches(str(word), known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _fault(fault: Any, kind: type[Section]) -> str:
    *section, key = fault["loc"] or ("",)
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = list(_section_at(kind, section).model_fields)
        where = ".".join(map(str, section)) or "a recipe"
        return f"{place}: is no key of {where}{meant(key, known) or ', which has ' + ', '.join(known)}"
    if fault["type"] == "literal_error":
        message += meant(fault["input"], fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
    return f"{place}: {message}" if place else message


def _section_at(kind: type[Section], path: Sequence[Any]) -> type[Section]:
    """The table of a recipe that a path leads to, as far as it leads to one."""
    for part in path:
        field = kind.model_fields.get(str(part))
        inner = [] if field is None else [field.annotation, *get_args(field.annotation)]
        found = [one for one in inner if isinstance(one, type) and issubclass(one, Section)]
        if not found:
            return kind
        kind = found[0]
    return kind
