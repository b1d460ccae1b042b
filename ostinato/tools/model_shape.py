"""The shape of a model with sessions, as who sends it the rows of a table must know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostinato.errors import CommandError
from ostinato.tools.merged_input import merged_input, split_steps


@dataclass(frozen=True)
class ModelShape:
    """What must be known of it, from its manifest.

    Attributes:
        model_input: of several inputs, one with the features of all (``merged_input``).
        features, outputs: of all inputs and outputs, in their order.
        inputs, context: entries of the manifest.
        told_by_time: see ``told_by_time``.
    """

    name: str
    version: str
    model_input: Mapping[str, Any]
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    feedback: dict[str, str]
    inputs: tuple[Mapping[str, Any], ...] = ()
    context: tuple[Mapping[str, Any], ...] = ()
    told_by_time: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> ModelShape:
        """The shape of what ``GET /v1/models/{model}`` answered.

        Raises:
            CommandError: no version of it is served, or it holds no sessions.
        """
        manifest = model.get("manifest")
        if not manifest:
            reasons = "; ".join(f"{failed['version']}: {failed['reason']}" for failed in model.get("failed", []))
            raise CommandError(f"no version of {model.get('model')!r} is served. {reasons}".rstrip(". ") + ".")
        if manifest["task"] != "recurrent":
            raise CommandError(
                f"{manifest['name']!r} is of task {manifest['task']!r}; sessions are for 'recurrent'. 'ostinato "
                "generate' asks models that write, and POST /v1/models/<model>/predict runs whole sequences"
            )
        inputs = tuple(manifest["inputs"])
        model_input = merged_input(inputs)
        return cls(
            manifest["name"],
            manifest["version"],
            model_input,
            tuple(model_input["features"]),
            tuple(feature for part in manifest["outputs"] for feature in part["features"]),
            dict(manifest["feedback"]),
            inputs,
            tuple(manifest.get("context", ())),
            told_by_time(manifest),
        )

    def known_ahead(self, named: Sequence[str]) -> tuple[str, ...]:
        """The features whose future a forecast is told: those that are named, and what the steps' times tell."""
        return tuple(dict.fromkeys([*named, *self.told_by_time]))

    def steps(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Steps of all features, as a session takes them."""
        return split_steps(self.inputs, rows) if len(self.inputs) > 1 else rows


def told_by_time(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The features of the steps ahead that a calendar tells, where a forecast is fed back: a session that was told
    times knows them, so a table's forecasts are told them, too.
    """
    is_fed_back = bool(manifest.get("feedback")) and not manifest.get("decoder")
    return tuple((manifest.get("time") or {}).get("calendar", ())) if is_fed_back else ()
