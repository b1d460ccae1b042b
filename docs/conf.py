"""The site of these pages: `make docs` builds it into build/site by Sphinx and MyST, and each warning fails it."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sphinx.application import Sphinx  # noqa: E402

from docs.site.console import ConsoleLexer  # noqa: E402
from docs.site.inline import move_inline_parts  # noqa: E402
from docs.site.notices import write_notices  # noqa: E402
from docs.site.pages import read_page  # noqa: E402
from docs.site.twins import write_twins  # noqa: E402

_project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

project = "Ostinato"
release = version = _project["version"]
copyright = "the authors of Ostinato, under Apache-2.0"  # noqa: A001
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["site"]
highlight_language = "text"
# The anchors that GitHub makes of headings, so that a link works here and there.
myst_heading_anchors = 4
myst_enable_extensions = ["alert"]
# The page of routes that a server has next to this site.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "server": {"url": "../{{path}}"}}

html_theme = "furo"
html_title = f"Ostinato {release}"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_favicon = "../service/edge/console/page/icon.svg"
html_copy_source = html_show_sourcelink = html_use_index = html_domain_indices = False
# Colours that can be read on their ground, by WCAG 2 (AA).
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0a7d6f",
        "color-brand-content": "#0a7d6f",
        "color-brand-visited": "#0a7d6f",
        "font-stack": _FONT,
        "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#4cc9b5",
        "color-brand-content": "#4cc9b5",
        "color-brand-visited": "#4cc9b5",
    },
}


def setup(app: Sphinx) -> None:
    """Hand Sphinx what is the project's own: how pages are read, and what is made of those that were written."""
    app.add_lexer("console", ConsoleLexer)
    app.connect("source-read", _read)
    app.connect("build-finished", _finish)


def _read(_app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = read_page(name)


def _finish(app: Sphinx, failure: Exception | None) -> None:
    if failure is None:
        move_inline_parts(Path(app.outdir))
        write_twins(Path(app.outdir))
        write_notices(Path(app.outdir))
