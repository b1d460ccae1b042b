"""The page that shows the document: one file of HTML, which loads nothing and from which nothing can be loaded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.operation import JsonSchema

_HERE = Path(__file__).parent
STYLE, SCRIPT = (_HERE / name for name in ("page.css", "page.js"))


class Page:
    """The page of a document.

    Attributes:
        html: the page, as UTF-8.
        policy: its Content-Security-Policy: its own style and script, by their checksums, and requests to this server.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        style, script = STYLE.read_text("utf-8"), SCRIPT.read_text("utf-8")
        self.policy = "; ".join(
            (
                "default-src 'none'",
                f"style-src {_checksum(style)}",
                f"script-src {_checksum(script)}",
                "img-src data:",
                "connect-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        )
        self._schemas: Mapping[str, JsonSchema] = document["components"]["schemas"]
        self.html = self._page(document, style, script).encode()

    def _page(self, document: Mapping[str, Any], style: str, script: str) -> str:
        by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {tag["name"]: [] for tag in document["tags"]}
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                by_tag[operation["tags"][0]].append((method, path, operation))
        told = {tag["name"]: tag["description"] for tag in document["tags"]}
        navigation = "".join(
            f"<section><h2>{escape(tag)}</h2><ul>{''.join(_link(*each) for each in operations)}</ul></section>"
            for tag, operations in by_tag.items()
        )
        groups = "".join(
            f"<section class=group><h2>{escape(tag)}</h2><p class=lead>{_text(told[tag])}</p>"
            f"{''.join(self._operation(*each) for each in operations)}</section>"
            for tag, operations in by_tag.items()
        )
        schemas = "".join(
            f"<article class=schema id='schema-{name}'><h3>{escape(name)}</h3>{self._schema(schema)}</article>"
            for name, schema in self._schemas.items()
        )
        info = document["info"]
        return (
            "<!doctype html><html lang=en><head><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
            f"<title>{escape(info['title'])} {escape(info['version'])}</title><link rel=icon href='{_ICON}'>"
            f"<style>{style}</style></head><body>"
            f"<nav aria-label=Operations><header><a class=brand href='#top'>{escape(info['title'])}</a>"
            f"<span class=version>{escape(info['version'])}</span>"
            "<button type=button id=theme title='Light or dark' aria-label='Light or dark'>&#9680;</button></header>"
            "<input type=search id=search placeholder='Search  ( / )' aria-label='Search operations'>"
            f"<div class=links>{navigation}<section><h2><a href='#schemas'>Schemas</a></h2></section></div></nav>"
            f"<main id=top><header class=intro><h1>{escape(info['summary'])}</h1>{_paragraphs(info['description'])}"
            "<p>The document itself is <a href='openapi.json'>openapi.json</a> (OpenAPI 3.1). How to use it is in "
            "<a href='docs/'>the documentation</a>.</p></header>"
            f"<p id=nothing hidden>Nothing matches.</p>{groups}"
            f"<section class=group id=schemas><h2>Schemas</h2>{schemas}</section></main>"
            f"<script>{script}</script></body></html>"
        )

    def _operation(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        name = operation["operationId"]
        words = f"{method} {path} {name} {operation['summary']} {operation.get('description', '')}".lower()
        shown = re.sub(r"\{.*?\}", lambda part: f"<em>{part[0]}</em>", escape(path))
        parts = [
            f"<article class=operation id='{name}' data-words='{escape(words)}'>"
            f"<h3><span class='method {method}'>{method.upper()}</span> <code class=path>{shown}</code></h3>"
            f"<p class=summary>{escape(operation['summary'])} <code class=id>{name}</code></p>"
            f"{_paragraphs(operation.get('description', ''))}"
        ]
        if parameters := operation.get("parameters"):
            rows = ((each["name"], each["schema"], each["in"] == "path", each["description"]) for each in parameters)
            parts.append(f"<h4>Parameters</h4>{self._table(rows)}")
        if body := operation.get("requestBody"):
            parts.append(f"<h4>Body{'' if body['required'] else ' <small>optional</small>'}</h4>")
            parts += (self._content(media_type, content["schema"]) for media_type, content in body["content"].items())
        if _can_be_tried(operation):
            parts.append(self._trial(method, path, operation))
        parts.append(f"<h4>Answers</h4>{self._responses(operation['responses'])}</article>")
        return "".join(parts)

    def _responses(self, responses: Mapping[str, Any]) -> str:
        rows = []
        for status, response in responses.items():
            forms = "".join(
                f"<div>{self._kind(content['schema'])} <span class=media>{escape(media_type)}</span></div>"
                for media_type, content in response.get("content", {}).items()
            )
            headers = "".join(
                f"<div><code>{escape(name)}</code> {_text(header['description'])}</div>"
                for name, header in response.get("headers", {}).items()
            )
            rows.append(
                f"<tr><td><span class='status s{status[0]}'>{status}</span></td>"
                f"<td>{_text(response['description'])}{headers}</td><td>{forms}</td></tr>"
            )
        good = [row for row, status in zip(rows, responses, strict=True) if status < "400"]
        others = [row for row, status in zip(rows, responses, strict=True) if status >= "400"]
        refusals = f"<details><summary>{len(others)} refusals</summary><table>{''.join(others)}</table></details>"
        return f"<table>{''.join(good)}</table>{refusals if others else ''}"

    def _trial(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        """A form that sends an example."""
        parameters = operation.get("parameters", ())
        bodies = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("examples", {})
        named = {each["name"]: each.get("examples", {}) for each in parameters if each["in"] == "path"}
        models = list(bodies or next(iter(named.values()), {}))
        fields = "".join(
            f"<label>{each['name']}<input name='{each['name']}' data-in='{each['in']}'"
            f" value='{escape(_first(each.get('examples', {})))}'></label>"
            for each in parameters
        )
        choice = ""
        if models:
            options = "".join(
                f"<option data-body='{escape(_written(bodies[model]['value'])) if model in bodies else ''}' data-names="
                f"'{escape(json.dumps({name: each[model]['value'] for name, each in named.items()}))}'>"
                f"{escape(model)}</option>"
                for model in models
            )
            choice = f"<label>example for<select>{options}</select></label>"
        text = ""
        if operation.get("requestBody"):
            first: Mapping[str, Any] = next(iter(bodies.values()), {"value": {}})
            written = _written(first["value"])
            height = min(14, written.count("\n") + 1)
            text = f"<textarea spellcheck=false rows={height} aria-label='The body'>{escape(written)}</textarea>"
        return (
            f"<details class=trial><summary>Try it</summary><form data-method='{method.upper()}' "
            f"data-path='{escape(path)}'><div class=fields>{choice}{fields}</div>{text}"
            "<button type=submit>Send</button><output hidden><p></p><pre></pre></output></form></details>"
        )

    def _content(self, media_type: str, schema: JsonSchema) -> str:
        if "$ref" not in schema:  # of bodies, JSON alone has a type
            return f"<p class=media>{escape(media_type)}: binary</p>"
        told = f"{self._kind(schema)} <span class=media>{escape(media_type)}</span>"
        return f"<details><summary>{told}</summary>{self._schema(self._schemas[_name(schema)])}</details>"

    def _schema(self, schema: JsonSchema) -> str:
        told = _paragraphs(schema.get("description", ""))
        properties: Mapping[str, JsonSchema] = schema.get("properties", {})
        required = schema.get("required", ())
        if not properties:
            return told
        rows = ((name, each, name in required, each.get("description", "")) for name, each in properties.items())
        return f"{told}{self._table(rows)}"

    def _table(self, rows: Iterable[tuple[str, JsonSchema, bool, str]]) -> str:
        lines = []
        for name, schema, is_required, description in rows:
            notes = [self._kind(schema), *_bounds(schema)]
            if is_required:
                notes.append("<b>required</b>")
            lines.append(
                f"<tr><td><code>{escape(name)}</code></td><td>{_text(description)}</td>"
                f"<td class=kind>{'<br>'.join(notes)}</td></tr>"
            )
        return f"<table>{''.join(lines)}</table>"

    def _kind(self, schema: JsonSchema) -> str:
        """A schema's type in a few words, with links to those that have names."""
        if "$ref" in schema:
            name = _name(schema)
            return f"<a href='#schema-{name}'>{escape(name)}</a>"
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(self._kind(each) for each in schema["anyOf"]))
        if "enum" in schema:
            return " | ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
        if schema.get("type") == "array":
            items = schema.get("items", {})
            return f"list of {self._kind(items)}" if items else "list"
        if schema.get("format") == "binary":
            return "bytes"
        return escape(str(schema.get("format") or schema.get("type", "")))


def _link(method: str, path: str, operation: Mapping[str, Any]) -> str:
    return (
        f"<li><a href='#{operation['operationId']}' title='{escape(path)}'>"
        f"<span class='method {method}'>{method.upper()}</span>{escape(operation['summary'])}</a></li>"
    )


def _can_be_tried(operation: Mapping[str, Any]) -> bool:
    """Whether it reads JSON or nothing, and is no WebSocket."""
    return "101" not in operation["responses"] and ("requestBody" not in operation or JSON in _media_types(operation))


def _media_types(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    content: Mapping[str, Any] = operation["requestBody"]["content"]
    return content


_LIMITS = {"minimum": "&ge;", "maximum": "&le;", "exclusiveMinimum": "&gt;", "exclusiveMaximum": "&lt;"}


def _bounds(schema: JsonSchema) -> list[str]:
    """The bounds of a member, or of its form that is not null, and its default."""
    forms = [schema, *schema.get("anyOf", ())]
    told = [f"{sign} {_number(form[key])}" for form in forms for key, sign in _LIMITS.items() if key in form]
    told += [f"<code>{escape(form['pattern'])}</code>" for form in forms if "pattern" in form]
    told += [f"up to {form['maxLength']} characters" for form in forms if "maxLength" in form]
    if schema.get("default") is not None:
        told.append(f"default <code>{escape(json.dumps(schema['default']))}</code>")
    return told


_POWERS = {2**63 - 1: "2<sup>63</sup> - 1", -(2**63): "-2<sup>63</sup>"}


def _number(value: int | float) -> str:
    return _POWERS.get(value, f"{value:,}") if isinstance(value, int) else f"{value:,g}"


def _name(schema: JsonSchema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _first(examples: Mapping[str, Any]) -> str:
    return str(next(iter(examples.values()), {"value": ""})["value"])


def _written(value: Any) -> str:
    """JSON with a member a line, and lists of numbers on one."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items()) + "\n}"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_text(each)}</p>" for each in text.split("\n\n") if each)


def _text(text: str) -> str:
    return re.sub(r"`(.*?)`", r"<code>\1</code>", escape(text, quote=False))


def _checksum(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_ICON = (
    "data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 viewBox=%220 0 16 16%22%3E%3Cpath "
    "d=%22M2 11q3-12 6-3t6-3%22 fill=%22none%22 stroke=%22%230a7d6f%22 stroke-width=%222.4%22/%3E%3C/svg%3E"
)
