"""Page of recipes: what ``ostinato train`` reads, each kind's sections with their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from ostinato.tools.reference.fields import default_words, lead_of, meaning_of, told, type_words
from ostinato.tools.reference.markdown import escaped, page, table

if TYPE_CHECKING:
    from pydantic import BaseModel

HEAD = ("key", "type", "default", "what it is")
SECTIONS = ("data", "network", "training")
INTRODUCTION = """A recipe is a file in TOML: what to train, on which data, and how. `ostinato train RECIPE` reads it,
and `ostinato train --init KIND FILE` writes one for a file of yours; [training.md](training.md) explains them.
A key that is not here is refused, and the message names the nearest key. Paths start at the recipe's own
folder. Below, `None` means that the key is left out."""
COMMON = """Every kind has these keys, unless its own table says something else."""


def recipes_page() -> str:
    """The page."""
    from ostinato.models.kinds.registry import kind_names, load_kind

    recipes = {kind: load_kind(kind).RECIPE for kind in kind_names()}
    shared = shared_models(list(recipes.values()))
    parts = [f"## Every kind\n\n{COMMON}"]
    parts += [f"### {title}\n\n{_table(model, ())}" for title, model in shared]
    parts += (_kind(kind, recipe, [model for _, model in shared]) for kind, recipe in recipes.items())
    return page("Recipes", INTRODUCTION, *parts)


def shared_models(recipes: list[Any]) -> list[tuple[str, Any]]:
    """What recipes have in common: a heading, and the model, for the recipe itself and for its sections."""
    found = [("At the top", _common([recipe.__mro__ for recipe in recipes]))]
    for section in ("data", "training"):
        lines = [_part(recipe, section).__mro__ for recipe in recipes]
        found.append((f"[{section}]", _common(lines)))
    layers = [_part(recipe, "network").__mro__ for recipe in recipes if _has_layers(recipe)]
    return [*found, ("[network] of recurrent layers", _common(layers))]


def _common(lines: list[tuple[type, ...]]) -> type:
    return next(each for each in lines[0] if all(each in others for others in lines))


def _part(recipe: Any, section: str) -> Any:
    """The model of a section, also of one that a recipe may leave out."""
    kind = recipe.model_fields[section].annotation
    return next((each for each in get_args(kind) if hasattr(each, "model_fields")), kind)


def _has_layers(recipe: Any) -> bool:
    return "num_layers" in _part(recipe, "network").model_fields


def _kind(kind: str, recipe: Any, shared: list[Any]) -> str:
    layers = "It also has the keys of recurrent layers. " if _has_layers(recipe) else ""
    parts = [f"## {kind}", f'`kind = "{kind}"`. {escaped(lead_of(recipe.__doc__))} {layers}'.strip()]
    parts.append(_table(recipe, shared, left_out=("kind", *SECTIONS)))
    for section in (*SECTIONS, *_sections_of_its_own(recipe)):
        model = _part(recipe, section)
        if rows := _table(model, shared):
            parts.append(f"### [{section}] of {kind}\n\n{rows}")
    return "\n\n".join(part for part in parts if part)


def _sections_of_its_own(recipe: Any) -> list[str]:
    """The keys of a recipe that are sections which only its kind has."""
    found = [name for name in recipe.model_fields if hasattr(_part(recipe, name), "model_fields")]
    return [name for name in found if name not in SECTIONS]


def _table(model: type[BaseModel], shared: list[Any] | tuple[()], left_out: tuple[str, ...] = ()) -> str:
    """The keys of a section, without those that are as in the model that all kinds share; empty = there are none."""
    known = [_rows(each) for each in shared if issubclass(model, each)]
    rows = {name: row for name, row in _rows(model).items() if name not in left_out}
    own = [row for name, row in rows.items() if not any(each.get(name) == row for each in known)]
    return table(HEAD, own) if own else ""


def _rows(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    schema = model.model_json_schema(by_alias=False)
    needed = schema.get("required", ())
    return {
        name: (
            f"`{name}`",
            "section" if "$ref" in str(about) or name in SECTIONS else type_words(about, lambda part: f"`{part}`"),
            "" if name in SECTIONS else default_words(about, is_needed=name in needed),
            told(meaning_of(model, name)),
        )
        for name, about in schema["properties"].items()
    }
