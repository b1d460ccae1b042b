from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from ostinato.service.edge.openapi.document import OPERATIONS, build
from ostinato.service.edge.openapi.examples import Examples
from ostinato.service.edge.openapi.page import Page

DOCUMENT = build(Examples([]))
PAGE = Page(DOCUMENT)
VOID = {"meta", "link", "input", "br"}


class Reader(HTMLParser):
    """Holds that all that is opened is closed, and collects ids and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src", "action"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read() -> Reader:
    reader = Reader()
    reader.feed(PAGE.html.decode())
    reader.close()
    assert reader.open == []
    return reader


def test_it_has_every_operation_and_schema_and_its_links_lead_somewhere() -> None:
    page = read()
    assert len(set(page.ids)) == len(page.ids)
    assert {each.id for each in OPERATIONS} <= set(page.ids)
    assert {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]} <= set(page.ids)
    assert {link for link in page.links if link.startswith("#")} <= {f"#{name}" for name in page.ids}


def test_nothing_in_it_is_loaded() -> None:
    others = {link for link in read().links if not link.startswith("#")}
    assert {link.partition(":")[0] for link in others} == {"openapi.json", "docs/", "data"}
    assert re.search(rb"url\(|@import|src=|https?://(?!www\.w3\.org/2000/svg)", PAGE.html) is None


def test_its_policy_lets_its_own_style_and_script_run_and_no_other() -> None:
    policy = dict(part.split(" ", 1) for part in PAGE.policy.split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag in ("style", "script"):
        [own] = re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), PAGE.html, re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(own).digest()).decode()}'"
    assert not re.search(rb"\son[a-z]+=|\sstyle=", PAGE.html)


def test_what_a_model_is_called_is_text_in_it() -> None:
    document = build(Examples([]))
    document["info"]["title"] = "<img src=x onerror='alert(1)'>"
    assert b"<img" not in Page(document).html
