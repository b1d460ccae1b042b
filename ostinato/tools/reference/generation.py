"""Page of the options of generation: what a request may say, which method each is of, and what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ostinato.tools.reference.fields import default_words, told, type_words
from ostinato.tools.reference.markdown import page, table

INTRODUCTION = """Options of `POST /v1/models/{model}/generate`, of `Client.generate` and of `ostinato generate`, which
has them as flags. [generation.md](generation.md) explains them with examples. An option that is left out is as the
default says; one that is not for the chosen `method` is refused."""
UNSAID = {
    "max_steps": "the model's limit",
    "num_beams": "{beams}",
    "length_penalty": "0",
    "num_return": "1",
    "temperature": "1",
    "top_k": "0",
    "top_p": "1",
    "seed": "drawn, and answered",
    "version": "the newest",
    "inputs": "one output from nothing",
}
"""What options are that a request leaves out, where the schema has no default."""


def generation_page() -> str:
    """The page."""
    from ostinato.service.edge.openapi.document import build
    from ostinato.service.edge.openapi.examples import Examples
    from ostinato.service.inference.generation_options import DEFAULT_BEAMS, OPTIONS_OF_METHODS

    schemas = build(Examples([]))["components"]["schemas"]
    methods = {name: method for method, names in OPTIONS_OF_METHODS.items() for name in names}
    unsaid = {name: text.format(beams=DEFAULT_BEAMS) for name, text in UNSAID.items()}
    return page(
        "Options of generation",
        INTRODUCTION,
        f"## Request\n\n{_options(schemas['GenerateBody'], methods, unsaid)}",
        f"## Answer\n\n{_members(schemas['GeneratedOutputs'])}",
        "## Step of a stream\n\nWith `stream`, each step is a server-sent event `step`, and the answer the event "
        f"`done`.\n\n{_members(schemas['OutputStep'])}",
    )


def _options(schema: Mapping[str, Any], methods: Mapping[str, str], unsaid: Mapping[str, str]) -> str:
    rows: Iterable[tuple[str, ...]] = (
        (
            f"`{name}`",
            f"`{methods[name]}`" if name in methods else "any",
            _type(about),
            default_words(about, is_needed=False) or unsaid[name],
            told(about["description"]),
        )
        for name, about in schema["properties"].items()
    )
    return table(("option", "method", "type", "default", "what it is"), rows)


def _members(schema: Mapping[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = (
        (f"`{name}`", _type(about), "always" if name in needed else "where it applies", told(about["description"]))
        for name, about in schema["properties"].items()
    )
    return table(("member", "type", "there", "what it is"), rows)


def _type(schema: Mapping[str, Any]) -> str:
    return type_words(schema, lambda name: f"[{name}](reference_http.md#{name.lower()})")
