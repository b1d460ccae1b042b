"""The image's recipe, deploy/Dockerfile, read."""

from __future__ import annotations

import json
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"

Instruction = tuple[str, str]


def stages() -> dict[str, list[Instruction]]:
    """The instructions of each stage, by its name: what is done, and with what. "" has what stands before them."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#"))
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found: dict[str, list[Instruction]] = {"": []}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name or "last"] = [(word, image)]
        else:
            found[next(reversed(found))].append((word, rest))
    return found


def command(name: str) -> list[str]:
    """``ENTRYPOINT`` or ``CMD`` of what runs."""
    words: list[str] = json.loads(dict(stages()["runtime"])[name])
    return words


def health_check() -> tuple[dict[str, str], list[str]]:
    """``HEALTHCHECK`` of what runs: its options, and its command."""
    options, _, words = dict(stages()["runtime"])["HEALTHCHECK"].partition("CMD ")
    return dict(option.removeprefix("--").split("=") for option in options.split()), json.loads(words)


def variables() -> dict[str, str]:
    """The environment of what runs."""
    settings = " ".join(rest for word, rest in stages()["runtime"] if word == "ENV")
    return dict(setting.split("=", 1) for setting in settings.split())
