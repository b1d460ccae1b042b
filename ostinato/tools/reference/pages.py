"""Pages of ``docs/`` that are made of the code: each by its name, and what makes it of the page as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostinato.tools.configuration import with_settings
from ostinato.tools.reference.client import client_page
from ostinato.tools.reference.commands import commands_page
from ostinato.tools.reference.errors import errors_page
from ostinato.tools.reference.generation import generation_page
from ostinato.tools.reference.manifest import manifest_page
from ostinato.tools.reference.metrics import metrics_page
from ostinato.tools.reference.recipes import recipes_page
from ostinato.tools.reference.routes import routes_page

PAGES: Mapping[str, Callable[[str], str]] = {
    "configuration.md": with_settings,
    "reference_client.md": lambda _: client_page(),
    "reference_commands.md": lambda _: commands_page(),
    "reference_errors.md": lambda _: errors_page(),
    "reference_generation.md": lambda _: generation_page(),
    "reference_http.md": lambda _: routes_page(),
    "reference_manifest.md": lambda _: manifest_page(),
    "reference_metrics.md": lambda _: metrics_page(),
    "reference_recipes.md": lambda _: recipes_page(),
}
