"""Page of the HTTP routes, made of the OpenAPI document: each with parameters, bodies, answers and refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ostinato.tools.reference.fields import default_words, told, type_words
from ostinato.tools.reference.markdown import escaped, page, table

INTRODUCTION = """All routes of a server, with what they read and answer. A running server shows the same with
examples of its own models, to be sent from the page, at [/docs](../docs), and as OpenAPI 3.1 at `/openapi.json`
([openapi.md](openapi.md)). `HEAD` is answered wherever `GET` is, and `OPTIONS` everywhere, with the methods of the
route in `Allow`."""
REFUSED = "refused"
"""The end of the tag of what a server only refuses."""


def routes_page() -> str:
    """The page."""
    from ostinato.service.edge.openapi.document import build
    from ostinato.service.edge.openapi.examples import Examples

    document = build(Examples([]))
    any_codes = set.intersection(*(set(codes_of(operation)) for operation in _own_operations(document)))
    parts = [_any_request(any_codes)]
    parts += [_group(tag, document, any_codes) for tag in document["tags"]]
    schemas = document["components"]["schemas"]
    types = "\n\n".join(f"### {name}\n\n{_schema(schemas[name])}" for name in sorted(schemas))
    return page("HTTP", INTRODUCTION, *parts, f"## Types\n\nBodies and answers in JSON.\n\n{types}")


def _own_operations(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    paths = document["paths"].items()
    return [each for path, methods in paths if path.startswith("/v1/") for each in methods.values()]


def codes_of(operation: Mapping[str, Any]) -> list[str]:
    """The codes of the errors that an operation may be refused with."""
    told_of = [response["description"] for status, response in operation["responses"].items() if status >= "400"]
    return list(dict.fromkeys(code for text in told_of for code in re.findall(r"`(\w+)`(?=:)", text)))


def _any_request(codes: set[str]) -> str:
    return f"## Any request\n\nAny request under `/v1` may be refused with: {_links(sorted(codes))}."


def _links(codes: Iterable[str]) -> str:
    return ", ".join(f"[{code}](reference_errors.md#{code})" for code in codes)


def _group(tag: Mapping[str, str], document: Mapping[str, Any], any_codes: set[str]) -> str:
    routes = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["tags"][0] == tag["name"]
    ]
    head = f"## {tag['name']}\n\n{escaped(tag['description'])}"
    if tag["name"].endswith(REFUSED):
        rows = [(f"`{method} {path}`", told(operation["summary"])) for method, path, operation in routes]
        return f"{head}\n\n{table(('route', 'what it is'), rows)}"
    return "\n\n".join((head, *(_operation(*route, any_codes) for route in routes)))


def _operation(method: str, path: str, operation: Mapping[str, Any], any_codes: set[str]) -> str:
    parts = [f"### {method} {_bare(path)}", f"**{escaped(operation['summary'])}**: `{method} {path}`"]
    if description := operation.get("description"):
        parts.append(_paragraphs(description))
    if parameters := operation.get("parameters"):
        rows = [
            (f"`{each['name']}`", each["in"], _type(each["schema"]), told(each["description"])) for each in parameters
        ]
        parts.append(table(("parameter", "in", "type", "what it is"), rows))
    if body := operation.get("requestBody"):
        needed = "" if body.get("required") else " (may be left out)"
        parts.append(f"Body{needed}: {_contents(body['content'])}.")
    parts.append(_answers(operation["responses"]))
    if own := [code for code in codes_of(operation) if code not in any_codes]:
        parts.append(f"May be refused with: {_links(own)}.")
    return "\n\n".join(parts)


def _bare(path: str) -> str:
    """A path as a heading has it: a heading's anchor is made of its letters."""
    return path.replace("_", r"\_")


def _answers(responses: Mapping[str, Any]) -> str:
    lines = []
    for status, response in responses.items():
        if status < "400":
            contents = _contents(response.get("content", {}))
            lines.append(f"- {status}: {escaped(response['description'])}{f' {contents}.' if contents else ''}")
    return "\n".join(lines)


def _contents(contents: Mapping[str, Any]) -> str:
    return ", or ".join(
        f"`{media_type}`" + (f" ({kind})" if (kind := _type(content.get("schema", {}))) not in ("anything", "") else "")
        for media_type, content in contents.items()
    )


def _schema(schema: Mapping[str, Any]) -> str:
    parts = [_paragraphs(text)] if (text := schema.get("description")) else []
    if members := schema.get("properties"):
        needed = schema.get("required", ())
        rows = [
            (f"`{name}`", _type(about), _default(name in needed, about), told(about.get("description", "")))
            for name, about in members.items()
        ]
        parts.append(table(("member", "type", "default", "what it is"), rows))
    elif "description" not in schema or "type" in schema or "anyOf" in schema:
        parts.append(f"Type: {_type(schema)}.")
    return "\n\n".join(parts)


def _default(is_needed: bool, about: Mapping[str, Any]) -> str:
    return default_words(about, is_needed=False) or ("**always**" if is_needed else "")


def _type(schema: Mapping[str, Any]) -> str:
    return type_words(schema, lambda name: f"[{name}](#{name.lower()})")


def _paragraphs(text: str) -> str:
    return "\n\n".join(escaped(" ".join(each.split())) for each in text.split("\n\n"))
