"""Surprises: names that do not mean in this process what somebody may expect."""

from __future__ import annotations

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.decisions import Decisions


def surprises(decided: Decisions, catalogue: Catalogue, absent: set[tuple[str, str]]) -> set[str]:
    """A sentence for each; ``absent``: versions, by model and name, that the repository does not have."""
    sentences = set()
    for model, own in decided.models.items():
        for version in sorted(own.meant):
            if (model, version) in absent:
                sentences.add(f"{model}/{version} is meant by a name, and is not in this server's repository")
        for alias in own.aliases:
            if catalogue.engine_named(model, alias) is not None:
                sentences.add(f"{model}/{alias} is hidden by the alias of that name, until it is taken away")
    return sentences
