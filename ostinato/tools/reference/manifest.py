"""Page of a manifest, ``model.json``: each part with its members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostinato.tools.reference.fields import default_words, lead_of, meaning_of, told, type_words
from ostinato.tools.reference.markdown import escaped, page, table

if TYPE_CHECKING:
    from pydantic import BaseModel

HEAD = ("member", "type", "default", "what it is")
INTRODUCTION = """Each version of a model is a folder with `model.json`, its manifest, next to its graphs (ONNX) and
`golden.safetensors`, the inputs and outputs by which it is checked at each load. `ostinato export` and
`ostinato import` write it. A member that is not here is refused. Below, `None` is `null` in the file."""


def manifest_page() -> str:
    """The page."""
    from ostinato.service.artifact.manifest import Manifest

    schemas = Manifest.model_json_schema()["$defs"]
    parts = {name: model for name, model in parts_of_manifests().items() if name in schemas}
    return page(
        "The manifest",
        INTRODUCTION,
        section("model.json", Manifest),
        *(section(name, parts[name]) for name in sorted(parts)),
    )


def parts_of_manifests() -> dict[str, type[BaseModel]]:
    """All that manifests are made of, by name."""
    from pydantic import BaseModel

    found: dict[str, type[BaseModel]] = {}
    waiting = BaseModel.__subclasses__()
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if each.__module__.startswith("ostinato.service.artifact."):
            found[each.__name__] = each
    return found


def section(title: str, model: type[BaseModel]) -> str:
    """A part: what it is, and a row for each member."""
    schema = model.model_json_schema()
    needed = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            type_words(about, link),
            default_words(about, is_needed=name in needed),
            told(meaning_of(model, name)),
        )
        for name, about in schema["properties"].items()
    ]
    return f"## {title}\n\n{escaped(lead_of(model.__doc__ or ''))}\n\n{table(HEAD, rows)}"


def link(name: str) -> str:
    """A part's name, as a link to its section."""
    return "nested list of numbers" if name == "Nested" else f"[{name}](#{name.lower()})"
